import csv
import json
import math
import sys

import pytest
from score_records import NETWORK, SETTINGS, make_record, write_store

from jknas.errors import StoreError
from jknas.scoring.exporting import export
from jknas.scoring.store import Store

RECORDS = [
    make_record(1, 0.1 + 0.2),
    make_record(2, math.nan, "non_finite", extras={"lambda_min": -math.inf}),
    make_record(3, -math.inf, "non_finite", canonical='with "quotes", commas\nand lines'),
]
COLUMNS = ["space", "genotype", "proxy", "settings", "dataset", "seed", "network", "revision", "canonical", "score", "status", "seconds"]
COLUMNS += ["extras", "versions", "device"]


@pytest.fixture
def store(tmp_path):
    with Store(write_store(tmp_path / "scores.db", *RECORDS)) as opened:
        yield opened


def test_csv_keeps_every_digit(store, tmp_path):
    assert export(store, tmp_path / "scores.csv") == 3
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert [float(row["score"]) for row in rows[::2]] == [0.1 + 0.2, -math.inf]
    assert rows[1]["score"] == "nan"
    assert (rows[0]["settings"], rows[0]["network"], rows[0]["versions"]) == (SETTINGS, NETWORK, '{"jax": "0.10.1"}')
    assert json.loads(rows[1]["extras"], parse_constant=pytest.fail) == {"lambda_min": "-inf"}
    assert rows[2]["canonical"] == 'with "quotes", commas\nand lines'


@pytest.mark.parametrize("name", ["scores.json", "scores.jsonl"])
def test_json_is_strict(store, tmp_path, name):
    assert export(store, tmp_path / name) == 3
    text = (tmp_path / name).read_text("utf-8")
    read = [text] if name.endswith(".json") else text.splitlines()
    found = [json.loads(part, parse_constant=pytest.fail) for part in read]
    first, second, third = found[0] if name.endswith(".json") else found
    assert sorted(first) == sorted(COLUMNS)
    assert (first["genotype"], first["settings"]) == ("cell 1", {"batch": 64, "objective": "loss"})
    assert (first["score"], second["score"], third["score"]) == (0.1 + 0.2, "nan", "-inf")
    assert second["extras"] == {"lambda_min": "-inf"}
    assert sorted(file.name for file in tmp_path.iterdir() if "-" not in file.name) == ["scores.db", name]


def test_parquet(store, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("jknas.scoring.exporting._ROWS_AT_ONCE", 2)
    assert export(store, tmp_path / "scores.parquet") == 3
    table = parquet.read_table(tmp_path / "scores.parquet")
    assert table.column_names == COLUMNS
    assert {name: str(table.schema.field(name).type) for name in ("genotype", "seed", "score")} == {
        "genotype": "string",
        "seed": "int64",
        "score": "double",
    }
    rows = table.to_pylist()
    assert (rows[0]["score"], math.isnan(rows[1]["score"]), rows[2]["score"]) == (0.1 + 0.2, True, -math.inf)
    assert rows[2]["canonical"] == 'with "quotes", commas\nand lines'


def test_parquet_without_pyarrow(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StoreError, match=r"Parquet needs pyarrow, which is not installed: pip install 'jknas\[parquet\]'"):
        export(store, tmp_path / "scores.parquet")
    assert not [file for file in tmp_path.iterdir() if "parquet" in file.name]


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
def test_an_empty_store(tmp_path, ending):
    with Store(tmp_path / "scores.db") as store:
        assert export(store, tmp_path / f"scores.{ending}") == 0
    text = (tmp_path / f"scores.{ending}").read_text("utf-8")
    assert text.split() == {"csv": [",".join(COLUMNS)], "json": ["[", "]"], "jsonl": []}[ending]


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("scores.xlsx", "expected a name that ends in .csv, .parquet, .json, .jsonl"),
            ("scores.db", "expected a name that ends in"),
            ("absent/scores.csv", "choose a file in a folder that exists and is writable"),
        ],
    )
    def test_names(self, store, tmp_path, name, words):
        with pytest.raises(StoreError, match=words):
            export(store, tmp_path / name)

    def test_a_file_that_exists_is_left_alone(self, store, tmp_path):
        (tmp_path / "scores.csv").write_text("mine")
        with pytest.raises(StoreError, match="exists already: give the name of a new file"):
            export(store, tmp_path / "scores.csv")
        assert (tmp_path / "scores.csv").read_text() == "mine"

    def test_a_damaged_row_leaves_no_file(self, store, tmp_path):
        store._connection.execute("UPDATE scores SET extras = '{' WHERE id = 3")
        with pytest.raises(StoreError, match="is damaged"):
            export(store, tmp_path / "scores.csv")
        assert not [file for file in tmp_path.iterdir() if "csv" in file.name]
