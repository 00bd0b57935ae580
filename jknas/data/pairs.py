"""Sentence pairs with a class, from tab-separated files: GLUE's MRPC and RTE, or a task of your own.

    FOLDER/train.tsv     FOLDER/dev.tsv     FOLDER/test.tsv (may be missing, or have no labels)

The first line names the columns; needed are ``sentence1``, ``sentence2`` and ``label``, in any order (GLUE's MRPC: ``#1 String``,
``#2 String``, ``Quality``). The classes are the labels of the training file in sorted order: 0 and 1 of MRPC, where 1 is a paraphrase;
``entailment`` 0 and ``not_entailment`` 1 of RTE.

Quotation marks are text: a reader of CSV files that takes them for quotes silently loses a tenth of MRPC's pairs.

Without labelled test pairs, ``dev`` is halved into validation and test, by a fixed stratified draw. Pairs are tokenised when they are first
loaded (MRPC takes about a second), and their tokens are kept (:mod:`jknas.data.token_cache`); sequences are as long as the longest, at most
``resolution`` tokens.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jknas.data.files import Located
from jknas.data.splits import Limit, balanced_halves
from jknas.data.text import TextDataset
from jknas.data.token_cache import Tokens, kept, key_of
from jknas.data.tokenizer import PairTokenizer, common_length, filled, read_tokenizer, tokenizer_digest
from jknas.errors import DataError

LENGTH = 128
"""The most tokens of a pair unless another number is asked for."""

_FILES = ("train", "dev", "test")
_COLUMNS = {"label": ("label", "Quality"), "first": ("sentence1", "#1 String"), "second": ("sentence2", "#2 String")}
_NUMBER = re.compile(r"[+-]?[0-9]*\.[0-9]+")
_MOST_CLASSES = 1000


class Pairs(NamedTuple):
    """The rows of a file.

    Attributes:
        sentences: both sentences of every row.
        labels: the label of every row as text; None where the file has no such column.
    """

    sentences: list[tuple[str, str]]
    labels: list[str] | None


def holds_pairs(folder: Path) -> bool:
    """Return whether a folder is one of sentence pairs."""
    return (folder / "train.tsv").is_file()


def locate(folder: Path, tokenizer: Path | None, resolution: int | None) -> Located:
    """Return a folder of sentence pairs as a located data set, named after the folder.

    Args:
        folder: with the files.
        tokenizer: folder of the tokenizer.
        resolution: the most tokens of a pair; :data:`LENGTH` by default.
    """
    return Located(name=folder.name, files=(), read=functools.partial(_read, folder, tokenizer, resolution))


def read_pairs(path: Path) -> Pairs:
    """Read one file.

    Raises:
        DataError: it cannot be read, is empty, lacks a column, or has a row with another number of columns.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # not splitlines: other separators are text
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a tab-separated file of sentence pairs: check it.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no UTF-8 text (byte {error.start}); expected a tab-separated file: convert it.") from error
    rows = [line.removesuffix("\r").split("\t") for line in lines]
    while rows and rows[-1] == [""]:
        rows.pop()
    if len(rows) < 2:
        raise DataError(f"{path}: holds {len(rows)} lines; expected one that names the columns, and one for every pair: add pairs.")
    header = rows[0]
    places = {kind: next((header.index(name) for name in names if name in header), None) for kind, names in _COLUMNS.items()}
    first, second, label = places["first"], places["second"], places["label"]
    if first is None or second is None:
        raise DataError(f"{path}: has the columns {', '.join(header)[:100]}; expected sentence1, sentence2 and label in the first line.")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(f"{path}, line {number}: has {len(row)} columns, the first line {len(header)}: separate them by tabs.")
    sentences = [(row[first], row[second]) for row in rows[1:]]
    return Pairs(sentences, None if label is None else [row[label] for row in rows[1:]])


def classes_of(labels: Sequence[str], path: Path) -> tuple[str, ...]:
    """Return the classes of the training labels, in sorted order.

    Raises:
        DataError: an empty label, numbers with a decimal point (the task is a regression), one class only, or too many.
    """
    names = sorted(set(labels))
    wrong = next((name for name in names if not name or _NUMBER.fullmatch(name)), None)
    if wrong is not None or not 2 <= len(names) <= _MOST_CLASSES:
        came = f"{len(names)} different labels" if wrong is None else f"the label {wrong!r}"
        raise DataError(f"{path}: has {came}; expected the names or numbers of 2 to {_MOST_CLASSES} classes: a class for every pair.")
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else names)


