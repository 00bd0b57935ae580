import dataclasses
import json
import logging
import math
import pickle

import jax
import numpy as np
import pytest
import search_stubs as stubs

from jknas import proxies
from jknas.errors import DataError, ProxyError, SpaceError
from jknas.files.json_text import read_json
from jknas.proxies import NetworkProxy, Outcome
from jknas.scoring.scorer import make_scorer, score_many, score_together, sharing
from jknas.scoring.store import Store
from jknas.spaces.nasbench201.genotype import CellGenotype

SMALL = {"channels": 4, "cells": 1, "batch_size": 4, "seed": 0}


def linear(network, params, wiring, batch, key, *, scale: float = 1.0):
    """A proxy that compiles at once and tells codes apart: NaN for codes that begin with 4, infinite for 2."""
    del network, params, key
    place = jax.numpy.asarray([5.0**edge for edge in range(6)])
    value = scale * (batch.x.mean() * 0 + (wiring.astype(place.dtype) * place).sum())
    value = jax.numpy.where(wiring[0] == 4, jax.numpy.nan, value)
    return jax.numpy.where(wiring[0] == 2, jax.numpy.inf, value)


LINEAR = NetworkProxy(
    name="linear",
    measure=linear,
    summary="a number that follows from the code",
    reference="none",
    cost="nothing",
    settings={"scale": 1.0},
)


@pytest.fixture(scope="module")
def quick():
    """A scorer whose program is trivial; only the weights of the network take time."""
    return make_scorer(LINEAR, stubs.tiny_digits(), stubs.SPACE, **SMALL)


@pytest.fixture(scope="module")
def fifty():
    return stubs.SPACE.sample(np.random.default_rng(1), 50, unique=True)


class TestOneCompile:
    @pytest.mark.slow
    def test_fifty_genotypes_compile_the_scoring_program_once(self, fifty, caplog):
        traces = []

        def counted(*arguments, **settings):
            traces.append(None)
            return proxies.get("mgm").measure(*arguments, **settings)

        proxy = dataclasses.replace(proxies.get("mgm"), measure=counted)
        with jax.log_compiles(), caplog.at_level(logging.WARNING):
            scorer = make_scorer(proxy, stubs.tiny_digits(), stubs.SPACE, **SMALL)
            assert scorer.compile_seconds == 0.0
            list(score_many(scorer, fifty[:1]))
            made = [record.getMessage() for record in caplog.records if "Finished XLA compilation of jit(run)" in record.getMessage()]
            assert len(made) == 1
            assert scorer.compile_seconds > 0.0
            caplog.clear()
            records = [record for record, _ in score_many(scorer, [*fifty, CellGenotype.parse(stubs.DEAD)])]
        assert [record.getMessage() for record in caplog.records if "ompil" in record.getMessage()] == []
        assert len(traces) == 1
        assert len({record.score for record in records}) > 40
        assert records[-1].status == "dead"
        assert all(math.isfinite(record.score) for record in records)


class TestStatuses:
    def test_dead(self, quick):
        assert quick.score(CellGenotype.parse(stubs.DEAD)).status == "dead"

    @pytest.mark.parametrize("first", [4, 2])
    def test_non_finite_is_kept_as_it_is(self, quick, first, tmp_path):
        cell = CellGenotype.from_code([first, 1, 1, 1, 1, 1])
        with Store(tmp_path / "scores") as store:
            ((record, _),) = score_many(quick, [cell], store=store)
            kept = store.get(record.key)
        assert record.status == kept.status == "non_finite"
        assert math.isnan(kept.score) if first == 4 else kept.score == math.inf

    def test_ok(self, quick):
        record = quick.score(CellGenotype.parse(stubs.RESNET))
        assert (record.status, record.score) == ("ok", 3 * 1 + 3 * 25 + 1 * 125 + 1 * 3125)
        assert record.device == "cpu"
        assert record.versions["jax"] == jax.__version__


