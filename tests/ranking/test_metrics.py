import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jknas.errors import MetricError
from jknas.ranking.metrics import (
    Metric,
    bootstrap_interval,
    kendall_tau_b,
    ndcg,
    regret,
    spearman,
    top_decile_spearman,
    within_groups,
)

CORRELATIONS = [spearman, kendall_tau_b, top_decile_spearman]
ALL = [*CORRELATIONS, functools.partial(regret, k=1)]
NAN, INF = math.nan, math.inf


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def sample(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n)
    return scores.round(1), (scores + rng.normal(size=n)).round(1)


class TestByHand:
    def test_spearman(self):
        # Rank differences 0, 1, 1, 1, 1: 1 - 6 * 4 / (5 * 24) = 0.8.
        result = spearman(array(1, 2, 3, 4, 5), array(10, 30, 20, 50, 40))
        assert result == Metric(pytest.approx(0.8), "ok", 5, 0, 0, 0)

    def test_spearman_with_ties(self):
        # Ranks 1.5, 1.5, 3, 4 against 1, 2, 3, 4: covariance 4.5 over sqrt(4.5 * 5).
        assert spearman(array(0, 0, 1, 2), array(1, 2, 3, 4)) == Metric(pytest.approx(4.5 / math.sqrt(22.5)), "ok", 4, 1, 0, 0)

    def test_kendall(self):
        # Ten pairs, two of them discordant: (8 - 2) / 10.
        assert kendall_tau_b(array(1, 2, 3, 4, 5), array(10, 30, 20, 50, 40)).value == pytest.approx(0.6)

    def test_kendall_with_ties_is_tau_b(self):
        # Six pairs, one tied in the scores, five concordant: tau-a is 5 / 6, tau-b is 5 / sqrt(5 * 6).
        assert kendall_tau_b(array(0, 0, 1, 2), array(1, 2, 3, 4)).value == pytest.approx(5 / math.sqrt(30))

    @pytest.mark.parametrize("measure", [spearman, kendall_tau_b])
    def test_the_sign_is_kept(self, measure):
        assert measure(array(1, 2, 3), array(9, 8, 7)).value == pytest.approx(-1)

    def test_top_decile_is_of_the_accuracies_and_takes_ties_in(self):
        # Of 20, the two best are 90 and 80, and another 80 ties with the second: scores 1, 2, 3 fall against 90, 80, 80.
        accuracies = array(*range(17), 90, 80, 80)
        scores = array(*range(100, 117), 1, 2, 3)
        result = top_decile_spearman(scores, accuracies)
        assert result == Metric(pytest.approx(-math.sqrt(3) / 2), "ok", 3, 0, 1, 0)
        order = np.random.default_rng(0).permutation(20)
        assert top_decile_spearman(scores[order], accuracies[order]) == result

    def test_regret(self):
        scores, accuracies = array(5, 4, 3, 2, 1), array(70, 90, 80, 94, 10)
        assert [regret(scores, accuracies, k).value for k in range(1, 6)] == [24, 4, 4, 0, 0]

    def test_regret_expects_over_ties(self):
        scores, accuracies = array(1, 1, 1, 0), array(90, 70, 80, 60)
        for order in ([0, 1, 2, 3], [2, 1, 0, 3], [3, 2, 1, 0]):
            found = [regret(scores[order], accuracies[order], k).value for k in (1, 2, 3, 4)]
            assert found == pytest.approx([10, 10 / 3, 0, 0])  # of two of the three, 80 is the best in one case

    @pytest.mark.parametrize("seed", range(3))
    def test_regret_is_the_mean_over_all_orders_of_the_ties(self, seed):
        rng = np.random.default_rng(seed)
        scores, accuracies = rng.integers(0, 3, 7).astype(float), rng.permutation(7).astype(float)
        orders = [order for order in itertools.permutations(range(7)) if (np.diff(scores[list(order)]) <= 0).all()]
        for k in range(1, 8):
            expected = np.mean([accuracies.max() - accuracies[list(order[:k])].max() for order in orders])
            assert regret(scores, accuracies, k).value == pytest.approx(expected, abs=1e-12)


