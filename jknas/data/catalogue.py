"""The data sets by name: load, check, and list what a folder holds."""

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jknas.data import cifar, digits, imagenet16, npz, pairs
from jknas.data import folder as class_folders
from jknas.data.dataset import SPLITS, Dataset
from jknas.data.files import FOLDER_VARIABLE, Located, check_digests, data_folder, digest_problem
from jknas.data.images import FolderImages
from jknas.data.resizing import resize
from jknas.data.splits import check_limit
from jknas.data.text import TextDataset
from jknas.errors import DataError, closest

Locate = Callable[[Path | None], Located | None]


@dataclasses.dataclass(frozen=True)
class FileReport:
    """A file of a data set: where, how large, and whether it is the original (None: no digest is published for it)."""

    path: Path
    bytes: int
    digest_ok: bool | None


@dataclasses.dataclass(frozen=True)
class CheckReport:
    """What `check` found.

    Attributes:
        name: Name of the data set.
        files: The files.
        digest_ok: Whether all files are the originals; None when no digest is published for them.
        shapes: Shape of the images of each split; empty when there is a problem.
        class_counts: Number of images per class (entry k: class k) in each split; empty when there is a problem.
        source: The file that it was read from and how it was split, in words; empty when there is a problem.
        problem: Why the data set cannot be loaded, or None.
    """

    name: str
    files: tuple[FileReport, ...]
    digest_ok: bool | None
    shapes: dict[str, tuple[int, ...]]
    class_counts: dict[str, tuple[int, ...]]
    source: str
    problem: str | None


@dataclasses.dataclass(frozen=True)
class Availability:
    """Whether a data set can be loaded now.

    Attributes:
        name: The name to load it by.
        loads_as: The same name if it can be loaded, or None when nothing was found.
        files: What it would be loaded from.
        advice: How to get it, or what is wrong with what was found; empty when it can be loaded.
    """

    name: str
    loads_as: str | None
    files: tuple[Path, ...]
    advice: str


@dataclasses.dataclass(frozen=True)
class _Entry:
    locate: Locate
    advice: str


def _fetchable(family: cifar.Family) -> _Entry:
    advice = (
        f"Run `jknas data fetch {family.name} --folder DIR`, or put {family.archive.path} in the folder that --folder or {FOLDER_VARIABLE} "
        "names."
    )
    return _Entry(functools.partial(cifar.locate, family), advice)


_ENTRIES = {
    "digits": _Entry(digits.locate, "It is part of the package: install jknas again."),
    **{name: _fetchable(family) for name, family in cifar.FAMILIES.items()},
    "imagenet16-120": _Entry(
        imagenet16.locate,
        "Register at https://image-net.org, download the 16x16 train and val data (Downsampled image data), and put "
        f"train_data_batch_1..10 and val_data in the folder that --folder or {FOLDER_VARIABLE} names.",
    ),
}


def names() -> tuple[str, ...]:
    """Return the names that `load` knows. It also takes a path to an `.npz` or to a folder of images."""
    return tuple(_ENTRIES)


