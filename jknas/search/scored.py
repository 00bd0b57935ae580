"""A score as a search step gets it."""

from typing import NamedTuple

from jknas.scoring.store import ScoreRecord


class Scored(NamedTuple):
    """A score, whether it was computed now (not read from the store), and the seconds spent on compilation for it."""

    record: ScoreRecord
    fresh: bool
    compile_seconds: float
