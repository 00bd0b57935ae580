import json
import re

import flexibert_records
import numpy as np
import pytest

from jknas import spaces
from jknas.errors import TabularError
from jknas.spaces.nasbench201.index import genotype_at
from jknas.tabular import read_accuracies

SPACE = spaces.get("nasbench201")


def write(folder, text):
    path = folder / "own.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path):
    rows = [f"{genotype_at(index)},{index / 4},note {index},{90 - index}" for index in (3, 1, 2)]
    return read_accuracies(write(tmp_path, "\n".join(["genotype,loss,note,accuracy", *rows])), SPACE)


def test_rows_and_columns(table):
    assert (table.name, table.space, table.columns) == ("own.csv", "nasbench201", ("loss", "note", "accuracy"))
    assert table.genotypes() == tuple(genotype_at(index) for index in (3, 1, 2))
    np.testing.assert_array_equal(table.values([genotype_at(2), genotype_at(3)], "accuracy"), [88, 87])
    np.testing.assert_array_equal(table.values(table.genotypes(), "loss"), [0.75, 0.25, 0.5])


def test_a_file_of_a_spreadsheet_begins_with_a_mark(tmp_path):
    path = write(tmp_path, f"\ufeffgenotype,accuracy\n{genotype_at(1)},0.5\n")
    assert read_accuracies(path, SPACE).columns == ("accuracy",)


def test_texts_with_commas_are_quoted(tmp_path):
    space = spaces.get("darts")
    genotype = space.sample(np.random.default_rng(0))
    table = read_accuracies(write(tmp_path, f'accuracy,genotype\n97.1,"{genotype}"\n'), space)
    assert table.genotypes() == (genotype,)
    assert table.target(None) == "accuracy"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: t.target(None), "own.csv has the columns loss, note, accuracy: say which"),
        (lambda t: t.target("acc"), "Unknown column of own.csv 'acc'; expected one of loss, note, accuracy."),
        (lambda t: t.values([genotype_at(1)], "acc"), "Unknown column of own.csv 'acc'"),
        (lambda t: t.values([genotype_at(4)], "loss"), f"own.csv has no row for {genotype_at(4)}; it holds 3 architectures"),
        (lambda t: t.values([genotype_at(1)], "note"), "own.csv, column 'note': 'note 1' is not a finite number"),
    ],
)
def test_what_it_does_not_hold(table, call, words):
    with pytest.raises(TabularError, match=re.escape(words)):
        call(table)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the columns are missing; expected one named 'genotype'"),
        ("arch,accuracy\nx,1\n", "the columns are arch, accuracy; expected one named 'genotype'"),
        (f"genotype\n{genotype_at(0)}\n", "the columns are genotype; expected one named 'genotype' and one or more others"),
        (f"genotype,a,a\n{genotype_at(0)},1,2\n", "each name once"),
        ("genotype,accuracy\n", "no rows"),
        ("genotype,accuracy\nGenotype(normal=[]),1\n", "row 1: not a genotype of the space 'nasbench201'"),
        ("genotype,accuracy\n,1\n", "row 1: not a genotype of the space"),
        (f"genotype,accuracy\n{genotype_at(0)},1\n{genotype_at(0)},2\n", "row 2: a second row for"),
        (f"genotype,accuracy\n{genotype_at(0)}\n", None),
        (f"genotype,accuracy\n{genotype_at(0)},nan\n", None),
    ],
)
def test_files_that_are_refused(tmp_path, text, words):
    path = write(tmp_path, text)
    if words is None:
        table = read_accuracies(path, SPACE)
        with pytest.raises(TabularError, match="is not a finite number"):
            table.values(table.genotypes(), "accuracy")
        return
    with pytest.raises(TabularError, match=re.escape(words)):
        read_accuracies(path, SPACE)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(TabularError, match=r"gone\.csv: cannot be read as a CSV file .*expected UTF-8 text"):
        read_accuracies(tmp_path / "gone.csv", SPACE)
    (tmp_path / "own.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TabularError, match="cannot be read as a CSV file"):
        read_accuracies(tmp_path / "own.csv", SPACE)


# ---- a space's published benchmark in JSON


def test_a_benchmark_whose_architectures_were_trained_several_times(tmp_path):
    space = spaces.get("flexibert")
    table = read_accuracies(flexibert_records.write_benchmark(tmp_path / "BERT_benchmark.json"), space)
    assert (table.name, table.space, table.one_per_class) == ("BERT_benchmark.json", "flexibert", True)
    assert table.columns == ("glue", "cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst", "sts")
    entries = list(flexibert_records.entries().values())
    declared = [space.from_record(entry)[0] for entry in entries]
    distinct = table.genotypes()
    assert distinct == tuple(dict.fromkeys(declared))
    assert len(distinct) == 6
    assert table.trained(distinct) == declared, "the last two entries are of one architecture"
    np.testing.assert_array_equal(table.values(distinct, "glue"), [entry["scores"]["glue"] for entry in entries])
    np.testing.assert_array_equal(table.values(distinct[-1:], "mnli"), [entry["scores"]["mnli"] for entry in entries[-2:]])
    assert table.trained(distinct[-1:]) == [declared[-1]] * 2


def test_a_csv_file_has_one_row_per_architecture(table):
    assert not table.one_per_class
    assert table.trained([genotype_at(2), genotype_at(3)]) == [genotype_at(2), genotype_at(3)]
    with pytest.raises(TabularError, match=r"own\.csv has no row for"):
        table.trained([genotype_at(4)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "cannot be read as JSON"),
        ("{}", "holds no list of entries; expected the benchmark of flexibert"),
        ("[]", "holds no list of entries"),
        (json.dumps([*flexibert_records.entries().values(), {}]), "entry 7: the entry is not one of BERT_benchmark.json"),
    ],
)
def test_benchmarks_that_are_refused(tmp_path, text, words):
    path = tmp_path / "own.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TabularError, match=re.escape(words)):
        read_accuracies(path, spaces.get("flexibert"))
    with pytest.raises(TabularError, match="the space 'nasbench201' has no benchmark in JSON; expected a CSV file"):
        read_accuracies(path, SPACE)
