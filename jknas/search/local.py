"""Climb by a score: local search over architectures that differ on one edge, as pure functions of a state.

From a random start the neighbours are scored in random order, and the first one that scores better is gone to. Where none does, the search
goes on from an architecture that is two random changes away, whatever its score. What follows is drawn from (seed, moves): a state holds no
generator, and a resumed search goes the same way.

Reference: Phan and Luong, "Efficient Multi-Fidelity Neural Architecture Search with Zero-Cost Proxy-Guided Local Search", GECCO 2024 (first
improvement).

Deviations: the neighbours come in one random order, where the released code goes from edge to edge; every architecture is one of its own,
where the code takes isomorphic ones for the same.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from jknas.search.method import Evaluator, SearchProblem
from jknas.search.state import Candidate, State, ranked
from jknas.search.steps import SCORING_STEPS

_START, _ORDER, _ESCAPE = range(3)  # streams of random numbers


@dataclass(frozen=True, kw_only=True)
class LocalState(State):
    """Where a local search is; its candidates are the architectures scored so far.

    Attributes:
        current: place of the architecture whose neighbours are visited; None before the start.
        moves: how often another one became the current one.
        tried: how many of its neighbours were visited.
        visits: architectures visited, those that were scored before included.
    """

    current: int | None = None
    moves: int = 0
    tried: int = 0
    visits: int = 0


S = TypeVar("S", bound=LocalState)


def climb(evaluator: Evaluator, state: S, *, visits: int, least: int) -> S:
    """Score the next architectures of a local search; at its end, rank all that were scored.

    Args:
        evaluator: that scores.
        state: where the search is.
        visits: how many architectures to visit, those that come again included.
        least: how many to score at least, however many visits that takes; no more than the space has.
    """
    problem = evaluator.problem
    places = {candidate.genotype: place for place, candidate in enumerate(state.candidates)}
    for _ in range(math.ceil(visits / SCORING_STEPS)):
        genotype = _next(problem, state)
        found = evaluator.score(genotype)
        places[genotype] = len(state.candidates)
        state = replace(
            state,
            candidates=(*state.candidates, Candidate(genotype, found.score, found.status, found.seconds)),
            score_seconds=state.score_seconds + (found.seconds if found.fresh else 0.0),
            compile_seconds=state.compile_seconds + found.compile_seconds,
        )
        state = _visited(problem, state, places[genotype])
        while not (over := state.visits >= visits and len(places) >= least) and (known := places.get(_next(problem, state))) is not None:
            state = _visited(problem, state, known)
        if over:
            return replace(state, candidates=ranked(state.candidates, problem.sign))
    return state


def _next(problem: SearchProblem, state: LocalState) -> Any:
    """Return the architecture to visit next."""
    space = problem.space
    if state.current is None:
        return space.sample(np.random.default_rng((problem.seed, _START)))
    here = state.candidates[state.current].genotype
    around = space.neighbours(here)
    if state.tried < len(around):
        return around[np.random.default_rng((problem.seed, _ORDER, state.moves)).permutation(len(around))[state.tried]]
    rng = np.random.default_rng((problem.seed, _ESCAPE, state.moves))
    near = {here, *around}
    beyond = [one for one in space.neighbours(around[rng.integers(len(around))]) if one not in near] or list(around)
    return beyond[rng.integers(len(beyond))]


def _visited(problem: SearchProblem, state: S, place: int) -> S:
    """Return the state after a visit: gone to the better one, or to the next start."""
    state = replace(state, visits=state.visits + 1)
    if state.current is not None:
        stuck = state.tried >= len(problem.space.neighbours(state.candidates[state.current].genotype))
        values = [_value(state.candidates[one], problem.sign) for one in (place, state.current)]
        if not stuck and not values[0] > values[1]:
            return replace(state, tried=state.tried + 1)
    return replace(state, current=place, moves=state.moves + 1, tried=0)


def _value(candidate: Candidate, sign: int) -> float:
    """Return what is climbed; scores whose status is not "ok" are below all others."""
    return sign * candidate.score if candidate.status == "ok" and candidate.score is not None else -math.inf
