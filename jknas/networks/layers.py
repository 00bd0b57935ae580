"""Convolution followed by batch normalisation: the one parametrised layer of the cell networks.

A layer *declares* its parameters as a Flax module and *computes* with a pure function of them. The split lets a ``lax.switch`` choose
between operations: Flax forbids calling a module inside such a branch, a pure function of arrays is welcome there.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jknas.networks.convolution import convolution
from jknas.networks.normalisation import Statistics, normalise, normalise_running

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


def batch_norm(x: jax.Array, weights: NormWeights, statistics: Statistics) -> tuple[jax.Array, Moments]:
    """Normalise ``x`` [n, h, w, c] by the chosen statistics; the moments are zero unless they are ``"batch"``.

    Half-precision inputs are normalised in float32 and returned in their own type.
    """
    wide = x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)
    none = Moments(jnp.zeros_like(weights.running_mean), jnp.zeros_like(weights.running_mean))
    if statistics == "running":
        return normalise_running(wide, *weights).astype(x.dtype), none
    axes = (1, 2) if statistics == "example" else (0, 1, 2)
    y, mean, variance = normalise(wide, weights.scale, weights.shift, axes)
    y = y.astype(x.dtype)
    if statistics == "example":
        return y, none
    count = x.size // x.shape[-1]
    return y, Moments(mean.reshape(-1), variance.reshape(-1) * (count / max(count - 1, 1)))


def relu_conv_norm(
    x: jax.Array, weights: ConvNormWeights, statistics: Statistics, *, stride: int = 1, activate: bool = True
) -> tuple[jax.Array, Moments]:
    """ReLU (unless ``activate`` is false), convolution padded to keep the size at stride 1, batch normalisation."""
    padding = weights.kernel.shape[0] // 2
    y = convolution(jax.nn.relu(x) if activate else x, weights.kernel.astype(x.dtype), stride, padding)
    return batch_norm(y, weights.norm, statistics)


def declare(module: nn.Module, name: str, *shape: int) -> jax.Array:
    """Return a kernel or bias of ``module``; Flax holds its place and shape, its numbers come from :mod:`jknas.networks.initialisation`."""
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

    def __call__(self, x: jax.Array, statistics: Statistics, *, stride: int = 1, activate: bool = True) -> jax.Array:
        """Apply the layer and record its moments."""
        y, moments = relu_conv_norm(x, self.weights(), statistics, stride=stride, activate=activate)
        self.record(moments)
        return y
