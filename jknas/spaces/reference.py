"""References ``module:NAME`` to values that a module outside of this package defines."""

import importlib
from typing import Any

from jknas.errors import SpaceError


def load_reference(text: str, kind: str) -> Any:
    """Return what ``module:NAME`` refers to.

    Args:
        text: a module's dotted name, a colon, and the name of an attribute.
        kind: what is expected, for the message.

    Raises:
        SpaceError: the text has another form, the module cannot be imported (its own code may raise anything, for instance where a record
            lacks a field), or it has no such attribute.
    """
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise SpaceError(f"{text!r} does not name a {kind}: expected module:NAME, as in mypackage.myspace:SPACE.")
    try:
        found = importlib.import_module(module)
    except Exception as error:  # the module is the caller's
        reason = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise SpaceError(
            f"the module of the {kind} {text!r} cannot be imported ({reason}): check its name, its code, and that it is on PYTHONPATH."
        ) from error
    if not hasattr(found, name):
        raise SpaceError(f"the module {module!r} has no {name!r}: name the {kind} that it defines, as module:NAME.")
    return getattr(found, name)
