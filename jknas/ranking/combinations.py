"""Ways to make one score of several, from their ranks in a pool of architectures.

In every function the larger score is the better one. A score that is NaN (its status is not "ok", as of a dead cell) ranks below every
other, all tied; equal scores share their mean rank.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Real
from scipy import stats

Scores = Float[np.ndarray, " n"]
Mask = Bool[np.ndarray, " n"]

SHARE = 0.3
"""The part of a pool that :func:`two_stage` orders anew if nothing else is asked for."""


def ranks(values: Scores) -> Scores:
    """Return ascending ranks from 1, so that the best has the largest; equal scores share their mean rank, and NaN ranks below all.

    >>> ranks(np.array([0.5, np.nan, 2.0, 0.5]))
    array([2.5, 1. , 4. , 2.5])
    """
    return stats.rankdata(_with_nan_below(values), method="average")


def rank_sum(members: Sequence[Scores]) -> Scores:
    """Return the sum of the ranks, as TE-NAS adds them up."""
    return np.sum([ranks(values) for values in members], axis=0)


def log_rank(members: Sequence[Scores]) -> Scores:
    """Return the sum of the logarithms of the relative ranks, as in AZ-NAS: a low rank in one member cannot be bought back by another."""
    return np.sum([np.log(ranks(values) / len(values)) for values in members], axis=0)


def vote(members: Sequence[Scores]) -> Real[np.ndarray, " n"]:
    """Return how many architectures of the pool each one beats, minus how many beat it, by majority of the members."""
    stacked = np.stack([_with_nan_below(values) for values in members])
    # Row by row: all pairs of the whole space at once would be 245 million comparisons of each member in memory.
    return np.array([np.sign(_compare(own[:, None], stacked).sum(axis=0)).sum() for own in stacked.T], np.float64)


def best_part(scores: Scores, share: float) -> Mask:
    """Return which architectures are the best part of a pool.

    Args:
        scores: of the pool, larger is better.
        share: the part that counts as best, rounded up; architectures that tie with the last of them belong to it.
    """
    if not scores.size:
        return np.zeros(0, bool)
    found = ranks(scores)
    return found >= np.sort(found)[-max(1, math.ceil(round(share * len(found), 9)))]


def two_stage(first: Scores, second: Callable[[Mask], Float[np.ndarray, " best"]], share: float = SHARE) -> Scores:
    """Return ranks by one score, in which the best part of the pool is ordered anew, among itself, by another.

    Jacobian scores order small architectures and size scores the big ones: each stage has the score that knows more there. The second
    score is asked for the best part alone: its ranks are those among the best, and what is no part of them need not be scored by it.

    Args:
        first: the score that ranks the pool.
        second: returns the score that ranks the best, of those that its argument marks.
        share: the part of the pool that counts as best, as in :func:`best_part`.

    Returns:
        Ranks from 1; the ordered part keeps the places that it has together.

    >>> two_stage(np.array([1.0, 2.0, 3.0, 4.0]), lambda best: np.array([9.0, 9.0, 8.0, 7.0])[best], share=0.5)
    array([1., 2., 4., 3.])
    """
    found, best = ranks(first), best_part(first, share)
    if best.any():
        found[best] = np.count_nonzero(~best) + ranks(second(best))
    return found


def mean_rank(draws: Sequence[Scores]) -> Scores:
    """Return the mean of the ranks of one score that was computed several times; a single draw stays as it is.

    Architectures without a score in any draw have none; one that lacks some of its draws stands last in those.

    >>> mean_rank([np.array([0.1, 0.2, np.nan]), np.array([10.0, 5.0, np.nan])])
    array([2.5, 2.5, nan])
    """
    if len(draws) == 1:
        return draws[0]
    found = np.mean([ranks(values) for values in draws], axis=0)
    return np.where(np.all(np.isnan(draws), axis=0), np.nan, found)


COMBINATIONS: dict[str, Callable[[Sequence[Scores]], Real[np.ndarray, " n"]]] = {"log_rank": log_rank, "rank_sum": rank_sum, "vote": vote}
"""The combinations of members that rank one and the same pool, by the name that :mod:`jknas.ranking.aggregates` reads."""


def _compare(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one > other).astype(np.int64) - (one < other)  # a difference of two -inf would be NaN


def _with_nan_below(values: Scores) -> Scores:
    return np.where(np.isnan(values), -np.inf, values)