def _read(folder: Path, tokenizer: Path | None, resolution: int | None, limit: Limit) -> TextDataset:
    if tokenizer is None:
        raise DataError(
            f"{folder} holds sentence pairs, and no tokenizer is named: give the folder of an encoder with --weights, or that of a "
            "tokenizer with --tokenizer (tokenizer=... of jknas.load)."
        )
    longest = LENGTH if resolution is None else resolution
    if isinstance(longest, bool) or not isinstance(longest, int) or longest < 8:
        raise DataError(f"resolution is {resolution!r}; expected the most tokens of a pair, 8 or more.")
    parts, words = _parts(folder)
    train = parts["train"]
    names = classes_of(train[1], folder / "train.tsv")
    most = {"train": None, "validation": None, "test": None} if limit is None else dict(zip(parts, (limit[0], *limit), strict=True))
    chosen = {split: (sentences[: most[split]], labels[: most[split]]) for split, (sentences, labels) in parts.items()}
    files, digest = [path for path in (folder / f"{name}.tsv" for name in _FILES) if path.is_file()], tokenizer_digest(tokenizer)
    tokens = kept(
        key_of(files, tokenizer=digest, longest=longest, limit=limit),
        {split: len(sentences) for split, (sentences, _) in chosen.items()},
        lambda: _tokenised({split: sentences for split, (sentences, _) in chosen.items()}, read_tokenizer(tokenizer), longest),
    )
    numbers = {split: _numbers(labels, names, folder, split) for split, (_, labels) in chosen.items()}
    return TextDataset(
        name=folder.name,
        x_train=tokens.splits["train"],
        y_train=numbers["train"],
        x_validation=tokens.splits["validation"],
        y_validation=numbers["validation"],
        x_test=tokens.splits["test"],
        y_test=numbers["test"],
        num_classes=len(names),
        source=f"{folder.name}; {len(train[0])} training pairs; {words}; at most {longest} tokens",
        vocabulary=tokens.vocabulary,
        tokenizer=digest,
        class_names=names,
    )


Part = tuple[list[tuple[str, str]], list[str]]


def _parts(folder: Path) -> tuple[dict[str, Part], str]:
    """Return sentences and labels of the three splits, and words on where validation and test are from."""
    train, dev = (_labelled(folder / f"{name}.tsv") for name in ("train", "dev"))
    place = folder / "test.tsv"
    test = read_pairs(place) if place.is_file() else None
    if test is not None and test.labels is not None:
        return {"train": train, "validation": dev, "test": (test.sentences, test.labels)}, "validation is dev, test is test"
    if len(dev[1]) < 2:
        raise DataError(f"{folder / 'dev.tsv'}: holds {len(dev[1])} pairs; expected 2 or more, which are halved into validation and test.")
    codes = np.unique(np.asarray(dev[1]), return_inverse=True)[1]
    halves = [([dev[0][row] for row in rows], [dev[1][row] for row in rows]) for rows in balanced_halves(codes)]
    words = "validation and test are fixed stratified halves of dev"
    return {"train": train, "validation": halves[0], "test": halves[1]}, words


def _labelled(path: Path) -> Part:
    found = read_pairs(path)
    if found.labels is None:
        raise DataError(f"{path}: has no column label; expected sentence1, sentence2 and label in the first line: add the labels.")
    return found.sentences, found.labels


def _numbers(labels: Sequence[str], names: tuple[str, ...], folder: Path, split: str) -> np.ndarray:
    unknown = sorted(set(labels) - set(names))
    if unknown:
        raise DataError(
            f"{folder}: the {split} pairs have the label {unknown[0]!r}, which no training pair has; expected one of "
            f"{', '.join(names[:10])}: correct it."
        )
    return np.asarray([names.index(label) for label in labels], np.int32)


def _tokenised(sentences: dict[str, list[tuple[str, str]]], tokenizer: PairTokenizer, longest: int) -> Tokens:
    encodings = {split: tokenizer.encode(pairs, longest=longest) for split, pairs in sentences.items()}
    length = common_length([encoding for found in encodings.values() for encoding in found], longest)
    return Tokens({split: filled(found, length, tokenizer.padding) for split, found in encodings.items()}, tokenizer.vocabulary)
