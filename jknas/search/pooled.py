"""Rank the sample of a search by several scores at once: an aggregate of proxies, or one proxy by several seeds.

Each candidate keeps its parts. When all are scored, the pool is the sample, and every candidate gets its value in it.

An aggregate that orders the best of a pool anew asks for what it does that by of these alone, in another round: the value of the others is
what it would be if they had these scores, too. Proxies that share a computation share it within a round.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jknas.search.state import UNSCORED, Candidate, Part


def is_pooled(problem: Any) -> bool:
    """Return whether the scores of a problem only mean something in a pool."""
    return problem.aggregate is not None or problem.score_seeds > 1


def next_round(problem: Any, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates with what each lacks, as far as what all of them have says.

    Args:
        problem: what is searched, a :class:`jknas.search.method.SearchProblem`.
        candidates: a whole sample. None lacks anything that was asked for before; one that was scored without parts lacks nothing.
    """
    if problem.aggregate is None:
        return tuple(replace(one, lacks=(problem.proxy.name,)) if one.status == UNSCORED else one for one in candidates)
    members = problem.aggregate.members
    held = [{part.proxy for part in one.parts} if one.parts or one.status == UNSCORED else set(members) for one in candidates]
    known = {name: np.array([name in names for names in held], bool) for name in members}
    scores = dict.fromkeys(members, np.full(len(candidates), np.nan)) | _scores(candidates)
    asked = problem.aggregate.combination.asks_for(scores, known)
    missing = {name: asked[name] & ~known[name] for name in members if name in asked}
    return tuple(
        replace(candidate, lacks=tuple(name for name, mask in missing.items() if mask[place])) for place, candidate in enumerate(candidates)
    )


def with_pool_values(problem: Any, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates with their values in the pool that they are; larger is better.

    Args:
        problem: what is searched, a :class:`jknas.search.method.SearchProblem`.
        candidates: a whole sample, each with the parts that it needs. Those without parts stay as they are.

    Returns:
        The candidates. One that has no part of status "ok" keeps the status of its first part, and no value: also where later rounds,
        which it has not come to, would have scored it.
    """
    if not candidates or not candidates[0].parts:
        return tuple(candidates)
    from jknas.ranking.aggregates import combine  # noqa: PLC0415 - its room imports JAX, which `jknas search --help` need not
    from jknas.ranking.combinations import mean_rank  # noqa: PLC0415

    scores = _scores(candidates)
    found = mean_rank(list(scores[problem.proxy.name])) if problem.aggregate is None else combine(problem.aggregate, scores)
    return tuple(
        replace(candidate, score=None, status=candidate.parts[0].status)
        if np.isnan(value)
        else replace(candidate, score=float(value), status="ok")
        for candidate, value in zip(candidates, found, strict=True)
    )


def _scores(candidates: Sequence[Candidate]) -> dict[str, np.ndarray]:
    """Return what the candidates have of each member, one row a seed; NaN where there is nothing."""
    draws: dict[str, dict[int, np.ndarray]] = {}
    for place, candidate in enumerate(candidates):
        for part in candidate.parts:
            by_seed = draws.setdefault(part.proxy, {})
            if part.seed not in by_seed:
                by_seed[part.seed] = np.full(len(candidates), np.nan)
            by_seed[part.seed][place] = part.value if part.status == "ok" else np.nan
    return {name: np.stack(list(by_seed.values())) for name, by_seed in draws.items()}


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
