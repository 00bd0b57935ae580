"""CIFAR-10 and CIFAR-100: the canonical archives, or their extracted batches.

References: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; splits and constants of NAS-Bench-201
(arXiv:2001.00326, section 2.2, and its released configuration).
"""

import dataclasses
import functools
import gzip
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jknas.data.dataset import Dataset, Part, assembled
from jknas.data.files import DataFile, Located, read_bytes
from jknas.data.pickles import images_and_labels, read_batch
from jknas.data.splits import Limit, benchmark_halves, held_out_halves
from jknas.errors import DataError

RESOLUTION = 32
CROP_PADDING = 4


@dataclasses.dataclass(frozen=True)
class Family:
    """One of the two data sets in its original form.

    Attributes:
        name: "cifar10", "cifar10-full" or "cifar100".
        num_classes: Number of classes.
        label_key: Entry of a batch with the labels.
        url: Where the archive is published.
        archive: The archive, with its size and digest; `path` is the bare file name.
        folder: Folder inside the archive.
        train: Batches of the training set in official order, with digests; `path` is the bare file name.
        test: The test batch.
        mean: Mean of each channel, in units of pixel/255.
        std: Standard deviation of each channel, in units of pixel/255.
    """

    name: str
    num_classes: int
    label_key: str
    url: str
    archive: DataFile
    folder: str
    train: tuple[DataFile, ...]
    test: DataFile
    mean: tuple[float, ...]
    std: tuple[float, ...]


CIFAR10 = Family(
    name="cifar10",
    num_classes=10,
    label_key="labels",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    archive=DataFile(
        Path("cifar-10-python.tar.gz"), "sha256:6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce", size=170_498_071
    ),
    folder="cifar-10-batches-py",
    train=(
        DataFile(Path("data_batch_1"), "md5:c99cafc152244af753f735de768cd75f"),
        DataFile(Path("data_batch_2"), "md5:d4bba439e000b95fd0a9bffe97cbabec"),
        DataFile(Path("data_batch_3"), "md5:54ebc095f3ab1f0389bbae665268c751"),
        DataFile(Path("data_batch_4"), "md5:634d18415352ddfa80567beed471001a"),
        DataFile(Path("data_batch_5"), "md5:482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    test=DataFile(Path("test_batch"), "md5:40351d587109b95175f43aff81a1287e"),
    mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
    std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
)

CIFAR10_FULL = dataclasses.replace(CIFAR10, name="cifar10-full")
"""The same files with all training images in the training split, for a last training; the test images are the validation split, too."""

CIFAR100 = Family(
    name="cifar100",
    num_classes=100,
    label_key="fine_labels",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    archive=DataFile(
        Path("cifar-100-python.tar.gz"), "sha256:85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7", size=169_001_437
    ),
    folder="cifar-100-python",
    train=(DataFile(Path("train"), "md5:16019d7e3df5f24257cddd939b257f8d"),),
    test=DataFile(Path("test"), "md5:f0ef6b0ae62326f3e7ffdfab6717acfc"),
    mean=(129.3 / 255, 124.1 / 255, 112.4 / 255),
    std=(68.2 / 255, 65.4 / 255, 70.4 / 255),
)

FAMILIES = {family.name: family for family in (CIFAR10, CIFAR10_FULL, CIFAR100)}

CIFAR100_SPLIT_FILE = "cifar100-test-split.txt"
"""The benchmark's own division of CIFAR-100's test images; used when the data folder holds it."""


def locate(family: Family, folder: Path | None) -> Located | None:
    """Find a data set in a folder: the archive first, then the extracted batches.

    Raises:
        DataError: some of the extracted batches are missing.
    """
    return None if folder is None else _locate_archive(family, folder) or _locate_batches(family, folder)


def _locate_archive(family: Family, folder: Path) -> Located | None:
    path = folder / family.archive.path
    if not path.is_file():
        return None
    source = functools.partial(_read_archive, path, family)
    read = functools.partial(_read_originals, family, source, folder, path.name)
    return Located(name=family.name, files=(dataclasses.replace(family.archive, path=path),), read=read)


def _locate_batches(family: Family, folder: Path) -> Located | None:
    place = folder / family.folder
    if not place.is_dir():
        return None
    files = tuple(dataclasses.replace(file, path=place / file.path) for file in (*family.train, family.test))
    missing = [file.path.name for file in files if not file.path.is_file()]
    if missing:
        raise DataError(f"{place}: no file {', '.join(missing)}; expected all batches of {family.archive.path}: extract the archive again.")
    read = functools.partial(
        _read_originals, family, lambda: {file.path.name: read_bytes(file.path) for file in files}, folder, family.folder
    )
    return Located(name=family.name, files=files, read=read)


def _read_archive(path: Path, family: Family) -> dict[str, bytes]:
    """Return the batches of an archive by name. They are read in memory, in one pass: nothing is extracted to disk."""
    wanted = {f"{family.folder}/{file.path}": str(file.path) for file in (*family.train, family.test)}
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, mode="r|gz") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() and member.name in wanted else None
                if stream is not None:
                    contents[wanted[member.name]] = stream.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{path}: truncated or damaged archive ({type(error).__name__}: {error}); "
            f"expected {family.archive.path} as published at {family.url}: get it again."
        ) from error
    missing = [name for name in wanted.values() if name not in contents]
    if missing:
        raise DataError(
            f"{path}: no member {', '.join(missing)} in {family.folder}/; expected the archive published at {family.url}: get it again."
        )
    return contents


def _read_originals(family: Family, contents: Callable[[], dict[str, bytes]], folder: Path, where: str, limit: Limit) -> Dataset:
    """Build the data set from the original batches, in official order."""
    raw = contents()

    def batch(file: DataFile) -> tuple[np.ndarray, np.ndarray]:
        place = f"{where}: {file.path}"
        return images_and_labels(
            read_batch(raw[str(file.path)], place),
            label_key=family.label_key,
            resolution=RESOLUTION,
            first_label=0,
            num_classes=family.num_classes,
            where=place,
        )

    images, labels = (np.concatenate(arrays) for arrays in zip(*map(batch, family.train), strict=True))
    x_test, y_test = batch(family.test)
    if family.name == CIFAR10_FULL.name:
        parts = Part(images, labels), Part(x_test, y_test), Part(x_test, y_test)
        words = "all training images; validation and test are both the official test images, so choose nothing by them"
    elif family.name == CIFAR10.name:
        train, held = benchmark_halves(len(labels))
        parts = Part(images, labels, train), Part(images, labels, held), Part(x_test, y_test)
        words = "training images halved as in the benchmark (seed 1021), official test images"
    else:
        held, test, words = held_out_halves(folder / CIFAR100_SPLIT_FILE, y_test)
        parts = Part(images, labels), Part(x_test, y_test, held), Part(x_test, y_test, test)
    return assembled(
        *parts,
        limit=limit,
        name=family.name,
        num_classes=family.num_classes,
        mean=family.mean,
        std=family.std,
        crop_padding=CROP_PADDING,
        horizontal_flip=True,
        source=f"{where}; {words}",
    )
