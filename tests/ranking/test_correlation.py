import math

import numpy as np
import pytest
from scipy import stats

from jknas.errors import MetricError
from jknas.ranking import metrics
from jknas.ranking.correlation import by_spearman, correlate, grouped_means, ranking_scores, statuses, subsampled
from jknas.scoring.store import ScoreKey, ScoreRecord


@pytest.fixture
def pool(rng):
    accuracies = rng.uniform(10, 95, 300)
    scores = {"good": accuracies + rng.normal(0, 10, 300), "noise": rng.normal(size=300), "bad": -accuracies}
    return scores, accuracies


class TestCorrelate:
    def test_each_score_against_scipy(self, pool):
        scores, accuracies = pool
        rows = correlate(scores, accuracies, seed=0, resamples=50)
        assert [row.name for row in rows] == ["good", "noise", "bad"]
        for row in rows:
            assert row.spearman.estimate.value == pytest.approx(stats.spearmanr(scores[row.name], accuracies).statistic)
            assert row.kendall.estimate.value == pytest.approx(stats.kendalltau(scores[row.name], accuracies).statistic)
            assert row.spearman.low <= row.spearman.estimate.value <= row.spearman.high
            assert (row.n, row.ties, row.not_ok, row.spearman.resamples) == (300, 0, 0, 50)
        good, noise, bad = rows
        assert good.spearman.estimate.value > 0.9 > abs(noise.spearman.estimate.value) + 0.7
        assert bad.spearman.estimate.value == pytest.approx(-1.0)  # never its absolute value
        assert bad.regret[1].estimate.value == np.ptp(accuracies)
        assert good.regret[10].estimate.value <= good.regret[1].estimate.value

    def test_the_top_decile(self, pool):
        scores, accuracies = pool
        (row,) = correlate({"good": scores["good"]}, accuracies, seed=0, resamples=1)
        top = np.argsort(accuracies)[-30:]
        assert row.top_decile.estimate.n == 30
        assert row.top_decile.estimate.value == pytest.approx(stats.spearmanr(scores["good"][top], accuracies[top]).statistic)

    def test_not_ok_scores_rank_last_and_are_counted(self):
        accuracies = np.array([1.0, 2.0, 3.0, 4.0])
        (row,) = correlate({"x": np.array([math.nan, math.nan, -7.0, -5.0])}, accuracies, seed=0, resamples=5)
        assert (row.not_ok, row.ties) == (2, 1)
        assert row.spearman.estimate.value == pytest.approx(stats.spearmanr([0, 0, 1, 2], accuracies).statistic)

    def test_a_small_pool_has_no_regret_at_ten(self, rng):
        (row,) = correlate({"x": rng.normal(size=9)}, rng.normal(size=9), seed=0, resamples=5)
        assert set(row.regret) == {1}

    def test_a_constant_score_has_a_status(self):
        (row,) = correlate({"x": np.ones(12)}, np.arange(12.0), seed=0, resamples=5)
        assert row.spearman.estimate.status == "constant"
        assert math.isnan(row.spearman.estimate.value)
        assert row.regret[1].estimate.value == pytest.approx(5.5)  # any of the twelve is as likely
        assert row.within is None

    def test_the_seed_fixes_the_intervals(self, pool):
        scores, accuracies = pool
        one, two, other = (correlate({"good": scores["good"]}, accuracies, seed=seed, resamples=20) for seed in (1, 1, 2))
        assert one == two
        assert one != other

    def test_sorted_by_spearman(self, pool):
        scores, accuracies = pool
        rows = correlate({"flat": np.ones(300), **scores}, accuracies, seed=0, resamples=2)
        assert [row.name for row in by_spearman(rows)] == ["good", "noise", "bad", "flat"]

    def test_refusals(self):
        with pytest.raises(MetricError, match="must have one length, got 3 and 4"):
            correlate({"x": np.ones(3)}, np.ones(4), seed=0)


class TestSubsampled:
    def test_the_same_parts_for_every_score(self, pool):
        scores, accuracies = pool
        found = subsampled({"one": scores["good"], "two": 3 * scores["good"]}, accuracies, repetitions=7, size=40, seed=3)
        assert found["one"].shape == (7,)
        assert found["one"].tolist() == found["two"].tolist()
        assert len(set(found["one"])) == 7

    def test_the_whole_pool_has_one_value(self, pool):
        scores, accuracies = pool
        found = subsampled(scores, accuracies, repetitions=3, size=300, seed=0)["noise"]
        assert found == pytest.approx(np.full(3, metrics.spearman(scores["noise"], accuracies).value))

    def test_no_value_stays_none(self):
        assert np.isnan(subsampled({"flat": np.ones(9)}, np.arange(9.0), repetitions=2, size=5, seed=0)["flat"]).all()

    @pytest.mark.parametrize("count", [15, 24])
    def test_arrays_that_do_not_fit(self, count):
        with pytest.raises(MetricError, match=rf"one has shape \({count},\), the accuracies \(20,\): give one score per architecture"):
            subsampled({"one": np.arange(float(count))}, np.arange(20.0), repetitions=2, size=5, seed=0)
        with pytest.raises(MetricError, match=rf"groups has shape \({count},\), and there are 20 architectures"):
            correlate({"one": np.arange(20.0)}, np.arange(20.0), seed=0, groups=np.zeros(count, int))

    @pytest.mark.parametrize(("options", "words"), [({"size": 301}, "expected 2 to 300"), ({"repetitions": 0}, "at least 1")])
    def test_refusals(self, pool, options, words):
        with pytest.raises(MetricError, match=words):
            subsampled(*pool, seed=0, **options)


class TestGroupedMeans:
    def test_a_hand_worked_pool(self):
        scores = np.array([3.0, 1.0, 2.0, math.nan, 5.0, 4.0])
        accuracies = np.array([30.0, 10.0, 20.0, 0.0, 50.0, 40.0])
        assert grouped_means(scores, accuracies, groups=3).tolist() == [5.0, 25.0, 45.0]

    def test_ties_share_their_mean_whatever_the_order(self):
        accuracies = np.array([1.0, 2.0, 3.0, 6.0])
        for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
            assert grouped_means(np.ones(4), accuracies[order], groups=2).tolist() == [3.0, 3.0]

    def test_refusals(self):
        for scores, groups in ((np.ones(3), 4), (np.ones(4), 1), (np.ones(3), 0)):
            with pytest.raises(MetricError, match="at most as many groups as architectures"):
                grouped_means(scores, np.ones(3), groups=groups)


class TestRecords:
    def record(self, score, status):
        return ScoreRecord(ScoreKey("s", "g", "p", "{}", "d", 0, "{}"), "g", score, status, 0.0)

    def test_signs_and_statuses(self):
        records = [self.record(2.0, "ok"), self.record(9.0, "saturated"), self.record(math.inf, "non_finite"), self.record(1.0, "dead")]
        assert ranking_scores(records, higher_is_better=True).tolist()[0] == 2.0
        found = ranking_scores(records, higher_is_better=False)
        assert found[0] == -2.0
        assert np.isnan(found[1:]).all()
        assert statuses(records) == {"dead": 1, "non_finite": 1, "saturated": 1}
