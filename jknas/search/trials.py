"""Searches that evaluate one architecture after the other, each perhaps chosen by what was seen before: all of it but the choice.

Their states hold, beside what every state holds (:data:`jknas.search.method.State`),

``chosen``
    places of the candidates that were evaluated, in that order.
``overflowed``
    whether an evaluation was discarded, see :class:`jknas.search.spending.Spending`.
``sampler``
    what the method remembers.

The n-th choice draws from a generator of its own, that of (seed, n), so that a state need not hold one and a resumed search draws the same.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jknas.search import candidates as c
from jknas.search.evaluator import AnyEvaluator
from jknas.search.method import Method, State
from jknas.search.phases import beginning, is_tested, test_winner
from jknas.search.problem import AnyProblem
from jknas.search.spending import Spending

Choose = Callable[[AnyEvaluator, State, np.random.Generator], int | Any]
"""``(evaluator, state, rng)``: the place of the candidate to evaluate, or the genotype of a new one."""

Learn = Callable[[AnyEvaluator, State, int], Any]
"""``(evaluator, state, place)`` with the candidate at this place just evaluated: the new ``sampler``."""


def remember_nothing(evaluator: AnyEvaluator, state: State, place: int) -> Any:
    """Return the sampler as it was: all that the method learns from are the candidates."""
    del evaluator, place
    return state["sampler"]


def trial_method(
    name: str,
    settings: Mapping[str, Any],
    *,
    spending: Spending,
    init: Callable[[AnyProblem], State],
    choose: Choose,
    learn: Learn = remember_nothing,
) -> Method:
    """Return a method that chooses, evaluates and learns until its spending is over, and then tests the best it has seen."""
    return Method(
        name=name,
        settings=settings,
        init=init,
        step=functools.partial(try_next, spending=spending, choose=choose, learn=learn),
        progress=spending.progress,
        finished=is_tested,
    )


def no_trials(genotypes: Sequence[Any] = (), sampler: Any = None) -> dict[str, Any]:
    """Return the state before the first evaluation."""
    return {**beginning(genotypes), "chosen": [], "overflowed": False, "sampler": sampler}


def try_next(evaluator: AnyEvaluator, state: State, *, spending: Spending, choose: Choose, learn: Learn = remember_nothing) -> State:
    """Evaluate one more architecture; when the spending is over, test the winner."""
    if spending.is_over(state):
        return test_winner(evaluator, state)
    space, number = evaluator.problem.space, len(state["chosen"]) + 1
    chosen = choose(evaluator, state, np.random.default_rng((evaluator.problem.seed, number)))
    listed = list(state["candidates"])
    if isinstance(chosen, int):
        place, genotype = chosen, space.parse(listed[chosen]["genotype"])
    else:
        place, genotype = len(listed), chosen
        listed.append(c.drawn(genotype))
    training = evaluator.train(genotype)
    if spending.discards(state, training.run_seconds):
        return {**state, "overflowed": True}
    listed[place] = c.trained(listed[place], training)
    first = state["winner"] is None or value(listed[place]) > value(listed[state["winner"]])
    state = {
        **state,
        "candidates": listed,
        "chosen": [*state["chosen"], place],
        "winner": place if first else state["winner"],
        "compile_seconds": state["compile_seconds"] + training.compile_seconds,
        "train_seconds": state["train_seconds"] + training.run_seconds,
    }
    return {**state, "sampler": learn(evaluator, state, place)}


def value(candidate: c.Candidate) -> tuple[bool, float]:
    """Return by what evaluated candidates are compared: validation accuracy; all that diverged come last."""
    training = candidate["training"]
    return training["status"] == "ok", training["validation_accuracy"]
