import itertools
import time

import numpy as np
import pytest

from jknas.errors import ProxyError
from jknas.ranking import aggregates
from jknas.ranking.aggregates import AGGREGATES, combine

nan = np.nan


def rank_sum(condition, regions):
    return combine(AGGREGATES["tenas_rank_sum"], {"tenas_condition": np.array(condition), "linear_regions": np.array(regions)})


def vote(*members):
    return combine(AGGREGATES["vote"], dict(zip(("synflow", "jacob_cov", "snip"), map(np.array, members), strict=True)))


class TestRankSum:
    def test_a_hand_worked_pool(self):
        # ranks 3, 2, 1 and 1, 2.5, 2.5
        assert rank_sum([-5.0, -7.0, -90.0], [10.0, 20.0, 20.0]).tolist() == [4.0, 4.5, 3.5]

    def test_what_has_no_score_is_last_in_that_member(self):
        assert rank_sum([-5.0, nan, nan], [10.0, 20.0, 30.0]).tolist() == [4.0, 3.5, 4.5]

    def test_what_has_no_score_at_all_has_none(self):
        found = rank_sum([-5.0, nan, -6.0], [10.0, nan, 30.0])
        assert np.isnan(found).tolist() == [False, True, False]

    def test_the_pool_matters(self):
        whole = rank_sum([-1.0, -2.0, -3.0, -4.0], [1.0, 9.0, 2.0, 3.0])
        half = rank_sum([-1.0, -2.0], [1.0, 9.0])
        assert whole[0] - whole[1] != half[0] - half[1]


class TestVote:
    def test_a_hand_worked_pool(self):
        # the first beats the second by 2 of 3 and loses to the third by 1 of 3; the second loses to the third
        assert vote([3.0, 2.0, 1.0], [1.0, 0.0, 2.0], [1.0, 5.0, 6.0]).tolist() == [0.0, -2.0, 2.0]

    def test_it_counts_the_pairs(self, rng):
        members = rng.integers(0, 4, (3, 30)).astype(float)
        members[0, :3] = nan
        members[1, 2] = nan
        filled = np.where(np.isnan(members), -1.0, members)
        expected = np.zeros(30)
        for one, other in itertools.permutations(range(30), 2):
            won = sum(np.sign(member[one] - member[other]) for member in filled)
            expected[one] += np.sign(won)
        assert vote(*members).tolist() == expected.tolist()

    def test_no_votes_at_all(self):
        assert np.isnan(vote([1.0, nan], [1.0, nan], [1.0, nan])).tolist() == [False, True]

    def test_a_whole_space_takes_seconds(self, rng):
        start = time.process_time()
        found = vote(*rng.normal(size=(3, 3000)))
        assert found.sum() == 0
        assert time.process_time() - start < 5.0


@pytest.mark.parametrize("name", sorted(AGGREGATES))
class TestEveryAggregate:
    def pool(self, name, rng, n=20):
        return {member: rng.normal(size=n) for member in AGGREGATES[name].members}

    def test_it_is_named_described_and_cited(self, name):
        one = aggregates.get(name)
        assert one.name == name
        assert one.summary
        assert "arXiv" in one.reference
        assert len(one.members) > 1

    def test_the_best_in_every_member_is_the_best(self, name, rng):
        scores = self.pool(name, rng)
        for values in scores.values():
            values[7] = values.max() + 1
        found = combine(AGGREGATES[name], scores)
        assert found.shape == (20,)
        assert found.argmax() == 7

    def test_only_the_order_matters_and_not_that_of_the_pool(self, name, rng):
        scores = self.pool(name, rng)
        found = combine(AGGREGATES[name], scores)
        order = rng.permutation(20)
        moved = {member: np.exp(values[order]) for member, values in scores.items()}
        assert combine(AGGREGATES[name], moved) == pytest.approx(found[order])

    def test_a_pool_of_one_and_of_none(self, name):
        members = AGGREGATES[name].members
        for n in (0, 1):
            found = combine(AGGREGATES[name], {member: np.ones(n) for member in members})
            assert found.shape == (n,)
            assert np.isfinite(found).all()

    def test_refusals(self, name, rng):
        scores = self.pool(name, rng)
        first, *rest = AGGREGATES[name].members
        with pytest.raises(ProxyError, match=f"{first} not given: score them too"):
            combine(AGGREGATES[name], {member: scores[member] for member in rest})
        with pytest.raises(ProxyError, match="expected one number an architecture of one pool from each"):
            combine(AGGREGATES[name], scores | {first: np.ones(3)})
        with pytest.raises(ProxyError, match=f"a score of {first} is infinite"):
            combine(AGGREGATES[name], scores | {first: np.full(20, np.inf)})


def test_unknown_names_are_refused():
    with pytest.raises(ProxyError, match=r"Unknown aggregate 'votes'; expected one of .*Did you mean 'vote'"):
        aggregates.get("votes")


def test_az_nas_sums_logarithms_of_ranks():
    members = AGGREGATES["az_nas"].members
    scores = {name: np.array([1.0, 3.0, 2.0]) for name in members} | {"az_trainability": np.array([0.5, np.nan, 0.5])}
    third, two_thirds = np.log(1 / 3), np.log(2 / 3)
    expected = [3 * third + np.log(2.5 / 3), third, 3 * two_thirds + np.log(2.5 / 3)]
    np.testing.assert_allclose(combine(AGGREGATES["az_nas"], scores), expected)
