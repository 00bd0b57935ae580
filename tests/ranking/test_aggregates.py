import itertools
import re
import time

import numpy as np
import pytest
from scipy import stats

from jknas.errors import ProxyError
from jknas.ranking import aggregates, combinations
from jknas.ranking.aggregates import AGGREGATES, combine

nan = np.nan


def expression(text, **members):
    return combine(aggregates.get(text), {name: np.array(values) for name, values in members.items()})


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
        for member, values in scores.items():
            turned = f"-{member}" in str(AGGREGATES[name].combination)
            values[7] = values.min() - 1 if turned else values.max() + 1
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


class TestTwoStage:
    def test_a_hand_worked_pool(self):
        # the best two of four by params are ordered by macs; the others keep their places
        found = expression("two_stage(params,macs,0.5)", params=[1.0, 2.0, 3.0, 4.0], macs=[50.0, 60.0, 9.0, 7.0])
        assert found.tolist() == [1.0, 2.0, 4.0, 3.0]

    @pytest.mark.parametrize(("share", "count", "best"), [(0.07, 100, 7), (0.55, 100, 55), (0.28, 25, 7), (0.14, 50, 7), (0.141, 50, 8)])
    def test_a_share_is_rounded_up_and_its_rounding_is_not(self, share, count, best):
        first = np.arange(float(count))
        found = combinations.two_stage(first, lambda best: -first[best], share=share)
        assert np.count_nonzero(found != combinations.ranks(first)) == best - best % 2  # the best in reverse, the middle one as it was

    def test_ties_at_the_cut_belong_to_the_best(self):
        found = expression("two_stage(params,macs,0.25)", params=[1.0, 4.0, 4.0, 2.0], macs=[9.0, 1.0, 2.0, 8.0])
        assert found.tolist() == [1.0, 3.0, 4.0, 2.0]

    def test_a_share_of_one_is_the_second_score(self, rng):
        params, macs = rng.normal(size=(2, 30))
        assert expression("two_stage(params,macs,1)", params=params, macs=macs).tolist() == combinations.ranks(macs).tolist()

    def test_what_the_second_lacks_is_last_among_the_best(self):
        found = expression("two_stage(params,macs,0.5)", params=[1.0, 2.0, 3.0, 4.0], macs=[9.0, 8.0, 1.0, nan])
        assert found.tolist() == [1.0, 2.0, 4.0, 3.0]

    def test_any_order_of_the_first_that_leaves_the_cut_keeps_the_set(self, rng):
        first, second = rng.normal(size=(2, 40))
        found = expression("two_stage(params,macs,0.3)", params=first, macs=second)
        assert set(np.argsort(found)[-12:]) == set(np.argsort(first)[-12:])
        assert np.array_equal(np.sort(found), np.arange(1.0, 41.0))

    def test_the_second_ranks_among_the_best_alone(self, rng):
        scores = {name: rng.normal(size=40) for name in ("params", "macs", "zen")}
        best = np.argsort(scores["params"])[-12:]
        found = expression("two_stage(params,log_rank(macs,-zen),0.3)", **scores)
        among = expression("log_rank(macs,-zen)", **{name: values[best] for name, values in scores.items()})
        assert found[best].tolist() == (28 + stats.rankdata(among)).tolist()
        others = {name: np.where(np.isin(np.arange(40), best), values, nan) for name, values in scores.items()} | {
            "params": scores["params"]
        }
        assert expression("two_stage(params,log_rank(macs,-zen),0.3)", **others).tolist() == found.tolist()


class TestDraws:
    """Rows of several seeds, whose ranks are averaged in the part of the pool that is ranked."""

    def test_one_row_is_the_score(self, rng):
        one, scores = "two_stage(params,log_rank(macs,-zen),0.3)", {name: rng.normal(size=20) for name in ("params", "macs", "zen")}
        rows = {name: values[None] for name, values in scores.items()}
        assert expression(one, **rows).tolist() == expression(one, **scores).tolist()

    def test_the_ranks_of_the_second_stage_are_averaged_among_the_best(self, rng):
        first, draws = rng.normal(size=30), rng.normal(size=(3, 30))
        draws[1, np.argmax(first)] = nan
        found = expression("two_stage(params,-macs,0.4)", params=first, macs=draws)
        best = np.argsort(first)[-12:]
        expected = np.mean([combinations.ranks(-row[best]) for row in draws], axis=0)
        assert found[best].tolist() == (18 + stats.rankdata(expected)).tolist()

    def test_refusals(self, rng):
        with pytest.raises(ProxyError, match="one row of them a seed"):
            expression("log_rank(params,macs)", params=rng.normal(size=(2, 5)), macs=rng.normal(size=4))
        with pytest.raises(ProxyError, match="one row of them a seed"):
            expression("log_rank(params,macs)", params=rng.normal(size=(1, 2, 5)), macs=rng.normal(size=5))

    def test_against_a_reference_of_the_same_seeds(self, rng):
        one = aggregates.get("log_rank(params,macs)")
        new, reference = ({name: rng.normal(size=(2, count)) for name in one.members} for count in (3, 9))
        for place, value in enumerate(aggregates.against(one, new, reference)):
            joined = {name: np.append(reference[name], new[name][:, [place]], axis=1) for name in one.members}
            assert value == combine(one, joined)[-1]


