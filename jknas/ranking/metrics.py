"""How well scores rank architectures: rank correlations, regret, and bootstrap intervals.

In every function the larger score is meant to be the better one (change the sign of a condition number before), and the larger accuracy.
Correlations keep their sign. Scores that are NaN or infinite are never turned into numbers; `non_finite` says what to do with them:

* ``"last"`` (default): they rank below every finite score, all tied, +inf too; what a search that cannot use them would do;
* ``"omit"``: their architectures are left out, accuracies too; `Metric.non_finite` still counts them;
* ``"raise"``: a `MetricError`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int, Real
from scipy import stats
from scipy.special import gammaln

from jknas.errors import MetricError

__all__ = [
    "Interval", "Metric", "MetricError", "bootstrap_interval", "kendall_tau_b", "ndcg", "regret", "spearman", "top_decile_spearman",
    "within_groups",
]  # fmt: skip

NonFinite = Literal["last", "omit", "raise"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure of how well scores rank architectures.

    Attributes:
        value: the measure; NaN unless the status is "ok".
        status: "ok"; "constant" (all scores or all accuracies are equal: no correlation is defined); "too_few" (fewer than two
            architectures for a correlation, none for a regret).
        n: how many architectures the value rests on.
        ties: n minus the number of different scores among them; non-finite scores that rank last count as equal.
        accuracy_ties: n minus the number of different accuracies among them.
        non_finite: how many scores were NaN or infinite, of all that were given.
    """

    value: float
    status: str
    n: int
    ties: int
    accuracy_ties: int
    non_finite: int


@dataclass(frozen=True, slots=True)
class Interval:
    """A bootstrap confidence interval.

    Attributes:
        low: lower end; NaN when no resample has a value.
        high: upper end; NaN when no resample has a value.
        estimate: the measure on the architectures as given.
        confidence: nominal coverage, between 0 and 1.
        resamples: how many resamples were drawn.
        undefined: how many of them had no value (constant scores, for instance); the ends rest on the others.
    """

    low: float
    high: float
    estimate: Metric
    confidence: float
    resamples: int
    undefined: int


@runtime_checkable
class Statistic(Protocol):
    """A measure of scores against accuracies: any function of this module, with its own options bound by `functools.partial`."""

    def __call__(self, scores: Real[np.ndarray, " n"], accuracies: Real[np.ndarray, " n"], /, *, non_finite: NonFinite) -> Metric:
        """Measure."""


def spearman(scores: Real[np.ndarray, " n"], accuracies: Real[np.ndarray, " n"], *, non_finite: NonFinite = "last") -> Metric:
    """Compute Spearman's rank correlation, with average ranks for ties (as `scipy.stats.spearmanr`).

    Args:
        scores: one score per architecture, larger is better.
        accuracies: one finite accuracy per architecture, in any unit.
        non_finite: what to do with NaN and infinite scores; see the module.

    Returns:
        The correlation, between -1 and 1.

    Raises:
        MetricError: arrays that are not 1-D, not numbers or not of one length; accuracies that are not finite; an unknown `non_finite`, or
            non-finite scores under "raise".

    >>> spearman(np.array([0.1, 0.4, 0.2, np.nan]), np.array([91.0, 94.0, 93.0, 10.0])).value
    1.0
    """
    return _correlation(_of_ranks, *_prepare(scores, accuracies, non_finite))


def kendall_tau_b(scores: Real[np.ndarray, " n"], accuracies: Real[np.ndarray, " n"], *, non_finite: NonFinite = "last") -> Metric:
    """Compute Kendall's tau-b, which corrects for ties in both (`scipy.stats.kendalltau`).

    Arguments, result and errors as in `spearman`.
    """
    return _correlation(lambda x, y: stats.kendalltau(x, y, variant="b").statistic, *_prepare(scores, accuracies, non_finite))


def top_decile_spearman(scores: Real[np.ndarray, " n"], accuracies: Real[np.ndarray, " n"], *, non_finite: NonFinite = "last") -> Metric:
    """Compute Spearman's correlation among the most accurate tenth of the architectures, where a search has to choose.

    The tenth is that of the accuracies: the ceil(n / 10) best and every architecture as accurate as the last of them, so that the order
    of the arrays does not matter. `Metric.n` is its size.

    Arguments and errors as in `spearman`.
    """
    x, y, bad = _prepare(scores, accuracies, non_finite)
    if x.size:
        top = y >= np.sort(y)[-math.ceil(y.size / 10)]
        x, y = x[top], y[top]
    return _correlation(_of_ranks, x, y, bad)


