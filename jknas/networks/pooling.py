"""Average pooling as the NAS-Bench-201 and DARTS operations define it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def _window_sum(x: jax.Array, axis: int) -> jax.Array:
    pads = [(0, 0)] * x.ndim
    pads[axis] = (1, 1)
    padded, extent = jnp.pad(x, pads), x.shape[axis]
    return sum(jax.lax.slice_in_dim(padded, shift, shift + extent, axis=axis) for shift in (0, 1, 2))  # type: ignore[return-value]


@functools.lru_cache
def _reciprocal_counts(height: int, width: int) -> np.ndarray:
    def along(extent: int) -> np.ndarray:
        at = np.arange(extent)
        return np.minimum(at + 1, extent - 1) - np.maximum(at - 1, 0) + 1

    return 1 / np.outer(along(height), along(width))[None, :, :, None]


def average_pool_3x3(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Average over 3x3 windows at stride 1; pixels outside the image do not count (corners divide by 4, edges by 6).

    Flax and XLA count the padding unless told otherwise, which shifts scores without showing in rank correlations.
    """
    return _window_sum(_window_sum(x, 1), 2) * jnp.asarray(_reciprocal_counts(x.shape[1], x.shape[2]), x.dtype)


def average_pool_2x2(x: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 c"]:
    """Average over disjoint 2x2 windows; height and width must be even."""
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
