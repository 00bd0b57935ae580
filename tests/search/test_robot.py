"""RoBoT: what its proposals rank first is trained, once each, and what is left of the queries follows the best of them."""

import functools
import itertools
import math

import numpy as np
import pytest
import search_stubs as stubs
import search_tables as tables

from jknas import search, tabular
from jknas.errors import SearchError
from jknas.files.json_text import write_json
from jknas.search import run
from jknas.search.methods.knas import Knas
from jknas.search.methods.robot import PUBLISHED, Mixture, Robot, scaled
from jknas.spaces.nasbench201.index import published_order

POOL = stubs.SPACE.sample(np.random.default_rng(3), 60, unique=True)


def accuracy(genotype):
    """What the made-up table says after twelve epochs."""
    return 10 + 4 * sum(name == "nor_conv_3x3" for name in genotype.operations)


def noise(name):
    return {genotype: stubs.number(name + str(genotype)) for genotype in POOL}


def slow_mixture(measured, names, weights):
    """The mixture of every genotype, number by number."""
    mixed = dict.fromkeys(measured[names[0]], 0.0)
    for name, weight in zip(names, weights, strict=True):
        known = [score for score in measured[name].values() if not math.isnan(score)]
        for genotype, score in measured[name].items():
            if not math.isnan(score):
                mixed[genotype] += weight * (score - min(known)) / (max(known) - min(known))
    return mixed


class TestMixture:
    def test_scores_are_scaled_and_gaps_are_nought(self):
        np.testing.assert_allclose(scaled(np.array([-2.0, np.nan, 6.0, 0.0])), [0, 0, 1, 0.25])
        np.testing.assert_array_equal(scaled(np.array([3.0, 3.0, np.nan])), [0, 0, 0])
        np.testing.assert_array_equal(scaled(np.full(2, np.nan)), [0, 0])

    def test_it_is_the_slow_sum(self):
        measured = stubs.measured()
        for weights in itertools.product((-1.0, -0.3, 0.0, 0.7), (-0.9, 0.4)):
            slow = slow_mixture(measured, ("one", "two"), weights)
            mixture = Mixture(measured, ("one", "two"))
            np.testing.assert_allclose(np.asarray(weights) @ mixture.scaled, list(slow.values()), rtol=1e-12)
            assert mixture.first(weights) == max(slow, key=slow.get)
            known = set(sorted(slow, key=slow.get, reverse=True)[:4])
            assert mixture.first(weights, known) == max(slow.keys() - known, key=slow.get)

    def test_equals_go_to_the_one_listed_first(self):
        listed = [stubs.SPACE.from_code([digit] * 6) for digit in (2, 4, 1, 3)]
        mixture = Mixture({"flat": dict(zip(listed, (1.0, 7.0, 7.0, 7.0), strict=True))}, ("flat",))
        assert mixture.first((1.0,)) == listed[1]
        assert mixture.first((1.0,), {listed[1]}) == listed[2]