class TestStore:
    def test_what_is_there_is_not_computed_again(self, quick, fifty, tmp_path):
        with Store(tmp_path / "scores") as store:
            first = list(score_many(quick, fifty[:20], store=store))
            second = list(score_many(quick, fifty, store=store))
        assert [fresh for _, fresh in first] == [True] * 20
        assert [fresh for _, fresh in second] == [False] * 20 + [True] * 30
        assert [(record.key, record.status, record.seconds) for record, _ in second[:20]] == [
            (r.key, r.status, r.seconds) for r, _ in first
        ]

    def test_an_interruption_keeps_what_was_handed_out(self, quick, fifty, tmp_path):
        with Store(tmp_path / "scores") as store:
            running = score_many(quick, fifty, store=store)
            taken = [next(running)[0] for _ in range(7)]
            running.close()
        with Store(tmp_path / "scores") as store:
            assert {record.key for record in store.records()} == {record.key for record in taken}

    def test_a_genotype_given_twice_is_scored_once(self, quick, fifty):
        assert [fresh for _, fresh in score_many(quick, [fifty[0], fifty[0]])] == [True, False]

    @pytest.mark.parametrize("changes", [{"seed": 1}, {"batch_size": 5}, {"scheme": "he_normal"}, {"settings": {"scale": 2.0}}])
    def test_whatever_changes_the_score_changes_the_key(self, quick, changes):
        cell = CellGenotype.parse(stubs.RESNET)
        assert dataclasses.replace(quick, **changes).key(cell) != quick.key(cell)

    def test_settings_in_the_key_are_complete(self, quick):
        settings = read_json(quick.key(CellGenotype.parse(stubs.RESNET)).settings)
        assert settings == {"batch": 4, "scale": 1.0, "scheme": "pytorch"}


def test_a_mended_definition_is_not_answered_from_an_old_store(fifty, tmp_path):
    mended = dataclasses.replace(LINEAR, revision=2, measure=lambda *arguments, **settings: 2 * linear(*arguments, **settings))
    old, new = (make_scorer(proxy, stubs.tiny_digits(), stubs.SPACE, **SMALL) for proxy in (LINEAR, mended))
    cell = CellGenotype.parse(stubs.RESNET)
    with Store(tmp_path / "scores") as store:
        ((before, _),) = score_many(old, [cell], store=store)
        ((after, fresh),) = score_many(new, [cell], store=store)
        assert (fresh, after.score, after.key.revision) == (True, 2 * before.score, 2)
        assert list(score_many(old, [cell], store=store)) == [(before, False)]
        assert list(score_many(new, [cell], store=store)) == [(after, False)]


class TestDeduplication:
    def test_cells_that_compute_the_same_share_a_score(self, quick):
        chain = [CellGenotype.from_code(code) for code in ([3, 0, 0, 0, 1, 0], [0, 3, 0, 0, 0, 1])]
        apart = [record.score for record, _ in score_many(quick, chain)]
        together = list(score_many(quick, chain, deduplicate=True))
        assert apart[0] != apart[1]
        assert together[0][0] == together[1][0]
        assert [fresh for _, fresh in together] == [True, False]
        assert together[0][0].key.genotype == together[0][0].canonical


