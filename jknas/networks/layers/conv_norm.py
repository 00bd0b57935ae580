"""Convolution followed by batch normalisation: the one parametrised layer of the cell networks.

A layer *declares* its parameters as a Flax module and *computes* with a pure function of them. The split lets traced
loops and switches choose between operations: Flax forbids calling a module inside such a branch, a pure function is welcome there.
"""

from typing import NamedTuple

import flax.linen as nn
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


class ConvNormWeights(NamedTuple):
    """What one convolution with batch normalisation computes with: the kernel is ``[k, k, c_in, c_out]``."""

    kernel: jax.Array
    norm: NormWeights


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


def relu_conv_norm(x: jax.Array, weights: ConvNormWeights, statistics: Statistics, *, stride: int = 1) -> tuple[jax.Array, Moments]:
    """ReLU, convolution padded to keep the size at stride 1, batch normalisation."""
    kernel = weights.kernel.astype(x.dtype)
    if statistics in {"running", "none"}:
        return batch_norm(convolution(jax.nn.relu(x), kernel, stride, kernel.shape[0] // 2), weights.norm, statistics)
    y, mean, variance = relu_conv_normalise(x, kernel, weights.norm.scale, weights.norm.shift, stride, _axes(statistics))
    return y, _moments(mean, variance, y, statistics)


def declare(module: nn.Module, name: str, *shape: int) -> jax.Array:
    """Declare a parameter of ``module``: Flax keeps its name and shape, :mod:`jknas.networks.layers.initialisation` draws its numbers."""
    return module.param(name, nn.initializers.zeros, shape, jnp.result_type(float))


class BatchNorm(nn.Module):
    """Scale, shift and running averages of one batch normalisation."""

    features: int

    def setup(self) -> None:
        """Declare the arrays."""
        self.scale = self.param("scale", nn.initializers.ones, (self.features,), jnp.result_type(float))
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.result_type(float))
        self.mean = self.variable("batch_stats", "mean", jnp.zeros, (self.features,), jnp.result_type(float))
        self.var = self.variable("batch_stats", "var", jnp.ones, (self.features,), jnp.result_type(float))

    def weights(self) -> NormWeights:
        """Return the arrays to compute with."""
        return NormWeights(self.scale, self.bias, self.mean.value, self.var.value)

    def record(self, moments: Moments, used: jax.Array | bool = True) -> None:
        """Move the running averages towards ``moments`` where this collection is mutable and the layer was ``used``."""
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            for variable, new in ((self.mean, moments.mean), (self.var, moments.variance)):
                moved = RUNNING_MOMENTUM * variable.value + (1 - RUNNING_MOMENTUM) * new.astype(variable.value.dtype)
                variable.value = jnp.where(used, moved, variable.value)


class ConvNorm(nn.Module):
    """Kernel without bias, and the batch normalisation behind it."""

    in_features: int
    features: int
    size: int

    def setup(self) -> None:
        """Declare the arrays."""
        self.kernel = declare(self, "kernel", self.size, self.size, self.in_features, self.features)
        self.norm = BatchNorm(self.features)

    def weights(self) -> ConvNormWeights:
        """Return the arrays to compute with."""
        return ConvNormWeights(self.kernel, self.norm.weights())

    def record(self, moments: Moments, used: jax.Array | bool = True) -> None:
        """Pass the batch's moments on to the running averages."""
        self.norm.record(moments, used)

    def __call__(self, x: jax.Array, statistics: Statistics, *, stride: int = 1) -> jax.Array:
        """Apply the layer and record its moments."""
        y, moments = relu_conv_norm(x, self.weights(), statistics, stride=stride)
        self.record(moments)
        return y
