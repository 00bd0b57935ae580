"""Scores that exist only for a pool of architectures: made from the ranks of several proxies among those that were scored.

The aggregate of an architecture changes with the pool, so that it is no :class:`jknas.proxies.Proxy`, has no place in a store, and two
pools' aggregates cannot be compared. Its members are scored as usual, each once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real
from scipy import stats

from jknas.errors import ProxyError, choose

Scores = Float[np.ndarray, " n"]
Combination = Callable[[Mapping[str, Scores]], Real[np.ndarray, " n"]]


@dataclass(frozen=True)
class Aggregate:
    """One registered aggregate.

    Attributes:
        name: what users type.
        members: names of the proxies that it rests on.
        combine: their scores by name, of the whole pool, larger being better and NaN where a score's status is not "ok", to the aggregate,
            larger being better. Call it through :func:`combine`, which checks both.
        summary: one line on what it does.
        reference: paper, equation and arXiv id.
    """

    name: str
    members: tuple[str, ...]
    combine: Combination
    summary: str
    reference: str


def combine(aggregate: Aggregate, scores: Mapping[str, Scores]) -> Scores:
    """Return an aggregate of a pool.

    An architecture with no score at all (NaN in every member) has none here either: its aggregate is NaN. One that lacks some of them
    stands below every architecture that has them, in those members only.

    Args:
        aggregate: what to compute.
        scores: of each member, one number per architecture, larger is better (turn the sign of a condition number before), NaN where the
            status is not "ok". Others than the members may be there.

    Returns:
        One number per architecture, larger is better.

    Raises:
        ProxyError: a member is missing, the members have different lengths, or a score is infinite.
    """
    missing = [name for name in aggregate.members if name not in scores]
    if missing:
        raise ProxyError(
            f"{aggregate.name} needs the scores of {', '.join(aggregate.members)}; {', '.join(missing)} not given: score them too."
        )
    members = {name: np.asarray(scores[name], np.float64) for name in aggregate.members}
    shapes = {name: values.shape for name, values in members.items()}
    if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 1:
        raise ProxyError(
            f"{aggregate.name}: the members have the shapes {shapes}; expected one number an architecture of one pool from each."
        )
    for name, values in members.items():
        if np.isinf(values).any():
            raise ProxyError(f"{aggregate.name}: a score of {name} is infinite; expected NaN where the status is not 'ok'.")
    found = np.asarray(aggregate.combine(members), np.float64)
    unknown = np.all([np.isnan(values) for values in members.values()], axis=0)
    return np.where(unknown, np.nan, found)


def ranks(values: Scores) -> Scores:
    """Return ascending ranks from 1, so that the best has the largest; equal scores share their mean rank, and NaN ranks below all.

    >>> ranks(np.array([0.5, np.nan, 2.0, 0.5]))
    array([2.5, 1. , 4. , 2.5])
    """
    return stats.rankdata(_with_nan_below(values), method="average")


def _rank_sum(members: Mapping[str, Scores]) -> Scores:
    return np.sum([ranks(values) for values in members.values()], axis=0)


def _log_rank_sum(members: Mapping[str, Scores]) -> Scores:
    return np.sum([np.log(ranks(values) / len(values)) for values in members.values()], axis=0)


def _majority(members: Mapping[str, Scores]) -> Real[np.ndarray, " n"]:
    stacked = np.stack([_with_nan_below(values) for values in members.values()])
    # Row by row: all pairs of the whole space at once would be 245 million comparisons of each member in memory.
    return np.array([np.sign(_compare(own[:, None], stacked).sum(axis=0)).sum() for own in stacked.T])


def _compare(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one > other).astype(np.int64) - (one < other)  # a difference of two -inf would be NaN


def _with_nan_below(values: Scores) -> Scores:
    return np.where(np.isnan(values), -np.inf, values)


AGGREGATES: dict[str, Aggregate] = {
    one.name: one
    for one in (
        Aggregate(
            "az_nas",
            ("macs", "az_expressivity", "az_progressivity", "az_trainability"),
            _log_rank_sum,
            "sum of the logarithms of the relative ranks of complexity, expressivity, progressivity and trainability",
            "Lee and Ham, AZ-NAS, CVPR 2024, arXiv:2403.19232, section 3. Deviations: none; equal scores share their mean rank, as in the "
            "released code.",
        ),
        Aggregate(
            "tenas_rank_sum",
            ("tenas_condition", "linear_regions"),
            _rank_sum,
            "sum of the ranks of the NTK's condition number and of the number of linear regions",
            "Chen, Gong and Wang, TE-NAS, ICLR 2021, arXiv:2102.11535, section 3.3. Deviations: the paper ranks operations to prune, this "
            "ranks architectures; equal scores share their mean rank.",
        ),
        Aggregate(
            "vote",
            ("synflow", "jacob_cov", "snip"),
            _majority,
            "how many architectures of the pool it beats minus how many beat it, by majority of three proxies",
            "Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021, arXiv:2101.08134, section 3.3. Deviations: the paper "
            "reports how often the majority orders a pair rightly; the count of pairs won makes a score of it.",
        ),
    )
}
"""Every aggregate by name."""


def names() -> tuple[str, ...]:
    """Return the names of all aggregates, sorted."""
    return tuple(sorted(AGGREGATES))


def get(name: str) -> Aggregate:
    """Return an aggregate by name.

    Raises:
        ProxyError: for an unknown name, with the known ones.
    """
    return AGGREGATES[choose("aggregate", name, names(), error=ProxyError)]
