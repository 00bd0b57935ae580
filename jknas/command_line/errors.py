"""Which errors are the user's to correct (exit code 2, one line), and how an interruption is reported (130)."""

from collections.abc import Iterator
from contextlib import contextmanager


class CommandError(Exception):
    """A command that cannot be run as it was given."""


class Interrupted(Exception):  # noqa: N818 - not an error, and named after what happened
    """A command that was interrupted; the text says how to go on."""


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """On Ctrl-C, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {advice}") from None


def is_bad_input(error: BaseException) -> bool:
    """Return whether an error says what the user gave and what to give instead, so that its text is all that is needed."""
    from jknas.data import DataError
    from jknas.files.json_text import JsonTextError
    from jknas.proxies import ProxyError
    from jknas.report.page import DrawingError
    from jknas.scoring.store import StoreError
    from jknas.search import SearchError
    from jknas.spaces import SpaceError
    from jknas.spaces.nasbench201.genotype import GenotypeError
    from jknas.tabular import TabularError
    from jknas.training import TrainingError

    data_and_spaces = (DataError, DrawingError, GenotypeError, JsonTextError, SpaceError, StoreError, TabularError)
    return isinstance(error, (CommandError, ProxyError, SearchError, TrainingError, *data_and_spaces))
