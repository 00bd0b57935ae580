"""Evolution from a head start: the first population is the best of a sample by a proxy that needs no training.

Reference: Abdelfattah, Mehrotra, Dudziak and Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, arXiv:2101.08134, section 4
(warm-up of aging evolution, 3,000 proxy scores); the evolution is :mod:`jknas.search.methods.evolution`.

Deviations from the paper: population and tournament are those that NAS-Bench-201 publishes, and the proxy is the problem's (the paper's is
a vote of synflow, jacob_cov and snip, with one population for each of its spaces). Which member of the first population is the oldest is
not said there; here the best by proxy is evaluated first, and is the first to die.
"""

import functools
from typing import Any

import numpy as np

from jknas.search.evaluator import AnyEvaluator
from jknas.search.method import Method, Progress, State
from jknas.search.methods.evolution import check_mutation, child
from jknas.search.phases import best_places, check_count, is_ranked, is_tested, score_next, scoring_progress
from jknas.search.problem import AnyProblem
from jknas.search.spending import Spending
from jknas.search.trials import no_trials, try_next


def proxy_evolution(
    *,
    samples: int = 3000,
    population: int = 10,
    tournament: int = 3,
    mutation: str | None = None,
    evaluations: int | None = 100,
    seconds: float | None = None,
    overflow: str = "keep",
) -> Method:
    """Return evolution whose first population a proxy has chosen.

    Cost: ``samples`` proxy scores and ``evaluations`` trainings of the problem's recipe; two compilations.

    Args:
        samples: architectures drawn uniformly, without replacement, and scored; the ``population`` best are evaluated first.
        population: see :func:`jknas.search.methods.evolution.evolution`, as for the other arguments.
        tournament: architectures that are drawn to find a parent.
        mutation: how the edge that changes is drawn.
        evaluations: the most architectures to evaluate; None for no limit.
        seconds: the most seconds of training.
        overflow: "keep" or "discard".
    """
    check_count("samples", samples)
    check_count("population", population, most=samples, of=f"only {samples} architectures are sampled")
    check_count("tournament", tournament)
    spending = Spending(evaluations=evaluations, seconds=seconds, overflow=overflow)
    names = ("samples", "population", "tournament", "mutation", "evaluations", "seconds", "overflow")
    choose = functools.partial(_choose, population=population, tournament=tournament, mutation=mutation)
    return Method(
        name="proxy_evolution",
        settings=dict(zip(names, (samples, population, tournament, mutation, evaluations, seconds, overflow), strict=True)),
        init=functools.partial(_init, samples=samples, mutation=mutation),
        step=functools.partial(_step, spending=spending, choose=choose, population=population),
        progress=functools.partial(_progress, spending=spending),
        finished=is_tested,
    )


def _init(problem: AnyProblem, *, samples: int, mutation: str | None) -> State:
    check_count("samples", samples, most=problem.space.size, of=f"the space {problem.space.name} has {problem.space.size} architectures")
    check_mutation(problem, mutation)
    return no_trials(problem.space.sample(np.random.default_rng(problem.seed), samples, unique=True))


def _step(evaluator: AnyEvaluator, state: State, *, spending: Spending, choose: Any, population: int) -> State:
    if is_ranked(state):
        return try_next(evaluator, state, spending=spending, choose=choose)
    state = score_next(evaluator, state)
    return {**state, "sampler": best_places(state, population)} if is_ranked(state) else state


def _choose(
    evaluator: AnyEvaluator, state: State, rng: np.random.Generator, *, population: int, tournament: int, mutation: str | None
) -> Any:
    done = len(state["chosen"])
    if done < population:
        return state["sampler"][done]
    return child(evaluator, state, rng, population=population, tournament=tournament, mutation=mutation)


def _progress(state: State, *, spending: Spending) -> Progress:
    return spending.progress(state) if is_ranked(state) else scoring_progress(state)
