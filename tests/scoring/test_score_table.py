"""A table of scores on disk: what is written is read, and what is no table is refused."""

import dataclasses
import gzip
import math

import numpy as np
import pytest

from jknas import spaces
from jknas.errors import StoreError
from jknas.scoring.score_table import join_scores, read_scores, write_scores
from jknas.scoring.store import ScoreKey, ScoreRecord, canonical_json

SPACE = spaces.get("nasbench201")
CELLS = sorted({SPACE.canonical(genotype) for genotype in SPACE.sample(np.random.default_rng(0), 12, unique=True)})
SIZE = canonical_json({"cells": 1, "channels": 4, "classes": 10, "resolution": 8})


def record(place, proxy="synflow", seed=0, *, status="ok", score=None, revision=1, **changes):
    number = (1.0 + place) / (3 + seed) if score is None else score
    fields = {"space": "nasbench201", "dataset": "digits@12", "network": SIZE} | changes
    key = ScoreKey(genotype=str(CELLS[place]), proxy=proxy, settings='{"batch":1}', seed=seed, revision=revision, **fields)
    return ScoreRecord(key, str(CELLS[place]), math.nan if status == "non_finite" else number, status, 0.25, device="cpu")


def records(*columns, cells=None):
    return [record(place, proxy, seed) for proxy, seed in columns for place in range(cells or len(CELLS))]


@pytest.fixture(params=["scores.csv", "scores.csv.gz"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_what_is_written_is_read(path):
    write_scores(path, records(("synflow", 0), ("synflow", 3), ("ntk_condition", 0)))
    table = read_scores(path)
    assert table.proxies == ("ntk_condition", "synflow")
    assert table.seeds("synflow") == (0, 3)
    lines = table.lines(SPACE, CELLS)
    assert table.column("synflow", 3)[lines].tolist() == pytest.approx([(1 + place) / 6 for place in range(len(CELLS))], rel=1e-8)
    assert table.column("ntk_condition", 0)[lines][0] == pytest.approx(-1 / 3, rel=1e-8)  # of which less is better
    assert table.facts["network"] == {"cells": 1, "channels": 4, "classes": 10, "resolution": 8}
    assert table.facts["columns"]["synflow:3"] == {"settings": {"batch": 1}, "revision": 1, "median_seconds": 0.25}


def test_cells_that_compute_the_same_share_a_line(path):
    write_scores(path, records(("synflow", 0)))
    table = read_scores(path)
    twins = [genotype for genotype in SPACE.enumerate() if SPACE.canonical(genotype) == CELLS[5]]
    assert len(twins) > 1
    assert set(table.lines(SPACE, twins)) == set(table.lines(SPACE, [CELLS[5]]))


def test_a_status_takes_the_place_of_a_score(path):
    write_scores(path, [record(0), record(1, status="dead", score=5.0), record(2, status="non_finite")])
    table = read_scores(path)
    lines = table.lines(SPACE, CELLS[:3])
    assert np.isnan(table.columns["synflow", 0][lines]).tolist() == [False, True, True]
    assert [table.statuses["synflow", 0][line] for line in lines] == ["ok", "dead", "non_finite"]


def test_a_cell_that_lacks_a_column_is_left_out(path):
    write_scores(path, [*records(("synflow", 0), cells=4), *records(("synflow", 1), cells=3)])
    table = read_scores(path)
    assert len(table.places) == 3
    with pytest.raises(StoreError, match=r"has no score of .*: leave it out, or score it into a file of its own"):
        table.lines(SPACE, CELLS[:4])


def test_equal_scores_give_equal_files(tmp_path):
    for name in ("a.csv.gz", "b.csv.gz"):
        write_scores(tmp_path / name, records(("synflow", 0)))
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "no scores were given"),
        ([record(0), record(1, dataset="cifar10@3")], "scores on dataset digits@12 and on cifar10@3 were given"),
        ([record(0), record(1, revision=2)], "synflow was computed with two settings or revisions"),
        ([record(0), record(0, seed=1, revision=2)], "synflow was computed with two settings or revisions"),
        ([record(0), record(1, "zen")], r"no architecture has a score in every column \(synflow:0, zen:0\)"),
        ([record(0), dataclasses.replace(record(1), device="gpu")], "scores on device cpu and on gpu were given"),
        ([record(0), record(0, score=7.0)], "has the scores 0.333333333 and 7 by synflow:0, .* score one representative"),
    ],
)
def test_records_that_do_not_belong_together(given, words, tmp_path):
    with pytest.raises(StoreError, match=words):
        write_scores(tmp_path / "scores.csv", given)
    assert not (tmp_path / "scores.csv").exists()