class TestWhatItAsksFor:
    NESTED = aggregates.parse("two_stage(two_stage(params,log_rank(macs,-zen),0.5),rank_sum(zen,meco),0.25)")

    def asked(self, one, scores, *names):
        count = len(scores["params"])
        known = {name: np.full(count, name in names) for name in one.members}
        found = one.asks_for({name: np.where(known[name], scores[name], nan) for name in one.members}, known)
        return {name: np.flatnonzero(mask).tolist() for name, mask in found.items()}

    def test_all_of_a_product(self, rng):
        one = aggregates.parse("log_rank(params,vote(macs,-zen))")
        assert self.asked(one, {name: rng.normal(size=3) for name in one.members}) == {
            name: [0, 1, 2] for name in ("params", "macs", "zen")
        }

    def test_of_stages_what_the_one_before_leaves(self, rng):
        one, scores = self.NESTED, {name: rng.normal(size=20) for name in ("params", "macs", "zen", "meco")}
        everything, order = list(range(20)), np.argsort(scores["params"])
        assert self.asked(one, scores) == {"params": everything}
        half = sorted(order[-10:].tolist())
        assert self.asked(one, scores, "params") == {"params": everything, "macs": half, "zen": half}
        first = expression(str(one.parts[0]), **scores)
        quarter = sorted(np.argsort(first)[-5:].tolist())
        assert self.asked(one, scores, "params", "macs", "zen") == {"params": everything, "macs": half, "zen": half, "meco": quarter}

    def test_ties_at_the_cut_are_asked_for(self):
        scores = {"params": np.array([1.0, 4.0, 4.0, 2.0]), "macs": np.zeros(4)}
        assert self.asked(aggregates.parse("two_stage(params,macs,0.25)"), scores, "params") == {"params": [0, 1, 2, 3], "macs": [1, 2]}


