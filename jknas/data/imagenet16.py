"""ImageNet16-120: the first 120 classes of ImageNet downsampled to 16x16, read from its batch files.

References: P. Chrabaszcz et al., "A Downsampled Variant of ImageNet as an Alternative to the CIFAR datasets", arXiv:1707.08819;
NAS-Bench-201 (arXiv:2001.00326, section 2.2) keeps labels 1..120 of the 1,000, in the order of the downsampled data's own label map.
"""

import functools
from pathlib import Path

import numpy as np

from jknas.data.dataset import Dataset, Part, assembled
from jknas.data.files import DataFile, Located, read_bytes
from jknas.data.pickles import images_and_labels, read_batch
from jknas.data.splits import Limit, held_out_halves
from jknas.errors import DataError

NUM_CLASSES = 120
RESOLUTION = 16
CROP_PADDING = 2
MEAN = (122.68 / 255, 116.66 / 255, 104.01 / 255)
STD = (63.22 / 255, 61.26 / 255, 65.09 / 255)

SPLIT_FILE = "imagenet-16-120-test-split.txt"
"""The benchmark's own division of the validation images; used when the data folder holds it."""

_DIGESTS = {
    "train_data_batch_1": "27846dcaa50de8e21a7d1a35f30f0e91",
    "train_data_batch_2": "c7254a054e0e795c69120a5727050e3f",
    "train_data_batch_3": "4333d3df2e5ffb114b05d2ffc19b1e87",
    "train_data_batch_4": "1620cdf193304f4a92677b695d70d10f",
    "train_data_batch_5": "348b3c2fdbb3940c4e9e834affd3b18d",
    "train_data_batch_6": "6e765307c242a1b3d7d5ef9139b48945",
    "train_data_batch_7": "564926d8cbf8fc4818ba23d2faac7564",
    "train_data_batch_8": "f4755871f718ccb653440b9dd0ebac66",
    "train_data_batch_9": "bb6dd660c38c58552125b1a92f86b5d4",
    "train_data_batch_10": "8f03f34ac4b42271a294f91bf480f29b",
    "val_data": "3410e3017fdaefba8d5073aaa65e4bd6",
}


def locate(folder: Path | None) -> Located | None:
    """Find the eleven batch files in a folder, or in `ImageNet16` inside it.

    Raises:
        DataError: some of the files are there and some are not.
    """
    if folder is None:
        return None
    for place in (folder, folder / "ImageNet16"):
        files = tuple(DataFile(place / name, f"md5:{digest}") for name, digest in _DIGESTS.items())
        missing = [file.path.name for file in files if not file.path.is_file()]
        if not missing:
            return Located(name="imagenet16-120", files=files, read=functools.partial(_read, place, folder))
        if len(missing) < len(files):
            raise DataError(f"{place}: no file {', '.join(missing)}; expected all eleven batch files of the 16x16 ImageNet: add them.")
    return None


def _read(place: Path, folder: Path, limit: Limit) -> Dataset:
    parts = [_first_classes(place / name) for name in _DIGESTS if name.startswith("train")]
    images, labels = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    x_test, y_test = _first_classes(place / "val_data")
    held, test, words = held_out_halves(folder / SPLIT_FILE, y_test)
    return assembled(
        Part(images, labels),
        Part(x_test, y_test, held),
        Part(x_test, y_test, test),
        limit=limit,
        name="imagenet16-120",
        num_classes=NUM_CLASSES,
        mean=MEAN,
        std=STD,
        crop_padding=CROP_PADDING,
        horizontal_flip=True,
        source=f"16x16 ImageNet batch files, labels 1..120; {words}",
    )


def _first_classes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels (from 0) of the first 120 classes of one batch file."""
    images, labels = images_and_labels(
        read_batch(read_bytes(path), str(path)), label_key="labels", resolution=RESOLUTION, first_label=1, num_classes=1000, where=str(path)
    )
    kept = labels < NUM_CLASSES
    return images[kept], labels[kept]