def within_groups(
    scores: Real[np.ndarray, " n"], accuracies: Real[np.ndarray, " n"], groups: Int[np.ndarray, " n"], *, least: int = 10
) -> Metric:
    """Compute Spearman's correlation inside groups, averaged: what a score knows beyond what makes the groups.

    With the number of convolutions as the group it is what a score knows beyond size, and the number of convolutions itself has none.

    Args:
        scores: one score per architecture, larger is better; those that are not finite rank last in their group.
        accuracies: one finite accuracy per architecture.
        groups: one whole number per architecture; those with the same number are a group.
        least: groups with fewer architectures, or where all accuracies are equal, are left out.

    Returns:
        The mean over the groups, weighted by their sizes; a group in which all scores are equal counts as 0. ``n`` is how many
        architectures the value rests on. The status is "too_few" if no group is large enough.

    Raises:
        MetricError: as :func:`spearman`, or groups of another length.
    """
    x, y, bad = _prepare(scores, accuracies, "last")
    kinds = np.asarray(groups)
    if kinds.shape != x.shape:
        raise MetricError(f"within_groups: {kinds.size} groups for {x.size} scores: give one of each per architecture.")
    parts = [kinds == kind for kind in np.unique(kinds)]
    parts = [part for part in parts if part.sum() >= least and np.unique(y[part]).size > 1]
    if not parts:
        return _metric(math.nan, "too_few", x[:0], y[:0], bad)
    found = [0.0 if np.unique(x[part]).size == 1 else _of_ranks(x[part], y[part]) for part in parts]
    used = np.any(parts, axis=0)
    return _metric(float(np.average(found, weights=[part.sum() for part in parts])), "ok", x[used], y[used], bad)


def ndcg(scores: Real[np.ndarray, " n"], accuracies: Real[np.ndarray, " n"], k: int = 1000, *, non_finite: NonFinite = "last") -> Metric:
    r"""Compute the normalised discounted cumulative gain of the k best scores: how good the head of a ranking is.

    With the architectures in the order of their scores and the relevance :math:`2^a - 1` of an accuracy of *a* percent,

    .. math:: \mathrm{DCG}_k = \sum_{j \le k} \frac{2^{a_j} - 1}{\log_2 (1 + j)}

    divided by that of the ideal order. A point of accuracy is a factor of two.

    Args:
        scores: one score per architecture, larger is better. Those that tie get the mean relevance of all that tie, as in scikit-learn.
        accuracies: one finite accuracy per architecture, in percent.
        k: how many places count, at least 1; all if there are fewer architectures.
        non_finite: as in `spearman`.

    Returns:
        A number from 0 to 1; 1 for the ideal order.

    Raises:
        MetricError: as in `spearman`, or k is not a positive whole number.

    References:
        Järvelin and Kekäläinen, ACM TOIS 20(4), 2002; as a measure of training-free scores with k = 1000: VKDNW, CVPR 2025,
        arXiv:2502.04975.

    >>> ndcg(np.array([3.0, 2.0, 1.0]), np.array([90.0, 89.0, 80.0])).value
    1.0
    """
    x, y, bad = _prepare(scores, accuracies, non_finite)
    _check_k("ndcg", k)
    if x.size == 0:
        return _metric(math.nan, "too_few", x, y, bad)
    relevance = np.exp2(y - y.max()) - np.exp2(-y.max())  # of the best: near one, so that nothing overflows
    _, place, counts = np.unique(-x, return_inverse=True, return_counts=True)
    shared = np.bincount(place, relevance) / counts
    taken = np.repeat(shared, counts)[:k]
    discount = 1 / np.log2(2.0 + np.arange(taken.size))
    ideal = np.sort(relevance)[::-1][:k] @ discount
    return _metric(float(taken @ discount / ideal) if ideal > 0 else 1.0, "ok", x, y, bad)


def regret(scores: Real[np.ndarray, " n"], accuracies: Real[np.ndarray, " n"], k: int, *, non_finite: NonFinite = "last") -> Metric:
    """Compute the best accuracy of all architectures minus the best that is expected among the k with the highest scores.

    The expectation is over all orders of architectures that tie, so that the value does not depend on the order of the arrays.

    Args:
        scores: one score per architecture, larger is better.
        accuracies: one finite accuracy per architecture.
        k: how many architectures are chosen, 1 to n.
        non_finite: as in `spearman`; under "omit" the best of all is the best of those that are left.

    Returns:
        The regret in the unit of the accuracies, never negative.

    Raises:
        MetricError: as in `spearman`; k is not a whole number from 1 to the number of architectures.

    >>> regret(np.array([1.0, 1.0, 0.0]), np.array([94.0, 90.0, 80.0]), 1).value  # either of the first two
    2.0
    """
    x, y, bad = _prepare(scores, accuracies, non_finite)
    _check_k("regret", k)
    if x.size == 0:
        return _metric(math.nan, "too_few", x, y, bad)
    if k > x.size:
        raise MetricError(f"regret: k = {k} architectures cannot be chosen from {x.size}: use a k of at most {x.size}.")
    last = np.sort(x)[-k]
    sure, tied = y[x > last], np.sort(y[x == last])
    drawn, count = k - sure.size, tied.size
    # The best of `drawn` out of `count` is the i-th smallest with the odds of the others being among the i - 1 below it.
    places = np.arange(drawn, count + 1)
    odds = np.exp(gammaln(places) - gammaln(places - drawn + 1) - gammaln(drawn) - _log_binomial(count, drawn))
    missed = y.max() - np.maximum(tied[places - 1], sure.max(initial=-np.inf))
    return _metric(float(odds @ missed / odds.sum()), "ok", x, y, bad)


