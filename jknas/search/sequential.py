"""Searches that evaluate one architecture after the other, each perhaps chosen by what was seen before: all of it but the choice.

The n-th choice draws from a generator of its own, seeded by (seed, n): a state holds no generator, and a resumed search draws the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from jknas.errors import SearchError, choose
from jknas.search.method import Completion, Evaluator, SearchMethod, SearchProblem, check_count, option
from jknas.search.state import Candidate, State
from jknas.search.steps import test_winner, with_training

OVERFLOWS = ("keep", "discard")


@dataclass(frozen=True, kw_only=True)
class SequentialState(State):
    """The state of a search that evaluates one architecture after the other.

    Attributes:
        overflowed: whether an evaluation was discarded, which ends the search.
    """

    overflowed: bool = False


S = TypeVar("S", bound=SequentialState)


def generator(problem: SearchProblem, place: int) -> np.random.Generator:
    """Return what the choice after ``place`` evaluations draws from."""
    return np.random.default_rng((problem.seed, place + 1))


def evaluation_limit(default: int | None = 100) -> Any:
    """Return the field of the most architectures that a search evaluates."""
    return option(default, "architectures to train or look up", name="--max-evaluations", when_timed=None)


@dataclass(frozen=True, kw_only=True)
class Sequential(SearchMethod[S]):
    """A method that chooses, evaluates and learns until its limit is reached, and then tests the best that it has seen.

    Its limits belong to the search and its result, unlike a :class:`jknas.search.Budget`, which only interrupts it.

    Attributes:
        limited_by: name of the field that holds the most architectures to evaluate.
        seconds: the most seconds of training, by the problem's clock: measured where networks are trained, the published cost of an
            evaluation where they are looked up in a table. None for no limit.
        overflow: "keep": no evaluation begins once the seconds are spent; the last one may take more than is left, and counts (the
            released scripts of NATS-Bench, arXiv:2009.00437). "discard": an evaluation that takes more than is left ends the search and
            does not count, neither as a result nor in the seconds (those of NAS-Bench-201, arXiv:2001.00326).

    Raises:
        SearchError: no limit at all, a limit that is not positive, or an unknown overflow.
    """

    state: ClassVar[type[State]] = SequentialState
    limited_by: ClassVar[str] = "evaluations"

    seconds: float | None = option(
        None, "seconds of training, or of the table's accounting, to spend", name="--budget-seconds", usually="no limit"
    )
    overflow: str = option("keep", "keep or discard the evaluation that exceeds --budget-seconds")

    def __post_init__(self) -> None:
        choose("overflow", self.overflow, OVERFLOWS, error=SearchError)
        if self.limit is None and self.seconds is None:
            raise SearchError("a search without a limit never ends: give a number of evaluations, or seconds.")
        if self.limit is not None:
            check_count(self.limited_by, self.limit)
        seconds = self.seconds
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf):
            raise SearchError(f"seconds is {seconds!r}; expected a positive, finite number, or None for no limit.")

    @property
    def limit(self) -> int | None:
        """The most architectures to evaluate; None for no limit."""
        most: int | None = getattr(self, self.limited_by)
        return most

    def choose(self, evaluator: Evaluator, state: S, rng: np.random.Generator) -> int | Any:
        """Return the place of the candidate to evaluate next, or the genotype of a new one."""
        raise NotImplementedError

    def coming(self, evaluator: Evaluator, state: S) -> Sequence[Any]:
        """Return the genotypes that are evaluated next, whatever comes of them, so that workers can begin with them: by default none."""
        del evaluator, state
        return ()

    def learn(self, state: S, place: int) -> S:
        """Return the state with what the method remembers, after the candidate at this place was evaluated."""
        del place
        return state

    def init(self, problem: SearchProblem) -> S:
        """Return the state before the first evaluation."""
        del problem
        return self.state(chosen=())  # type: ignore[return-value]

    def step(self, evaluator: Evaluator, state: S) -> S:
        """Evaluate one more architecture; when the limit is reached, test the winner."""
        if self.is_over(state):
            evaluator.expect_trainings(())  # the seconds may be spent before what was expected is evaluated
            return test_winner(evaluator, state)
        done = state.chosen or ()
        if evaluator.looks_ahead:
            left = None if self.limit is None else self.limit - len(done)
            evaluator.expect_trainings(self.coming(evaluator, state)[:left])
        chosen = self.choose(evaluator, state, generator(evaluator.problem, len(done)))
        place = chosen if isinstance(chosen, int) else len(state.candidates)
        known = state if isinstance(chosen, int) else replace(state, candidates=(*state.candidates, Candidate(chosen)))
        training = evaluator.train(known.candidates[place].genotype)
        if self._discards(state, training.seconds):
            return replace(state, overflowed=True)
        known = with_training(known, place, training)
        best = None if known.winner is None else known.candidates[known.winner].training
        winner = place if best is None or training.value > best.value else known.winner
        return self.learn(replace(known, chosen=(*done, place), winner=winner), place)

    def is_over(self, state: S) -> bool:
        """Return whether no evaluation may begin."""
        spent = self.seconds is not None and state.train_seconds >= self.seconds
        return state.overflowed or spent or (self.limit is not None and len(state.chosen or ()) >= self.limit)

    def _discards(self, state: S, cost: float) -> bool:
        """Return whether an evaluation of this cost comes too late."""
        if self.seconds is None or self.overflow == "keep" or state.train_seconds + cost <= self.seconds:
            return False
        if not state.chosen:
            raise SearchError(f"the first evaluation takes {cost:.1f} s and the search has {self.seconds:g}: raise seconds.")
        return True

    def progress(self, state: S) -> Completion:
        """Return how far the search is: in evaluations where these are limited, otherwise in seconds."""
        done = len(state.chosen or ())
        if state.test is not None or self.is_over(state):
            return Completion("test", done, done)
        if self.limit is not None:
            return Completion("train", done, self.limit)
        assert self.seconds is not None
        return Completion("simulate", math.floor(state.train_seconds), math.ceil(self.seconds))


def check_free_edges(problem: SearchProblem, method: str, does: str) -> None:
    """Raise SearchError unless every combination of operations is an architecture of the space; ``does`` says what the method does."""
    space = problem.space
    if len(space.operations) ** space.num_edges != space.size:
        raise SearchError(f"{method} {does} every edge by itself, and {space.name} does not allow all combinations: use evolution.")
