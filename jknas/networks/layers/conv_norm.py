"""Convolution followed by batch normalisation: the one parametrised layer of the cell networks.

Layers are pure functions of their arrays. Flax forbids calling a module inside a traced loop or choice; a pure function runs there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jknas.networks.layers.convolution import convolution
from jknas.networks.layers.normalisation import Statistics, normalise, normalise_running
from jknas.networks.layers.relu_conv_norm import at_least_float32, relu_conv_normalise

RUNNING_MOMENTUM = 0.9
"""Weight of the old running average (PyTorch calls the complement, 0.1, momentum)."""


class Moments(NamedTuple):
    """Batch mean and unbiased variance of one normalisation, ``[c]`` each: what enters the running averages."""

    mean: jax.Array
    variance: jax.Array


class NormWeights(NamedTuple):
    """What one batch normalisation computes with, ``[c]`` each."""

    scale: jax.Array
    shift: jax.Array
    running_mean: jax.Array
    running_variance: jax.Array


def _axes(statistics: Statistics) -> tuple[int, ...]:
    return (1, 2) if statistics == "example" else (0, 1, 2)


def _moments(mean: jax.Array, variance: jax.Array, y: jax.Array, statistics: Statistics) -> Moments:
    if statistics != "batch":
        return Moments(jnp.zeros(y.shape[-1:], mean.dtype), jnp.zeros(y.shape[-1:], mean.dtype))
    count = y.size // y.shape[-1]
    return Moments(mean.reshape(-1), variance.reshape(-1) * (count / max(count - 1, 1)))


def batch_norm(x: jax.Array, weights: NormWeights, statistics: Statistics) -> tuple[jax.Array, Moments]:
    """Normalise ``x`` [n, h, w, c] by the chosen statistics; the moments are zero unless they are ``"batch"``.

    Half-precision inputs are normalised in float32 and returned in their own type.
    """
    if statistics == "none":
        return x, _moments(weights.running_mean, weights.running_variance, x, statistics)
    wide = at_least_float32(x)
    if statistics == "running":
        y = normalise_running(wide, *weights)
        return y.astype(x.dtype), _moments(weights.running_mean, weights.running_variance, y, statistics)
    y, mean, variance = normalise(wide, weights.scale, weights.shift, _axes(statistics))
    return y.astype(x.dtype), _moments(mean, variance, y, statistics)


def relu_conv_norm(
    x: jax.Array, kernel: jax.Array, norm: NormWeights, statistics: Statistics, *, stride: int = 1
) -> tuple[jax.Array, Moments]:
    """Apply ReLU, a convolution padded to keep the size at stride 1, and batch normalisation."""
    kernel = kernel.astype(x.dtype)
    if statistics in {"running", "none"}:
        return batch_norm(convolution(jax.nn.relu(x), kernel, stride, kernel.shape[0] // 2), norm, statistics)
    y, mean, variance = relu_conv_normalise(x, kernel, norm.scale, norm.shift, stride, _axes(statistics))
    return y, _moments(mean, variance, y, statistics)
