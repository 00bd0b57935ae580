"""How a command reports an interruption (exit code 130)."""

from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(Exception):  # noqa: N818 - not an error, and named after what happened
    """A command that was interrupted; the text says how to go on."""


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """On Ctrl-C, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {advice}") from None