class TestSizeProxies:
    def test_they_need_no_network(self):
        scorer = make_scorer(proxies.get("params"), stubs.tiny_digits(), stubs.SPACE, channels=16, cells=5)
        record = scorer.score(CellGenotype.parse(stubs.RESNET))
        assert (record.score, record.status, scorer.compile_seconds) == (559_386.0, "ok", 0.0)


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "error", "words"),
        [
            ({"scheme": "he"}, ValueError, "initialisation 'he' is not known; choose one of 'pytorch'"),
            ({"settings": {"scal": 1.0}}, ProxyError, "proxy 'linear' has no setting 'scal'; its settings are: scale=1.0"),
            ({"settings": {"scale": 1}}, ProxyError, "setting scale of proxy 'linear' is a float, got 1"),
            ({"batch_size": 41}, DataError, "a batch of 41 was asked for; the training split holds 40"),
            ({"channels": 0}, ValueError, "channels must be a positive integer, got 0"),
        ],
    )
    def test_settings(self, changes, error, words):
        with pytest.raises(error, match=words):
            make_scorer(LINEAR, stubs.tiny_digits(), stubs.SPACE, **(SMALL | changes))

    def test_what_only_the_proxy_can_refuse(self):
        def refusing(*arguments, **settings):
            raise ValueError("scale must be positive")

        scorer = make_scorer(dataclasses.replace(LINEAR, measure=refusing), stubs.tiny_digits(), stubs.SPACE, **SMALL)
        with pytest.raises(ProxyError, match="proxy 'linear' cannot be computed so: scale must be positive"):
            scorer.score(CellGenotype.parse(stubs.RESNET))

    def test_an_unknown_proxy(self):
        with pytest.raises(ProxyError, match=r"Unknown proxy 'mgn'.*Did you mean 'mgm'"):
            proxies.get("mgn")


def test_a_record_has_a_json_text(quick):
    record = quick.score(CellGenotype.from_code([4, 0, 0, 0, 0, 0]))
    assert json.loads(record.key.settings)["batch"] == 4


# ---- several proxies together


def halved(value):
    return Outcome(float(value) / 2, "ok" if math.isfinite(value) else "non_finite")


def scorers_of(*listed, **options):
    return [make_scorer(proxy, stubs.tiny_digits(), stubs.SPACE, **{**SMALL, **options}) for proxy in listed]


class TestTogether:
    def counting(self):
        traces = []

        def counted(*arguments, **settings):
            traces.append(None)
            return linear(*arguments, **settings)

        whole = dataclasses.replace(LINEAR, measure=counted)
        return traces, whole, dataclasses.replace(whole, name="half", read=halved)

    def test_equal_measurements_are_compiled_and_computed_once(self, fifty):
        traces, whole, half = self.counting()
        scorers = scorers_of(whole, half)
        records = [record for record, fresh in score_together(scorers, fifty[:5]) if fresh]
        assert [record.key.proxy for record in records] == ["linear", "half"] * 5
        assert [str(cell) for cell in fifty[:5] for _ in scorers] == [record.key.genotype for record in records]
        assert len(traces) == 1
        assert (scorers[0].compile_seconds > 0, scorers[1].compile_seconds) == (True, 0.0)
        for one, other in zip(records[::2], records[1::2], strict=True):
            assert other.score == one.score / 2 or not math.isfinite(one.score)
            alone = scorers[1].score(CellGenotype.parse(other.key.genotype))
            assert alone.score == other.score or math.isnan(other.score)

    def test_what_the_store_holds_is_not_computed_again(self, fifty, tmp_path):
        traces, whole, half = self.counting()
        with Store(tmp_path / "scores.sqlite") as store:
            list(score_many(*scorers_of(whole), fifty[:3], store=store))
            found = list(score_together(scorers_of(whole, half), fifty[:3], store=store))
            assert [fresh for _, fresh in found] == [False, True] * 3
            again = scorers_of(whole, half)
            assert not any(fresh for _, fresh in score_together(again, fifty[:3], store=store))
            assert [scorer.compile_seconds for scorer in again] == [0.0, 0.0]
            assert len(traces) == 1, "equal programs are compiled once"

    def test_what_keeps_measurements_apart(self):
        _, whole, half = self.counting()
        together = scorers_of(whole, half)
        other_function = dataclasses.replace(half, measure=linear)
        apart = scorers_of(other_function, half, seed=1) + scorers_of(dataclasses.replace(half, settings={"scale": 2.0}))
        apart += scorers_of(dataclasses.replace(half, precision="float64"), half, batch_size=5) + scorers_of(half, channels=5)
        groups = sharing(together + apart)
        assert [len(group) for group in groups] == [2, *(1 for _ in apart)]
        assert groups[0] == together

    def test_without_architectures_or_scorers(self, fifty):
        assert list(score_together(scorers_of(LINEAR), [])) == []
        assert list(score_together([], fifty)) == []


