"""How much a search may spend on evaluating architectures one after the other, and what becomes of the one that does not fit any more."""

import math
from dataclasses import dataclass

from jknas.errors import SearchError, choose
from jknas.search.method import Progress, State
from jknas.search.phases import check_count, is_tested

OVERFLOWS = ("keep", "discard")


@dataclass(frozen=True, kw_only=True)
class Spending:
    """A limit that belongs to the search and its result, unlike a :class:`jknas.search.driver.Budget`, which only interrupts it.

    Attributes:
        evaluations: the most architectures to evaluate; None for no limit.
        seconds: the most seconds of training, by the problem's clock: measured where networks are trained, the published cost of an
            evaluation where they are looked up in a table. None for no limit.
        overflow: "keep": no evaluation begins once the seconds are spent, and the last one may take more than is left and counts (the
            released scripts of NATS-Bench, arXiv:2009.00437). "discard": an evaluation that takes more than is left ends the search and
            does not count, neither as a result nor in the seconds (those of NAS-Bench-201, arXiv:2001.00326).

    Raises:
        SearchError: neither limit, a limit that is none, or an unknown overflow.
    """

    evaluations: int | None
    seconds: float | None
    overflow: str

    def __post_init__(self) -> None:
        choose("overflow", self.overflow, OVERFLOWS, error=SearchError)
        if self.evaluations is None and self.seconds is None:
            raise SearchError("a search without a limit never ends: give a number of evaluations, or seconds.")
        if self.evaluations is not None:
            check_count("evaluations", self.evaluations)
        if self.seconds is not None and (
            isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float) or not self.seconds > 0
        ):
            raise SearchError(f"seconds is {self.seconds!r}; expected a positive number, or None for no limit.")

    def is_over(self, state: State) -> bool:
        """Return whether no evaluation may begin."""
        done, spent = len(state["chosen"]), state["train_seconds"]
        return (
            state["overflowed"]
            or (self.evaluations is not None and done >= self.evaluations)
            or (self.seconds is not None and spent >= self.seconds)
        )

    def discards(self, state: State, cost: float) -> bool:
        """Return whether an evaluation of this cost comes too late.

        Raises:
            SearchError: it is the first one, and the search would end without a result.
        """
        if self.seconds is None or self.overflow == "keep" or state["train_seconds"] + cost <= self.seconds:
            return False
        if not state["chosen"]:
            raise SearchError(f"the first evaluation takes {cost:.1f} s and the search has {self.seconds:g}: raise seconds.")
        return True

    def progress(self, state: State) -> Progress:
        """Return how far the search is: in evaluations where these are limited, otherwise in seconds."""
        done = len(state["chosen"])
        if is_tested(state) or self.is_over(state):
            return Progress("test", done, done)
        if self.evaluations is not None:
            return Progress("train", done, self.evaluations)
        assert self.seconds is not None
        return Progress("simulate", math.floor(state["train_seconds"]), math.ceil(self.seconds))