class TestGain:
    """nDCG, against its definition written out."""

    def test_the_ideal_order_is_one_and_the_others_are_less(self):
        accuracies = array(94, 93, 91, 80)
        assert ndcg(array(4, 3, 2, 1), accuracies).value == 1
        gains = [2.0**a - 1 for a in (93, 94, 91, 80)]
        ideal = [2.0**a - 1 for a in (94, 93, 91, 80)]
        expected = [sum(g / math.log2(2 + j) for j, g in enumerate(listed)) for listed in (gains, ideal)]
        assert ndcg(array(3, 4, 2, 1), accuracies).value == pytest.approx(expected[0] / expected[1], rel=1e-12)

    def test_only_the_first_k_places_count(self):
        accuracies = array(94, 93, 91, 80)
        gains, ideal = [2.0**93 - 1, 2.0**94 - 1], [2.0**94 - 1, 2.0**93 - 1]
        expected = (gains[0] + gains[1] / math.log2(3)) / (ideal[0] + ideal[1] / math.log2(3))
        assert ndcg(array(3, 4, 1, 2), accuracies, 2).value == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("k", [1, 3, 10, 40])
    def test_ties_get_the_mean_as_in_scikit_learn(self, k, rng):
        scores, accuracies = rng.integers(0, 6, 30).astype(float), rng.normal(60, 2, 30)
        orders = [np.lexsort((rng.random(30), -scores)) for _ in range(4000)]
        relevance = 2.0**accuracies - 1
        discount = 1 / np.log2(2 + np.arange(min(k, 30)))
        expected = np.mean([relevance[order][:k] @ discount for order in orders]) / (np.sort(relevance)[::-1][:k] @ discount)
        assert ndcg(scores, accuracies, k).value == pytest.approx(expected, rel=0.05)

    def test_a_constant_score_is_worth_a_random_order(self):
        accuracies = np.linspace(10, 94, 500)
        relevance, discount = 2.0**accuracies - 1, 1 / np.log2(2.0 + np.arange(100))
        expected = relevance.mean() * discount.sum() / (np.sort(relevance)[::-1][:100] @ discount)
        assert ndcg(np.zeros(500), accuracies, 100).value == pytest.approx(expected, rel=1e-12)

    def test_what_has_no_score_is_last(self):
        assert ndcg(array(2, 1, np.nan), array(94, 93, 10)).value == 1

    def test_refusals(self):
        with pytest.raises(MetricError, match="ndcg: k must be a whole number of at least 1, got 0"):
            ndcg(array(1, 2), array(1, 2), 0)
        assert ndcg(array(), array()).status == "too_few"


class TestWithinGroups:
    def test_the_mean_over_groups_by_size(self):
        groups = np.repeat([0, 1], [10, 20])
        accuracies = np.concatenate([np.arange(10.0), 100 + np.arange(20.0)])
        scores = np.concatenate([np.arange(10.0), -np.arange(20.0)])
        found = within_groups(scores, accuracies, groups)
        assert (found.value, found.status, found.n) == (pytest.approx((10 - 20) / 30), "ok", 30)

    def test_what_makes_the_groups_knows_nothing_beyond_them(self, rng):
        groups = rng.integers(0, 4, 200)
        assert within_groups(groups.astype(float), groups + rng.random(200), groups).value == 0

    def test_small_groups_do_not_count(self, rng):
        groups = np.array([0] * 9 + [1] * 12)
        assert within_groups(rng.random(21), rng.random(21), groups).n == 12
        assert within_groups(rng.random(9), rng.random(9), groups[:9]).status == "too_few"

    def test_refusals(self):
        with pytest.raises(MetricError, match="3 groups for 2 scores"):
            within_groups(array(1, 2), array(1, 2), np.arange(3))


class TestAgainstScipy:
    @pytest.mark.parametrize("seed", range(5))
    def test_correlations(self, seed):
        scores, accuracies = sample(seed=seed)
        assert spearman(scores, accuracies).value == pytest.approx(
            stats.pearsonr(stats.rankdata(scores), stats.rankdata(accuracies)).statistic
        )
        pairs = [(i, j) for i in range(60) for j in range(i)]
        signs = np.array([(np.sign(scores[i] - scores[j]), np.sign(accuracies[i] - accuracies[j])) for i, j in pairs])
        tau_b = (signs[:, 0] * signs[:, 1]).sum() / math.sqrt(np.abs(signs[:, 0]).sum() * np.abs(signs[:, 1]).sum())
        assert kendall_tau_b(scores, accuracies).value == pytest.approx(tau_b)

    def test_bootstrap(self):
        scores, accuracies = sample(80)
        ours = bootstrap_interval(spearman, scores, accuracies, resamples=500, seed=0)
        theirs = stats.bootstrap(
            (scores, accuracies),
            lambda x, y: stats.spearmanr(x, y).statistic,
            paired=True,
            vectorized=False,
            method="percentile",
            n_resamples=500,
            rng=np.random.default_rng(1),
        ).confidence_interval
        # Two sets of resamples: the ends have a Monte Carlo error of about 0.01.
        assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=0.04), pytest.approx(theirs.high, abs=0.04))
        assert ours.low < ours.estimate.value < ours.high