def load(
    name: str | os.PathLike[str] = "digits",
    *,
    folder: str | os.PathLike[str] | None = None,
    resolution: int | None = None,
    limit: tuple[int, int] | None = None,
    verify: bool = True,
    tokenizer: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load a data set. Nothing is downloaded: see `fetch`.

    CIFAR-10 and CIFAR-100 are read from the canonical archive, otherwise from its extracted batches.

    The splits of CIFAR-10 in its official order are the benchmark's (25k/25k/10k). "cifar10-full" is for a last training, when nothing is
    chosen any more, as papers do it: all 50,000 training images, and the 10,000 test images as validation and test split. For CIFAR-100 and
    ImageNet16-120 validation and test are halves of the held-out images: the benchmark's when its split file (`cifar100-test-split.txt`,
    `imagenet-16-120-test-split.txt`) is in the folder, otherwise fixed stratified halves that are not the benchmark's. `Dataset.source`
    says which.

    Args:
        name: One of `names()`, or a path to an `.npz` with `x_train, y_train, x_test, y_test` (images uint8 `[N, H, W, C]`, labels 0..K-1)
            and optionally `x_validation, y_validation`, `mean, std` (`[C]`, units of pixel/255), `class_names`, `horizontal_flip`; or a
            path to a folder of images, see :mod:`jknas.data.folder`: listed now, decoded when used; or a path to a folder of sentence
            pairs, see :mod:`jknas.data.pairs`, which gives a :class:`~jknas.data.text.TextDataset`.
        folder: Where the files are. None: the environment variable JKNAS_DATA.
        resolution: Height and width in pixels, resized bilinearly. None: as stored; 224 for a folder of images. Of sentence pairs the most
            tokens, 128 by default.
        limit: `(n_train, n_test)`: only the first n_train images of the train and of the validation split, and n_test of the test split;
            of an `.npz` that is sorted by class, a balanced sample. The constants do not depend on it.
        verify: Whether files with a published digest must be the originals. False for a copy that you made yourself.
        tokenizer: Folder of the tokenizer of sentence pairs, see :mod:`jknas.data.tokenizer`; nothing else reads it. Their tokens are kept
            on disk, see :mod:`jknas.data.token_cache`.

    Raises:
        DataError: the name is unknown, a file is missing, damaged or not the original, or its content is not as expected.
    """
    limit = check_limit(limit)
    located = _locate(name, folder, tokenizer, resolution)
    if verify:
        check_digests(located.files)
    dataset = located.read(limit)
    if not verify and any(file.digest for file in located.files):
        dataset = dataclasses.replace(dataset, source=f"{dataset.source}; digests not checked")
    return dataset if isinstance(dataset, TextDataset) else resize(dataset, resolution)


def check(
    name: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None, *, tokenizer: str | os.PathLike[str] | None = None
) -> CheckReport:
    """Read a whole data set and report on its files, digests, shapes and classes.

    Damaged or wrong files are reported as the `problem`, not raised.

    Args:
        name: As for `load`.
        folder: As for `load`.
        tokenizer: As for `load`.

    Raises:
        DataError: the name is unknown, or nothing was found to check.
    """
    located = _locate(name, folder, tokenizer)
    files = tuple(
        FileReport(file.path, file.path.stat().st_size, None if file.digest is None else digest_problem(file) is None)
        for file in located.files
    )
    known = [file.digest_ok for file in files if file.digest_ok is not None]
    report = CheckReport(
        name=located.name, files=files, digest_ok=all(known) if known else None, shapes={}, class_counts={}, source="", problem=None
    )
    try:
        if report.digest_ok is False:
            check_digests(located.files)
        dataset = located.read(None)
        for split in SPLITS:
            if isinstance(images := dataset.split(split)[0], FolderImages):
                images.check()
    except DataError as error:
        return dataclasses.replace(report, problem=str(error))
    splits = {split: dataset.split(split) for split in SPLITS}
    return dataclasses.replace(
        report,
        shapes={split: images.shape for split, (images, _) in splits.items()},
        class_counts={split: tuple(np.bincount(labels, minlength=dataset.num_classes).tolist()) for split, (_, labels) in splits.items()},
        source=dataset.source,
    )


def available(folder: str | os.PathLike[str] | None = None) -> tuple[Availability, ...]:
    """Return, for each of `names()`, whether it can be loaded now and from what. No file is read: see `check`.

    Raises:
        DataError: the folder that was named is not a folder.
    """
    place = data_folder(folder)
    return tuple(_availability(name, entry, place) for name, entry in _ENTRIES.items())


def _availability(name: str, entry: _Entry, place: Path | None) -> Availability:
    try:
        located = entry.locate(place)
    except DataError as error:
        return Availability(name, loads_as=None, files=(), advice=str(error))
    if located is None:
        return Availability(name, loads_as=None, files=(), advice=entry.advice)
    return Availability(name, loads_as=located.name, files=tuple(file.path for file in located.files), advice="")


def _locate(
    name: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None,
    tokenizer: str | os.PathLike[str] | None = None,
    resolution: int | None = None,
) -> Located:
    text = os.fspath(name)
    place = data_folder(folder)
    if text in _ENTRIES:
        located = _ENTRIES[text].locate(place)
        if located is None:
            where = (
                f"the folder {place} holds no file of it" if place else f"no data folder is named (folder argument, or {FOLDER_VARIABLE})"
            )
            raise DataError(f"{text}: not found: {where}. {_ENTRIES[text].advice}")
        return located
    path = Path(text).expanduser()
    for candidate in (path, place / path if place is not None else path):
        if pairs.holds_pairs(candidate):
            return pairs.locate(candidate, None if tokenizer is None else Path(tokenizer).expanduser(), resolution)
        if candidate.is_dir():
            return class_folders.locate(candidate)
    if path.suffix == ".npz" or path.is_file() or len(path.parts) > 1:
        inside = place / path if place is not None else path
        chosen = inside if not path.is_file() and inside.is_file() else path
        if not chosen.is_file():
            raise DataError(
                f"{chosen}: no such file; expected an .npz with x_train, y_train, x_test, y_test, or a folder of images: check the path."
            )
        return npz.locate(chosen)
    hint = closest(text.lower(), _ENTRIES)
    raise DataError(
        f"unknown data set {text!r}.{hint} Expected one of {', '.join(_ENTRIES)}, or a path to an .npz file or a folder of images."
    )
