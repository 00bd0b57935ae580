"""Pages of results: self-contained, well-formed, and with what the files say."""

import html.parser
import json
import math
import re

import numpy as np
import pytest
from score_records import make_key, make_record, write_store

from jknas import cli
from jknas.errors import DrawingError, StoreError
from jknas.report import html_page
from jknas.report.curves_drawing import draw_curves
from jknas.report.result_pages import result_page
from jknas.report.scores_drawing import draw_distributions

CELLS = ["|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|", "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"]
VOID = {"meta", "img", "br"}


class Checked(html.parser.HTMLParser):
    """Fails unless every element is closed in order; collects texts, tables and sources."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.tags, self.words = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def check(text):
    """Return the words of a page that asks nobody for anything and runs nothing."""
    found = Checked(text)
    assert all(re.match(r"data:image/(svg\+xml|png);base64,[A-Za-z0-9+/=]+$", source) for source in found.sources)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert text.startswith("<!DOCTYPE html>")
    return " ".join(" ".join(found.words).split())


def curve(*accuracies):
    return [{"epoch": place, "validation_accuracy": accuracy} for place, accuracy in enumerate(accuracies)]


def search_record():
    common = {"status": "ok", "canonical": CELLS[0], "parameters": 5000, "seconds": 0.1}
    candidates = [
        {"genotype": CELLS[1], "score": "nan", "rank": 2, **common, "status": "dead"},
        {"genotype": CELLS[0], "score": 2.5, "rank": 1, **common, "validation_accuracy": 0.75, "curves": curve(0.5, 0.75)},
        {"genotype": "|<b>&~0|", "score": 1.0, "rank": None, **common, "validation_accuracy": 0.6, "curves": curve(0.4, 0.6)},
    ]
    return {
        "method": "knas",
        "settings": {"samples": 3, "topk": 2},
        "complete": True,
        "genotype": CELLS[0],
        "canonical": CELLS[0],
        "parameters": 5000,
        "macs": 123456,
        "validation_accuracy": 0.75,
        "test_accuracy": 0.7251,
        "seconds": 12.3,
        "timing": {"compile": 10.0, "train": 2.3},
        "device": "cpu",
        "versions": {"jax": "0.10.1"},
        "space": "nasbench201",
        "dataset": {"name": "digits", "source": "embedded", "digest": "abc"},
        "network": {"channels": 16, "cells": 5},
        "proxy": {"name": "mgm"},
        "recipe": {"epochs": 2},
        "seed": 0,
        "counts": {"sampled": 3, "ok": 2, "dead": 1, "trained": 2},
        "null_model": {"winner_rank_by_parameters": 1},
        "candidates": candidates,
    }


@pytest.fixture
def search(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(search_record()))
    (tmp_path / "cell.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    return tmp_path


class TestSearch:
    def test_says_what_the_record_says(self, search):
        text = result_page(search)
        words = check(text)
        assert "knas on digits, test accuracy 72.51 %" in words
        assert "3 architectures, 2 trained, 12 s" in words
        for expected in (*CELLS, "0.75", "123,456", "samples 3, topk 2", "jax 0.10.1", "epochs 2", "none"):
            assert expected in words
        assert text.count("<figure>") == 2  # the cell, and the curves
        assert "|&lt;b&gt;&amp;~0|" in text
        assert words.index(CELLS[0]) < words.index(CELLS[1])

    def test_an_unfinished_search_without_a_winner(self, search):
        nothing = dict.fromkeys(("genotype", "canonical", "parameters", "macs", "validation_accuracy", "test_accuracy"))
        (search / "result.json").write_text(json.dumps(search_record() | nothing | {"complete": False}))
        (search / "cell.svg").unlink()
        text = result_page(search)
        assert "the search is not complete" in check(text)
        assert "<figure>" not in text


def correlation_record():
    rows = [
        {"data": "cifar10", "against": "cifar10", "split": "test", "epochs": 200, "name": name, "kind": kind, "spearman": 0.5}
        | {"spearman_low": 0.4, "spearman_high": 0.6, "kendall_tau_b": 0.3, "top_decile_spearman": "nan", "ndcg": 0.7}
        | {"regret_at_10": 1.25, "not_ok": 2, "median_ms": 3.5}
        for name, kind in (("mgm", "proxy"), ("params", "null model"))
    ]
    settings = {"space": "nasbench201", "architectures": 60, "not_ok": "scores whose status is not 'ok' rank last", "seed": 0}
    facts = {"settings": settings, "table": "NATS", "datasets": {"cifar10": {}}, "versions": {"jax": "0.10.1"}, "device": "cpu"}
    return facts | {"rows": rows, "parts": []}


def test_correlations(tmp_path):
    (tmp_path / "correlations.json").write_text(json.dumps(correlation_record()))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mgm.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    text = result_page(tmp_path)
    words = check(text)
    assert "Scores on cifar10 against cifar10 (test accuracy after 200 epochs)" in words
    assert "60 architectures of nasbench201" in words
    assert "mgm proxy 0.5000 0.4000 0.6000 0.3000 none 0.7000 1.25 2 3.5" in words
    assert text.count("<figure>") == 1


@pytest.fixture
def store(tmp_path):
    records = [make_record(number, float(number), extras={}) for number in range(30)]
    records += [make_record(30, math.nan, "failed"), make_record(31, math.inf, "non_finite")]
    records += [make_record(number, 100.0 - number, key=make_key(number, proxy="ntk_condition")) for number in range(5)]
    records += [make_record(number, 1.0, key=make_key(number, proxy="of another release")) for number in range(2)]
    return write_store(tmp_path / "scores.sqlite", *records)


class TestSweep:
    def test_says_what_the_store_says(self, store):
        text = result_page(store)
        words = check(text)
        assert "Scores in scores.sqlite 39 scores" in words
        assert "ok 30, failed 1, non_finite 1" in words
        assert text.count("<figure>") == 1
        best = words[words.index("Best by mgm") : words.index("Best by ntk_condition")]
        assert [f"cell {number}" in best for number in (29, 20, 19)] == [True, True, False]
        assert best.index("cell 29") < best.index("cell 20")
        other = words[words.index("Best by ntk_condition") :]
        assert other.index("cell 4") < other.index("cell 0")  # of a condition number the smaller is the better

    def test_a_folder_with_a_store(self, store):
        assert result_page(store.parent) == result_page(store)

    def test_without_scores(self, tmp_path):
        words = check(result_page(write_store(tmp_path / "none.sqlite")))
        assert "0 scores" in words


class TestRefusals:
    def test_places_without_a_result(self, tmp_path):
        with pytest.raises(DrawingError, match=r"holds no result: give a folder that `jknas search --out` or"):
            result_page(tmp_path)
        with pytest.raises(DrawingError, match="nowhere is not there"):
            result_page(tmp_path / "nowhere")
        (tmp_path / "notes.txt").write_text("x" * 3000)
        with pytest.raises(StoreError, match="is no score store"):
            result_page(tmp_path / "notes.txt")

    @pytest.mark.parametrize("name", ["result.json", "correlations.json"])
    @pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '{"method": 3}', '{"rows": 1, "settings": 2}', "\udcff"])
    def test_damaged_results(self, tmp_path, name, content):
        (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(DrawingError, match=rf"{name} cannot be shown|holds no search"):
            result_page(tmp_path)

    def test_pictures(self, tmp_path):
        with pytest.raises(DrawingError, match="0 curves were given, and the winner is 'a'"):
            draw_curves({}, tmp_path / "a.svg", winner="a")
        with pytest.raises(DrawingError, match="no scores were given"):
            draw_distributions({}, tmp_path / "a.svg")


def test_pictures_depend_on_their_numbers_alone(tmp_path):
    rng = np.random.default_rng(0)
    scores = {"one": rng.normal(size=500), "two": np.array([np.nan, np.inf]), "three": np.full(9, 2.0), "four": rng.normal(size=3)}
    curves = {"a": [0.1, 0.5], "b": [0.3]}
    for name in ("first", "again"):
        draw_distributions(scores, tmp_path / f"scores {name}.svg")
        draw_curves(curves, tmp_path / f"curves {name}.svg", winner="a", title="trained")
    for kind in ("scores", "curves"):
        assert (tmp_path / f"{kind} first.svg").read_bytes() == (tmp_path / f"{kind} again.svg").read_bytes()
    assert "one, 6 beyond" in (tmp_path / "scores first.svg").read_text()  # the text of a title is a comment beside its glyphs


def test_tables_escape_what_they_show():
    text = html_page.table(["<name>", "number"], [["a & b", 1234], ["<script>", 0.5]])
    assert "<script>" not in text
    assert "&lt;name&gt;" in text
    assert "a &amp; b" in text
    assert '<td class="number">1,234</td>' in text


class TestCommand:
    def test_writes_a_page(self, search, capsys):
        assert cli.run(["report", str(search), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"page": str(search / "report.html")}
        assert (search / "report.html").read_text("utf-8") == result_page(search)

    def test_beside_a_store_and_elsewhere(self, store, tmp_path, capsys):
        assert cli.run(["report", str(store)]) == 0
        assert (tmp_path / "scores.html").exists()
        assert cli.run(["report", str(store), "--out", str(tmp_path / "new" / "page.html")]) == 0
        assert (tmp_path / "new" / "page.html").exists()
        before = store.read_bytes()
        assert cli.run(["report", str(store), "--out", str(store)]) == 2
        assert store.read_bytes() == before
        assert cli.run(["report", str(tmp_path / "nowhere")]) == 2
        assert "is not there" in capsys.readouterr().err
