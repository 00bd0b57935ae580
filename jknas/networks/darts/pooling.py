"""The two 3x3 poolings of the space, at stride 1 or 2, with PyTorch's symmetric padding.

Both are sums and choices of shifted slices: XLA's CPU backend runs the gradient of a windowed maximum on one core and pixel by pixel.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jknas.networks.darts.depthwise import depthwise, pad, spread, window_taps
from jknas.networks.layers.pooling import reciprocal_counts


def _forward(x: jax.Array, stride: int) -> tuple[jax.Array, jax.Array]:
    """Return the maxima, and the places in their windows where they were found."""
    extents = (-(-x.shape[1] // stride), -(-x.shape[2] // stride))
    first, *others = window_taps(pad(x, 1, -jnp.inf), 3, stride, 1, extents)
    best, place = first, jnp.zeros(first.shape, jnp.int8)
    for at, tap in enumerate(others, start=1):
        better = (tap > best) | jnp.isnan(tap)
        best, place = jnp.where(better, tap, best), jnp.where(better, jnp.int8(at), place)
    return jax.lax.optimization_barrier((best, place))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x: jax.Array, stride: int) -> jax.Array:
    return _forward(x, stride)[0]


def _max_pool_fwd(x: jax.Array, stride: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    best, place = _forward(x, stride)
    return best, (place, jnp.zeros((0, *x.shape[1:]), x.dtype))


def _max_pool_bwd(stride: int, saved: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array]:
    place, like = saved
    extents = (like.shape[1], like.shape[2])
    taps = [window_taps(spread(values, stride, 1, extents, fill), 3, 1, 1, extents) for values, fill in ((place, -1), (cotangent, 0))]
    # The pixel that is the last of one window is the first of another.
    terms = [jnp.where(there == 8 - at, value, jnp.zeros_like(value)) for at, (there, value) in enumerate(zip(*taps, strict=True))]
    return (jax.lax.optimization_barrier(functools.reduce(jnp.add, terms)),)


_max_pool.defvjp(_max_pool_fwd, _max_pool_bwd)


def max_pool_3x3(x: Float[Array, "n h w c"], *, stride: int = 1) -> Float[Array, "n h_out w_out c"]:
    """Take the maximum of 3x3 windows; pixels outside the image do not count.

    The height becomes ``ceil(h / stride)``, likewise the width. The gradient goes to the first of equal maxima, as in PyTorch. Reverse mode
    only, once or more often.
    """
    return _max_pool(x, stride)


def average_pool_3x3(x: Float[Array, "n h w c"], *, stride: int = 1) -> Float[Array, "n h_out w_out c"]:
    """Average over 3x3 windows; pixels outside the image do not count.

    The height becomes ``ceil(h / stride)``, likewise the width.
    """
    sums = depthwise(x, jnp.ones((3, 3, 1, x.shape[-1]), x.dtype), stride)
    return sums * jnp.asarray(reciprocal_counts(x.shape[1], x.shape[2], stride), x.dtype)


def average_pool(x: Float[Array, "n h w c"], size: int, stride: int) -> Float[Array, "n h_out w_out c"]:
    """Average over square windows that lie inside the image, as the auxiliary head does."""
    window = (1, size, size, 1)
    # The zero must be known while tracing: JAX has no gradient of a window reduction that it cannot tell to be a sum.
    return jax.lax.reduce_window(x, np.zeros((), x.dtype), jax.lax.add, window, (1, stride, stride, 1), "valid") / size**2
