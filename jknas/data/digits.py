"""The embedded data set: real handwritten digits, 8x8 pixels, no download.

1,797 digits written by 13 people, each an 8x8 count image with values 0..16. They are the test part of "Optical Recognition of Handwritten
Digits" (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49, CC BY 4.0), as scikit-learn
ships them. `digits.npz` beside this file was written by

    digits = sklearn.datasets.load_digits()
    np.savez_compressed("digits.npz", images=digits.images.astype(np.uint8), labels=digits.target.astype(np.uint8))
"""

from pathlib import Path

import numpy as np

from jknas.data.dataset import Dataset, Part, assembled, channel_constants
from jknas.data.files import DataFile, Located, read_arrays
from jknas.data.splits import Limit, balanced_order

SIZES = (1000, 297, 500)
"""Images in train, validation and test."""

_FILE = DataFile(
    path=Path(__file__).with_name("digits.npz"),
    digest="sha256:b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e",
)


def locate(_folder: Path | None) -> Located:
    """Return the digits, which are part of the package; the folder plays no role."""
    return Located(name="digits", files=(_FILE,), read=_read)


def _read(limit: Limit) -> Dataset:
    arrays = read_arrays(_FILE.path, ("images", "labels"))
    counts, labels = arrays["images"].astype(np.int32), arrays["labels"].astype(np.int32)
    # 0..16 onto 0..255, rounded half up, and grey onto three channels, so that networks for colour images take them as they are.
    pixels = ((counts * 255 + 8) // 16).astype(np.uint8)
    images = np.repeat(pixels[..., None], 3, axis=-1)
    order = balanced_order(labels)
    first, second = SIZES[0], SIZES[0] + SIZES[1]
    mean, std = channel_constants(images[order[:first]])
    train, validation, test = (Part(images, labels, rows) for rows in np.split(order, [first, second]))
    return assembled(
        train,
        validation,
        test,
        limit=limit,
        name="digits",
        num_classes=10,
        mean=mean,
        std=std,
        crop_padding=1,
        horizontal_flip=False,
        source="UCI handwritten digits, 8x8, embedded; fixed stratified split 1,000/297/500",
    )
