"""Batch normalisation with the batch as part of its definition.

Several statistics are in use in this field, and a kernel or proxy is only defined once it says which (see :data:`Statistics`).
The reverse rule is written out so that the backward pass reads each activation twice and stores nothing but the input and one mean and one
reciprocal standard deviation per group.
"""

import functools
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jknas.errors import NetworkError

Statistics = Literal["example", "batch", "running", "none"]
"""``example``: each example by itself over height x width, which is what training-mode batch normalisation does at batch size one.
``batch``: ordinary training mode over batch x height x width; the examples of a batch depend on each other.
``running``: evaluation mode, with stored running averages.
``none``: no normalisation at all; scales and shifts are not used either."""

EPSILON = 1e-5
"""Added to the variance; PyTorch's default."""


def check_statistics(statistics: str, batch_stats: Any = ()) -> None:
    """Raise ``NetworkError`` unless ``statistics`` is one of :data:`Statistics`, and running averages are there if it needs them."""
    if statistics not in get_args(Statistics):
        raise NetworkError(f"statistics={statistics!r} is not known; choose one of {', '.join(map(repr, get_args(Statistics)))}")
    if statistics == "running" and batch_stats is None:
        raise NetworkError('statistics="running" needs batch_stats=..., the running averages that init and training return')


FEW_CHANNELS = 16
"""Below, whole rows of an image are treated as channels, so that vector units have something to chew."""


def _folded(x: jax.Array) -> jax.Array:
    """Return ``[n, h, w, c]`` as it is, or with few channels as ``[n, h, 1, w c]``: every column a group of channels."""
    n, height, width, channels = x.shape
    return x if channels >= FEW_CHANNELS else x.reshape(n, height, 1, width * channels)


def _sum(folded: jax.Array, axes: tuple[int, ...], channels: int) -> jax.Array:
    """Sum over ``axes``, and over the columns that are folded into channels; each column gets the sums once."""
    # Images first, batch second: XLA's CPU backend spreads the first sum over the cores, a single sum over all three axes it does not.
    per_example = jnp.sum(folded, (1, 2), keepdims=True)
    total = per_example if 0 not in axes else jnp.sum(per_example, 0, keepdims=True)
    return total.reshape(*total.shape[:3], -1, channels).sum(3)


def _moments(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    # Two passes: the one-pass difference of moments loses digits where the mean dwarfs the spread, as after several average poolings.
    folded, channels = _folded(x), x.shape[-1]
    count = x.size // channels // (1 if 0 in axes else x.shape[0])
    mean = _sum(folded, axes, channels) / count
    return mean, _sum(jnp.square(folded - _per_column(mean, folded)), axes, channels) / count


def _per_column(values: jax.Array, folded: jax.Array) -> jax.Array:
    """Repeat ``[..., c]`` for every column that is folded into channels."""
    channels, columns = values.shape[-1], folded.shape[-1] // values.shape[-1]
    if columns == 1:
        return values
    # As a matrix product, whose result is kept: fused into its readers, a repetition costs them a division an element.
    copies = np.tile(np.eye(channels), (1, columns))
    return jnp.matmul(values, jnp.asarray(copies, values.dtype), precision="highest")


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalise(
    x: Float[Array, "n h w c"], scale: Float[Array, " c"], shift: Float[Array, " c"], axes: tuple[int, ...]
) -> tuple[Float[Array, "n h w c"], Float[Array, "..."], Float[Array, "..."]]:
    """Normalise over ``axes`` and return ``(scale * (x - mean) / sqrt(variance + 1e-5) + shift, mean, variance)``.

    The variance is the biased one. Mean and variance are for running averages: no gradient flows through them. They keep the reduced
    axes with length one. Reverse mode only, once or more often.
    """
    return normalise_forward(x, scale, shift, axes)[0]


def normalise_forward(
    x: jax.Array, scale: jax.Array, shift: jax.Array, axes: tuple[int, ...]
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple[jax.Array, ...]]:
    """Return what :func:`normalise` returns, and what :func:`normalise_backward` needs."""
    mean, variance = _moments(x, axes)
    inverse = lax.rsqrt(variance + EPSILON)
    folded = _folded(x)
    centred = folded - _per_column(mean, folded)
    y = centred * _per_column(inverse * lax.broadcast_to_rank(scale, 4), folded) + lax.broadcast_to_rank(_per_column(shift, folded), 4)
    return (y.reshape(x.shape), mean, variance), (x, scale, mean, inverse)


def normalise_backward(
    axes: tuple[int, ...], saved: tuple[jax.Array, ...], cotangents: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the gradients of ``x``, ``scale`` and ``shift``; the cotangents of mean and variance are ignored."""
    x, scale, mean, inverse = saved
    channels, count = x.shape[-1], x.size // mean.size
    folded, cotangent = _folded(x), _folded(cotangents[0])
    centred = folded - _per_column(mean, folded)
    total = _sum(cotangent, axes, channels)
    along = _sum(cotangent * centred, axes, channels) * inverse
    slope = _per_column(inverse * along / count, folded)
    dx = _per_column(inverse * lax.broadcast_to_rank(scale, 4), folded) * (cotangent - _per_column(total / count, folded) - centred * slope)
    return dx.reshape(x.shape), jnp.sum(along, (0, 1, 2)), jnp.sum(total, (0, 1, 2))


normalise.defvjp(normalise_forward, normalise_backward)


def normalise_running(
    x: Float[Array, "n h w c"], scale: Float[Array, " c"], shift: Float[Array, " c"], mean: Float[Array, " c"], variance: Float[Array, " c"]
) -> Float[Array, "n h w c"]:
    """Normalise with stored averages (evaluation mode)."""
    gain = scale * lax.rsqrt(variance + EPSILON)
    return x * lax.broadcast_to_rank(gain, 4) + lax.broadcast_to_rank(shift - mean * gain, 4)
