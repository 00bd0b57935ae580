"""A labelled image data set with its three splits, as an immutable value."""

import dataclasses
import functools
import hashlib
import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from jknas.data.images import FolderImages
from jknas.data.splits import Limit
from jknas.errors import DataError

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of the three splits, with what training has to know about them.

    Its arrays are read-only views; a `Dataset` is never changed, only replaced. The images of a folder are
    :class:`~jknas.data.images.FolderImages` in their place: decoded when rows of them are asked for.

    Attributes:
        name: What the images really are; `jknas.data.load(name)` gives the same kind again.
        x_train: Images `[N, H, W, C]`, uint8 0..255, square (`H == W`).
        y_train: Labels `[N]`, int32, 0..num_classes-1.
        x_validation: As `x_train`; choices are made on this split.
        y_validation: As `y_train`.
        x_test: As `x_train`; reported once; no choice is made on it.
        y_test: As `y_train`.
        num_classes: Number of classes K, at least 2.
        mean: Mean of each channel, in units of pixel/255.
        std: Standard deviation of each channel, in units of pixel/255.
        crop_padding: Zero pixels on each side before the random crop of the training augmentation.
        horizontal_flip: Whether a mirrored image keeps its label, so that the augmentation may flip.
        source: The file that it was read from and how it was split, in words.

    Raises:
        DataError: an array has the wrong dtype or shape, a label is out of range, a split is empty, or the constants do not fit.
    """

    name: str
    x_train: UInt8[np.ndarray, "train h w c"] | FolderImages
    y_train: Int32[np.ndarray, " train"]
    x_validation: UInt8[np.ndarray, "validation h w c"] | FolderImages
    y_validation: Int32[np.ndarray, " validation"]
    x_test: UInt8[np.ndarray, "test h w c"] | FolderImages
    y_test: Int32[np.ndarray, " test"]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    horizontal_flip: bool
    source: str

    inputs: ClassVar[str] = "images"
    """What the examples are; a network says by the same name what it reads."""

    @property
    def has_f1(self) -> bool:
        """Whether the F1 of class 1 is one of the task's metrics, as in MRPC."""
        return False

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise DataError(f"{self.name}: num_classes is {self.num_classes}; a classification data set needs at least 2.")
        for split in SPLITS:
            images, labels = self.split(split)
            self._check_examples(images, f"{self.name}: x_{split}")
            check_labels(labels, len(images), self.num_classes, f"{self.name}: y_{split}")
            if labels.dtype != np.int32:
                raise DataError(f"{self.name}: y_{split} has dtype {labels.dtype}; expected int32: convert with y.astype(np.int32).")
            if images.shape[1:] != self.x_train.shape[1:]:
                raise DataError(
                    f"{self.name}: x_{split} holds {self.inputs} of shape {images.shape[1:]} but x_train of {self.x_train.shape[1:]}; "
                    "all splits need one height, width and channel count: resize or convert them first."
                )
        self._check_constants()
        for name in (f"{axis}_{split}" for split in SPLITS for axis in "xy"):
            if isinstance(getattr(self, name), FolderImages):
                continue
            # A view, so that the caller's own array stays writable.
            view = getattr(self, name).view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)

    @property
    def resolution(self) -> int:
        """Height and width of an image in pixels."""
        return int(self.x_train.shape[1])

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return int(self.x_train.shape[3])

    @property
    def streamed(self) -> bool:
        """Whether the images are files that are decoded when they are used."""
        return isinstance(self.x_train, FolderImages)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that a score can depend on: arrays, classes, constants and augmentation.

        Computed on first use; 60,000 CIFAR images take about a quarter of a second. Of images in a folder the relative paths and the sizes
        of the files count, and the resolution, but not the content.
        """
        digest = hashlib.sha256(repr(self._facts()).encode())
        for split in SPLITS:
            for array in self.split(split):
                digest.update(f"{split} {array.dtype.str} {array.shape}".encode())
                digest.update(array.fingerprint() if isinstance(array, FolderImages) else np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _facts(self) -> tuple[Any, ...]:
        """Return what a score can depend on besides arrays."""
        return self.num_classes, self.mean, self.std, self.crop_padding, self.horizontal_flip

    def _check_examples(self, examples: Any, where: str) -> None:
        check_images(examples, where)

    def _check_constants(self) -> None:
        check_constants(self.mean, self.std, self.channels, self.name)
        if self.crop_padding < 0:
            raise DataError(f"{self.name}: crop_padding is {self.crop_padding}; expected 0 (no random crop) or more pixels.")

    def split(self, split: str) -> tuple[Any, np.ndarray]:
        """Return images `[N, H, W, C]` (an array, or :class:`FolderImages`) and labels `[N]` of "train", "validation" or "test".

        Raises:
            DataError: there is no split of that name.
        """
        if split not in SPLITS:
            raise DataError(f"there is no split {split!r}; expected one of {', '.join(SPLITS)}.")
        return getattr(self, f"x_{split}"), getattr(self, f"y_{split}")

    def normalise(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n h w c"]:
        """Return `(images / 255 - mean) / std` for each channel, as float32.

        Raises:
            DataError: the images are not uint8 `[N, H, W, C]` with this data set's channel count. (Another resolution is fine.)
        """
        check_images(images, f"{self.name}: images to normalise")
        if images.shape[3] != self.channels:
            raise DataError(f"{self.name}: images to normalise have {images.shape[3]} channels; the constants are for {self.channels}.")
        scale, shift = pixel_constants(self)
        return np.asarray(images, np.float32) * scale - shift


def pixel_constants(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 ``(scale, shift)`` of each channel, with which ``pixels * scale - shift`` is the normalised image."""
    mean, std = np.asarray(dataset.mean), np.asarray(dataset.std)
    return (1 / (255 * std)).astype(np.float32), (mean / std).astype(np.float32)