class TestSearch:
    @pytest.mark.parametrize("seed", range(3))
    def test_queries_are_what_the_proposals_and_then_the_best_of_them_rank_first(self, seed):
        measured = {"good": {one: accuracy(one) + stubs.number(str(one)) for one in POOL}, "noise": noise("a")}
        state = run(Robot(queries=8), tables.problem(seed=seed, measured=measured)).state
        queried = [state.candidates[place].genotype for place in state.chosen]
        assert len(queried) == len(set(queried)) == 8
        assert len(state.trials) == 8
        seen = []
        for trial in state.trials:  # each looked at what its weights rank first
            mixed = slow_mixture(measured, ("good", "noise"), trial.weights)
            assert state.candidates[trial.place].genotype == max(mixed, key=mixed.get)
            assert all(-1 <= weight <= 1 for weight in trial.weights)
            seen += [] if trial.place in seen else [trial.place]
        assert seen == list(state.chosen[: len(seen)])
        value = lambda trial: state.candidates[trial.place].training.validation_accuracy  # noqa: E731
        last_best = [trial for trial in state.trials if value(trial) == max(map(value, state.trials))][-1]
        mixed = slow_mixture(measured, ("good", "noise"), last_best.weights)
        left = sorted((one for one in mixed if one not in queried[: len(seen)]), key=mixed.get, reverse=True)
        assert queried[len(seen) :] == left[: 8 - len(seen)]
        assert state.winner == max(state.chosen, key=lambda place: state.candidates[place].training.validation_accuracy)

    def test_it_learns_which_score_to_trust_and_its_sign(self):
        misleading = {one: -float(accuracy(one)) + 0.1 * stubs.number(str(one)) for one in POOL}
        measured = {"misleading": misleading, **{name: noise(name) for name in "ab"}}
        best = max(map(accuracy, POOL))
        found = [run(Robot(queries=8), tables.problem(seed=seed, measured=measured)) for seed in range(2)]
        assert [100 * one.winner.training.validation_accuracy for one in found] == [best] * 2
        assert all(one.method.report(one.problem, one.state)["mixture"]["weights"][-1] < 0 for one in found)  # names are sorted

    def test_one_score_has_two_first_cells_and_the_rest_of_the_queries_follow_the_better(self):
        measured = {"good": {one: accuracy(one) + stubs.number(str(one)) for one in POOL}}
        result = run(Robot(queries=6), tables.problem(measured=measured))
        ordered = sorted(POOL, key=measured["good"].get, reverse=True)
        assert {one.genotype for one in result.state.candidates} <= {*ordered[:6], ordered[-1]}
        assert result.winner.genotype in ordered[:2]
        assert len({trial.place for trial in result.state.trials}) <= 2

    def test_a_diverged_query_teaches_as_the_worst(self, monkeypatch):
        measured = {"good": {one: accuracy(one) + stubs.number(str(one)) for one in POOL}}
        first = max(measured["good"], key=measured["good"].get)
        from jknas.search import problem as search_problem

        monkeypatch.setattr(stubs.Evaluator, "diverging", (str(first),))
        monkeypatch.setattr(stubs.Evaluator, "accuracies", {str(first): 1.0})
        monkeypatch.setattr(search_problem, "TrainingEvaluator", stubs.Evaluator)
        result = run(Robot(queries=4), stubs.problem(measured=measured))
        assert result.winner.genotype != first
        assert result.method.report(result.problem, result.state)["mixture"]["weights"][0] < 0

    def test_all_of_a_small_pool(self):
        few = {name: {one: scores[one] for one in POOL[:3]} for name, scores in {"a": noise("a"), "b": noise("b")}.items()}
        result = run(Robot(queries=3), tables.problem(measured=few))
        assert {one.genotype for one in result.state.candidates} == set(POOL[:3])


class TestMembers:
    @staticmethod
    def proxies(method, names):
        problem = tables.problem(measured={name: noise(name) for name in names})
        return method.report(problem, method.init(problem))["mixture"]["proxies"]

    def test_the_published_six_are_the_default_where_all_are_measured(self):
        assert self.proxies(Robot(), [*PUBLISHED, "params"]) == list(PUBLISHED)
        assert self.proxies(Robot(), [*PUBLISHED[1:], "params"]) == sorted([*PUBLISHED[1:], "params"])
        assert self.proxies(Robot(members="params, snip"), [*PUBLISHED, "params"]) == ["params", "snip"]

    @pytest.mark.parametrize(
        ("method", "measured", "words"),
        [
            (Robot(), None, r"robot mixes the scores of several proxies, and the problem has none: search with --table.*measured=\{proxy:"),
            (Robot(members="params,c"), {"params": noise("p")}, "Unknown measured proxy 'c'; expected one of params"),
            (Robot(members="a,a"), {"a": noise("a")}, "members is 'a,a'; expected each proxy once"),
            (Robot(queries=61), {"a": noise("a")}, "queries is 61, and the scores are those of 60 architectures: choose 1..60"),
        ],
    )
    def test_refusals(self, method, measured, words):
        with pytest.raises(SearchError, match=words):
            run(method, tables.problem(measured=measured))

    def test_a_number_of_queries(self):
        with pytest.raises(SearchError, match="queries is 0; expected a whole number, 1 or more"):
            Robot(queries=0)

    def test_without_the_optimiser(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "bayes_opt", None)
        with pytest.raises(SearchError, match=r"robot needs bayesian-optimization, which is not installed: pip install 'jknas\[robot\]'"):
            run(Robot(), tables.problem(measured={"a": noise("a")}))


