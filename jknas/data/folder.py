"""Anyone's images as a folder per class, decoded when they are used.

    FOLDER/train/CLASS/*, FOLDER/val/CLASS/*       (ImageNet's layout; val is halved into validation and test, unless test/CLASS/* is there)
    FOLDER/CLASS/*                                 (a fixed stratified fifth is held out, and halved)

Loading lists the files; :class:`~jknas.data.images.FolderImages` decodes those that an index asks for, and needs memory
for those alone. A score decodes its batch. Training decodes each batch on the host, in threads, while the device computes the one before.
Nothing decoded is kept: an image that is used twice is decoded twice.
"""

import functools
import os
from pathlib import Path

import numpy as np

from jknas.data.dataset import Dataset, Part, assembled
from jknas.data.files import Located
from jknas.data.images import FolderImages, read_image
from jknas.data.splits import Limit, balanced_halves, balanced_order
from jknas.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's constants, in units of pixel/255."""

HELD_OUT_SHARE = 0.2
"""Share of the images that is held out if the folder has no ``val``."""

RESOLUTION = 224
"""Height and width of the images unless another resolution is asked for."""

CHECKED = 2_000
"""A folder of at most so many files has each file decoded when it is loaded; ``jknas data check`` decodes those of any folder."""


def locate(path: Path) -> Located:
    """Return a folder as a located data set, named after the folder. Its files are listed when it is read."""
    return Located(name=path.name, files=(), read=functools.partial(_read, path))


def _read(path: Path, limit: Limit) -> Dataset:
    if (path / "train").is_dir():
        held_out = next((name for name in ("val", "validation") if (path / name).is_dir()), None)
        if held_out is None:
            raise DataError(f"{path}: has train but no val; expected val/CLASS/* beside train/CLASS/*: add it, or name {path / 'train'}.")
        names, files, labels = _listed(path / "train")
        held_files, held_labels = _of_classes(path / held_out, names)
        rows, words = balanced_order(labels), f"{held_out} in fixed stratified halves"
        validation, test = balanced_halves(held_labels)
        test_files, test_labels = held_files, held_labels
        if any(entry.is_dir() for entry in (path / "test").glob("*")):  # ImageNet's own test images have no class folders
            test_files, test_labels = _of_classes(path / "test", names)
            validation, test, words = balanced_order(held_labels), balanced_order(test_labels), "splits as in the folder"
    else:
        names, files, labels = _listed(path)
        held_files, held_labels, order = files, labels, balanced_order(labels)
        test_files, test_labels = files, labels
        held = max(2, round(HELD_OUT_SHARE * len(order)))
        rows, words = order[held:], f"validation and test are fixed stratified tenths of all {len(order)} images"
        validation, test = order[: held // 2], order[held // 2 : held]
    if min(len(rows), len(validation), len(test)) == 0:
        raise DataError(f"{path}: too few images for a training, a validation and a test part; add images to train and val.")
    every = dict.fromkeys((*files, *held_files, *test_files))
    if len(every) <= CHECKED:
        for file in every:
            read_image(file)
    return assembled(
        Part(FolderImages(files, path, RESOLUTION), labels, rows),
        Part(FolderImages(held_files, path, RESOLUTION), held_labels, validation),
        Part(FolderImages(test_files, path, RESOLUTION), test_labels, test),
        limit=limit,
        name=path.name,
        num_classes=len(names),
        mean=MEAN,
        std=STD,
        crop_padding=RESOLUTION // 8,
        horizontal_flip=True,
        source=f"{path.name}; {len(files)} files in {len(names)} class folders, decoded when used; {words}; ImageNet's mean and std",
    )


def _of_classes(path: Path, names: list[str]) -> tuple[tuple[Path, ...], np.ndarray]:
    """Return the files and labels of a folder that has the classes of ``train``."""
    found, files, labels = _listed(path)
    if names != found:
        only = sorted(set(names) ^ set(found))[0]
        where = "train" if only in names else path.name
        raise DataError(f"{path.parent}: the class {only!r} is only in {where}; expected the same class folders in train and {path.name}.")
    return files, labels


def _listed(path: Path) -> tuple[list[str], tuple[Path, ...], np.ndarray]:
    """Return the sorted names of the classes, the files in the order of classes and names, and their labels."""
    try:
        classes = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{path}: cannot be listed ({error.strerror}); expected a folder with one folder per class.") from error
    if len(classes) < 2:
        raise DataError(f"{path}: holds {len(classes)} class folders; expected at least 2 folders CLASS/ with images in them.")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(file for file in (path / name).iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
        if not found:
            raise DataError(
                f"{path / name}: the class has no images; expected files that end in {', '.join(SUFFIXES)}: add some, or remove the folder."
            )
        files += found
        labels += [label] * len(found)
    return classes, tuple(files), np.asarray(labels, np.int32)