class Part(NamedTuple):
    """Where one split comes from.

    Attributes:
        images: uint8 `[N, H, W, C]`, or files.
        labels: int32 `[N]`.
        rows: which of them belong to the split, in order; None for all.
    """

    images: np.ndarray | FolderImages
    labels: np.ndarray
    rows: np.ndarray | None = None

    def first(self, count: int | None) -> tuple[np.ndarray | FolderImages, np.ndarray]:
        """Return the images and labels of the first rows; of all rows if `count` is None."""
        rows = slice(count) if self.rows is None else self.rows[:count]
        if isinstance(self.images, FolderImages) and not isinstance(rows, slice):
            return self.images.taken(rows), self.labels[rows]
        return self.images[rows], self.labels[rows]


def assembled(train: Part, validation: Part, test: Part, *, limit: Limit, **facts: Any) -> Dataset:
    """Return a data set of three parts, each cut to `limit`.

    Args:
        train: The training split.
        validation: The validation split.
        test: The test split.
        limit: `(n_train, n_test)` or None; `n_train` limits the validation split too.
        **facts: The other attributes of :class:`Dataset`.
    """
    n_train, n_test = (None, None) if limit is None else limit
    (x_train, y_train), (x_validation, y_validation), (x_test, y_test) = train.first(n_train), validation.first(n_train), test.first(n_test)
    return Dataset(
        x_train=x_train, y_train=y_train, x_validation=x_validation, y_validation=y_validation, x_test=x_test, y_test=y_test, **facts
    )


def check_images(images: Any, where: str) -> None:
    """Raise DataError unless `images` is a non-empty uint8 array `[N, H, W, C]` of square images."""
    if isinstance(images, FolderImages) and len(images):
        return  # square by construction
    if not isinstance(images, np.ndarray):
        raise DataError(f"{where}: came as {type(images).__name__}; expected a numpy array, uint8 [N, H, W, C].")
    if images.dtype != np.uint8:
        hint = "multiply by 255 and round, then astype(np.uint8)" if images.dtype.kind == "f" else "convert with x.astype(np.uint8)"
        raise DataError(f"{where}: dtype {images.dtype}; expected uint8 pixels 0..255: {hint}.")
    if images.ndim != 4:
        hint = "; add a channel axis with x[..., None]" if images.ndim == 3 else ""
        raise DataError(f"{where}: shape {images.shape}; expected four axes [N, H, W, C]{hint}.")
    if images.size == 0:
        raise DataError(f"{where}: shape {images.shape} holds no pixels; every split needs at least one image.")
    if images.shape[1] != images.shape[2]:
        hint = (
            "these look like [N, C, H, W]: use x.transpose(0, 2, 3, 1)"
            if images.shape[2] == images.shape[3]
            else "crop or resize them first"
        )
        raise DataError(f"{where}: shape {images.shape}; expected square images [N, H, W, C] with H == W: {hint}.")


