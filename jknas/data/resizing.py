"""Bilinear resizing of a whole data set."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jknas.data.dataset import SPLITS, Dataset
from jknas.data.images import FolderImages
from jknas.errors import DataError

LARGEST = 1024


def resize_images(images: UInt8[np.ndarray, "n h w c"], resolution: int) -> UInt8[np.ndarray, "n r r c"]:
    """Return the images at `resolution` x `resolution`, bilinear (Pillow: antialiased when shrinking)."""
    size = (resolution, resolution)
    resized = np.empty((len(images), *size, images.shape[3]), np.uint8)
    for row, image in enumerate(images):
        if image.shape[2] == 3:
            resized[row] = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        else:
            for channel in range(image.shape[2]):
                plane = Image.fromarray(np.ascontiguousarray(image[..., channel]))
                resized[row, ..., channel] = np.asarray(plane.resize(size, Image.Resampling.BILINEAR))
    return resized


def _resized(images: UInt8[np.ndarray, "n h w c"] | FolderImages, resolution: int) -> UInt8[np.ndarray, "n r r c"] | FolderImages:
    return images.at(resolution) if isinstance(images, FolderImages) else resize_images(images, resolution)


def resize(dataset: Dataset, resolution: int | None) -> Dataset:
    """Return the data set at another resolution; the crop padding is scaled with it, to at least one pixel.

    Images in a folder are decoded at that resolution, and so not resized twice.

    The normalisation constants stay those of the original resolution, so that they are the published ones where there are such.

    Args:
        dataset: At any resolution.
        resolution: Height and width in pixels, or None for no change.

    Raises:
        DataError: the resolution is not a whole number from 1 to 1024.
    """
    if resolution is None:
        return dataset
    if isinstance(resolution, bool) or not isinstance(resolution, int) or not 1 <= resolution <= LARGEST:
        raise DataError(f"resolution is {resolution!r}; expected None (as stored) or a whole number of pixels from 1 to {LARGEST}.")
    if resolution == dataset.resolution:
        return dataset
    padding = max(1, round(dataset.crop_padding * resolution / dataset.resolution)) if dataset.crop_padding else 0
    images: dict[str, Any] = {f"x_{split}": _resized(dataset.split(split)[0], resolution) for split in SPLITS}
    words = f"resized from {dataset.resolution} to {resolution} pixels, bilinear"
    if dataset.streamed:
        words = f"decoded at {resolution} pixels"
    return dataclasses.replace(
        dataset,
        **images,
        crop_padding=padding,
        source=f"{dataset.source}; {words}",
    )
