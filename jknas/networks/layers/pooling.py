"""Average pooling as the NAS-Bench-201 and DARTS operations define it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jknas.networks.layers.normalisation import FEW_CHANNELS


def _window_sum(x: jax.Array, axis: int) -> jax.Array:
    pads = [(0, 0)] * x.ndim
    pads[axis] = (1, 1)
    padded, extent = jnp.pad(x, pads), x.shape[axis]
    return sum(jax.lax.slice_in_dim(padded, shift, shift + extent, axis=axis) for shift in (0, 1, 2))  # type: ignore[return-value]


def _count(extent: int, stride: int = 1) -> np.ndarray:
    """Return how many pixels of an axis each window of three holds."""
    at = np.arange(0, extent, stride)
    return np.minimum(at + 1, extent - 1) - np.maximum(at - 1, 0) + 1


@functools.lru_cache
def reciprocal_counts(height: int, width: int, stride: int = 1) -> np.ndarray:
    """Return one over the number of pixels that each 3x3 window holds, ``[1, h_out, w_out, 1]``."""
    return 1 / np.outer(_count(height, stride), _count(width, stride))[None, :, :, None]


@functools.lru_cache
def window_means(extent: int, channels: int) -> np.ndarray:
    """Return the matrix ``[extent channels, extent channels]`` that averages an axis over windows of three, each channel by itself."""
    at = np.arange(extent)
    means = (np.abs(at[:, None] - at) <= 1) / _count(extent)[:, None]
    return np.kron(means, np.eye(channels))


def average_pool_3x3(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Average over 3x3 windows at stride 1; pixels outside the image do not count (corners divide by 4, edges by 6).

    Flax and XLA count the padding unless told otherwise, which shifts scores without showing in rank correlations.
    """
    n, height, width, channels = x.shape
    if channels >= FEW_CHANNELS:
        return _window_sum(_window_sum(x, 1), 2) * jnp.asarray(reciprocal_counts(height, width), x.dtype)
    # As matrix products: XLA's CPU backend would fuse a sum over windows with whatever makes its input, and make that nine times over; in a
    # chain of nodes nine times nine times over.
    along_width = x.reshape(n, height, width * channels) @ jnp.asarray(window_means(width, channels).T, x.dtype)
    along_height = jnp.asarray(window_means(height, 1), x.dtype)
    return jnp.einsum("gh,nhk->ngk", along_height, along_width).reshape(x.shape)


def average_pool_2x2(x: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 c"]:
    """Average over disjoint 2x2 windows; height and width must be even."""
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