def bootstrap_interval(
    statistic: Statistic,
    scores: Real[np.ndarray, " n"],
    accuracies: Real[np.ndarray, " n"],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int,
    non_finite: NonFinite = "last",
) -> Interval:
    """Compute a percentile bootstrap interval: architectures are drawn with replacement, scores and accuracies together.

    The percentile method stays defined where the jackknife of BCa is not (ties, small samples) and respects the bounds of a correlation.
    The loop is our own because `scipy.stats.bootstrap` returns NaN ends as soon as one resample is constant; here those are counted. The
    interval of a regret describes resampled populations, whose best is never better than that of the architectures given.

    Args:
        statistic: a function of this module, for example `spearman` or ``functools.partial(regret, k=10)``.
        scores: one score per architecture, larger is better.
        accuracies: one finite accuracy per architecture.
        confidence: nominal coverage, strictly between 0 and 1.
        resamples: number of resamples, at least 1. Cost: as many calls of the statistic.
        seed: of numpy's default generator; the same seed gives the same interval.
        non_finite: as in `spearman`; under "omit" applied once, before resampling.

    Raises:
        MetricError: as the statistic; a confidence or a number of resamples out of range.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    if not 0 < confidence < 1:
        raise MetricError(f"bootstrap_interval: confidence must lie strictly between 0 and 1, got {confidence}: write 95 % as 0.95.")
    if resamples < 1:
        raise MetricError(f"bootstrap_interval: resamples must be at least 1, got {resamples}.")
    estimate = statistic(scores, accuracies, non_finite=non_finite)
    x, y, _ = _prepare(scores, accuracies, non_finite)
    rng = np.random.default_rng(seed)
    values = np.full(resamples, np.nan)
    if x.size:
        for i in range(resamples):
            drawn = rng.integers(x.size, size=x.size)
            values[i] = statistic(x[drawn], y[drawn], non_finite=non_finite).value
    defined = values[~np.isnan(values)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]) if defined.size else (np.nan, np.nan)
    return Interval(float(low), float(high), estimate, confidence, resamples, resamples - defined.size)


def _prepare(scores: np.ndarray, accuracies: np.ndarray, non_finite: str) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"], int]:
    """Check both arrays and apply the policy; return numbers that rank as the scores do, accuracies, and the non-finite count."""
    x, y = _vector("scores", scores), _vector("accuracies", accuracies)
    if x.size != y.size:
        raise MetricError(f"scores and accuracies must have one length, got {x.size} and {y.size}: give one of each per architecture.")
    if not np.isfinite(y).all():
        first = int(np.argmin(np.isfinite(y)))
        raise MetricError(
            f"accuracies must be finite, got {y[first]} at position {first}: leave out architectures whose accuracy is not known."
        )
    finite = np.isfinite(x)
    bad = int(x.size - finite.sum())
    if non_finite == "omit":
        x, y = x[finite], y[finite]
    elif non_finite == "raise" and bad:
        first = int(np.argmin(finite))
        raise MetricError(
            f"{bad} of {x.size} scores are not finite, the first is {x[first]} at position {first}: "
            'choose non_finite="last" to rank them last, or "omit" to leave them out.'
        )
    elif non_finite == "last" and bad:
        x = np.where(finite, x, -np.inf)
    elif non_finite not in ("last", "omit", "raise"):
        raise MetricError(f'non_finite must be "last", "omit" or "raise", got {non_finite!r}.')
    return x, y, bad


def _check_k(measure: str, k: object) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise MetricError(f"{measure}: k must be a whole number of at least 1, got {k!r}.")


def _log_binomial(n: int, k: int) -> float:
    return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _vector(name: str, values: np.ndarray) -> Float[np.ndarray, " n"]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise MetricError(f"{name} must be a 1-D array, got shape {array.shape}: give one number per architecture.")
    if array.dtype.kind not in "fiu":
        raise MetricError(f"{name} must be real numbers, got dtype {array.dtype}: convert them with .astype(float).")
    return array.astype(np.float64)


def _correlation(
    measure: Callable[[np.ndarray, np.ndarray], float], x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], bad: int
) -> Metric:
    if x.size < 2:
        return _metric(math.nan, "too_few", x, y, bad)
    if (x == x[0]).all() or (y == y[0]).all():
        return _metric(math.nan, "constant", x, y, bad)
    return _metric(float(measure(x, y)), "ok", x, y, bad)


def _of_ranks(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> float:
    # What scipy.stats.spearmanr computes, without what takes it ten times as long: an interval needs thousands of these.
    a, b = (ranks - ranks.mean() for ranks in (_average_ranks(x), _average_ranks(y)))
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1.0, 1.0))  # rounding alone leaves the bounds


def _average_ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def _metric(value: float, status: str, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], bad: int) -> Metric:
    return Metric(value, status, x.size, x.size - np.unique(x).size, y.size - np.unique(y).size, bad)
