"""The phases that methods are made of, pure functions of the state: score a sample, train the chosen ones one by one, test the winner."""

from collections.abc import Sequence
from typing import Any

from jknas.errors import SearchError
from jknas.search import candidates as c
from jknas.search.evaluator import AnyEvaluator
from jknas.search.method import Progress, State

TIMES = ("compile_seconds", "score_seconds", "train_seconds", "test_seconds")

_SCORING_STEPS = 200
"""At most about this many steps score, however large the sample: each step may write the whole state."""


def beginning(genotypes: Sequence[Any]) -> dict[str, Any]:
    """Return the state of a search that has drawn its architectures."""
    listed = [c.drawn(genotype) for genotype in genotypes]
    return {"candidates": listed, "chosen": None, "winner": None, "test": None} | dict.fromkeys(TIMES, 0.0)


def check_count(name: str, value: int, *, most: int | None = None, of: str = "") -> None:
    """Raise SearchError unless ``value`` is a whole number from 1 to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SearchError(f"{name} is {value!r}; expected a whole number, 1 or more.")
    if most is not None and value > most:
        raise SearchError(f"{name} is {value}, and {of}: choose 1..{most}.")


def score_next(evaluator: AnyEvaluator, state: State) -> State:
    """Score the next candidates of the sample; when none is left, rank them all."""
    listed, sign = list(state["candidates"]), evaluator.problem.sign
    places = [place for place, candidate in enumerate(listed) if candidate["status"] == "unscored"]
    scoring = compiling = 0.0
    for place in places[: -(-len(listed) // _SCORING_STEPS)]:
        found = evaluator.score(evaluator.problem.space.parse(listed[place]["genotype"]))
        listed[place] = c.scored(listed[place], found.record)
        scoring += found.record.seconds if found.fresh else 0.0
        compiling += found.compile_seconds
    times = {"score_seconds": state["score_seconds"] + scoring, "compile_seconds": state["compile_seconds"] + compiling}
    left = any(candidate["status"] == "unscored" for candidate in listed)
    return {**state, "candidates": listed if left else c.ranked(listed, sign), **times}


def is_ranked(state: State) -> bool:
    """Return whether the whole sample is scored."""
    return state["candidates"][0]["rank"] is not None


def scoring_progress(state: State) -> Progress:
    """Return how much of the sample is scored."""
    scored = sum(candidate["status"] != "unscored" for candidate in state["candidates"])
    return Progress("score", scored, len(state["candidates"]))


def best_places(state: State, count: int) -> list[int]:
    """Return the places of the best of a ranked sample, best first."""
    ranked = sorted(range(len(state["candidates"])), key=lambda place: state["candidates"][place]["rank"])
    return ranked[:count]


def train_or_test(evaluator: AnyEvaluator, state: State) -> State:
    """Train the next of the chosen candidates; when all are trained, test the winner."""
    return _train_next(evaluator, state) if _trainings_done(state) < len(state["chosen"]) else test_winner(evaluator, state)


def training_progress(state: State) -> Progress:
    """Return how many of the chosen candidates are trained."""
    trained, total = _trainings_done(state), len(state["chosen"])
    return Progress("train" if trained < total else "test", trained, total)


def is_tested(state: State) -> bool:
    """Return whether the winner is tested, which ends a search."""
    return state["test"] is not None


def test_winner(evaluator: AnyEvaluator, state: State) -> State:
    """Read the test split, once, for the winner."""
    winner = evaluator.problem.space.parse(state["candidates"][state["winner"]]["genotype"])
    metrics, seconds = evaluator.test(winner)
    test = {"accuracy": metrics.accuracy, "loss": metrics.loss, "n": metrics.n}
    return {**state, "test": test, "test_seconds": state["test_seconds"] + seconds}


def _train_next(evaluator: AnyEvaluator, state: State) -> State:
    """Train the next of the chosen candidates, and name the best so far as the winner."""
    listed = state["candidates"]
    place = next(place for place in state["chosen"] if listed[place]["training"] is None)
    training = evaluator.train(evaluator.problem.space.parse(listed[place]["genotype"]))
    listed = c.replaced(listed, place, c.trained(listed[place], training))
    return {
        **state,
        "candidates": listed,
        "winner": c.best_trained(listed, evaluator.problem.sign),
        "compile_seconds": state["compile_seconds"] + training.compile_seconds,
        "train_seconds": state["train_seconds"] + training.run_seconds,
    }


def _trainings_done(state: State) -> int:
    return sum(state["candidates"][place]["training"] is not None for place in state["chosen"])