class TestMeasured:
    @pytest.mark.parametrize("make", [tables.problem, stubs.problem])
    @pytest.mark.parametrize(
        ("measured", "words"),
        [
            ({}, "measured holds no scores: give it those of one proxy or more"),
            ({"a": {}}, "measured holds no scores"),
            ({"a": {POOL[0]: 1.0, POOL[1]: 2.0}, "b": {POOL[0]: 1.0}}, "holds 2 architectures of a, 1 of b, and 1 of one alone: score one"),
            ({"a": {POOL[0]: math.inf}}, "measured: 1 scores of a are infinite; expected NaN"),
        ],
    )
    def test_refusals(self, make, measured, words):
        with pytest.raises(SearchError, match=words):
            make(measured=measured)

    @pytest.mark.parametrize("make", [tables.problem, stubs.problem])
    def test_it_is_part_of_what_a_search_is(self, make):
        scores = noise("a")
        turned = dict(reversed(scores.items()))
        other = {**scores, POOL[0]: 0.5}
        kinds = [None, {"a": scores}, {"b": scores}, {"a": turned}, {"a": other}, {"a": scores, "b": scores}]
        texts = {write_json(make(measured=measured).identity(), "") for measured in kinds}
        assert len(texts) == len(kinds)
        assert "measured" not in make(measured=None).identity()


@functools.cache
def sizes():
    """Parameters of the embedded table, in the published order; dead cells have no score, and rank last."""
    table = tabular.load()
    return {one: math.nan if stubs.SPACE.is_dead(one) else float(table.parameters(one, dataset="cifar10")) for one in published_order()}


def test_twenty_queries_of_the_embedded_table_and_their_cost():
    table = tabular.load()
    macs = {one: math.nan if math.isnan(size) else table.macs(one, dataset="cifar10") for one, size in sizes().items()}
    problem = search.TableProblem(table=table, dataset="cifar10", seed=10, measured={"params": sizes(), "macs": macs})
    state = run(Robot(), problem).state
    queried = {state.candidates[place].genotype for place in state.chosen}
    assert len(queried) == len(state.chosen) == 20
    on = {"dataset": "cifar10-valid"}
    twelve = [table.seconds(one, **on, epochs=12) + table.validation_seconds(one, **on) for one in queried]
    assert state.train_seconds == pytest.approx(sum(twelve))


def test_the_largest_twenty_hold_the_best_that_robot_publishes():
    table, listed = tabular.load(), sizes()
    largest = sorted((one for one in listed if not stubs.SPACE.is_dead(one)), key=listed.get, reverse=True)[:20]
    problem = search.TableProblem(table=table, dataset="cifar10", seed=0, scores=tables.scores(largest, listed.get))
    result = run(Knas(samples=20, topk=20), problem)
    reports = [protocol.reports for protocol in tabular.PROTOCOLS.values()]
    found = [table.accuracy(result.winner.genotype, **one._asdict(), seeds="mean").mean for one in reports]
    assert np.round(found, 2).tolist() == [94.36, 73.51, 46.34]
    assert len(result.state.chosen) == 20