class TestExpressions:
    def test_a_name_in_an_expression_is_what_it_stands_for(self, rng):
        scores = {name: rng.normal(size=20) for name in (*AGGREGATES["vote"].members, "params")}
        found = expression("log_rank(params,vote)", **scores)
        expected = sum(np.log(stats.rankdata(values) / 20) for values in (scores["params"], combine(AGGREGATES["vote"], scores)))
        np.testing.assert_allclose(found, expected)

    def test_a_member_twice_counts_twice(self, rng):
        params, macs = rng.normal(size=(2, 20))
        found = expression("log_rank(params,params,macs)", params=params, macs=macs)
        np.testing.assert_allclose(found, 2 * np.log(stats.rankdata(params) / 20) + np.log(stats.rankdata(macs) / 20))

    def test_a_number_before_a_part_says_how_often_it_counts(self):
        long, short = (aggregates.parse(f"log_rank({text},macs)") for text in ("params,params,-zen,-zen,-zen", "2*params,3*-zen"))
        assert short == long
        assert str(long) == "log_rank(2*params, 3*-zen, macs)"
        assert (
            aggregates.parse("two_stage(params,rank_sum(2*vote(zen,macs),meco),0.5)").parts[1].parts[:2]
            == (aggregates.parse("vote(zen,macs)"),) * 2
        )

    def test_a_minus_turns_a_proxy_around_and_leaves_what_has_no_score_last(self):
        found = expression("rank_sum(-params,macs)", params=[5.0, nan, 1.0, 3.0], macs=[1.0, 2.0, 3.0, nan])
        assert found.tolist() == [2.0 + 2.0, 1.0 + 3.0, 4.0 + 4.0, 3.0 + 1.0]
        assert aggregates.get("rank_sum(-params,macs)").members == ("params", "macs")

    def test_its_text_reads_back(self):
        for text in (*(str(one.combination) for one in AGGREGATES.values()), "two_stage(-params, log_rank(macs, -zen), 0.25)"):
            assert str(aggregates.parse(text)) == text
        for text in ("two_stage(params, params, 0.123456789)", "two_stage(params, macs, 0.00000001)", "two_stage(params, macs, 1)"):
            assert str(aggregates.parse(text)) == text

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("log_rank(", "a name is missing"),
            ("log_rank()", "a name is missing"),
            ("log_rank(params macs)", "a bracket or a comma is missing"),
            ("log_rank(params))", "write it like log_rank"),
            ("log_rank(params,$)", "'$)' cannot be read"),
            ("log_rank(parms)", "Did you mean 'params'"),
            ("mean(params,macs)", "Unknown combination 'mean'"),
            ("log_rank(-vote,macs)", "Unknown proxy behind a minus 'vote'"),
            ("log_rank(--params)", "cannot be read"),
            ("log_rank(params,0.3)", "only two_stage takes a number"),
            ("two_stage(params)", "has 1 members; expected two"),
            ("two_stage(params,macs,1.5)", "the share is 1.5"),
            ("two_stage(params,macs,0)", "the share is 0"),
            ("log_rank(1.5*params,macs)", "a part counts 1.5 times; expected a whole number from 1 to 100"),
            ("log_rank(101*params,macs)", "a part counts 101 times"),
            ("log_rank(0*params,macs)", "a part counts 0 times"),
            ("log_rank(2*,macs)", "a name is missing"),
            ("log_rank(2*3,macs)", "3 stands where a name is expected"),
            ("log_rank(2*2*params,macs)", "2* stands where a name is expected"),
            ("log_rank(" + "9" * 5000 + "*params,macs)", "expected a whole number from 1 to 100"),
            ("2*log_rank(params,macs)", "2* stands where a name is expected"),
            ("two_stage(2*params,0.3)", "a part of two_stage counts once"),
            ("log_rank(params*2)", "a bracket or a comma is missing"),
        ],
    )
    def test_refusals(self, text, words):
        with pytest.raises(ProxyError, match=re.escape(words)):
            aggregates.get(text)


class TestMeanRank:
    def test_one_draw_stays_as_it_is(self):
        assert combinations.mean_rank([np.array([3.0, nan])])[0] == 3.0

    def test_draws_of_other_scales_count_alike(self, rng):
        draws = rng.normal(size=(3, 25))
        found = combinations.mean_rank([draws[0], np.exp(5 * draws[1]), 1e6 * draws[2]])
        np.testing.assert_allclose(found, np.mean([stats.rankdata(draw) for draw in draws], axis=0))

    def test_what_one_draw_lacks_is_last_there(self):
        found = combinations.mean_rank([np.array([1.0, 2.0, nan]), np.array([5.0, nan, nan])])
        assert found[:2].tolist() == [2.5, 2.25]
        assert np.isnan(found[2])


class TestAgainstAReference:
    def test_the_members_of_a_sample_have_the_values_of_one_more_such(self, rng):
        reference = {name: rng.normal(size=30) for name in ("params", "macs")}
        new = {name: rng.normal(size=4) for name in ("params", "macs")}
        one = aggregates.get("log_rank(params,macs)")
        found = aggregates.against(one, new, reference)
        for place in range(4):
            ranks = [stats.rankdata(np.append(reference[name], new[name][place]))[-1] for name in reference]
            assert found[place] == pytest.approx(sum(np.log(rank / 31) for rank in ranks))

    @pytest.mark.parametrize(
        ("new", "reference"),
        [
            ({"params": np.ones(2)}, {"params": np.ones(3), "macs": np.ones(3)}),
            ({"params": np.ones(2), "macs": np.ones(3)}, {"params": np.ones(3), "macs": np.ones(3)}),
            ({"params": np.ones(2), "macs": np.ones(2)}, {"params": np.ones(3)}),
        ],
    )
    def test_what_does_not_fit(self, new, reference):
        with pytest.raises(ProxyError):
            aggregates.against(aggregates.get("log_rank(params,macs)"), new, reference)

    def test_they_do_not_depend_on_each_other(self, rng):
        reference = {name: rng.normal(size=30) for name in AGGREGATES["consensus"].members}
        new = {name: rng.normal(size=5) for name in reference}
        whole = aggregates.against(AGGREGATES["consensus"], new, reference)
        half = aggregates.against(AGGREGATES["consensus"], {name: values[:2] for name, values in new.items()}, reference)
        assert whole[:2].tolist() == half.tolist()