def test_float64_widens_the_weights_that_float32_draws():
    def first_weight(network, params, wiring, batch, key):
        del network, wiring, key
        leaf = params["stem"][0, 0, 0, 0]
        return {"weight": leaf, "product": leaf * leaf, "image": batch.x[0, 0, 0, 0]}

    narrow = dataclasses.replace(LINEAR, name="weight", measure=first_weight, settings={}, read=lambda found: Outcome(0.0, "ok", found))
    cell = CellGenotype.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    extras = [scorers_of(proxy)[0].score(cell).extras for proxy in (narrow, dataclasses.replace(narrow, precision="float64"))]
    assert [found["product"].dtype for found in extras] == ["float32", "float64"]
    for name in ("weight", "image"):
        assert float(extras[0][name]) == float(extras[1][name])
    assert float(extras[1]["product"]) == float(extras[1]["weight"]) ** 2 != float(extras[0]["product"])


class TestManyScores:
    def test_they_are_read_from_the_store_block_by_block(self, quick, fifty, tmp_path, monkeypatch):
        monkeypatch.setattr("jknas.scoring.scorer._BLOCK", 7)
        alone = [repr(record.score) for record, _ in score_many(quick, fifty)]
        with Store(tmp_path / "scores") as store:
            list(score_many(quick, fifty[10:30], store=store))
            found = list(score_many(quick, [*fifty, *fifty[::-1]], store=store))
            assert len(store) == 50
        assert [repr(record.score) for record, _ in found] == alone + alone[::-1]
        assert [fresh for _, fresh in found] == [True] * 10 + [False] * 20 + [True] * 20 + [False] * 50

    def test_without_a_store_each_is_computed_once(self, quick, fifty, monkeypatch):
        monkeypatch.setattr("jknas.scoring.scorer._BLOCK", 7)
        assert [fresh for _, fresh in score_many(quick, [*fifty, *fifty[::-1]])] == [True] * 50 + [False] * 50


class TestTravel:
    """A scorer can be sent to another process."""

    @pytest.mark.parametrize("name", proxies.names())
    def test_every_proxy_arrives_as_it_was(self, name):
        sent = make_scorer(proxies.get(name), stubs.tiny_digits(), stubs.SPACE, **SMALL | {"batch_size": 8})
        arrived = pickle.loads(pickle.dumps(sent))
        cell = CellGenotype.parse(stubs.RESNET)
        assert (arrived.proxy, arrived.space) == (sent.proxy, sent.space)
        assert arrived.key(cell) == sent.key(cell)
        assert arrived.measurement == sent.measurement

    def test_it_computes_the_same(self, monkeypatch):
        monkeypatch.setitem(proxies.REGISTRY, "linear", LINEAR)
        sent = scorers_of(LINEAR)[0]
        cell = CellGenotype.parse(stubs.RESNET)
        before = sent.score(cell)  # what was compiled stays behind
        assert pickle.loads(pickle.dumps(sent)).score(cell).score == before.score

    def test_what_has_no_name_stays(self, monkeypatch):
        with pytest.raises(ProxyError, match="the proxy 'linear' is not registered: only what has a name can be sent to another process"):
            pickle.dumps(scorers_of(LINEAR)[0])
        monkeypatch.setitem(proxies.REGISTRY, "linear", LINEAR)
        unknown = dataclasses.replace(scorers_of(LINEAR)[0], space=dataclasses.replace(stubs.SPACE, name="mine"))
        with pytest.raises(SpaceError, match="the search space 'mine' is not registered: only what has a name can be sent"):
            pickle.dumps(unknown)
