"""Shuffle, flip, crop, normalise and cut out inside a compiled program, on uint8 images that stay on the device.

All randomness of an epoch is one draw of four 32-bit words for each training image, and another of two where squares are cut out. An
image's flip, crop and cutout in an epoch therefore depend on the key and on the image's place in the data set, not on the batch it falls
into. (Images of a folder, which come batch by batch, are drawn for by batch.)

Reference: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", arXiv:1708.04552.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt8, UInt32

Words = UInt32[Array, "n 4"]
"""Random words of each image: place in the order, flip, row of the crop, column of the crop."""


def draw_words(key: jax.Array, count: int) -> Words:
    """Draw an epoch's random words for ``count`` images."""
    # A single draw compiles in a fraction of the time of separate permutation, Bernoulli and integer draws.
    return jax.random.bits(key, (count, 4), jnp.uint32)


def draw_centres(key: jax.Array, images: Any) -> Int[Array, "n 2"]:
    """Draw the row and column around which :func:`cut_out` cuts each of the images ``[n, h, w, c]``; every pixel is equally likely."""
    count, *extents, _ = images.shape
    return (jax.random.bits(key, (count, 2), jnp.uint32) % jnp.asarray([extents], jnp.uint32)).astype(jnp.int32)


def shuffled(words: Words) -> Int[Array, " n"]:
    """Return the order of the epoch: the images sorted by their first word (of two equal ones, once in 2^32, the earlier image first)."""
    return jnp.argsort(words[:, 0], stable=True)


def augment(images: UInt8[Array, "n h w c"], words: Words, *, crop_padding: int, horizontal_flip: bool) -> UInt8[Array, "n h w c"]:
    """Flip half of the images, then cut the image size out of each zero-padded one at a random place.

    Args:
        images: pixels, not normalised: the padding is black, as in the benchmark's recipe, and not the mean colour.
        words: random words of these images.
        crop_padding: pixels of padding p on each side; the cut's corner is uniform in 0..2p on both axes.
        horizontal_flip: whether to flip, with probability one half.

    Both steps are one gather: output pixel (i, j) is input pixel (i + a - p, j + b - p), the latter counted from the right when flipped.
    """
    _, height, width, _ = images.shape
    span = jnp.uint32(2 * crop_padding + 1)
    down, right = ((words[:, column] % span).astype(jnp.int32) - crop_padding for column in (2, 3))
    rows = jnp.arange(height, dtype=jnp.int32)[None, :] + down[:, None]
    columns = jnp.arange(width, dtype=jnp.int32)[None, :] + right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    if horizontal_flip:
        columns = jnp.where((words[:, 1] >> 31 == 1)[:, None], width - 1 - columns, columns)
    batch = jnp.arange(images.shape[0], dtype=jnp.int32)[:, None, None]
    cut = images[batch, jnp.clip(rows, 0, height - 1)[:, :, None], jnp.clip(columns, 0, width - 1)[:, None, :]]
    return jnp.where(inside[..., None], cut, jnp.uint8(0))


def normalise(
    images: UInt8[Array, "n h w c"] | UInt8[np.ndarray, "n h w c"],
    scale: Float[Array, " c"] | Float[np.ndarray, " c"],
    shift: Float[Array, " c"] | Float[np.ndarray, " c"],
) -> Float[Array, "n h w c"]:
    """Normalise pixels with :func:`jknas.data.dataset.pixel_constants`."""
    scale, shift = jnp.asarray(scale), jnp.asarray(shift)
    return jnp.asarray(images).astype(scale.dtype) * lax.broadcast_to_rank(scale, 4) - lax.broadcast_to_rank(shift, 4)


def cut_out(x: Float[Array, "n h w c"], centres: Int[Array, "n 2"], *, side: int) -> Float[Array, "n h w c"]:
    """Set a square of each normalised image to zero, the mean colour.

    Args:
        x: images, normalised.
        centres: of :func:`draw_centres`.
        side: an even number of pixels. Rows ``centre - side / 2`` to ``centre + side / 2 - 1`` and the same columns become zero, as far as
            they are in the image: a square at the border is a smaller one.
    """

    def inside(extent: int, centre: jax.Array) -> jax.Array:
        offset = jnp.arange(extent, dtype=jnp.int32)[None, :] - centre[:, None]
        return (offset >= -(side // 2)) & (offset < side // 2)

    rows, columns = (inside(x.shape[axis + 1], centres[:, axis]) for axis in (0, 1))
    return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], jnp.zeros((), x.dtype), x)