def check_labels(labels: Any, count: int, num_classes: int | None, where: str) -> None:
    """Raise DataError unless `labels` is an integer array `[count]` of values 0..num_classes-1 (None: any from 0)."""
    if not isinstance(labels, np.ndarray):
        raise DataError(f"{where}: came as {type(labels).__name__}; expected a numpy array of integer labels [N].")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{where}: dtype {labels.dtype}; expected integer labels 0..K-1: convert with y.astype(np.int32).")
    if labels.ndim != 1:
        hint = ""
        if labels.ndim == 2:
            hint = ": use y.reshape(-1)" if labels.shape[1] == 1 else ": turn one-hot rows into labels with y.argmax(axis=1)"
        raise DataError(f"{where}: shape {labels.shape}; expected one label per image, [N]{hint}.")
    if len(labels) != count:
        raise DataError(f"{where}: {len(labels)} labels for {count} images; expected one label per image, in the same order.")
    if count == 0:
        raise DataError(f"{where}: 0 labels; expected at least one.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (num_classes is not None and high >= num_classes):
        expected = "0 or more" if num_classes is None else f"0..{num_classes - 1} ({num_classes} classes)"
        raise DataError(f"{where}: labels run from {low} to {high}; expected {expected}: relabel from 0, without gaps.")


def check_constants(mean: tuple[float, ...], std: tuple[float, ...], channels: int, where: str) -> None:
    """Raise DataError unless `mean` and `std` hold one finite value per channel, in units of pixel/255, with `std` above 0."""
    for label, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise DataError(f"{where}: {label} has {len(values)} values; expected one per channel, that is {channels}.")
        if not all(math.isfinite(value) and 0 <= value <= 1 for value in values):
            raise DataError(
                f"{where}: {label} is {values}; expected finite values in units of pixel/255, 0..1: divide 0..255 values by 255."
            )
    if min(std) <= 0:
        raise DataError(
            f"{where}: std is {std}; every channel needs a value above 0. A channel that is the same in all training images has none: "
            "drop that channel, or give mean and std."
        )


def channel_constants(images: UInt8[np.ndarray, "n h w c"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each channel, in units of pixel/255.

    Computed from a histogram of the 256 pixel values, so exactly, and without a float copy of the images.
    """
    values = np.arange(256) / 255.0
    means, deviations = [], []
    for channel in range(images.shape[3]):
        weights = np.bincount(images[..., channel].reshape(-1), minlength=256) / images[..., channel].size
        mean = float(values @ weights)
        means.append(mean)
        deviations.append(math.sqrt(float(((values - mean) ** 2) @ weights)))
    return tuple(means), tuple(deviations)


def batch(
    dataset: Dataset, size: int, seed: int
) -> tuple[Float32[np.ndarray, "n h w c"] | Int32[np.ndarray, "n 3 t"], Int32[np.ndarray, " n"]]:
    """Draw a fixed minibatch of the training split: uniform, without replacement, not augmented.

    Args:
        dataset: Where to draw from.
        size: Number of images, at most the size of the training split.
        seed: Seed of numpy's `default_rng`; the same seed always gives the same images in the same order.

    Returns:
        Normalised images `[size, H, W, C]` (float32), or sequences of tokens (int32), and labels `[size]` (int32).

    Raises:
        DataError: the size is not between 1 and the number of training images.
    """
    count = len(dataset.y_train)
    if not 1 <= size <= count:
        raise DataError(
            f"{dataset.name}: a batch of {size} was asked for; the training split holds {count} images: "
            f"choose 1..{count}, or raise the limit."
        )
    rows = np.random.default_rng(seed).choice(count, size=size, replace=False)
    return dataset.normalise(dataset.x_train[rows]), dataset.y_train[rows]
