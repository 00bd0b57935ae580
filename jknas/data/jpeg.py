"""Labelled images kept as JPEG bytes in one `.npz`, decoded only as far as they are asked for."""

import dataclasses
import io
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8
from PIL import Image

from jknas.data.dataset import check_labels
from jknas.data.files import read_arrays
from jknas.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class JpegImages:
    """Encoded images with their labels.

    Attributes:
        path: The file, for messages.
        encoded: All images one after the other.
        offsets: Where each begins and the last ends, `[N + 1]`.
        labels: Label of each image, `[N]`.
        is_test: Whether each image is an official test image, `[N]`.
        resolution: Height and width in pixels.
    """

    path: Path
    encoded: UInt8[np.ndarray, " bytes"]
    offsets: Int[np.ndarray, " n+1"]
    labels: Int32[np.ndarray, " n"]
    is_test: Bool[np.ndarray, " n"]
    resolution: int

    def decode(self, rows: Int[np.ndarray, " m"]) -> UInt8[np.ndarray, "m h w 3"]:
        """Return the decoded images of some rows; about 200 microseconds each at 32x32.

        Raises:
            DataError: an image is damaged, or has another size or mode.
        """
        shape = (self.resolution, self.resolution, 3)
        decoded = np.empty((len(rows), *shape), np.uint8)
        for place, row in enumerate(rows):
            content = self.encoded[self.offsets[row] : self.offsets[row + 1]].tobytes()
            try:
                image = np.asarray(Image.open(io.BytesIO(content), formats=("JPEG",)))
            except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged files, SyntaxError included
                raise DataError(
                    f"{self.path}: image {row} is not a readable JPEG ({type(error).__name__}: {error}); get the file again."
                ) from error
            if image.shape != shape:
                raise DataError(f"{self.path}: image {row} decodes to shape {image.shape}; expected {shape} (colour): get the file again.")
            decoded[place] = image
        return decoded


def read_jpeg(path: Path, *, num_classes: int, resolution: int) -> JpegImages:
    """Read the encoded images of an `.npz` with `jpeg`, `offsets`, `labels` and `is_test`; nothing is decoded yet.

    Image i is the bytes `offsets[i]:offsets[i + 1]` of `jpeg`.

    Raises:
        DataError: an array is missing, has the wrong dtype or shape, or the offsets do not share out the bytes.
    """
    arrays = read_arrays(path, ("jpeg", "offsets", "labels", "is_test"))
    encoded, offsets, labels, is_test = (arrays[name] for name in ("jpeg", "offsets", "labels", "is_test"))
    if encoded.dtype != np.uint8 or encoded.ndim != 1:
        raise DataError(f"{path}: jpeg is {encoded.dtype} {encoded.shape}; expected uint8 bytes in one axis.")
    count = len(labels) if labels.ndim == 1 else 0
    check_labels(labels, count, num_classes, f"{path}: labels")
    if is_test.dtype != np.bool_ or is_test.shape != (count,):
        raise DataError(f"{path}: is_test is {is_test.dtype} {is_test.shape}; expected bool ({count},), one a label.")
    if not is_test.any() or (~is_test).sum() < 2:
        raise DataError(
            f"{path}: {is_test.sum()} of {count} images are test images; expected at least one, and at least two training images."
        )
    if offsets.dtype.kind not in "iu" or offsets.shape != (count + 1,):
        raise DataError(f"{path}: offsets is {offsets.dtype} {offsets.shape}; expected integers ({count + 1},), one more than labels.")
    offsets = offsets.astype(np.int64)
    if offsets[0] != 0 or offsets[-1] != len(encoded) or (np.diff(offsets) <= 0).any():
        raise DataError(
            f"{path}: offsets must rise from 0 to {len(encoded)}, the number of bytes; they run from {offsets[0]} to {offsets[-1]}."
        )
    return JpegImages(path=path, encoded=encoded, offsets=offsets, labels=labels.astype(np.int32), is_test=is_test, resolution=resolution)
