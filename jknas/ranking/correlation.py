"""How well several scores rank one pool of architectures: a row of numbers for each, and what Spearman's correlation is worth on samples.

In every function the larger score is meant to be the better one, and a score whose status is not "ok" is NaN: :func:`ranking_scores` makes
such numbers of records. Not-ok scores rank below every other, all tied (`jknas.ranking.metrics`, policy "last"), and are counted.
Correlations keep
their sign.
"""

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from jknas.errors import MetricError
from jknas.ranking import metrics
from jknas.ranking.metrics import Interval, Metric
from jknas.scoring.store import ScoreRecord

CHOSEN = (1, 10)
"""How many architectures a regret is computed for."""

Scores = Float[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Row:
    """How well one score ranks a pool.

    Attributes:
        name: of the score.
        spearman: rank correlation with the accuracies; its interval, and in ``.estimate`` the numbers of ties.
        kendall: tau-b.
        top_decile: Spearman's among the most accurate tenth.
        ndcg: of the 1,000 best scores, or of all if the pool is smaller.
        regret: best accuracy of the pool minus the best among the k best scores, by k; only of those k that the pool has.
        n: architectures in the pool.
        ties: n minus the number of different scores; scores that rank last count as equal.
        not_ok: how many scores rank last: their status is not "ok".
        within: Spearman's inside groups, averaged; None without groups.
    """

    name: str
    spearman: Interval
    kendall: Interval
    top_decile: Interval
    ndcg: Interval
    regret: Mapping[int, Interval]
    n: int
    ties: int
    not_ok: int
    within: Interval | None = None


def correlate(
    scores: Mapping[str, Scores],
    accuracies: Scores,
    *,
    seed: int,
    groups: Int[np.ndarray, " n"] | None = None,
    resamples: int = 500,
    confidence: float = 0.95,
) -> list[Row]:
    """Compare every score with the accuracies of the same architectures.

    Args:
        scores: by name, one number per architecture, larger is better, NaN where the status is not "ok".
        accuracies: one per architecture, in percent.
        seed: of the bootstrap; all scores see the same resamples.
        groups: one whole number per architecture, such as its number of convolutions: see :func:`jknas.ranking.metrics.within_groups`.
        resamples: of the bootstrap. Cost: about 3 ms each for 1,000 architectures, on one core.
        confidence: of the intervals.

    Returns:
        One row a score, in the order given.

    Raises:
        MetricError: arrays of different lengths, accuracies that are not finite, or options out of range.
    """
    rows = []
    for name, values in scores.items():
        interval = functools.partial(
            metrics.bootstrap_interval, scores=values, accuracies=accuracies, confidence=confidence, resamples=resamples, seed=seed
        )
        spearman = interval(metrics.spearman)
        n = spearman.estimate.n
        rows.append(
            Row(
                name=name,
                spearman=spearman,
                kendall=interval(metrics.kendall_tau_b),
                top_decile=interval(metrics.top_decile_spearman),
                ndcg=interval(metrics.ndcg),
                regret={k: interval(functools.partial(metrics.regret, k=k)) for k in CHOSEN if k <= n},
                n=n,
                ties=spearman.estimate.ties,
                not_ok=spearman.estimate.non_finite,
                within=None
                if groups is None
                else _grouped_interval(values, accuracies, groups, seed=seed, resamples=resamples, confidence=confidence),
            )
        )
    return rows


def _grouped_interval(
    scores: Scores, accuracies: Scores, groups: Int[np.ndarray, " n"], *, seed: int, resamples: int, confidence: float
) -> Interval:
    """Return the interval of :func:`jknas.ranking.metrics.within_groups`; a resample draws group, score and accuracy together."""
    values, kinds = np.asarray(scores, np.float64), np.asarray(groups)
    if kinds.shape != values.shape:
        raise MetricError(f"groups has shape {kinds.shape}, and there are {values.size} architectures: give one group for each.")

    def drawn(places: np.ndarray, y: np.ndarray, *, non_finite: metrics.NonFinite) -> Metric:
        del non_finite
        place = places.astype(np.int64)
        return metrics.within_groups(values[place], y, kinds[place])

    places = np.arange(values.size, dtype=np.float64)
    return metrics.bootstrap_interval(drawn, places, accuracies, confidence=confidence, resamples=resamples, seed=seed)


def reliability(draws: Sequence[Scores]) -> float:
    """Return the mean of Spearman's correlation between two draws of one score on the same architectures: other weights, other images.

    No ranking can be trusted further than it agrees with itself. NaN for a single draw.
    """
    pairs = [(one, other) for place, one in enumerate(draws) for other in draws[:place]]
    return (
        float(np.mean([metrics.spearman(one, np.where(np.isnan(other), -1e300, other)).value for one, other in pairs]))
        if pairs
        else math.nan
    )


def by_spearman(rows: Sequence[Row]) -> list[Row]:
    """Return rows sorted by Spearman's correlation, the largest first and those without one last."""
    return sorted(rows, key=lambda row: (np.isnan(row.spearman.estimate.value), -row.spearman.estimate.value, row.name))


def subsampled(
    scores: Mapping[str, Scores], accuracies: Scores, *, repetitions: int = 50, size: int = 200, seed: int
) -> dict[str, Float[np.ndarray, " repetitions"]]:
    """Compute Spearman's correlation on repeated random parts of the pool, as KNAS's figure 2 does (50 times 200 architectures).

    Args:
        scores: as in :func:`correlate`.
        accuracies: one per architecture.
        repetitions: how many parts.
        size: architectures in each, drawn without replacement; parts overlap.
        seed: fixes the parts, which are the same for every score.

    Returns:
        The correlations by name; NaN where a part has none (constant scores).

    Raises:
        MetricError: a size that the pool does not have, or arrays that do not fit.
    """
    accuracies = np.asarray(accuracies)
    if not 2 <= size <= accuracies.size:
        raise MetricError(f"parts of {size} architectures were asked for; expected 2 to {accuracies.size}, the size of the pool.")
    if repetitions < 1:
        raise MetricError(f"repetitions must be at least 1, got {repetitions}.")
    for name, values in scores.items():
        if np.shape(values) != accuracies.shape:
            raise MetricError(f"{name} has shape {np.shape(values)}, the accuracies {accuracies.shape}: give one score per architecture.")
    rng = np.random.default_rng(seed)
    parts = [rng.choice(accuracies.size, size, replace=False) for _ in range(repetitions)]
    return {
        name: np.array([metrics.spearman(np.asarray(values)[part], accuracies[part]).value for part in parts])
        for name, values in scores.items()
    }


def grouped_means(scores: Scores, accuracies: Scores, *, groups: int) -> Float[np.ndarray, " groups"]:
    """Compute the mean accuracy of groups of architectures in the order of their scores, as KNAS's figure 1 shows it.

    Architectures of one score share its mean accuracy, so that the result does not depend on the order of the arrays.

    Args:
        scores: as in :func:`correlate`.
        accuracies: one per architecture.
        groups: how many, of nearly equal sizes; at most the number of architectures.

    Returns:
        The means, of the lowest scores first.

    Raises:
        MetricError: more groups than architectures, or arrays of different lengths.
    """
    values, accuracies = np.asarray(scores, np.float64), np.asarray(accuracies, np.float64)
    if values.shape != accuracies.shape or values.ndim != 1 or not 1 <= groups <= values.size:
        raise MetricError(
            f"{groups} groups of scores of shape {values.shape} and accuracies of shape {accuracies.shape} were asked for; expected one "
            "score and one accuracy per architecture, and at most as many groups as architectures."
        )
    _, place = np.unique(np.where(np.isfinite(values), values, -np.inf), return_inverse=True)
    shared = (np.bincount(place, accuracies) / np.bincount(place))[place]
    return np.array([part.mean() for part in np.array_split(shared[np.argsort(place)], groups)])


def ranking_scores(records: Sequence[ScoreRecord], *, higher_is_better: bool) -> Scores:
    """Return the scores of records as numbers to rank by: larger is better, NaN where the status is not "ok"."""
    sign = 1.0 if higher_is_better else -1.0
    return np.array([sign * record.score if record.status == "ok" else np.nan for record in records], np.float64)


def statuses(records: Sequence[ScoreRecord]) -> dict[str, int]:
    """Return how many records have each status other than "ok"."""
    return dict(sorted(Counter(record.status for record in records if record.status != "ok").items()))
