"""The two stems of the DARTS networks, which make the first two cell inputs from an image.

``cifar``: one 3x3 convolution to 3C channels, twice the same input. ``imagenet``: three 3x3 convolutions of stride 2; the inputs have a
quarter and an eighth of the resolution, and are the outputs of two blocks.
"""

import functools
from collections.abc import Mapping

import jax
from jaxtyping import PyTree

from jknas.networks.observation import Layer, LayerWeights, ObservedBlock, ObservedLayer, RunBlock, Seen, Source, single
from jknas.networks.parameters import Shapes, WeightTree, conv_shapes
from jknas.spaces.darts.cost import Stem


def _widths(stem: Stem, inputs: int, channels: int) -> dict[str, tuple[int, int]]:
    """Return the input and output channels of every convolution."""
    if stem == "cifar":
        return {"first": (inputs, 3 * channels)}
    return {"first": (inputs, channels // 2), "second": (channels // 2, channels), "third": (channels, channels)}


def stem_shapes(stem: Stem, inputs: int, channels: int) -> Shapes:
    """Return the shapes of a stem's arrays."""
    return {name: conv_shapes(3, *width) for name, width in _widths(stem, inputs, channels).items()}


def stem_blocks(stem: Stem, weights: WeightTree) -> dict[str, tuple[str, RunBlock]]:
    """Return the blocks of a stem by name: the kind and the function of each."""
    step = 1 if stem == "cifar" else 2
    own = {name: LayerWeights(part["kernel"], part["norm"], relu=name != "first", stride=step) for name, part in weights.items()}
    if stem == "cifar":
        return {"stem": ("stem", functools.partial(single, "first", own["first"]))}
    return {"stem0": ("stem", functools.partial(_to_quarter, own)), "stem1": ("reduction", functools.partial(_to_eighth, own))}


def observed_stem(stem: Stem, inputs: int, channels: int) -> dict[str, ObservedBlock]:
    """Return what the blocks of a stem are before they run."""
    layers = {name: ObservedLayer(outputs, 9.0 * own) for name, (own, outputs) in _widths(stem, inputs, channels).items()}
    if stem == "cifar":
        return {"stem": ObservedBlock("stem", None, layers)}
    third = {"third": layers.pop("third")}
    return {"stem0": ObservedBlock("stem", None, layers), "stem1": ObservedBlock("reduction", None, third)}


def _to_quarter(own: Mapping[str, LayerWeights], layer: Layer, x: jax.Array, given: Mapping[str, PyTree]) -> Seen:
    half, first = layer("first", x, own["first"], given.get("first"))
    quarter, second = layer("second", half, own["second"], given.get("second"))
    return Seen(quarter, (Source(half, 1, 0),), {"first": first, "second": second})


def _to_eighth(own: Mapping[str, LayerWeights], layer: Layer, x: jax.Array, given: Mapping[str, PyTree]) -> Seen:
    eighth, third = layer("third", x, own["third"], given.get("third"))
    return Seen(eighth, (Source(x, 1, 0),), {"third": third})
