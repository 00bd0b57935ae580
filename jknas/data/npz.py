"""Anyone's data set in one `.npz` file."""

import functools
from pathlib import Path

import numpy as np

from jknas.data.dataset import Dataset, Part, assembled, channel_constants, check_constants, check_images, check_labels
from jknas.data.files import DataFile, Located, read_arrays
from jknas.data.splits import Limit, balanced_order
from jknas.errors import DataError

_NEEDED = ("x_train", "y_train", "x_test", "y_test")
_OPTIONAL = ("x_validation", "y_validation", "mean", "std", "class_names", "horizontal_flip")
_PAIRS = (("x_validation", "y_validation"), ("mean", "std"))

VALIDATION_SHARE = 0.2
"""Share of the training images that becomes the validation split if the file has none."""


def locate(path: Path) -> Located:
    """Return a user's `.npz` as a located data set, named after the file."""
    return Located(name=path.name, files=(DataFile(path),), read=functools.partial(_read, path))


def _read(path: Path, limit: Limit) -> Dataset:
    arrays, num_classes = _labelled(path)
    images, labels = arrays["x_train"], arrays["y_train"]
    n_train, n_test = (None, None) if limit is None else limit
    if "x_validation" in arrays:
        train, validation, words = _order(labels, n_train), _part(arrays, "validation", n_train), "splits as in the file"
    else:
        order = balanced_order(labels)
        count = max(1, round(VALIDATION_SHARE * len(order)))
        if count >= len(order):
            raise DataError(
                f"{path}: {len(order)} training image is too few to hold out a validation part; "
                "expected at least 2, or x_validation and y_validation."
            )
        train, words = order[count:], "validation is a fixed stratified 20 % of the training images"
        validation = Part(images, labels, order[:count])
    mean, std = _stored_constants(arrays, images.shape[3], path) if "mean" in arrays else channel_constants(images[train])
    return assembled(
        Part(images, labels, train),
        validation,
        _part(arrays, "test", n_test),
        limit=limit,
        name=path.name,
        num_classes=num_classes,
        mean=mean,
        std=std,
        crop_padding=max(1, images.shape[1] // 8),
        horizontal_flip=_stored_flip(arrays, path),
        source=f"{path.name}; {words}",
    )


def _part(arrays: dict[str, np.ndarray], split: str, count: int | None) -> Part:
    return Part(arrays[f"x_{split}"], arrays[f"y_{split}"], _order(arrays[f"y_{split}"], count))


def _order(labels: np.ndarray, count: int | None) -> np.ndarray:
    """Return the rows in the order of the file; where `count` cuts rows that are sorted by class, in one that mixes the classes."""
    if count is not None and count < len(labels) and np.all(labels[:-1] <= labels[1:]):
        return balanced_order(labels)
    return np.arange(len(labels))


def _labelled(path: Path) -> tuple[dict[str, np.ndarray], int]:
    """Read and validate the arrays of a file; return them by name, labels as int32, and the number of classes.

    The number of classes is the length of `class_names`; without it the training labels must use every number from 0 to K-1.

    Raises:
        DataError: an array is missing, or its dtype, shape or range is wrong.
    """
    arrays = read_arrays(path, _NEEDED, _OPTIONAL)
    for first, second in _PAIRS:
        if (first in arrays) != (second in arrays):
            raise DataError(f"{path}: only one of {first} and {second} is there; expected both or neither.")
    num_classes = int(arrays["class_names"].size) if "class_names" in arrays else None
    for split in ("train", "validation", "test"):
        if f"x_{split}" not in arrays:
            continue
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        check_images(images, f"{path}: x_{split}")
        check_labels(labels, len(images), num_classes, f"{path}: y_{split}")
        if num_classes is None:
            num_classes = _count_classes(labels, f"{path}: y_{split}")
        arrays[f"y_{split}"] = labels.astype(np.int32)
    assert num_classes is not None  # the training labels have set it
    return arrays, num_classes


def _count_classes(labels: np.ndarray, where: str) -> int:
    present = np.unique(labels)
    count = int(present[-1]) + 1
    if len(present) != count:
        absent = int(np.flatnonzero(present != np.arange(len(present)))[0])
        raise DataError(
            f"{where}: labels run up to {count - 1} but label {absent} never occurs; expected every number from 0 to K-1: "
            "relabel without gaps, or store class_names with one name per class."
        )
    return count


def _stored_constants(arrays: dict[str, np.ndarray], channels: int, path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for name in ("mean", "std"):
        if arrays[name].dtype.kind not in "fiu" or arrays[name].ndim != 1:
            came = f"{arrays[name].dtype} {arrays[name].shape}"
            raise DataError(f"{path}: {name} is {came}; expected one number per channel, shape ({channels},), in units of pixel/255.")
    mean, std = (tuple(float(value) for value in arrays[name]) for name in ("mean", "std"))
    check_constants(mean, std, channels, str(path))
    return mean, std


def _stored_flip(arrays: dict[str, np.ndarray], path: Path) -> bool:
    # Only the owner knows whether a mirrored image keeps its label (a 2 does not, a cat does), so the default is not to flip.
    flip = arrays.get("horizontal_flip", np.asarray(False))
    if flip.dtype != np.bool_ or flip.size != 1:
        raise DataError(f"{path}: horizontal_flip is {flip.dtype} {flip.shape}; expected a single bool.")
    return bool(flip.item())
