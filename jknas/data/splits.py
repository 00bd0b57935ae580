"""How training, validation and test parts are chosen: the benchmark's halves, and balanced ones where it has none."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Integer

from jknas.errors import DataError

Limit = tuple[int, int] | None
"""`(n_train, n_test)`: at most n_train images of the train and of the validation split, and n_test of the test split."""

Rows = Int[np.ndarray, " n"]
Training = Int[np.ndarray, " training"]
Validation = Int[np.ndarray, " validation"]


def benchmark_halves(count: int) -> tuple[Training, Validation]:
    """Return NAS-Bench-201's training and validation rows of the official CIFAR-10 training set (`count` = 50,000).

    Python's `random` seeded with 1021 shuffles `range(count)`; the halves are sorted again. (Dong & Yang, arXiv:2001.00326, section 2.2:
    "we split the training set of CIFAR-10 into two groups with 25K images".)
    """
    rows = list(range(count))
    random.Random(1021).shuffle(rows)
    half = count // 2
    return np.sort(np.asarray(rows[:half])), np.sort(np.asarray(rows[half:]))


def balanced_order(labels: Integer[np.ndarray, " n"], *, seed: int = 0) -> Rows:
    """Return a fixed random order of the rows in which every run of neighbours has nearly the class shares of the whole.

    The r-th of the n rows of a class (in random order) is placed uniformly in the interval `[r/n, (r+1)/n)`; sorting all rows by place
    gives the order. Of the K classes, one with n of the N rows has its share of any prefix to within 1 + K n / N rows.

    Args:
        labels: Class of each row, `[N]`.
        seed: Seed of numpy's `default_rng`.
    """
    rng = np.random.default_rng(seed)
    places = np.empty(len(labels))
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        places[rows] = (np.arange(len(rows)) + rng.random(len(rows))) / len(rows)
    return np.argsort(places, kind="stable")


def balanced_halves(labels: Integer[np.ndarray, " n"], *, seed: int = 0) -> tuple[Training, Validation]:
    """Return two fixed stratified halves of the rows (`balanced_order`), each in that random order."""
    order = balanced_order(labels, seed=seed)
    half = len(order) // 2
    return order[:half], order[half:]


def read_benchmark_file(path: Path, count: int) -> tuple[Training, Validation]:
    """Read the benchmark's own split file: which of `count` held-out images are validation and which are test.

    Such a file (`cifar100-test-split.txt`, `imagenet-16-120-test-split.txt` in the benchmark's configuration folder) is a JSON object with
    `xvalid` and `xtest`, each `["int", ["0", "2", ...]]`.

    Raises:
        DataError: the file is not of that form, or the two lists do not share out `range(count)`.
    """
    expected = f'expected JSON {{"xvalid": ["int", [ids]], "xtest": ["int", [ids]]}} that shares out 0..{count - 1}'
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        valid, test = (np.sort(_ids(content[key])) for key in ("xvalid", "xtest"))
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise DataError(f"{path}: not a split file ({type(error).__name__}: {error}); {expected}. Remove it, or copy it again.") from error
    if not np.array_equal(np.sort(np.concatenate([valid, test])), np.arange(count)):
        raise DataError(
            f"{path}: {len(valid)} + {len(test)} ids do not share out the {count} images; {expected}. Remove it, or copy it again."
        )
    return valid, test


def _ids(entry: Any) -> Rows:
    kind, ids = entry
    if kind != "int":
        raise ValueError(f"kind {kind!r}")
    return np.asarray([int(item) for item in ids], dtype=np.int64)


def held_out_halves(split_file: Path, labels: Integer[np.ndarray, " n"]) -> tuple[Training, Validation, str]:
    """Return validation rows, test rows, and words on how they were chosen, for held-out images that the benchmark halves.

    The benchmark publishes these halves only as lists of numbers, without the rule that drew them. With its file in the data folder
    they are the benchmark's; without it they are a fixed stratified halving that is *not* the benchmark's.
    """
    if split_file.is_file():
        return *read_benchmark_file(split_file, len(labels)), f"held-out images halved as in the benchmark ({split_file.name})"
    return *balanced_halves(labels), "held-out images in fixed stratified halves, not the benchmark's"


def check_limit(limit: Any) -> Limit:
    """Return `limit` as a pair of ints, or None.

    Raises:
        DataError: it is not None or two positive whole numbers.
    """
    if limit is None:
        return None
    if not isinstance(limit, tuple | list) or len(limit) != 2 or not all(isinstance(n, int | np.integer) and n >= 1 for n in limit):
        raise DataError(f"limit is {limit!r}; expected None or two positive whole numbers (n_train, n_test).")
    return int(limit[0]), int(limit[1])
