"""ReLU, convolution and batch normalisation under one reverse rule that keeps the input and the convolution's output.

Step by step autodiff would keep ``relu(x)`` and its mask as well, once for every edge that leaves a node. Here the input is kept, which
edges from one node share, and the ReLU is applied again where the weight gradient reads it.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jknas.networks.layers.convolution import convolution_backward, convolution_inside
from jknas.networks.layers.normalisation import normalise_backward, normalise_forward


def at_least_float32(x: jax.Array) -> jax.Array:
    """Widen half-precision numbers, whose moments would lose their digits; leave others alone."""
    return x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def relu_conv_normalise(  # noqa: PLR0917 (the rule of custom_vjp is positional)
    x: Float[Array, "n h w c_in"],
    kernel: Float[Array, "k k c_in c_out"],
    scale: Float[Array, " c_out"],
    shift: Float[Array, " c_out"],
    stride: int,
    axes: tuple[int, ...],
) -> tuple[Float[Array, "n h_out w_out c_out"], Float[Array, "..."], Float[Array, "..."]]:
    """Return the normalised output with its mean and variance, as :func:`jknas.networks.layers.normalisation.normalise` does.

    The convolution is padded to keep the size at stride 1. Reverse mode only, once or more often.
    """
    return _forward(x, kernel, scale, shift, stride, axes)[0]


def _forward(  # noqa: PLR0917
    x: jax.Array, kernel: jax.Array, scale: jax.Array, shift: jax.Array, stride: int, axes: tuple[int, ...]
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple[Any, ...]]:
    y = convolution_inside(jax.nn.relu(x), kernel, stride, kernel.shape[0] // 2)
    (out, mean, variance), saved = normalise_forward(at_least_float32(y), scale, shift, axes)
    return (out.astype(x.dtype), mean, variance), (x, kernel, (y, *saved[1:]))


def _backward(stride: int, axes: tuple[int, ...], saved: tuple[Any, ...], cotangents: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    x, kernel, (y, *normalised) = saved
    cotangent, mean, variance = cotangents
    dy, dscale, dshift = normalise_backward(axes, (at_least_float32(y), *normalised), (at_least_float32(cotangent), mean, variance))
    dx, dkernel = convolution_backward(stride, kernel.shape[0] // 2, (jax.nn.relu(x), kernel), dy.astype(x.dtype))
    return jnp.where(x > 0, dx, jnp.zeros_like(dx)), dkernel, dscale, dshift


relu_conv_normalise.defvjp(_forward, _backward)
