"""Data sets from `.npz` files: anyone's own, and the local variants of CIFAR and ImageNet16."""

import functools
from pathlib import Path

import numpy as np

from jknas.data.dataset import Dataset, channel_constants, check_constants, check_images, check_labels
from jknas.data.files import DataFile, Located, read_arrays
from jknas.data.splits import Limit, balanced_halves, balanced_order, limited
from jknas.errors import DataError

_NEEDED = ("x_train", "y_train", "x_test", "y_test")
_OPTIONAL = ("x_validation", "y_validation", "mean", "std", "class_names", "horizontal_flip")
_PAIRS = (("x_validation", "y_validation"), ("mean", "std"))

VALIDATION_SHARE = 0.2
"""Share of the training images that becomes the validation split of a file that has none."""


def locate_own(path: Path) -> Located:
    """Return a user's `.npz` as a located data set, named after the file."""
    return Located(name=path.name, files=(DataFile(path),), read=functools.partial(_read_own, path))


def read_labelled(path: Path, *, num_classes: int | None = None, resolution: int | None = None) -> tuple[dict[str, np.ndarray], int]:
    """Read and validate the arrays of an `.npz` data set.

    Args:
        path: The file: `x_train, y_train, x_test, y_test`, images uint8 `[N, H, W, C]`, labels integer `[N]`; optionally
            `x_validation, y_validation`, `mean, std` (`[C]`, units of pixel/255), `class_names` (`[K]`) and `horizontal_flip` (a bool).
        num_classes: Number of classes that the file must keep to. None: the length of `class_names`, else the training labels tell, and
            must then use every number from 0 to K-1.
        resolution: Height and width that the images must have. None: any.

    Returns:
        The arrays by name, labels as int32, and the number of classes.

    Raises:
        DataError: anything about the file or its arrays is not as said.
    """
    arrays = read_arrays(path, _NEEDED, _OPTIONAL)
    for first, second in _PAIRS:
        if (first in arrays) != (second in arrays):
            raise DataError(f"{path}: only one of {first} and {second} is there; expected both or neither.")
    if num_classes is None and "class_names" in arrays:
        num_classes = int(arrays["class_names"].size)
    for split in ("train", "validation", "test"):
        if f"x_{split}" not in arrays:
            continue
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        check_images(images, f"{path}: x_{split}")
        check_labels(labels, len(images), num_classes, f"{path}: y_{split}")
        if num_classes is None:
            num_classes = _count_classes(labels, f"{path}: y_{split}")
        if resolution is not None and images.shape[1:] != (resolution, resolution, 3):
            raise DataError(f"{path}: x_{split} holds images {images.shape[1:]}; expected {resolution}x{resolution} pixels and 3 channels.")
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
            "relabel without gaps, or store class_names with one name a class."
        )
    return count


def _read_own(path: Path, limit: Limit) -> Dataset:
    arrays, num_classes = read_labelled(path)
    images, labels = arrays["x_train"], arrays["y_train"]
    if "x_validation" in arrays:
        train, words = np.arange(len(labels)), "splits as in the file"
        x_held, y_held = arrays["x_validation"], arrays["y_validation"]
        held = np.arange(len(y_held))
    else:
        order = balanced_order(labels)
        count = max(1, round(VALIDATION_SHARE * len(order)))
        if count >= len(order):
            raise DataError(
                f"{path}: {len(order)} training image is too few to hold out a validation part; "
                "expected at least 2, or x_validation and y_validation."
            )
        train, held, words = order[count:], order[:count], "validation is a fixed stratified 20 % of the training images"
        x_held, y_held = images, labels
    mean, std = _stored_constants(arrays, images.shape[3], path) if "mean" in arrays else channel_constants(images[train])
    train, held, test = limited(limit, train=train, validation=held, test=np.arange(len(arrays["y_test"])))
    return Dataset(
        name=path.name,
        x_train=images[train],
        y_train=labels[train],
        x_validation=x_held[held],
        y_validation=y_held[held],
        x_test=arrays["x_test"][test],
        y_test=arrays["y_test"][test],
        num_classes=num_classes,
        mean=mean,
        std=std,
        crop_padding=max(1, images.shape[1] // 8),
        horizontal_flip=_stored_flip(arrays, path),
        source=f"{path.name}; {words}",
    )


def _stored_constants(arrays: dict[str, np.ndarray], channels: int, path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for name in ("mean", "std"):
        if arrays[name].dtype.kind not in "fiu" or arrays[name].ndim != 1:
            came = f"{arrays[name].dtype} {arrays[name].shape}"
            raise DataError(f"{path}: {name} is {came}; expected one number a channel, shape ({channels},), in units of pixel/255.")
    mean, std = (tuple(float(value) for value in arrays[name]) for name in ("mean", "std"))
    check_constants(mean, std, channels, str(path))
    return mean, std


def _stored_flip(arrays: dict[str, np.ndarray], path: Path) -> bool:
    # Nobody but the owner knows whether a mirrored image keeps its label (a 2 does not, a cat does), so the default is not to flip.
    flip = arrays.get("horizontal_flip", np.asarray(False))
    if flip.dtype != np.bool_ or flip.size != 1:
        raise DataError(f"{path}: horizontal_flip is {flip.dtype} {flip.shape}; expected a single bool.")
    return bool(flip.item())


def read_variant(
    path: Path,
    limit: Limit,
    *,
    name: str,
    num_classes: int,
    resolution: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    crop_padding: int,
    halve: str,
    source: str,
) -> Dataset:
    """Read a local variant of a benchmark data set, whose images are not in the official order.

    Args:
        path: The file, with `x_train, y_train, x_test, y_test`.
        limit: At most that many images.
        name: Name of the data set.
        num_classes: Number of classes.
        resolution: Height and width in pixels.
        mean: Mean of each channel, in units of pixel/255.
        std: Standard deviation of each channel, in units of pixel/255.
        crop_padding: As in `Dataset`.
        halve: "train" or "test": which part is halved (fixed, stratified) to make the validation split.
        source: What the file is, in words.

    Raises:
        DataError: the file is not of that form.
    """
    arrays, _ = read_labelled(path, num_classes=num_classes, resolution=resolution)
    images, labels = {key: arrays[f"x_{key}"] for key in ("train", "test")}, {key: arrays[f"y_{key}"] for key in ("train", "test")}
    if len(labels[halve]) < 2:
        raise DataError(f"{path}: one {halve} image cannot be halved into {halve} and validation; expected at least 2.")
    # The larger half of an odd number stays with the part that is halved.
    held, kept = balanced_halves(labels[halve])
    train, test = (kept, np.arange(len(labels["test"]))) if halve == "train" else (np.arange(len(labels["train"])), kept)
    train, held, test = limited(limit, train=train, validation=held, test=test)
    return Dataset(
        name=name,
        x_train=images["train"][train],
        y_train=labels["train"][train],
        x_validation=images[halve][held],
        y_validation=labels[halve][held],
        x_test=images["test"][test],
        y_test=labels["test"][test],
        num_classes=num_classes,
        mean=mean,
        std=std,
        crop_padding=crop_padding,
        horizontal_flip=True,
        source=f"{source}; validation is a fixed stratified half of the {halve} images, not the benchmark's",
    )
