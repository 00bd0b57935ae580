"""The steps that methods share, as pure functions of the state: score a sample, train the chosen one by one, test the winner."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from jknas.search.method import Completion, Evaluator, SearchProblem, check_count
from jknas.search.pooled import next_round, status_of, with_pool_values
from jknas.search.state import UNSCORED, Candidate, State, Trained, best_trained, ranked

S = TypeVar("S", bound=State)

SCORING_STEPS = 200
"""At most about this many steps score, however large the sample: each step may write the whole state."""


def draw_sample(problem: SearchProblem, count: int, name: str = "samples") -> tuple[Candidate, ...]:
    """Return architectures drawn uniformly, without replacement.

    Args:
        problem: what is searched.
        count: how many.
        name: of the hyper-parameter, for the message.

    Raises:
        SearchError: the count is none, or more than the space has.
    """
    space = problem.space
    check_count(name, count, most=space.size, of=f"the space {space.name} has {space.size} architectures")
    return tuple(map(Candidate, space.sample(np.random.default_rng(problem.seed), count, unique=True)))


def score_next(evaluator: Evaluator, state: S) -> S:
    """Score the next candidates of the sample by what they lack; when none lacks anything, rank them all."""
    problem, listed = evaluator.problem, list(state.candidates)
    if not _waiting(listed):
        listed = list(next_round(problem, listed))
    members = listed[_waiting(listed)[0]].lacks
    places = [place for place in _waiting(listed) if listed[place].lacks == members]
    evaluator.expect_scores([listed[place].genotype for place in places], members)
    scoring = compiling = 0.0
    for place in places[: -(-len(listed) // SCORING_STEPS)]:
        before, found = listed[place], evaluator.score(listed[place].genotype, members)
        parts, seconds = (*before.parts, *found.parts), (before.seconds or 0.0) + found.seconds
        status = status_of(parts) if parts else found.status
        listed[place] = replace(before, score=found.score, status=status, seconds=seconds, parts=parts, lacks=())
        scoring += found.seconds if found.fresh else 0.0
        compiling += found.compile_seconds
    if not _waiting(listed):
        listed = list(next_round(problem, listed))
    return replace(
        state,
        candidates=tuple(listed) if _waiting(listed) else ranked(with_pool_values(problem, listed), problem.sign),
        score_seconds=state.score_seconds + scoring,
        compile_seconds=state.compile_seconds + compiling,
    )


def _waiting(candidates: Sequence[Candidate]) -> list[int]:
    return [place for place, candidate in enumerate(candidates) if candidate.lacks]


def is_ranked(state: State) -> bool:
    """Return whether the whole sample is scored."""
    return state.candidates[0].rank is not None


def scoring_progress(state: State) -> Completion:
    """Return how much of the sample is scored by all that is asked for so far: less again when another round begins."""
    scored = sum(candidate.status != UNSCORED and not candidate.lacks for candidate in state.candidates)
    return Completion("score", scored, len(state.candidates))


def best_places(state: State, count: int) -> tuple[int, ...]:
    """Return the places of the best of a ranked sample, best first."""
    ranks = {candidate.rank: place for place, candidate in enumerate(state.candidates) if candidate.rank is not None}
    return tuple(ranks[rank] for rank in range(1, count + 1))


def train_or_test(evaluator: Evaluator, state: S) -> S:
    """Train the next of the chosen candidates, and name the best so far as the winner; when all are trained, test the winner."""
    waiting = [place for place in state.chosen or () if state.candidates[place].training is None]
    if not waiting:
        return test_winner(evaluator, state)
    evaluator.expect_trainings([state.candidates[place].genotype for place in waiting])
    state = with_training(state, waiting[0], evaluator.train(state.candidates[waiting[0]].genotype))
    return replace(state, winner=best_trained(state.candidates, evaluator.problem.sign))


def with_training(state: S, place: int, training: Trained) -> S:
    """Return the state with the training of one candidate, and its time."""
    trained = replace(state.candidates[place], training=training)
    return replace(
        state,
        candidates=(*state.candidates[:place], trained, *state.candidates[place + 1 :]),
        compile_seconds=state.compile_seconds + training.compile_seconds,
        train_seconds=state.train_seconds + training.seconds,
    )


def training_progress(state: State) -> Completion:
    """Return how many of the chosen candidates are trained."""
    chosen = state.chosen or ()
    trained = sum(state.candidates[place].training is not None for place in chosen)
    return Completion("train" if trained < len(chosen) else "test", trained, len(chosen))


def test_winner(evaluator: Evaluator, state: S) -> S:
    """Read the test split, once, for the winner."""
    assert state.winner is not None
    tested = evaluator.test(state.candidates[state.winner].genotype)
    return replace(state, test=tested, test_seconds=state.test_seconds + tested.seconds)
