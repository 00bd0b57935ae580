"""A search whose sample is ranked by several scores: by an aggregate, by several seeds, from a table of scores."""

import dataclasses
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
import search_stubs as stubs
import search_tables as tables
from worker_jobs import Here

from jknas import cli, proxies, spaces
from jknas.errors import ProxyError, SearchError
from jknas.files.json_text import write_json
from jknas.proxies import NetworkProxy, SizeProxy
from jknas.ranking import aggregates
from jknas.ranking.combinations import best_part, mean_rank
from jknas.scoring.score_table import read_scores, write_scores
from jknas.scoring.store import ScoreKey, ScoreRecord, Store, canonical_json
from jknas.search import Budget, as_record, evaluator, measured_in, run
from jknas.search.checkpoint import to_plain
from jknas.search.evaluator import TrainingEvaluator
from jknas.search.methods.best_by_proxy import BestByProxy
from jknas.search.methods.knas import Knas
from jknas.search.methods.mf_nas import MfNas
from jknas.search.methods.proxy_evolution import ProxyEvolution

AGGREGATE = aggregates.get("log_rank(params,macs,conv_count)")


def noisy(network, params, wiring, batch, key, *, scale: float = 1.0):
    """A score that depends on the seed, through the images, and is not finite for codes that begin with 4."""
    del network, params, key
    weights = jnp.arange(1, 7).astype(batch.x.dtype)
    value = scale * ((batch.x.reshape(-1)[:252].reshape(6, 42).sum(1) + weights) @ wiring.astype(batch.x.dtype))
    return jnp.where(wiring[0] == 4, jnp.nan, value)


@pytest.fixture
def counted(monkeypatch):
    proxy = NetworkProxy(
        name="noisy", measure=noisy, summary="noise", reference="none", cost="none", settings={"scale": 1.0}, higher_is_better=False
    )
    monkeypatch.setitem(proxies.REGISTRY, "noisy", proxy)


def values_of(state):
    return np.array([np.nan if candidate.score is None else candidate.score for candidate in state.candidates])


