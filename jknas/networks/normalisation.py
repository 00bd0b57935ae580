"""Batch normalisation with the batch as part of its definition.

Three statistics are in use in this field, and a kernel or proxy is only defined once it says which (see :data:`Statistics`).
The reverse rule is written out so that the backward pass reads each activation twice and stores nothing but the input and one mean and one
reciprocal standard deviation per group.
"""

import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Statistics = Literal["example", "batch", "running"]
"""``example``: each example by itself over height x width, which is what training-mode batch normalisation does at batch size one.
``batch``: ordinary training mode over batch x height x width; the examples of a batch depend on each other.
``running``: evaluation mode, with stored running averages."""

EPSILON = 1e-5
"""Added to the variance; PyTorch's default."""


def check_statistics(statistics: str) -> None:
    """Raise ``ValueError`` unless ``statistics`` is one of :data:`Statistics`."""
    if statistics not in get_args(Statistics):
        raise ValueError(f"statistics={statistics!r} is not known; choose one of {', '.join(map(repr, get_args(Statistics)))}")


def _sum(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    # Images first, batch second: XLA's CPU backend spreads the first sum over the cores, a single sum over all three axes it does not.
    per_example = jnp.sum(x, (1, 2), keepdims=True)
    return per_example if 0 not in axes else jnp.sum(per_example, 0, keepdims=True)


def _moments(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    # Two passes: the one-pass difference of moments loses digits where the mean dwarfs the spread, as after several average poolings.
    count = x.size // x.shape[-1] // (1 if 0 in axes else x.shape[0])
    mean = _sum(x, axes) / count
    return mean, _sum(jnp.square(x - mean), axes) / count


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
    gain = inverse * scale
    return ((x - mean) * gain + shift, mean, variance), (x, scale, mean, inverse)


def normalise_backward(
    axes: tuple[int, ...], saved: tuple[jax.Array, ...], cotangents: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the gradients of ``x``, ``scale`` and ``shift``; the cotangents of mean and variance are ignored."""
    x, scale, mean, inverse = saved
    cotangent = cotangents[0]
    count = x.size // mean.size
    total = _sum(cotangent, axes)
    along = _sum(cotangent * (x - mean), axes) * inverse
    dx = (inverse * scale) * (cotangent - total / count - (x - mean) * (inverse * along / count))
    return dx, jnp.sum(along, (0, 1, 2)), jnp.sum(total, (0, 1, 2))


normalise.defvjp(normalise_forward, normalise_backward)


def normalise_running(
    x: Float[Array, "n h w c"], scale: Float[Array, " c"], shift: Float[Array, " c"], mean: Float[Array, " c"], variance: Float[Array, " c"]
) -> Float[Array, "n h w c"]:
    """Normalise with stored averages (evaluation mode)."""
    gain = scale * lax.rsqrt(variance + EPSILON)
    return x * gain + (shift - mean * gain)
