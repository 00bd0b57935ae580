"""The operations of the DARTS space as pure functions of an image and their weights.

==================  =============================================================================================================
``max_pool_3x3``    maximum of 3x3 windows
``avg_pool_3x3``    average of 3x3 windows, padding excluded
``skip_connect``    identity; at stride 2 a *factorized reduction*: ReLU, two 1x1 convolutions, one of them shifted by a pixel, BN
``sep_conv_k``      twice: ReLU, depthwise kxk convolution, 1x1 convolution, BN; the stride is in the first
``dil_conv_k``      once: ReLU, depthwise kxk convolution with dilation 2, 1x1 convolution, BN
==================  =============================================================================================================

What a layer does is an argument (:data:`jknas.networks.observation.Layer`): :func:`plain_layer` for logits, anything else for observation.
A layer has a *slot* in its operation, the key of its record: ``first`` and ``second`` are the blocks' normalised 1x1 convolutions (or the
normalisation of a factorized reduction), ``first_depthwise``, ``first_even``, ``first_odd`` what is in front of them, ``pool`` a pooling.

A *weights* tree holds kernels as arrays and each batch normalisation as :class:`~jknas.networks.layers.conv_norm.NormWeights`
(see :func:`jknas.networks.parameters.joined`).

Reference: Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", arXiv:1806.09055, and its released code,
github.com/quark0/darts (``cnn/operations.py``).

Deviations: the released factorized reduction crops the shifted branch, which needs even extents; here an odd extent is first padded by a
zero at the far end, as in TE-NAS's code. For even extents both are the same.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jknas.networks.darts.depthwise import depthwise
from jknas.networks.darts.pooling import average_pool_3x3, max_pool_3x3
from jknas.networks.layers.conv_norm import Moments, batch_norm, relu_conv_norm
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.observation import Layer, LayerWeights, convolved
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
        records: of its layers, by slot.
        hidden: what the second block's ReLU reads, or None.
    """

    value: jax.Array
    records: dict[str, PyTree]
    hidden: jax.Array | None = None


def pointwise(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolve with a 1x1 kernel ``[1, 1, c_in, c_out]``: a matrix product, which stays one when kernels are batched."""
    return x[:, ::stride, ::stride] @ kernel[0, 0].astype(x.dtype)


def plain_layer(statistics: Statistics) -> Layer:
    """Return the layer that computes the network's own value, and records the batch's moments; None without a normalisation."""

    def layer(_kind: str, x: jax.Array, weights: LayerWeights, _given: PyTree) -> tuple[jax.Array, Moments | None]:
        if weights.norm is None:
            return convolved(x, weights), None
        if weights.relu and weights.kernel is not None:
            return relu_conv_norm(x, weights.kernel, weights.norm, statistics, stride=weights.stride)
        return batch_norm(convolved(x, weights), weights.norm, statistics)

    return layer


def factorized_reduce(  # noqa: PLR0917
    kind: str, x: jax.Array, weights: WeightTree, layer: Layer, given: Mapping[str, PyTree], slot: str
) -> tuple[jax.Array, dict[str, PyTree]]:
    """Halve the resolution: one half of the channels sees the even pixels, the other half the odd ones."""
    shifted = jnp.pad(jax.nn.relu(x), ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))[:, 1:, 1:]
    halves, records = [], {}
    for part, value in (("even", x), ("odd", shifted)):  # one ReLU, which the first half's layer has for both
        convolve, key = functools.partial(pointwise, stride=2), f"{slot}_{part}"
        own = LayerWeights(weights[part]["kernel"], relu=part == "even", convolve=convolve)
        half, records[key] = layer(kind, value, own, given.get(key))
        halves.append(half)
    y, records[slot] = layer(kind, jnp.concatenate(halves, -1), LayerWeights(norm=weights["norm"]), given.get(slot))
    return y, records


def operate(
    name: str, x: jax.Array, weights: WeightTree | None, layer: Layer, given: Mapping[str, PyTree] | None = None, *, stride: int
) -> Result:
    """Run the operation called ``name``, any but ``none``.

    Args:
        name: the operation.
        x: images ``[n, h, w, c]``.
        weights: its weights; poolings and the identity look at none.
        layer: computes one convolution, pooling or normalisation.
        given: what ``layer`` gets, by slot.
        stride: 1 or 2; the result's height is ``ceil(h / stride)``.
    """
    given = given or {}
    if name in _POOLINGS:
        y, record = layer(name, x, LayerWeights(before=functools.partial(_POOLINGS[name], stride=stride)), given.get("pool"))
        return Result(y, {"pool": record})
    if name == "skip_connect" and stride == 1:
        return Result(x, {})
    assert weights is not None
    if name == "skip_connect":
        return Result(*factorized_reduce(name, x, weights["first"], layer, given, "first"))
    records, hidden = {}, None
    for place, block in zip(PLACES, BLOCKS[name], strict=False):
        inside, parts, step = place == "second", weights[place], stride if place == "first" else 1
        hidden = x if inside else None
        convolve = functools.partial(depthwise, stride=step, dilation=block.dilation)
        own, key = LayerWeights(parts["depthwise"]["kernel"], relu=True, convolve=convolve, inside=inside), f"{place}_depthwise"
        x, records[key] = layer(name, x, own, given.get(key))
        own = LayerWeights(parts["pointwise"]["kernel"], parts["norm"], convolve=pointwise)
        x, records[place] = layer(name, x, own, given.get(place))
    return Result(x, records, hidden)


def fan_ins(name: str, features: int, stride: int) -> dict[str, float]:
    """Return the weights behind one output channel of each convolution of an operation, by slot."""
    if name == "skip_connect" and stride == 2:
        return {"first_even": float(features), "first_odd": float(features)}
    found: dict[str, float] = {}
    for place, block in zip(PLACES, BLOCKS.get(name, ()), strict=False):
        found |= {f"{place}_depthwise": float(block.size**2), place: float(features)}
    return found


def slot_channels(slot: str, features: int) -> int:
    """Return the output channels of the layer at a slot, which are halves in a factorized reduction."""
    return {"even": features // 2, "odd": features - features // 2}.get(slot.rpartition("_")[2], features)


_POOLINGS = {"max_pool_3x3": max_pool_3x3, "avg_pool_3x3": average_pool_3x3}


def has_weights(name: str, stride: int) -> bool:
    """Tell whether an operation has parameters."""
    return name in BLOCKS or (name == "skip_connect" and stride == 2)