class TestNonFinite:
    scores, accuracies = array(NAN, 3, INF, 2, -INF, 1), array(95, 94, 20, 80, 10, 60)

    def test_last_ranks_all_of_them_below_and_tied(self):
        assert spearman(self.scores, self.accuracies) == spearman_of(array(0, 3, 0, 2, 0, 1), self.accuracies, non_finite=3)
        assert regret(self.scores, self.accuracies, 1).value == 1  # +inf is not chosen first
        assert regret(self.scores, self.accuracies, 4).value == pytest.approx(2 / 3)  # NaN is one of the three that tie
        assert regret(self.scores, self.accuracies, 6).value == 0

    def test_omit_leaves_them_out_and_counts_them(self):
        assert kendall_tau_b(self.scores, self.accuracies, non_finite="omit") == Metric(pytest.approx(1), "ok", 3, 0, 0, 3)
        assert regret(self.scores, self.accuracies, 1, non_finite="omit").value == 0

    @pytest.mark.parametrize("measure", ALL)
    def test_raise(self, measure):
        with pytest.raises(MetricError, match=r'3 of 6 scores are not finite, the first is nan at position 0: choose non_finite="last"'):
            measure(self.scores, self.accuracies, non_finite="raise")
        assert measure(np.arange(20.0), np.arange(20.0), non_finite="raise").status == "ok"

    @given(st.lists(st.tuples(st.floats(), st.floats(0, 100)), max_size=30), st.sampled_from(["last", "omit"]))
    @settings(max_examples=60, deadline=None)
    def test_any_scores_give_a_value_or_a_status(self, pairs, policy):
        scores, accuracies = np.array(pairs, dtype=float).reshape(-1, 2).T
        for measure in CORRELATIONS:
            result = measure(scores, accuracies, non_finite=policy)
            assert result.non_finite == np.count_nonzero(~np.isfinite(scores))
            assert (result.status == "ok") == (not math.isnan(result.value))
            assert math.isnan(result.value) or -1 - 1e-12 <= result.value <= 1 + 1e-12

    @given(st.lists(st.tuples(st.floats(), st.floats(0, 100)), min_size=1, max_size=12), st.data())
    @settings(max_examples=60, deadline=None)
    def test_regret_is_the_worst_over_orders_of_ties(self, pairs, data):
        scores, accuracies = np.array(pairs).T
        k = data.draw(st.integers(1, len(pairs)))
        worth = np.where(np.isfinite(scores), scores, -INF)
        order = np.array(data.draw(st.permutations(range(len(pairs)))))
        some_top = order[np.argsort(-worth[order], kind="stable")[:k]]
        assert regret(scores, accuracies, k).value >= accuracies.max() - accuracies[some_top].max() >= 0


def spearman_of(scores: np.ndarray, accuracies: np.ndarray, non_finite: int) -> Metric:
    result = spearman(scores, accuracies)
    return Metric(result.value, result.status, result.n, result.ties, result.accuracy_ties, non_finite)


class TestNoValue:
    @pytest.mark.parametrize("measure", CORRELATIONS)
    def test_constant_inputs(self, measure):
        constant, rising = np.full(40, 0.1), np.arange(40.0)
        for scores, accuracies in ((constant, rising), (rising, constant), (constant * NAN, rising)):
            result = measure(scores, accuracies)
            assert (math.isnan(result.value), result.status) == (True, "constant")

    @pytest.mark.parametrize("measure", CORRELATIONS)
    @pytest.mark.parametrize("n", [0, 1])
    def test_too_few(self, measure, n):
        result = measure(np.ones(n), np.ones(n))
        assert (math.isnan(result.value), result.status, result.n) == (True, "too_few", n)

    def test_nothing_left(self):
        result = regret(array(NAN, INF), array(1, 2), 1, non_finite="omit")
        assert (math.isnan(result.value), result.status, result.non_finite) == (True, "too_few", 2)
        interval = bootstrap_interval(spearman, array(NAN, INF), array(1, 2), seed=0, non_finite="omit", resamples=7)
        assert (math.isnan(interval.low), math.isnan(interval.high), interval.undefined) == (True, True, 7)

    def test_huge_scores_do_not_overflow(self):
        assert spearman(array(-1.7e308, 0, 1.7e308), array(1, 2, 3)).value == pytest.approx(1)


