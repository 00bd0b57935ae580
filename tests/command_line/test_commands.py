import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import search_stubs as stubs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jknas import proxies, spaces
from jknas.command_line import options
from jknas.proxies import NetworkProxy, SizeProxy
from jknas.scoring.store import Store
from jknas.search import problem as search_problem

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TINY = ["--channels", "4", "--cells", "1", "--resolution", "8", "--limit", "40,20"]


def constant(network, params, wiring, batch, key, *, scale: float = 1.0):
    """Compile at once; NaN for codes that begin with 4."""
    del network, params, batch, key
    return jax.numpy.where(wiring[0] == 4, jax.numpy.nan, scale * wiring.sum().astype(float))


def quick(measure):
    """A proxy of four examples with a setting."""
    return NetworkProxy(name="quick", measure=measure, summary="sum", reference="none", cost="none", batch_size=4, settings={"scale": 1.0})


class Run:
    """Run a command line in this process."""

    def __init__(self, call):
        self._call = call

    def __call__(self, *arguments):
        return self._call(*arguments)

    def json(self, *arguments):
        code, out, err = self(*arguments, "--json")
        assert (code, err) == (0, ""), (code, err)
        return [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]

    def refused(self, *arguments):
        """Return the one line of a refusal."""
        code, out, err = self(*arguments)
        assert code == 2, (code, out, err)
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        assert err.startswith("error: ")
        return err


@pytest.fixture
def run(run):
    return Run(run)


@pytest.fixture
def quick_proxy(monkeypatch):
    monkeypatch.setitem(proxies.REGISTRY, "quick", quick(constant))
    return "quick"


@pytest.fixture
def made_up(monkeypatch):
    """Search with made-up scores and trainings."""
    for name, value in {"scores": {}, "accuracies": {}, "diverging": (), "asked": [], "fail_at": None}.items():
        monkeypatch.setattr(stubs.Evaluator, name, value)
    monkeypatch.setattr(search_problem, "TrainingEvaluator", stubs.Evaluator)
    return stubs.Evaluator


class TestShow:
    def test_facts(self, run):
        (facts,) = run.json("show", stubs.RESNET)
        assert (facts["genotype"], facts["index"], facts["parameters"], facts["macs"]) == (stubs.RESNET, 11472, 559_386, 78_561_930)
        assert facts["dead"] is False

    def test_an_index_and_a_name_are_the_same_cell(self, run):
        assert run.json("show", "#11472") == run.json("show", "resnet") == run.json("show", stubs.RESNET)

    def test_a_darts_genotype(self, run, tmp_path):
        arguments = ("--space", "darts", "--channels", "36", "--cells", "20", "--out", tmp_path / "cells.svg")
        (facts,) = run.json("show", "DARTS_V2", *arguments)
        assert (facts["parameters"], facts["macs"], facts["dead"]) == (3_349_342, 528_359_040, False)
        assert "index" not in facts
        assert facts["genotype"] in (tmp_path / "cells.svg").read_text()
        assert run.json("show", facts["genotype"], "--space", "darts")[0]["network"]["cells"] == 8

    @pytest.mark.parametrize("name", ["cell.svg", "cell.png"])
    def test_a_drawing(self, run, tmp_path, name):
        run.json("show", "resnet", "--out", tmp_path / name)
        assert (tmp_path / name).read_bytes()[:4] in (b"<?xm", b"\x89PNG")

    def test_the_table_is_not_cut(self, run):
        code, out, _ = run("show", "resnet")
        assert code == 0
        assert stubs.RESNET in out

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["#15625"], "No cell has the index 15625"),
            (["#x"], "is no index; expected # and a whole number"),
            (["resnett"], "no cell is called 'resnett'; expected one of resnet"),
            ([""], "empty string"),
            (["|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|"], "Unknown operation 'conv' on edge 1<-0"),
            (["resnet", "--out", "cell.pdf"], "must end in .svg or .png"),
            (["resnet", "--space", "dart"], "Unknown search space 'dart'"),
            (["resnet", "--space", "darts"], "no cell is called 'resnet'; expected one of DARTS_V1, DARTS_V2"),
            (["#3", "--space", "darts"], "the space 'darts' has no published index; expected one of DARTS_V1"),
            (["Genotype(normal=[])", "--space", "darts"], "expected the fields normal, normal_concat, reduce, reduce_concat, found normal"),
            (["resnet", "--channels", "0"], "--channels"),
            (["resnet", "--chanels", "4"], "--chanels"),
            ([], "ARCH"),
        ],
    )
    def test_refusals(self, run, arguments, words):
        assert words in run.refused("show", *arguments)

    @settings(QUICK, max_examples=20)
    @given(text=st.text(max_size=60).filter(lambda text: not text.startswith("-")))
    def test_any_text_is_refused_in_one_line(self, run, text):
        assert len(run.refused("show", text)) > 20

    @QUICK
    @given(data=st.data())
    def test_a_string_with_one_character_changed(self, run, data):
        place = data.draw(st.integers(0, len(stubs.RESNET) - 1))
        text = stubs.RESNET[:place] + data.draw(st.sampled_from("|~+0123x")) + stubs.RESNET[place + 1 :]
        if text != stubs.RESNET:
            assert "error: " in run.refused("show", text)