class TestOfSizes:
    """Aggregates of what needs no network, ranked by the real evaluator."""

    def search(self, method, **changes):
        return run(method, stubs.problem(aggregate=AGGREGATE, **changes), budget=Budget(steps=method.samples))

    def test_the_value_is_the_aggregate_of_the_sample(self):
        state = self.search(BestByProxy(samples=25)).state
        problem = stubs.problem()
        live = [not stubs.SPACE.is_dead(candidate.genotype) for candidate in state.candidates]
        count = proxies.get("conv_count").count
        scores = {
            "params": [float(problem.parameters(candidate.genotype)) for candidate in state.candidates],
            "macs": [float(problem.macs(candidate.genotype)) for candidate in state.candidates],
            "conv_count": [float(count(stubs.SPACE, candidate.genotype, None, 8)) for candidate in state.candidates],
        }
        expected = aggregates.combine(AGGREGATE, {name: np.where(live, values, np.nan) for name, values in scores.items()})
        np.testing.assert_allclose(values_of(state), expected)
        assert state.winner == int(np.nanargmax(expected))
        assert [candidate.rank for candidate in state.candidates][state.winner] == 1

    def test_dead_cells_rank_last_and_have_no_value(self):
        space = stubs.SPACE
        candidates = self.search(BestByProxy(samples=200)).state.candidates
        dead = next(place for place, one in enumerate(candidates) if space.is_dead(one.genotype))
        assert candidates[dead].score is None
        assert candidates[dead].status == "dead"
        assert candidates[dead].rank > sum(not space.is_dead(one.genotype) for one in candidates)

    def test_its_record_says_what_ranked(self):
        record = as_record(self.search(BestByProxy(samples=5)))
        assert record["proxy"]["name"] == AGGREGATE.name
        assert record["proxy"]["combination"] == "log_rank(params, macs, conv_count)"
        assert [member["name"] for member in record["proxy"]["members"]] == ["params", "macs", "conv_count"]
        assert record["candidates"][0]["score"] is not None
        json.dumps(record["proxy"])

    @pytest.mark.parametrize(
        "method", [Knas(samples=12, topk=3), ProxyEvolution(samples=12, population=3, evaluations=5)], ids=["knas", "pe"]
    )
    def test_resumed_it_ends_as_unbroken(self, method, monkeypatch, tmp_path):
        monkeypatch.setattr("jknas.search.problem.TrainingEvaluator.train", stubs.Evaluator.train)
        monkeypatch.setattr("jknas.search.problem.TrainingEvaluator.test", stubs.Evaluator.test)
        monkeypatch.setattr("jknas.search.problem.TrainingEvaluator._ask", stubs.Evaluator._ask, raising=False)

        def timeless(result):
            found = json.loads(write_json(to_plain(result.state), "a state"))
            for candidate in found["candidates"]:
                candidate["seconds"] = None
            return found | dict.fromkeys(("score_seconds", "compile_seconds"))

        whole = run(method, stubs.problem(aggregate=AGGREGATE))
        for steps in range(1, whole.steps):
            run(method, stubs.problem(aggregate=AGGREGATE), checkpoint=tmp_path, resume=True, budget=Budget(steps=steps))
        again = run(method, stubs.problem(aggregate=AGGREGATE), checkpoint=tmp_path, resume=True)
        assert timeless(again) == timeless(whole)

    def test_a_climb_needs_a_score_of_its_own(self):
        for changes in ({"aggregate": AGGREGATE}, {"proxy": proxies.get("params"), "score_seeds": 2}):
            with pytest.raises(SearchError, match="explore=local climbs by a score of one architecture"):
                MfNas(samples=8, topk=4, explore="local").init(stubs.problem(**changes))

    def test_refusals(self):
        with pytest.raises(SearchError, match="score_seeds is 0; expected a whole number"):
            stubs.problem(aggregate=AGGREGATE, score_seeds=0)
        with pytest.raises(ProxyError, match="has no setting 'scale'"):
            stubs.problem(aggregate=AGGREGATE, settings={"scale": 2.0})


@pytest.mark.usefixtures("counted")
class TestOfSeeds:
    def test_the_ranks_of_the_seeds_are_averaged(self):
        problem = stubs.problem(proxy=proxies.get("noisy"), score_seeds=3)
        state = run(BestByProxy(samples=15), problem).state
        draws = [
            [part.value if part.status == "ok" else np.nan for part in parts]
            for parts in zip(*(c.parts for c in state.candidates), strict=True)
        ]
        assert len(draws) == 3
        assert len({tuple(draw) for draw in draws}) == 3
        np.testing.assert_allclose(values_of(state), mean_rank([np.array(draw) for draw in draws]))

    def test_less_is_better_in_it_and_parts_are_turned(self):
        single = run(BestByProxy(samples=15), stubs.problem(proxy=proxies.get("noisy"))).state
        pooled = run(BestByProxy(samples=15), stubs.problem(aggregate=aggregates.get("rank_sum(noisy)"))).state
        assert [candidate.rank for candidate in single.candidates] == [candidate.rank for candidate in pooled.candidates]
        assert [one.parts[0].value for one in pooled.candidates if one.parts[0].status == "ok"] == [
            -one.score for one in single.candidates if one.status == "ok"
        ]

    def test_the_store_answers(self, tmp_path):
        method, aggregate = BestByProxy(samples=6), aggregates.get("log_rank(noisy,params)")
        with Store(tmp_path / "scores") as store:
            first = run(method, stubs.problem(aggregate=aggregate, score_seeds=2, store=store)).state
            assert len(store) == 6 * 3  # two seeds of one, and a count
            second = run(method, stubs.problem(aggregate=aggregate, score_seeds=2, store=store)).state
        np.testing.assert_array_equal(values_of(first), values_of(second))
        assert second.score_seconds == second.compile_seconds == 0

    def test_a_setting_reaches_the_members_that_have_it(self):
        problem = stubs.problem(aggregate=aggregates.get("log_rank(noisy,params)"), settings={"scale": 3.0})
        assert [problem.settings_of(member) for member in problem.members] == [{"scale": 3.0}, {}]


