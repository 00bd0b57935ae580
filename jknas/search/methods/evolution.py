"""Regularised evolution: mutate the best of a few, and let the oldest die, however good it is.

Reference: Real, Aggarwal, Huang and Le, "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, arXiv:1802.01548,
Algorithm 1; population and tournament are those of Dong and Yang, "NAS-Bench-201", arXiv:2001.00326, section 5 ("REA").

Deviations from the paper: population 10 and tournament 3 instead of 100 and 25; the only mutation is another operation on an edge (the
paper's cells have other edges, too). From NAS-Bench-201's released script: an architecture that is met again is looked up, or trained,
again, as there, but on a table of single seeds to the same seed; and the time that Python itself takes is not added to the simulated
seconds.
"""

import functools
from typing import Any

import numpy as np

from jknas.errors import SearchError
from jknas.errors import choose as check_choice
from jknas.search.evaluator import AnyEvaluator
from jknas.search.method import Method, State
from jknas.search.phases import check_count
from jknas.search.problem import AnyProblem
from jknas.search.spending import Spending
from jknas.search.trials import no_trials, trial_method, value


def evolution(
    *,
    population: int = 10,
    tournament: int = 3,
    mutation: str | None = None,
    evaluations: int | None = 100,
    seconds: float | None = None,
    overflow: str = "keep",
) -> Method:
    """Return regularised evolution.

    The first ``population`` architectures are random. Then, again and again, ``tournament`` are drawn from the population, with
    replacement, and the best of them is mutated; the child is evaluated and takes the place of the oldest. So the population is always the
    last that were evaluated. The result is the best of all that were.

    Cost: ``evaluations`` trainings of the problem's recipe; one compilation.

    Args:
        population: architectures that can be parents, P.
        tournament: architectures that are drawn to find a parent, S; the same one may be drawn twice.
        mutation: how what changes is drawn: a rule of the space's ``mutate``; None for its first. That is "node" for NAS-Bench-201, the
            published one: one of the nodes, then one of its incoming edges.
        evaluations: the most architectures to evaluate; None for no limit.
        seconds: the most seconds of training; see :class:`~jknas.search.spending.Spending`.
        overflow: "keep" or "discard", likewise.
    """
    check_count("population", population)
    check_count("tournament", tournament)
    names = ("population", "tournament", "mutation", "evaluations", "seconds", "overflow")
    return trial_method(
        "evolution",
        dict(zip(names, (population, tournament, mutation, evaluations, seconds, overflow), strict=True)),
        spending=Spending(evaluations=evaluations, seconds=seconds, overflow=overflow),
        init=functools.partial(_init, mutation=mutation),
        choose=functools.partial(_choose, population=population, tournament=tournament, mutation=mutation),
    )


def check_mutation(problem: AnyProblem, mutation: str | None) -> None:
    """Raise SearchError unless the space has a mutation of this name."""
    if mutation is not None:
        check_choice(f"mutation rule of {problem.space.name}", mutation, problem.space.mutation_rules, error=SearchError)


def child(
    evaluator: AnyEvaluator, state: State, rng: np.random.Generator, *, population: int, tournament: int, mutation: str | None
) -> Any:
    """Return a mutation of the best of a tournament among the last ``population`` that were evaluated; the first drawn of equals."""
    living, listed, space = state["chosen"][-population:], state["candidates"], evaluator.problem.space
    drawn = [living[place] for place in rng.integers(len(living), size=tournament)]
    parent = max(drawn, key=lambda place: value(listed[place]))
    return space.mutate(space.parse(listed[parent]["genotype"]), rng, rule=mutation or space.mutation_rules[0])


def _init(problem: AnyProblem, *, mutation: str | None) -> State:
    check_mutation(problem, mutation)
    return no_trials()


def _choose(
    evaluator: AnyEvaluator, state: State, rng: np.random.Generator, *, population: int, tournament: int, mutation: str | None
) -> Any:
    if len(state["chosen"]) < population:
        return evaluator.problem.space.sample(rng)
    return child(evaluator, state, rng, population=population, tournament=tournament, mutation=mutation)