class TestScore:
    def test_one_json_object_a_line(self, run):
        lines = run.json("score", "--space", "nasbench201", "--proxy", "params,macs", "--arch", stubs.RESNET, "--arch", "#3")
        assert [line["proxy"] for line in lines] == ["params", "params", "macs", "macs"]
        assert {"genotype", "proxy", "score", "status", "seconds", "canonical"} <= lines[0].keys()
        assert (lines[0]["genotype"], lines[0]["score"], lines[0]["status"]) == (stubs.RESNET, 559_386.0, "ok")

    def test_a_network_proxy_with_settings(self, run, quick_proxy):
        cells = ["--arch", stubs.RESNET, "--arch", "|avg_pool_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|", "--arch", stubs.DEAD]
        lines = run.json("score", "--proxy", quick_proxy, "--set", "scale=2", *cells, *TINY)
        assert [line["score"] for line in lines] == [16.0, "nan", 0.0]
        assert [line["status"] for line in lines] == ["ok", "non_finite", "dead"]
        assert lines[0]["settings"] == {"batch": 4, "scale": 2.0, "scheme": "pytorch"}

    def test_a_status_and_extras_of_the_proxy_are_passed_on(self, run, monkeypatch, tmp_path):
        def finish(found):
            return proxies.Outcome(math.inf, "saturated", {"lambda_min": 0.0, "of": int(found)})

        monkeypatch.setitem(proxies.REGISTRY, "quick", dataclasses.replace(quick(constant), read=finish))
        command = ["score", "--proxy", "quick", "--arch", stubs.RESNET, "--db", tmp_path / "scores", *TINY]
        for fresh in (True, False):
            (line,) = run.json(*command)
            assert (line["score"], line["status"], line["extras"]) == ("inf", "saturated", {"lambda_min": 0.0, "of": 8})
            assert line["fresh"] is fresh
        assert "1 scores: 0 computed, 1 known already; 1 saturated" in run(*command)[1]

    def test_the_help_names_every_proxy(self, run):
        assert tuple(options.PROXY_NAMES.split(", ")) == proxies.names()
        assert "ntk_condition" in run("score", "--help")[1].replace("\n", "")

    def test_compilation_is_announced_where_something_is_compiled(self, run, monkeypatch, tmp_path):
        def unseen(network, params, wiring, batch, key, *, scale: float = 1.0):  # no other test has compiled it
            return constant(network, params, wiring, batch, key, scale=scale)

        monkeypatch.setitem(proxies.REGISTRY, "quick", quick(unseen))
        command = ["score", "--proxy", "quick", "--arch", stubs.RESNET, "--db", tmp_path / "scores", *TINY]
        assert run(*command)[2] == "quick: compiling the scoring program\n"
        assert run(*command)[2] == ""  # the score is in the store
        assert run(*command, "--arch", stubs.DEAD)[2] == ""  # the program is there
        assert run(*command, "--set", "scale=2")[2] == "quick: compiling the scoring program\n"

    def test_a_file(self, run, tmp_path):
        (tmp_path / "archs").write_text(f"# two cells\n{stubs.RESNET}  # residual\n\n{stubs.DEAD}\n")
        lines = run.json("score", "--proxy", "params", "--archs", tmp_path / "archs")
        assert [(line["genotype"], line["status"]) for line in lines] == [(stubs.RESNET, "ok"), (stubs.DEAD, "dead")]

    def test_darts_genotypes_by_name_and_from_a_file(self, run, quick_proxy, tmp_path):
        space = spaces.get("darts")
        drawn = space.sample(np.random.default_rng(0), 2)
        (tmp_path / "archs").write_text(f'"{drawn[0]}"\n{drawn[1]}  # quotes or none\n')
        command = ["score", "--space", "darts", "--proxy", f"{quick_proxy},params", "--arch", "DARTS_V2", "--archs", tmp_path / "archs"]
        lines = run.json(*command, *TINY)
        expected = [space.named["DARTS_V2"], *drawn]
        assert [line["genotype"] for line in lines] == [str(genotype) for genotype in expected] * 2
        assert [line["score"] for line in lines[:3]] == ["nan" if genotype.code[0] == 4 else sum(genotype.code) for genotype in expected]
        assert [line["score"] for line in lines[3:]] == [space.parameters(genotype, channels=4, cells=1) for genotype in expected]
        assert lines[0]["network"] == {"cells": 1, "channels": 4, "classes": 10, "resolution": 8}

    def test_the_space_says_how_many_cells_are_usual(self, run):
        for space, cells in (("nasbench201", 5), ("darts", 8)):
            (line,) = run.json("score", "--space", space, "--proxy", "params", "--sample", 1)
            assert line["network"]["cells"] == cells

    def test_a_sample_is_that_of_its_seed(self, run):
        one, two, other = (run.json("score", "--proxy", "params", "--sample", 5, "--seed", seed) for seed in (3, 3, 4))
        assert len({line["genotype"] for line in one}) == 5
        assert [line["genotype"] for line in one] == [line["genotype"] for line in two] != [line["genotype"] for line in other]

    def test_duplicates(self, run):
        lines = run.json("score", "--proxy", "params", "--arch", "resnet", "--arch", stubs.RESNET, "--dedup")
        assert [line["genotype"] for line in lines] == [lines[0]["canonical"]]

    def test_the_store_is_read_first(self, run, tmp_path):
        first = run.json("score", "--proxy", "params", "--sample", 5, "--db", tmp_path / "scores")
        again = run.json("score", "--proxy", "params", "--sample", 8, "--db", tmp_path / "scores", "--out", tmp_path / "lines")
        assert [line["fresh"] for line in first] == [True] * 5
        assert sum(line["fresh"] for line in again) == 8 - len({line["genotype"] for line in first} & {line["genotype"] for line in again})
        assert [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()] == again

    def test_a_report(self, run):
        code, out, err = run("score", "--proxy", "params", "--arch", "resnet", "--arch", stubs.DEAD)
        assert (code, err) == (0, "")
        assert "559386" in out
        assert "2 scores: 2 computed, 0 known already; 1 dead" in out

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "no architecture is chosen; give --arch STRING"),
            (["--sample", "0"], "--sample is 0; expected 1 or more"),
            (["--sample", "15626"], "15626 unique cells asked for, and the space has 15625"),
            (["--sample", "2", "--all"], "--sample and --all exclude each other"),
            (["--space", "darts", "--all"], "the space 'darts' has 1,076,746,950,455,072,400 architectures; draw some of them"),
            (
                ["--space", "darts", "--sample", "1", "--proxy", "mgm,mgm_released"],
                "proxy 'mgm_released' needs the capability 'torch_order', which DartsNetwork lacks",
            ),
            (["--arch", "resnet", "--proxy", "mgn"], "Unknown proxy 'mgn'; expected one of"),
            (["--arch", "resnet", "--proxy", ","], "no proxy is named; choose among"),
            (["--arch", "resnet", "--set", "objective"], "expected NAME=VALUE"),
            (["--arch", "resnet", "--set", "objectiv=loss"], "has no setting 'objectiv'; its settings are: objective='loss'"),
            (["--arch", "resnet", "--proxy", "mgm_layerwise", "--set", "samples=x"], "--set samples=x: expected a whole number"),
            (["--arch", "resnet", "--proxy", "mgm_released", "--set", "aliased=2"], "--set aliased=2: expected true or false"),
            (["--arch", "resnet", "--init", "he"], "initialisation 'he' is not known"),
            (["--arch", "resnet", "--data", "mnist"], "unknown data set 'mnist'"),
            (["--arch", "resnet", "--data", "nowhere.npz"], "no such file"),
            (["--arch", "resnet", "--limit", "5"], "expected two whole numbers, N_TRAIN,N_TEST"),
            (["--arch", "resnet", "--batch", "1001"], "a batch of 1001 was asked for"),
            (["--arch", "resnet", "--resolution", "10"], "images of 10x10 pixels; expected a multiple of 4"),
            (["--arch", "resnet", "--seed", "-1"], "--seed"),
            (["--arch", "resnet", "--out", "no/such/folder/lines"], "cannot be written"),
            (["--archs", "no_such_file"], "cannot be read"),
            (["--arch", "resnet", "--compile-cache", "/dev/null/x"], "cannot be made"),
        ],
    )
    def test_refusals(self, run, arguments, words):
        assert words in run.refused("score", *arguments)

    def test_what_only_the_proxy_can_refuse(self, run):
        code, _, err = run("score", "--arch", "resnet", *TINY, "--batch", 4, "--set", "objective=hinge")
        assert code == 2
        assert err.splitlines()[-1].startswith("error: proxy 'mgm' cannot be computed so: objective='hinge' is not known")
        assert "Traceback" not in err

    def test_a_refusal_leaves_an_older_file_of_scores_alone(self, run, tmp_path):
        (tmp_path / "lines").write_text("older scores")
        run.refused("score", "--arch", "resnet", "--data", "mnist", "--out", tmp_path / "lines")
        assert (tmp_path / "lines").read_text() == "older scores"

    @pytest.mark.parametrize(
        ("content", "words"),
        [(b"", "holds no architecture"), (b"# nothing\n\n", "holds no architecture"), (b"\xff\xfe", "is no UTF-8 text")],
    )
    def test_files_without_architectures(self, run, tmp_path, content, words):
        (tmp_path / "archs").write_bytes(content)
        assert words in run.refused("score", "--archs", tmp_path / "archs")

    def test_a_bad_line_is_named(self, run, tmp_path):
        (tmp_path / "archs").write_text(f"{stubs.RESNET}\n|x~0|\n")
        assert "archs, line 2: Cannot read the genotype '|x~0|'" in run.refused("score", "--archs", tmp_path / "archs")

    @QUICK
    @given(content=st.binary(min_size=1, max_size=300).filter(lambda content: content.partition(b"#")[0].strip()))
    def test_any_file_is_refused_in_one_line(self, run, tmp_path, content):
        (tmp_path / "any").write_bytes(content)
        assert "any" in run.refused("score", "--archs", tmp_path / "any")

    @settings(QUICK, max_examples=8)
    @given(data=st.data())
    def test_a_damaged_store_is_refused_and_left_alone(self, run, tmp_path, data):
        path = tmp_path / f"{time.monotonic_ns()}.sqlite"
        run.json("score", "--proxy", "params", "--sample", 5, "--db", path)
        path.write_bytes(path.read_bytes()[: data.draw(st.integers(1, path.stat().st_size - 1))])
        before = path.read_bytes()
        assert "damaged" in run.refused("score", "--proxy", "params", "--arch", "resnet", "--db", path)
        assert path.read_bytes() == before

    def test_a_store_that_is_none(self, run, tmp_path):
        (tmp_path / "notes.txt").write_text("x" * 4096)
        assert "no score store" in run.refused("score", "--proxy", "params", "--arch", "resnet", "--db", tmp_path / "notes.txt")
        assert (tmp_path / "notes.txt").read_text() == "x" * 4096

    def test_an_interruption_says_how_to_go_on(self, run, tmp_path, monkeypatch):
        def interrupted(space, genotype, network, resolution):
            if str(genotype) == stubs.DEAD:
                raise KeyboardInterrupt
            return 1

        monkeypatch.setitem(proxies.REGISTRY, "params", SizeProxy(name="params", count=interrupted, summary="", reference="", cost=""))
        code, _, err = run("score", "--proxy", "params", "--arch", "resnet", "--arch", stubs.DEAD, "--db", tmp_path / "scores")
        assert code == 130
        assert "run the same command again" in err
        with Store(tmp_path / "scores") as store:
            assert [record.key.genotype for record in store.records()] == [stubs.RESNET]

    def test_an_unexpected_failure_is_no_bad_input(self, run, monkeypatch):
        def broken(space, genotype, network, resolution):
            raise RuntimeError("broken")

        monkeypatch.setitem(proxies.REGISTRY, "params", SizeProxy(name="params", count=broken, summary="", reference="", cost=""))
        code, _, err = run("score", "--proxy", "params", "--arch", "resnet")
        assert code == 1
        assert "RuntimeError: broken" in err

    def test_kill_9_keeps_the_scores(self, tmp_path):
        path = tmp_path / "scores"
        command = [sys.executable, "-m", "jknas.cli", "score", "--proxy", "macs", "--sample", "3000", "--json", "--db", str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})
        seen = [json.loads(process.stdout.readline()) for _ in range(30)]
        process.send_signal(signal.SIGKILL)
        seen += [json.loads(line) for line in process.stdout.read().splitlines() if line.endswith("}")]
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        with Store(path) as store:
            kept = {record.key.genotype: record.score for record in store.records()}
        assert len(seen) < 3000
        assert {line["genotype"]: line["score"] for line in seen}.items() <= kept.items()
        assert len(kept) <= len(seen) + 1


