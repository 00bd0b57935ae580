"""Images in files, decoded when an index asks for them."""

import hashlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance

from jknas.errors import DataError

CROP_SHARE = 224 / 256
"""Side of the centre crop in units of the shorter side, as in the evaluation of ImageNet networks."""

_THREADS = 16
_SIXTEEN_BITS = 2**16 - 1
_AREA, _RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
_JITTER, _HUE = 0.4, 0.2


def read_image(file: Path) -> Image.Image:
    """Decode a file to RGB of 8 bits a channel.

    One of more pixels than Pillow's limit for untrusted files (twice ``Image.MAX_IMAGE_PIXELS``) is refused.

    Raises:
        DataError: the file is no image, a truncated or too large one, or cannot be read.
    """
    try:
        with Image.open(file) as image:
            # Pillow warns from half its limit on; only its error is a refusal.
            return _eight_bits(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = str(error).partition(" '")[0]
        raise DataError(f"{file}: not an image that can be decoded ({reason}); copy the file again, or remove it.") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return grey images of 16 bits with 8, which Pillow would cut off at 255; raise ValueError for numbers that are no 16 bits."""
    if not image.mode.startswith(("I", "F")):
        return image
    grey = np.asarray(image)
    if image.mode == "F" or grey.min() < 0 or grey.max() > _SIXTEEN_BITS:
        raise ValueError(f"its pixels are {grey.dtype} from {grey.min()} to {grey.max()}, not of 8 or 16 bits")
    return Image.fromarray((grey.astype(np.uint32) * 255 // _SIXTEEN_BITS).astype(np.uint8))


class FolderImages:
    """A split's images, which are files: read like the array uint8 ``[n, resolution, resolution, 3]`` that they are when decoded.

    An index by rows decodes those rows in threads: the shorter side is resized to ``resolution / CROP_SHARE`` pixels, bilinear, and the
    centre is cut out. There is no cache.

    Args:
        files: one per row.
        root: the folder that the files are in, for the digest.
        resolution: height and width in pixels.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, files: Sequence[Path], root: Path, resolution: int) -> None:
        self.files, self.root, self.resolution = tuple(files), root, resolution

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the decoded array."""
        return len(self.files), self.resolution, self.resolution, 3

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, rows: slice) -> "FolderImages": ...
    @overload
    def __getitem__(self, rows: Any) -> np.ndarray: ...
    def __getitem__(self, rows: Any) -> "np.ndarray | FolderImages":
        """Decode the rows of an index array, or one row; a slice is again a :class:`FolderImages`, and decodes nothing."""
        if isinstance(rows, slice):
            return FolderImages(self.files[rows], self.root, self.resolution)
        chosen = np.arange(len(self.files))[rows]
        found = self._decoded(np.atleast_1d(chosen), lambda image, _: centre_crop(image, self.resolution))
        return found if np.ndim(chosen) else found[0]

    def taken(self, rows: Any) -> "FolderImages":
        """Return the images of some rows, not decoded."""
        return FolderImages([self.files[row] for row in rows], self.root, self.resolution)

    def at(self, resolution: int) -> "FolderImages":
        """Return the images at another resolution, not decoded."""
        return FolderImages(self.files, self.root, resolution)

    def augmented(self, rows: np.ndarray, seeds: np.ndarray) -> UInt8[np.ndarray, "n r r 3"]:
        """Decode rows with a random resized crop and colour jitter each, see :func:`random_view`.

        Args:
            rows: ``[n]``.
            seeds: of each image, ``[n]``.
        """
        return self._decoded(rows, lambda image, place: random_view(image, self.resolution, np.random.default_rng(int(seeds[place]))))

    def check(self) -> None:
        """Decode every file.

        Raises:
            DataError: one cannot be decoded.
        """
        for start in range(0, len(self), 256):
            self[np.arange(start, min(start + 256, len(self)))]

    def fingerprint(self) -> bytes:
        """Return what the digest of a data set says of the images: SHA-256 of resolution, relative paths and sizes, not of content."""
        digest = hashlib.sha256(f"{self.resolution}".encode())
        for file in self.files:
            digest.update(f"{file.relative_to(self.root).as_posix()} {file.stat().st_size}\n".encode("utf-8", "surrogateescape"))
        return digest.digest()

    def _decoded(self, rows: np.ndarray, view: Callable[[Image.Image, int], Image.Image]) -> UInt8[np.ndarray, "n r r 3"]:
        pixels = np.empty((len(rows), *self.shape[1:]), np.uint8)

        def fill(place: int) -> None:
            pixels[place] = np.asarray(view(read_image(self.files[rows[place]]), place))

        with ThreadPoolExecutor(min(_THREADS, max(1, len(rows)))) as threads:
            list(threads.map(fill, range(len(rows))))
        return pixels


def centre_crop(image: Image.Image, resolution: int) -> Image.Image:
    """Resize the shorter side to ``resolution / CROP_SHARE`` pixels (256 for 224), bilinear, and cut out the centre."""
    short = round(resolution / CROP_SHARE)
    scale = short / min(image.size)
    width, height = (max(short, round(side * scale)) for side in image.size)
    left, top = (width - resolution) // 2, (height - resolution) // 2
    # Only the part that is kept is resized.
    box = (left / width * image.width, top / height * image.height)
    end = ((left + resolution) / width * image.width, (top + resolution) / height * image.height)
    return image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=(*box, *end))


def random_view(image: Image.Image, resolution: int, rng: np.random.Generator) -> Image.Image:
    """Cut out a random part of an image, resize it, and jitter its colours; the flip is a later step.

    The part has 8 % to 100 % of the area and a ratio of sides of 3/4 to 4/3, log-uniform; after ten draws that do not fit, it is the
    largest centred part within those ratios. Brightness, contrast and saturation are multiplied by factors uniform in 0.6..1.4 and the hue
    is shifted by -0.2..0.2 of a turn, in random order.

    Reference: the released training code of DARTS on ImageNet (``RandomResizedCrop(224)``, ``ColorJitter(.4, .4, .4, .2)``).
    """
    view = image.resize((resolution, resolution), Image.Resampling.BILINEAR, box=_part(image.size, rng))
    for step in rng.permutation(4):
        factor = float(rng.uniform(1 - _JITTER, 1 + _JITTER))
        if step == 0:
            view = ImageEnhance.Brightness(view).enhance(factor)
        elif step == 1:
            view = ImageEnhance.Contrast(view).enhance(factor)
        elif step == 2:
            view = ImageEnhance.Color(view).enhance(factor)
        else:
            hue, saturation, value = view.convert("HSV").split()
            shift = round(255 * float(rng.uniform(-_HUE, _HUE)))
            turned = Image.fromarray(((np.asarray(hue).astype(np.int16) + shift) % 256).astype(np.uint8))
            view = Image.merge("HSV", (turned, saturation, value)).convert("RGB")
    return view


def _part(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    width, height = size
    for _ in range(10):
        area = width * height * rng.uniform(*_AREA)
        ratio = math.exp(rng.uniform(math.log(_RATIO[0]), math.log(_RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * _RATIO[1])), min(height, round(width / _RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
