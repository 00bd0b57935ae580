"""Rank the sample of a search by several scores at once: an aggregate of proxies, or one proxy by several seeds.

Each candidate keeps its parts. When all are scored, the pool is the sample, and every candidate gets its value in it. An aggregate that
orders the best of a pool anew asks for what it does that by of these alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jknas.search.state import UNSCORED, Candidate, Part


def is_pooled(problem: Any) -> bool:
    """Return whether the scores of a problem only mean something in a pool."""
    return problem.aggregate is not None or problem.score_seeds > 1


def lacking(problem: Any, candidates: Sequence[Candidate]) -> tuple[list[int], tuple[str, ...] | None]:
    """Return the places of the candidates to score next, and by which members: all for None.

    Args:
        problem: what is searched, a :class:`jknas.search.method.SearchProblem`.
        candidates: a whole sample.

    Returns:
        No place where the sample can be ranked.
    """
    unscored = [place for place, candidate in enumerate(candidates) if candidate.status == UNSCORED]
    if problem.aggregate is None:
        return unscored, None
    pool = candidates[unscored[0] : unscored[0] + 1] if unscored else candidates  # what is not scored at all needs what every one needs
    held, nothing = [{part.proxy for part in candidate.parts} for candidate in pool], np.full(len(pool), np.nan)
    known = {name: np.array([name in names for names in held]) for name in problem.aggregate.members}
    asked = problem.aggregate.combination.asks_for(dict.fromkeys(known, nothing) | _scores(pool), known)
    missing = {name: mask & ~known[name] for name, mask in asked.items()}
    places = unscored or np.flatnonzero(np.any(list(missing.values()), axis=0)).tolist()
    first = 0 if unscored or not places else places[0]
    return places, tuple(name for name in known if name in missing and missing[name][first])


def with_pool_values(problem: Any, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates with their values in the pool that they are; larger is better.

    Args:
        problem: what is searched, a :class:`jknas.search.method.SearchProblem`.
        candidates: a whole sample, each with the parts that it needs. Those without parts stay as they are.

    Returns:
        The candidates. One that has no part of status "ok" keeps the status of its first part, and no value.
    """
    if not candidates or not candidates[0].parts:
        return tuple(candidates)
    from jknas.ranking.aggregates import combine  # noqa: PLC0415 - its room imports JAX, which `jknas search --help` need not

    scores = _scores(candidates)
    found = scores[problem.proxy.name] if problem.aggregate is None else combine(problem.aggregate, scores)
    return tuple(
        replace(candidate, score=None, status=candidate.parts[0].status)
        if np.isnan(value)
        else replace(candidate, score=float(value), status="ok")
        for candidate, value in zip(candidates, found, strict=True)
    )


def _scores(candidates: Sequence[Candidate]) -> dict[str, np.ndarray]:
    """Return what the candidates have of each member, the ranks of several seeds averaged; NaN where there is nothing."""
    from jknas.ranking.combinations import mean_rank  # noqa: PLC0415

    draws: dict[str, dict[int, np.ndarray]] = {}
    for place, candidate in enumerate(candidates):
        for part in candidate.parts:
            by_seed = draws.setdefault(part.proxy, {})
            values = by_seed.setdefault(part.seed, np.full(len(candidates), np.nan))
            values[place] = part.value if part.status == "ok" else np.nan
    return {name: mean_rank(list(by_seed.values())) for name, by_seed in draws.items()}


def pooled_identity(problem: Any, members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what says by which scores a pool is ranked, as plain data; ``members`` says how each is computed."""
    if not is_pooled(problem):
        return dict(members[0])
    named = members[0]["name"] if problem.aggregate is None else problem.aggregate.name
    how = {} if problem.aggregate is None else {"combination": str(problem.aggregate.combination)}
    return {"name": named, **how, "members": list(members), "seeds": problem.score_seeds}


def status_of(parts: Sequence[Part]) -> str:
    """Return what a candidate's status is before the pool is complete: "ok" if any part is."""
    return "ok" if any(part.status == "ok" for part in parts) else parts[0].status