SEARCH = ["search", "--method", "knas", "--space", "nasbench201", "--data", "digits", "--samples", "6", "--topk", "3", "--epochs", "2"]


class TestSearch:
    def test_what_it_writes(self, run, made_up, tmp_path):
        (record,) = run.json(*SEARCH, *TINY, "--batch", 4, "--seed", "0", "--out", tmp_path / "out")
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert {"result.json", "cell.svg", "cell.png", "scores.sqlite", "checkpoint"} <= names
        assert json.loads((tmp_path / "out" / "result.json").read_text()) == record
        assert {
            "method",
            "genotype",
            "test_accuracy",
            "validation_accuracy",
            "seconds",
            "device",
            "versions",
            "candidates",
        } <= record.keys()
        assert (record["method"], record["seed"], record["complete"], len(record["candidates"])) == ("knas", 0, True, 6)
        assert record["network"] == {"channels": 4, "cells": 1, "classes": 10, "input_channels": 3, "resolution": 8, "init": "pytorch"}

    def test_on_the_digits_knas_takes_a_minute_unless_told_otherwise(self, run, made_up, tmp_path):
        (quick,) = run.json("search", "--samples", 6, *TINY, "--batch", 4, "--out", tmp_path / "quick")
        assert (quick["counts"]["trained"], quick["recipe"]["epochs"]) == (5, 12)
        (told,) = run.json("search", "--samples", 6, "--topk", 2, *TINY, "--batch", 4, "--out", tmp_path / "told")
        assert (told["counts"]["trained"], told["recipe"]["epochs"]) == (2, 20)

    def test_interrupted_and_resumed(self, run, made_up, tmp_path):
        (whole,) = run.json(*SEARCH, *TINY, "--batch", 4, "--out", tmp_path / "whole")
        made_up.asked.clear()
        made_up.fail_at = 8
        code, out, err = run(*SEARCH, *TINY, "--batch", 4, "--out", tmp_path / "part")
        assert (code, out) == (130, "")
        assert "interrupted; go on with the same command and --resume" in err
        assert "already holds a search" in run.refused(*SEARCH, *TINY, "--batch", 4, "--out", tmp_path / "part")
        made_up.fail_at = None
        (resumed,) = run.json(*SEARCH, *TINY, "--batch", 4, "--out", tmp_path / "part", "--resume")
        assert {**resumed, "seconds": 0} == {**whole, "seconds": 0}

    def test_a_budget(self, run, made_up, tmp_path):
        code, out, _ = run(*SEARCH, *TINY, "--batch", 4, "--out", tmp_path, "--max-steps", 2)
        assert code == 0
        assert "the budget was spent before the search was complete" in out
        assert json.loads((tmp_path / "result.json").read_text())["genotype"] is None

    def test_the_summary_is_honest(self, run, made_up, tmp_path):
        drawn = run.json(*SEARCH, *TINY, "--batch", 4, "--out", tmp_path / "a")[0]["candidates"]
        made_up.scores = {drawn[0]["genotype"]: (math.nan, "non_finite")}
        code, out, _ = run(*SEARCH, *TINY, "--batch", 4, "--out", tmp_path / "b")
        assert code == 0
        assert "non_finite: ranked last" in out
        assert "by number of parameters alone the winner ranks" in out

    def test_digits_come_at_a_resolution_that_the_network_can_use(self, run, made_up, tmp_path):
        (record,) = run.json(*SEARCH, "--out", tmp_path)
        assert (record["network"]["resolution"], record["recipe"]["batch_size"], record["recipe"]["epochs"]) == (12, 25, 2)

    def test_random_search(self, run, made_up, tmp_path):
        (record,) = run.json("search", "--method", "random", "--topk", 2, *TINY, "--out", tmp_path, "--batch", 4)
        assert (record["method"], record["counts"]["unscored"], record["counts"]["trained"]) == ("random", 2, 2)

    @pytest.mark.parametrize(
        ("method", "arguments"),
        [
            ("evolution", ["--population", 3, "--tournament", 2, "--mutation", "edge", "--max-evaluations", 5]),
            ("reinforce", ["--controller-rate", 0.5, "--max-evaluations", 3]),
            ("bohb", ["--max-evaluations", 4]),
            ("best_by_proxy", ["--samples", 4, "--epochs", 1]),
            ("proxy_evolution", ["--samples", 4, "--population", 2, "--max-evaluations", 3, "--proxy", "mgm"]),
            ("random", ["--max-evaluations", 2, "--budget-seconds", 1e6, "--overflow", "discard"]),
            ("mf_nas", ["--samples", 6, "--topk", 4, "--proxy", "mgm"]),
        ],
    )
    @pytest.mark.usefixtures("made_up", "undrawn")
    def test_every_method_trains(self, run, tmp_path, method, arguments):
        (record,) = run.json("search", "--method", method, *arguments, *TINY, "--out", tmp_path, "--batch", 4)
        assert (record["method"], record["complete"]) == (method, True)
        assert record["test_accuracy"] is not None
        for option, value in zip(arguments[::2], arguments[1::2], strict=True):
            names = {"--max-evaluations": "evaluations", "--controller-rate": "learning_rate", "--budget-seconds": "seconds"}
            name = names.get(option, option[2:].replace("-", "_"))
            if name in record["settings"]:
                assert record["settings"][name] == value
        assert record["settings"].get("brackets", "none") == "none"

    def test_best_by_proxy_trains_only_when_asked(self, run, made_up, tmp_path):
        (record,) = run.json("search", "--method", "best_by_proxy", "--samples", 4, *TINY, "--out", tmp_path, "--batch", 4)
        assert (record["counts"]["trained"], record["test_accuracy"], record["complete"]) == (0, None, True)
        assert record["genotype"] in [candidate["genotype"] for candidate in record["candidates"] if candidate["rank"] == 1]

    @pytest.fixture
    def undrawn(self, monkeypatch):
        """Draw nothing: that takes longer than the search."""
        from jknas.report import anytime_drawing, cell_drawing

        monkeypatch.setattr(cell_drawing, "draw_cell", lambda *parts, **options: None)
        monkeypatch.setattr(anytime_drawing, "draw_anytime", lambda *parts, **options: None)

    @pytest.fixture
    def tabled(self, monkeypatch):
        import search_tables as tables

        from jknas import tabular

        monkeypatch.setattr(tabular, "load", lambda folder: tables.Table())
        return tables

    @pytest.mark.parametrize(
        ("arguments", "trained"),
        [
            (["--method", "evolution", "--max-evaluations", 5], 5),
            (["--method", "evolution", "--budget-seconds", 100], 7),
            (["--method", "evolution", "--budget-seconds", 100, "--overflow", "discard"], 6),
            (["--method", "evolution", "--budget-seconds", 7000, "--accounting", "full-training"], 2),
            (["--method", "random", "--budget-seconds", 100], 7),
            (["--method", "bohb", "--max-evaluations", 13], 9),
        ],
    )
    @pytest.mark.usefixtures("tabled", "undrawn")
    def test_a_table(self, run, tmp_path, arguments, trained):
        (record,) = run.json("search", "--table", "cifar100", *arguments, "--out", tmp_path)
        assert (record["counts"]["trained"], record["dataset"]["name"], record["complete"]) == (trained, "cifar100", True)
        assert {path.name for path in tmp_path.iterdir()} == {"result.json", "checkpoint"}

    def test_a_table_is_drawn(self, run, tabled, tmp_path):
        run.json("search", "--table", "cifar10", "--method", "evolution", "--max-evaluations", 3, "--out", tmp_path)
        drawn = {"cell.svg", "cell.png", "search.svg", "search.png"}
        assert {path.name for path in tmp_path.iterdir()} == drawn | {"result.json", "checkpoint"}
        assert all((tmp_path / name).stat().st_size > 3000 for name in drawn)

    def test_a_table_resumed(self, run, tabled, undrawn, tmp_path):
        command = ["search", "--table", "cifar10", "--method", "reinforce", "--budget-seconds", 200]
        (whole,) = run.json(*command, "--out", tmp_path / "whole")
        code, out, _ = run(*command, "--out", tmp_path / "part", "--max-steps", 5)
        assert code == 0
        assert "the budget was spent before the search was complete" in out
        (resumed,) = run.json(*command, "--out", tmp_path / "part", "--resume")
        assert {**resumed, "seconds": 0} == {**whole, "seconds": 0}

    def test_a_table_with_scores(self, run, tabled, undrawn, tmp_path):
        run.json("score", "--proxy", "params", "--sample", 30, "--db", tmp_path / "scores")
        command = ["search", "--table", "cifar10", "--proxy", "params", "--samples", 20]
        assert "ranks by scores, and a table has none" in run.refused(*command, "--topk", 3, "--out", tmp_path / "out")
        (record,) = run.json(*command, "--topk", 3, "--db", tmp_path / "scores", "--out", tmp_path / "out")
        assert (record["counts"]["sampled"], record["counts"]["trained"]) == (20, 3)
        assert (record["proxy"]["name"], record["proxy"]["scored"]) == ("params", 30)

    def test_a_mixture_of_the_scores_of_a_store(self, run, tabled, undrawn, tmp_path):
        run.json("score", "--proxy", "params,macs", "--sample", 30, "--db", tmp_path / "scores")
        command = ["search", "--table", "cifar10", "--method", "robot", "--queries", 3, "--db", tmp_path / "scores"]
        (record,) = run.json(*command, "--out", tmp_path / "out")
        assert (record["mixture"]["proxies"], record["counts"]["trained"]) == (["macs", "params"], 3)

    def test_a_sample_that_is_used_up_before_the_seconds(self, run, tabled, undrawn, tmp_path):
        command = ["search", "--table", "cifar10", "--method", "random", "--budget-seconds", 1e9]
        code, out, _ = run(*command, "--max-evaluations", 5, "--out", tmp_path)
        assert code == 0
        assert "5 evaluations, the most of this search, took" in out

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--table", "cifar10-valid"], "Unknown data set of a search on a table 'cifar10-valid'"),
            (["--table", "cifar10", "--space", "darts"], "--space darts does not apply with --table, which is of nasbench201"),
            (["--table", "cifar10", "--channels", 4], "--channels does not apply with --table"),
            (["--table", "cifar10", "--data", "nonsense"], "--data does not apply with --table"),
            (["--table", "cifar10", "--init", "bogus"], "--init does not apply with --table"),
            (
                ["--table", "cifar10", "--method", "random", "--db", "scores.sqlite"],
                "--db does not apply: --method random ranks by no scores",
            ),
            (["--accounting", "full-training"], "--accounting only says what an evaluation on a table costs"),
            (["--table", "cifar10", "--epochs", 3], "--epochs does not apply with --table, where nothing is trained"),
            (["--table", "cifar10", "--method", "tenas"], "tenas measures supernets on images, and a table has none"),
            (
                ["--table", "cifar10", "--method", "robot", "--queries", 5],
                "--method robot ranks by scores, and a table has none: name a table of scores",
            ),
            (["--table", "cifar10", "--method", "evolution", "--accounting", "hours"], "Unknown accounting 'hours'"),
            (["--method", "evolution", "--proxy", "mgm"], "--proxy does not apply to --method evolution, which takes --population"),
            (["--method", "knas", "--max-evaluations", 3], "--max-evaluations does not apply to --method knas"),
            (["--method", "tenas", "--topk", 3], "--topk does not apply to --method tenas"),
            (["--method", "random", "--topk", 3, "--max-evaluations", 4], "say the same of --method random: give one of them"),
            (["--method", "evolution", "--budget-seconds", -1], "seconds is -1.0; expected a positive, finite number"),
            (["--method", "evolution", "--budget-seconds", "inf"], "seconds is inf; expected a positive, finite number"),
            (["--method", "evolution", "--seeds", 2], "--seeds does not apply to --method evolution, which ranks by no scores"),
            (["--method", "random", "--db", "s.sqlite"], "--db does not apply to --method random, which ranks by no scores"),
            (["--method", "random", "--proxy", "mgm"], "--proxy does not apply to --method random"),
            (
                ["--method", "gdas", "--learning-rate", 0.1],
                "--learning-rate does not apply to --method gdas as it is given, which trains no",
            ),
            (
                ["--method", "robot", "--queries", 5],
                "robot mixes the scores of several proxies, and the problem has none: search with --table",
            ),
            (["--method", "evolution", "--mutation", "nodes"], "Unknown mutation rule of nasbench201 'nodes'"),
        ],
    )
    def test_refused_too(self, run, tabled, tmp_path, arguments, words):
        arguments = arguments if "--table" not in arguments or "--method" in arguments else [*arguments, "--method", "evolution"]
        assert words in run.refused("search", *arguments, "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--samples", "5", "--topk", "6"], "topk is 6, and only 5 architectures are sampled"),
            (["--samples", "0"], "samples is 0; expected a whole number"),
            (["--samples", "15626"], "the space nasbench201 has 15625 architectures"),
            (["--topk", "0"], "topk is 0"),
            (["--epochs", "0"], "epochs is 0; expected a whole number, 1 or more"),
            (["--method", "darts"], "Unknown search method 'darts'; expected one of best_by_proxy, bohb, darts-v1"),
            (["--method", "random", "--samples", "5"], "--samples does not apply to --method random"),
            (["--proxy", "mgm,params"], "--proxy names 2 proxies; a search ranks by one"),
            (["--batch", "1001"], "batch has 1001 examples; digits has 1000"),
            (["--resolution", "10"], "images of 10x10 pixels; expected a multiple of 4"),
            (["--learning-rate", "nan"], "learning_rate is nan"),
            (["--precision", "float16"], "Unknown precision 'float16'; expected one of"),
            (["--max-seconds", "-1"], "the budget's seconds is -1.0"),
            (["--init", "he"], "initialisation 'he' is not known"),
            (["--space", "darts", "--resolution", "8", "--cells", "3", "--proxy", "params"], "resize the images (--resolution)"),
        ],
    )
    def test_refused_before_anything_is_written(self, run, made_up, tmp_path, arguments, words):
        assert words in run.refused("search", *arguments, "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert made_up.asked == []

    @settings(QUICK, max_examples=12)
    @given(samples=st.integers(-3, 20), excess=st.integers(1, 20_000))
    def test_more_candidates_than_samples(self, run, tmp_path, samples, excess):
        line = run.refused(
            "search", f"--samples={samples}", "--topk", max(samples, 0) + excess, *TINY, "--batch", 4, "--out", tmp_path / "out"
        )
        assert "samples is" in line or "topk is" in line

    def test_out_is_a_file(self, run, tmp_path):
        (tmp_path / "out").write_text("")
        assert "cannot be made" in run.refused(*SEARCH, "--out", tmp_path / "out")

    def test_a_damaged_checkpoint_and_store(self, run, made_up, tmp_path):
        run(*SEARCH, *TINY, "--batch", 4, "--out", tmp_path)
        (tmp_path / "checkpoint" / "state.json").write_text("{")
        assert "is damaged (it is not JSON)" in run.refused(*SEARCH, *TINY, "--batch", 4, "--out", tmp_path, "--resume")
        (tmp_path / "scores.sqlite").write_bytes(b"x" * 4096)
        assert "no score store" in run.refused(*SEARCH, *TINY, "--batch", 4, "--out", tmp_path, "--resume")

    @pytest.mark.slow
    def test_the_real_thing_killed_and_resumed(self, tmp_path):
        arguments = [*SEARCH, *TINY, "--batch", "4", "--train-batch", "16", "--json", "--compile-cache", str(tmp_path / "cache")]
        command = [sys.executable, "-m", "jknas.cli", *arguments]
        whole = subprocess.run([*command, "--out", str(tmp_path / "whole")], capture_output=True, text=True, check=True)
        process = subprocess.Popen([*command, "--out", str(tmp_path / "part")], stdout=subprocess.DEVNULL)
        state = tmp_path / "part" / "checkpoint" / "state.json"
        while not (state.exists() and json.loads(state.read_text())["steps"] >= 7):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
        resumed = subprocess.run([*command, "--out", str(tmp_path / "part"), "--resume"], capture_output=True, text=True, check=True)
        one, two = json.loads(whole.stdout), json.loads(resumed.stdout)
        for name in ("genotype", "test_accuracy", "validation_accuracy", "counts", "null_model"):
            assert one[name] == two[name], name
        assert [c["score"] for c in one["candidates"]] == [c["score"] for c in two["candidates"]]
        assert any((tmp_path / "cache").iterdir())


class TestTrain:
    @pytest.fixture
    def made_up_training(self, monkeypatch):
        from jknas import training

        tested = training.Metrics(1.0, 0.5, 20)
        monkeypatch.setattr(training, "train", lambda network, genotype, dataset, **others: stubs.training(genotype, others["recipe"], 0))
        monkeypatch.setattr(training, "evaluate", lambda network, variables, genotype, *others, **more: tested)

    def test_a_result(self, run, made_up, made_up_training, tmp_path):
        (record,) = run.json("train", "--arch", "resnet", "--data", "digits", "--epochs", 2, *TINY, "--out", tmp_path)
        assert json.loads((tmp_path / "result.json").read_text()) == record
        assert {"genotype", "curves", "test_accuracy", "validation_accuracy", "seconds", "device", "versions", "recipe"} <= record.keys()
        assert record["genotype"] == stubs.RESNET
        words = "already holds a result: give another folder with --out, or --resume"
        assert words in run.refused("train", "--arch", "resnet", "--out", tmp_path, *TINY)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--arch", "nothing"], "no cell is called 'nothing'"),
            (["--arch", "resnet", "--epochs", "0"], "epochs is 0"),
            (["--arch", "resnet", "--train-batch", "0"], "batch_size is 0"),
            (["--arch", "resnet", "--data", "mnist"], "unknown data set"),
            (["--arch", "resnet", "--recipe", "best"], "Unknown recipe 'best'; expected one of nasbench201-12, nasbench201-200, darts"),
            (["--arch", "resnet", "--cutout", "3"], "cutout is 3; expected an even whole number"),
            (["--arch", "resnet", "--group-by-length"], "the recipe has no group_by_length to change: leave --group-by-length out."),
            (["--arch", "resnet", "--auxiliary"], "CellNetworks have no auxiliary classifier"),
            (["--arch", "resnet", "--space", "darts"], "no cell is called 'resnet'"),
            ([], "--arch"),
        ],
    )
    def test_refusals(self, run, tmp_path, arguments, words):
        assert words in run.refused("train", *arguments, "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.slow
    def test_a_darts_genotype(self, run, tmp_path):
        size = ("--channels", 2, "--cells", 3, "--limit", "64,32", "--epochs", 2, "--train-batch", 32)
        (record,) = run.json("train", "--space", "darts", "--arch", "DARTS_V2", *size, "--drop-path", 0.1, "--out", tmp_path)
        used = {"epochs": 2, "batch_size": 32, "cutout": 16, "auxiliary_weight": 0.4, "drop_path": 0.1}
        assert record["recipe"].items() >= used.items()
        assert (record["network"]["cells"], record["network"]["resolution"], record["status"]) == (3, 32, "ok")
        words = "digits has images of 16x16 pixels: the auxiliary head pools its input to 2x2 pixels"
        code, _, err = run("train", "--space", "darts", "--arch", "DARTS_V2", *size, "--resolution", 16, "--out", tmp_path / "b")
        assert code == 2
        assert words in err

    @pytest.mark.slow
    def test_the_real_thing(self, run, tmp_path):
        cell = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"  # what leads nowhere is trained all the same
        (record,) = run.json("train", "--arch", cell, "--epochs", 2, "--train-batch", 8, *TINY, "--out", tmp_path)
        assert (record["genotype"], record["status"]) == (cell, "ok")
        assert [epoch["epoch"] for epoch in record["curves"]] == [0, 1]
        assert record["curves"][1]["train_loss"] < record["curves"][0]["train_loss"]
        assert record["validation_accuracy"] == record["curves"][1]["validation_accuracy"]
        assert record["test_accuracy"] * 20 == pytest.approx(round(record["test_accuracy"] * 20))  # of the 20 images of --limit
        (again,) = run.json("train", "--arch", cell, "--epochs", 2, "--train-batch", 8, *TINY, "--out", tmp_path, "--resume")
        timeless = {"seconds": None, "compile_seconds": None}
        assert again | timeless == record | timeless


class TestData:
    def test_list(self, run, tmp_path):
        (found,) = run.json("data", "list", "--folder", tmp_path)
        loads = {item["name"]: item["loads_as"] for item in found["datasets"]}
        assert (loads["digits"], loads["cifar10"]) == ("digits", None)

    def test_check(self, run):
        (report,) = run.json("data", "check", "digits")
        assert (report["digest_ok"], report["shapes"]["train"], report["problem"]) == (True, [1000, 8, 8, 3], None)
        assert run("data", "check", "digits")[0] == 0

    def test_check_of_a_damaged_file(self, run, tmp_path):
        (tmp_path / "own.npz").write_bytes(b"PK nothing")
        line = run.refused("data", "check", tmp_path / "own.npz")
        assert "own.npz" in line
        code, out, err = run("data", "check", tmp_path / "own.npz", "--json")
        assert code == 2
        assert json.loads(out)["problem"] in err

    @pytest.mark.parametrize("arguments", [["fetch", "digits"], ["check", "mnist"], ["list", "--folder", "/no/such/folder"], ["drop"]])
    def test_refusals(self, run, arguments):
        assert len(run.refused("data", *arguments)) > 30


def test_version(run):
    assert run("--version") == (0, "0.1.0\n", "")


def test_compile_cache_is_set_for_small_programs_too(run, tmp_path):
    kept = {name: getattr(jax.config, name) for name in jax.config.values if "cache" in name}
    try:
        run.json("score", "--proxy", "params", "--arch", "resnet", "--compile-cache", tmp_path / "cache")
        assert Path(jax.config.jax_compilation_cache_dir) == tmp_path / "cache"
        assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
        assert jax.config.jax_persistent_cache_min_entry_size_bytes == 0
    finally:
        for name, value in kept.items():
            jax.config.update(name, value)
