"""The operations of the DARTS space as pure functions of an image and their weights.

==================  =============================================================================================================
``max_pool_3x3``    maximum of 3x3 windows
``avg_pool_3x3``    average of 3x3 windows, padding excluded
``skip_connect``    identity; at stride 2 a *factorized reduction*: ReLU, two 1x1 convolutions, one of them shifted by a pixel, BN
``sep_conv_k``      twice: ReLU, depthwise kxk convolution, 1x1 convolution, BN; the stride is in the first
``dil_conv_k``      once: ReLU, depthwise kxk convolution with dilation 2, 1x1 convolution, BN
==================  =============================================================================================================

A *weights* tree holds kernels as arrays and each batch normalisation as :class:`~jknas.networks.layers.conv_norm.NormWeights`
(see :func:`jknas.networks.parameters.joined`).

Reference: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", arXiv:1806.09055, and its released code,
github.com/quark0/darts (``cnn/operations.py``).

Deviations: the released factorized reduction crops the shifted branch, which needs even extents; here an odd extent is first padded by a
zero at the far end, as in TE-NAS's code. For even extents both are the same.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jknas.networks.darts.depthwise import depthwise
from jknas.networks.darts.pooling import average_pool_3x3, max_pool_3x3
from jknas.networks.layers.conv_norm import Moments, batch_norm
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.parameters import WeightTree


class Block(NamedTuple):
    """ReLU, depthwise convolution, 1x1 convolution, batch normalisation.

    Attributes:
        size: side of the depthwise kernel.
        dilation: distance between its neighbouring taps.
    """

    size: int
    dilation: int


BLOCKS: dict[str, tuple[Block, ...]] = {
    "sep_conv_3x3": (Block(3, 1),) * 2,
    "sep_conv_5x5": (Block(5, 1),) * 2,
    "dil_conv_3x3": (Block(3, 2),),
    "dil_conv_5x5": (Block(5, 2),),
}
"""The convolutional operations and what they consist of."""

PLACES = ("first", "second")
"""Names of an operation's blocks in the parameter tree."""


class Result(NamedTuple):
    """What an operation gives.

    Attributes:
        value: the image.
        moments: the batch's moments by the name of the block.
        hidden: what the second block's ReLU reads, or None.
    """

    value: jax.Array
    moments: dict[str, Moments]
    hidden: jax.Array | None = None


def pointwise(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolve with a 1x1 kernel ``[1, 1, c_in, c_out]``: a matrix product, which stays one when kernels are batched."""
    return x[:, ::stride, ::stride] @ kernel[0, 0].astype(x.dtype)


def separable(x: jax.Array, weights: WeightTree, block: Block, statistics: Statistics, *, stride: int = 1) -> tuple[jax.Array, Moments]:
    """Run one block of a separable or dilated convolution."""
    y = depthwise(jax.nn.relu(x), weights["depthwise"]["kernel"].astype(x.dtype), stride, block.dilation)
    return batch_norm(pointwise(y, weights["pointwise"]["kernel"]), weights["norm"], statistics)


def factorized_reduce(x: jax.Array, weights: WeightTree, statistics: Statistics) -> tuple[jax.Array, Moments]:
    """Halve the resolution: one half of the channels sees the even pixels, the other half the odd ones."""
    x = jax.nn.relu(x)
    shifted = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))[:, 1:, 1:]
    halves = [pointwise(x, weights["even"]["kernel"], stride=2), pointwise(shifted, weights["odd"]["kernel"], stride=2)]
    return batch_norm(jnp.concatenate(halves, -1), weights["norm"], statistics)


def operate(name: str, x: jax.Array, weights: WeightTree | None, statistics: Statistics, *, stride: int) -> Result:
    """Run the operation called ``name``, any but ``none``.

    Args:
        name: the operation.
        x: images ``[n, h, w, c]``.
        weights: its weights; poolings and the identity look at none.
        statistics: what batch normalisation normalises over.
        stride: 1 or 2; the result's height is ``ceil(h / stride)``.
    """
    if name == "max_pool_3x3":
        return Result(max_pool_3x3(x, stride=stride), {})
    if name == "avg_pool_3x3":
        return Result(average_pool_3x3(x, stride=stride), {})
    if name == "skip_connect" and stride == 1:
        return Result(x, {})
    assert weights is not None
    if name == "skip_connect":
        y, moments = factorized_reduce(x, weights["first"], statistics)
        return Result(y, {"first": moments})
    found, hidden = {}, None
    for place, block in zip(PLACES, BLOCKS[name], strict=False):
        hidden = x if place == "second" else None
        x, found[place] = separable(x, weights[place], block, statistics, stride=stride if place == "first" else 1)
    return Result(x, found, hidden)


def has_weights(name: str, stride: int) -> bool:
    """Tell whether an operation has parameters."""
    return name in BLOCKS or (name == "skip_connect" and stride == 2)
