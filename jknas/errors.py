"""Pick a name from those that exist, with an error that teaches."""

import difflib
from typing import Any


def choose(kind: str, value: Any, options: tuple[str, ...], *, error: type[ValueError]) -> str:
    """Return ``value`` if it is one of ``options``.

    Args:
        kind: what is chosen, for the message ("search space", "canonical rule").
        value: the name that was asked for.
        options: the names that exist.
        error: what to raise.

    Returns:
        The value.

    Raises:
        ValueError: an ``error``: the value is none of the options; the message lists them and names the closest.
    """
    if isinstance(value, str) and value in options:
        return value
    close = difflib.get_close_matches(value[:60], options, n=1, cutoff=0.5) if isinstance(value, str) else []
    hint = f" Did you mean {close[0]!r}?" if close else ""
    came = repr(value[:60]) if isinstance(value, str) else f"of type {type(value).__name__}"
    raise error(f"Unknown {kind} {came}; expected one of {', '.join(options)}.{hint}")