class TestBootstrap:
    def test_the_seed_decides(self):
        scores, accuracies = sample()
        first, same, other = (bootstrap_interval(kendall_tau_b, scores, accuracies, resamples=50, seed=seed) for seed in (1, 1, 2))
        assert first == same
        assert (first.low, first.high) != (other.low, other.high)

    def test_confidence_widens(self):
        scores, accuracies = sample()
        narrow, wide = (bootstrap_interval(spearman, scores, accuracies, confidence=level, resamples=200, seed=0) for level in (0.5, 0.99))
        assert wide.low < narrow.low < narrow.high < wide.high

    def test_pairs_stay_together(self):
        rising = np.arange(30.0)
        interval = bootstrap_interval(spearman, rising, rising, resamples=20, seed=0)
        assert (interval.low, interval.high) == (pytest.approx(1), pytest.approx(1))

    def test_undefined_resamples_are_counted(self):
        # A resample of two is constant half of the time.
        interval = bootstrap_interval(spearman, array(1, 2), array(1, 2), resamples=200, seed=0)
        assert 70 < interval.undefined < 130
        assert (interval.low, interval.high) == (pytest.approx(1), pytest.approx(1))

    def test_non_finite_scores_are_resampled_as_last(self):
        scores, accuracies = sample()
        broken, lowest = scores.copy(), scores.copy()
        broken[:5], lowest[:5] = NAN, scores.min() - 1
        ours, theirs = (bootstrap_interval(spearman, values, accuracies, resamples=50, seed=3) for values in (broken, lowest))
        assert (ours.low, ours.high, ours.estimate.value) == (theirs.low, theirs.high, theirs.estimate.value)
        assert (ours.estimate.non_finite, theirs.estimate.non_finite) == (5, 0)

    def test_options_are_bound_with_partial(self):
        scores, accuracies = sample()
        interval = bootstrap_interval(functools.partial(regret, k=10), scores, accuracies, resamples=50, seed=0)
        assert 0 <= interval.low <= interval.high
        assert interval.estimate == regret(scores, accuracies, 10)


class TestErrors:
    @pytest.mark.parametrize("measure", ALL)
    @pytest.mark.parametrize(
        ("scores", "accuracies", "message"),
        [
            (array(1, 2, 3), array(1, 2), "must have one length, got 3 and 2"),
            (np.ones((2, 2)), array(1, 2), r"scores must be a 1-D array, got shape \(2, 2\)"),
            (array(1, 2), np.array(["a", "b"]), r"accuracies must be real numbers, got dtype <U1"),
            (array(1, 2), array(1, NAN), "accuracies must be finite, got nan at position 1: leave out"),
        ],
    )
    def test_arrays(self, measure, scores, accuracies, message):
        with pytest.raises(MetricError, match=message):
            measure(scores, accuracies)

    @pytest.mark.parametrize("measure", ALL)
    def test_policy(self, measure):
        with pytest.raises(MetricError, match='must be "last", "omit" or "raise", got \'drop\''):
            measure(array(1, NAN), array(1, 2), non_finite="drop")

    @pytest.mark.parametrize("k", [0, -1, 2.0, True])
    def test_k(self, k):
        with pytest.raises(MetricError, match=f"k must be a whole number of at least 1, got {k}"):
            regret(array(1, 2), array(1, 2), k)

    def test_k_beyond_n(self):
        with pytest.raises(MetricError, match="k = 3 architectures cannot be chosen from 2: use a k of at most 2"):
            regret(array(1, 2), array(1, 2), 3)

    @pytest.mark.parametrize(
        ("options", "message"), [({"confidence": 95}, "write 95 % as 0.95"), ({"resamples": 0}, "must be at least 1, got 0")]
    )
    def test_bootstrap_options(self, options, message):
        with pytest.raises(MetricError, match=message):
            bootstrap_interval(spearman, array(1, 2), array(1, 2), seed=0, **options)