@pytest.mark.usefixtures("counted")
class TestTheBestAlone:
    """What orders the best of a sample anew is computed of these alone."""

    METHOD = BestByProxy(samples=20)

    def problem(self, **changes):
        return stubs.problem(aggregate=aggregates.get("two_stage(params,log_rank(noisy,params),0.3)"), seed=1, **changes)

    @pytest.mark.parametrize("seeds", [1, 3])
    def test_the_sample_is_ranked_as_if_all_were_scored(self, seeds):
        state = run(self.METHOD, self.problem(score_seeds=seeds)).state
        everything = run(self.METHOD, stubs.problem(aggregate=aggregates.get("log_rank(params,noisy)"), seed=1, score_seeds=seeds)).state
        sizes, *noise = (
            np.array([part.value if (part := one.parts[place]).status == "ok" else np.nan for one in everything.candidates])
            for place in range(1 + seeds)
        )
        best = best_part(sizes, 0.3)
        assert 6 <= best.sum() < 12
        assert [len(one.parts) for one in state.candidates] == [1 + seeds * bool(one) for one in best]
        expected = aggregates.combine(self.problem().aggregate, {"params": sizes, "noisy": np.stack(noise)})
        np.testing.assert_array_equal(values_of(state), expected)

    @pytest.mark.parametrize("count", [1, 3, 205])  # above 200 a step scores two
    @pytest.mark.parametrize(
        "text",
        [
            "rank_sum(two_stage(params,macs,0.5),two_stage(noisy,conv_count,0.3))",  # the second rounds of the two parts differ
            "two_stage(two_stage(params,log_rank(macs,-noisy),0.4),noisy,0.1)",
            "log_rank(2*two_stage(noisy,params,0.25),macs)",
        ],
    )
    def test_each_is_scored_by_what_it_needs_and_once(self, text, count):
        aggregate = aggregates.get(text)
        state = run(BestByProxy(samples=count), stubs.problem(aggregate=aggregate, seed=1)).state
        every = run(
            BestByProxy(samples=count), stubs.problem(aggregate=aggregates.get("rank_sum(params,macs,noisy,conv_count)"), seed=1)
        ).state
        scores = {
            part.proxy: np.array([one.parts[place].value if one.parts[place].status == "ok" else np.nan for one in every.candidates])
            for place, part in enumerate(every.candidates[0].parts)
        }
        asked = aggregate.combination.asks_for(scores, dict.fromkeys(scores, np.ones(count, bool)))
        for place, one in enumerate(state.candidates):
            assert sorted(part.proxy for part in one.parts) == sorted(name for name, mask in asked.items() if mask[place])
            assert one.lacks == ()
        expected = aggregates.combine(aggregate, scores)
        known = np.array([one.score is not None for one in state.candidates])
        np.testing.assert_array_equal(values_of(state)[known], expected[known])
        assert all(np.isnan(scores["params"][~known]))

    def test_workers_compute_both_rounds(self, monkeypatch):
        pool, alone = Here(), run(self.METHOD, self.problem(score_seeds=2)).state
        here = []
        together = evaluator.score_together
        monkeypatch.setattr(evaluator, "score_together", lambda *given, **more: here.append(more["pool"]) or together(*given, **more))
        found = run(self.METHOD, self.problem(score_seeds=2, pool=pool)).state
        assert [(one.rank, repr(one.parts)) for one in found.candidates] == [(one.rank, repr(one.parts)) for one in alone.candidates]
        assert here == [pool, pool]  # sizes are counted here, the other round is one call
        assert sum(map(len, pool.calls)) == sum(len(one.parts) == 3 for one in found.candidates)  # a job has both seeds

    def test_progress_says_what_is_left_of_a_round(self):
        seen = []
        run(self.METHOD, self.problem(), on_event=lambda event: seen.append((event.completed, event.total)))
        asked = sum(len(one.parts) == 2 for one in run(self.METHOD, self.problem()).state.candidates)
        assert (19, 20) in seen
        assert (20 - asked, 20) in seen[seen.index((19, 20)) :]
        assert seen[-1] == (20, 20)

    def test_on_a_table_everything_is_looked_up_by_rounds(self, scores):
        aggregate = aggregates.get("two_stage(log_rank(synflow,params),jacob_cov,0.2)")
        measured = measured_in(read_scores(scores), space=stubs.SPACE, names=aggregate.members)
        state = run(BestByProxy(samples=60), tables.problem(aggregate=aggregate, measured=measured)).state
        pool = {name: np.array([measured[name][one.genotype] for one in state.candidates]) for name in aggregate.members}
        np.testing.assert_allclose(values_of(state), aggregates.combine(aggregate, pool))
        assert {len(one.parts) for one in state.candidates} == {2, 3}

    def test_resumed_it_ends_as_unbroken(self, tmp_path):
        whole = run(self.METHOD, self.problem())
        for steps in range(1, whole.steps, 4):
            run(self.METHOD, self.problem(), checkpoint=tmp_path, resume=True, budget=Budget(steps=steps))
        again = run(self.METHOD, self.problem(), checkpoint=tmp_path, resume=True)
        ended, unbroken = ([repr((one.score, one.rank, one.parts)) for one in found.state.candidates] for found in (again, whole))
        assert ended == unbroken

    def test_the_store_holds_no_other(self, tmp_path):
        with Store(tmp_path / "scores") as store:
            state = run(self.METHOD, self.problem(store=store)).state
            asked = sum(len(one.parts) == 2 for one in state.candidates)
            assert len(list(store.records(space="nasbench201", proxy="noisy"))) == asked

    def test_workers_are_told_of_both_rounds(self, monkeypatch):
        told = []

        class Waiting(TrainingEvaluator):
            def expect_scores(self, genotypes, members=None):
                told.append((len(genotypes), members))

        monkeypatch.setattr("jknas.search.problem.TrainingEvaluator", Waiting)
        state = run(self.METHOD, self.problem()).state
        asked = sum(len(one.parts) == 2 for one in state.candidates)
        expected = [(left, ("params",)) for left in range(20, 0, -1)] + [(left, ("noisy",)) for left in range(asked, 0, -1)]
        assert told == expected