def test_questions_that_it_cannot_answer(path):
    write_scores(path, [*records(("synflow", 0)), *(record(place, "zen", revision=7) for place in range(len(CELLS)))])
    table = read_scores(path)
    with pytest.raises(StoreError, match="has no scores of meco; it has synflow, zen"):
        table.seeds("meco")
    with pytest.raises(StoreError, match="has synflow by the seeds 0, not by 4"):
        table.column("synflow", 4)
    with pytest.raises(StoreError, match="holds zen of revision 7, and its definition is now 1: score it again"):
        table.column("zen", 0)
    with pytest.raises(StoreError, match="holds scores of 'nasbench201', not of 'darts'"):
        table.lines(spaces.get("darts"), ())


def damaged(text):
    head, columns, *rest = text.splitlines(keepends=True)
    yield "its first line does not say so", columns + "".join(rest)
    yield "could not convert string to float", text.replace(",0.333333333\n", ",x\n", 1)
    yield "a score is inf", text.replace(",0.333333333\n", ",inf\n", 1)
    yield "not of one length", text.replace(",0.333333333\n", ",1,2\n", 1)
    yield "not those of the first line", head + columns.replace("synflow:0", "synflow:9") + "".join(rest)
    yield "not of one length", head + columns
    yield "no table of scores", head.replace('"network"', '"net"') + columns + "".join(rest)
    yield "no table of scores", head[:40] + "\n" + columns + "".join(rest)
    yield "its first line does not say so", ""


def test_damage_is_one_sentence(tmp_path):
    path = tmp_path / "scores.csv"
    write_scores(path, records(("synflow", 0)))
    for words, text in damaged(path.read_text()):
        path.write_text(text)
        with pytest.raises(StoreError, match=words) as caught:
            read_scores(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="cannot be read as a table of scores"):
        read_scores(tmp_path / "gone.csv")
    packed = tmp_path / "cut.csv.gz"
    packed.write_bytes(gzip.compress(b"x" * 1000)[:20])
    with pytest.raises(StoreError, match="cannot be read as a table of scores"):
        read_scores(packed)


def test_joined_tables_are_those_that_would_have_been_written_at_once(tmp_path):
    parts = [
        records(("synflow", 0), ("zen", 0)),
        records(("synflow", 2), cells=5),
        [record(place, "meco", status="dead") for place in range(6)],
    ]
    paths = [tmp_path / f"{name}.csv" for name in "abc"]
    for path, part in zip(paths, parts, strict=True):
        write_scores(path, part)
    joined = join_scores(paths, tmp_path / "joined.csv.gz")
    write_scores(tmp_path / "together.csv.gz", [one for part in parts for one in part])
    assert (tmp_path / "joined.csv.gz").read_bytes() == (tmp_path / "together.csv.gz").read_bytes()
    assert len(joined.places) == 5
    assert joined.seeds("synflow") == (0, 2)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (records(("synflow", 0)), records(("zen", 0), ("synflow", 0)), "synflow:0 stands in .*b.csv and in a table before it"),
        ([record(0)], [record(0, "zen", dataset="cifar10@3")], "a.csv is of dataset digits@12, .*b.csv of cifar10@3"),
        ([record(0)], [record(0, seed=1, revision=2)], "synflow:1 was computed with other settings or another revision in .*b.csv than"),
        ([record(0)], [record(1, "zen")], "no architecture stands in all of the tables"),
    ],
)
def test_tables_that_do_not_belong_together(first, second, words, tmp_path):
    write_scores(tmp_path / "a.csv", first)
    write_scores(tmp_path / "b.csv", second)
    with pytest.raises(StoreError, match=words):
        join_scores([tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "joined.csv")
    assert not (tmp_path / "joined.csv").exists()
    with pytest.raises(StoreError, match="exists: name a new file"):
        join_scores([tmp_path / "a.csv"], tmp_path / "b.csv")


def test_a_compressed_table_with_wrong_bytes(tmp_path):
    path = tmp_path / "scores.csv.gz"
    write_scores(path, records(("synflow", 0)))
    raw = bytearray(path.read_bytes())
    raw[40:60] = bytes(20)
    path.write_bytes(raw)
    with pytest.raises(StoreError, match=r"scores.csv.gz (is damaged|cannot be read|is no table)"):
        read_scores(path)


@pytest.mark.parametrize(("name", "words"), [("scores.txt", "ends in .csv or .csv.gz"), ("folder.csv", "is a folder: give a file in it")])
def test_tables_that_are_no_files_of_tables(name, words, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(StoreError, match=words):
        write_scores(tmp_path / name, records(("synflow", 0)))
