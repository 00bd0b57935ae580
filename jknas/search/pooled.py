"""Rank the sample of a search by several scores at once: an aggregate of proxies, or one proxy by several seeds.

Each candidate keeps its parts. When all are scored, the pool is the sample, and every candidate gets its value in it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jknas.search.state import Candidate, Part


def is_pooled(problem: Any) -> bool:
    """Return whether the scores of a problem only mean something in a pool."""
    return problem.aggregate is not None or problem.score_seeds > 1


def with_pool_values(problem: Any, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates with their values in the pool that they are; larger is better.

    Args:
        problem: what is searched, a :class:`jknas.search.method.SearchProblem`.
        candidates: a whole sample, each with the same parts. Those without parts stay as they are.

    Returns:
        The candidates. One that has no part of status "ok" keeps the status of its first part, and no value.
    """
    if not candidates or not candidates[0].parts:
        return tuple(candidates)
    from jknas.ranking.aggregates import combine  # noqa: PLC0415 - its room imports JAX, which `jknas search --help` need not
    from jknas.ranking.combinations import mean_rank  # noqa: PLC0415

    draws: dict[str, dict[int, list[float]]] = {}
    for candidate in candidates:
        for part in candidate.parts:
            value = part.value if part.status == "ok" else np.nan
            draws.setdefault(part.proxy, {}).setdefault(part.seed, []).append(value)
    scores = {name: mean_rank([np.array(values) for values in by_seed.values()]) for name, by_seed in draws.items()}
    found = scores[problem.proxy.name] if problem.aggregate is None else combine(problem.aggregate, scores)
    return tuple(
        replace(candidate, score=None, status=candidate.parts[0].status)
        if np.isnan(value)
        else replace(candidate, score=float(value), status="ok")
        for candidate, value in zip(candidates, found, strict=True)
    )


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