SIZE = canonical_json({"cells": 1, "channels": 4, "classes": 10, "resolution": 8})


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """A table of made-up scores of the whole space, by two seeds."""
    classes = sorted({stubs.SPACE.canonical(genotype) for genotype in stubs.SPACE.enumerate()})
    records = []
    for proxy, power in (("synflow", 1.0), ("jacob_cov", -1.0)):
        for seed in (0, 1):
            for place, genotype in enumerate(classes):
                key = ScoreKey("nasbench201", str(genotype), proxy, "{}", "digits@0", seed, SIZE)
                status = "dead" if stubs.SPACE.is_dead(genotype) else "ok"
                records.append(ScoreRecord(key, str(genotype), math.sin(place + seed) + power, status, 0.5, device="cpu"))
    path = tmp_path_factory.mktemp("scores") / "scores.csv.gz"
    write_scores(path, records)
    return path


class TestOfATable:
    def test_it_ranks_what_it_samples(self, scores):
        aggregate = aggregates.get("log_rank(synflow,jacob_cov,params)")
        measured = measured_in(read_scores(scores), space=stubs.SPACE, names=aggregate.members)
        state = run(Knas(samples=30, topk=4), tables.problem(aggregate=aggregate, measured=measured)).state
        pool = {name: np.array([measured[name][one.genotype] for one in state.candidates]) for name in aggregate.members}
        np.testing.assert_allclose(values_of(state), aggregates.combine(aggregate, pool))
        assert sorted(state.chosen) == sorted(np.argsort(-values_of(state))[:4].tolist())

    def test_one_of_its_scores(self, scores):
        measured = measured_in(read_scores(scores), space=stubs.SPACE, names=["synflow"], seeds=[1])
        state = run(BestByProxy(samples=30), tables.problem(proxy=proxies.get("synflow"), measured=measured)).state
        best = max(
            state.candidates, key=lambda one: -9 if math.isnan(measured["synflow"][one.genotype]) else measured["synflow"][one.genotype]
        )
        assert state.candidates[state.winner].genotype == best.genotype

    def test_a_count_of_which_less_is_better_is_turned_around(self, scores, monkeypatch):
        table = read_scores(scores)
        more = measured_in(table, space=stubs.SPACE, names=["params"])["params"]
        monkeypatch.setitem(proxies._PROXIES.things, "params", dataclasses.replace(proxies.get("params"), higher_is_better=False))
        less = measured_in(table, space=stubs.SPACE, names=["params"])["params"]
        np.testing.assert_array_equal(list(less.values()), [-value for value in more.values()])

    def test_several_seeds_are_averaged_by_rank(self, scores):
        table = read_scores(scores)
        both = measured_in(table, space=stubs.SPACE, names=["synflow"], seeds=[0, 1])["synflow"]
        lines = table.lines(stubs.SPACE, both)
        expected = mean_rank([table.column("synflow", seed) for seed in (0, 1)])[lines]
        np.testing.assert_array_equal(list(both.values()), expected)

    def test_what_it_lacks(self, scores):
        measured = measured_in(read_scores(scores), space=stubs.SPACE, names=["synflow"])
        with pytest.raises(SearchError, match=r"ranks by params, macs, conv_count, which measured lacks"):
            tables.problem(aggregate=AGGREGATE, measured=measured)

    def test_the_command(self, scores, tmp_path, monkeypatch, capfd):
        monkeypatch.setattr("jknas.tabular.load", lambda folder: tables.Table())
        command = ["search", "--table", "cifar10", "--samples", "20", "--topk", "3", "--scores", str(scores), "--json"]
        assert cli.run([*command, "--proxy", "log_rank(synflow,jacob_cov)", "--out", str(tmp_path / "out")]) == 0
        record = json.loads(capfd.readouterr().out)
        assert record["proxy"] == {"name": "log_rank(synflow,jacob_cov)", "combination": "log_rank(synflow, jacob_cov)"}
        assert record["counts"]["trained"] == 3
        for arguments, words in (
            ([*command, "--proxy", "meco"], "has no scores of meco; it has jacob_cov, synflow"),
            (command, "has no scores of near"),  # the recommended ranking
            ([*command, "--proxy", "synflow,zen"], "--proxy names 2 proxies; a search ranks by one, or by a combination such as"),
            ([*command, "--proxy", "synflow", "--seeds", "2"], "--seeds does not apply with --table"),
            (["search", "--scores", str(scores)], "--scores only says by what a search with --table ranks"),
        ):
            assert cli.run([*arguments, "--out", str(tmp_path / "refused")]) == 2
            assert words in capfd.readouterr().err
        assert not (tmp_path / "refused").exists()


class TestTheUsualRanking:
    def test_it_is_the_consensus_where_the_network_has_what_it_needs(self):
        from jknas.command_line.search_ranking import ranking_named

        assert ranking_named(None, spaces.get("nasbench201"), Knas).name == "consensus"

    def test_elsewhere_it_is_what_every_network_has(self):
        import own_space

        from jknas.command_line.search_ranking import ranking_named

        assert ranking_named(None, own_space.SPACE, Knas).name == "mgm"


def test_a_size_proxy_is_counted_once_whatever_the_seeds(monkeypatch):
    asked = []
    proxy = SizeProxy(
        name="params", count=lambda space, genotype, network, resolution: asked.append(1) or 1.0, summary="s", reference="r", cost="none"
    )
    monkeypatch.setitem(proxies.REGISTRY, "params", proxy)
    run(BestByProxy(samples=4), stubs.problem(aggregate=aggregates.get("rank_sum(params)"), score_seeds=3))
    assert len(asked) == 4
