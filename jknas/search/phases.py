"""The phases that methods are made of: train the chosen candidates one by one, then test the winner. Pure functions of the state."""

from collections.abc import Sequence
from typing import Any

from jknas.search import candidates as c
from jknas.search.errors import SearchError
from jknas.search.evaluator import Evaluator
from jknas.search.method import Progress, State
from jknas.search.problem import Problem

TIMES = ("compile_seconds", "score_seconds", "train_seconds", "test_seconds")


def beginning(problem: Problem, genotypes: Sequence[Any]) -> dict[str, Any]:
    """Return the state of a search that has drawn its architectures."""
    listed = [c.drawn(problem, genotype) for genotype in genotypes]
    return {"candidates": listed, "chosen": None, "winner": None, "test": None} | dict.fromkeys(TIMES, 0.0)


def check_count(name: str, value: int, *, most: int, of: str) -> None:
    """Raise SearchError unless ``value`` is a whole number from 1 to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SearchError(f"{name} is {value!r}; expected a whole number, 1 or more.")
    if value > most:
        raise SearchError(f"{name} is {value}, and {of}: choose 1..{most}.")


def train_or_test(evaluator: Evaluator, state: State) -> State:
    """Train the next of the chosen candidates; when all are trained, test the winner."""
    return _train_next(evaluator, state) if _trainings_done(state) < len(state["chosen"]) else _test_winner(evaluator, state)


def training_progress(state: State) -> Progress:
    """Return how many of the chosen candidates are trained."""
    trained, total = _trainings_done(state), len(state["chosen"])
    return Progress("train" if trained < total else "test", trained, total)


def is_tested(state: State) -> bool:
    """Return whether the winner is tested, which ends a search."""
    return state["test"] is not None


def _train_next(evaluator: Evaluator, state: State) -> State:
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


def _test_winner(evaluator: Evaluator, state: State) -> State:
    """Read the test split, once, for the winner."""
    winner = evaluator.problem.space.parse(state["candidates"][state["winner"]]["genotype"])
    metrics, seconds = evaluator.test(winner)
    test = {"accuracy": metrics.accuracy, "loss": metrics.loss, "n": metrics.n}
    return {**state, "test": test, "test_seconds": state["test_seconds"] + seconds}
