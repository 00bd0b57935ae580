"""The two stems of the DARTS networks, which make the first two cell inputs from an image.

``cifar``: one 3x3 convolution to 3C channels, twice the same input. ``imagenet``: three 3x3 convolutions of stride 2; the inputs have a
quarter and an eighth of the resolution.
"""

from typing import Any

import jax

from jknas.networks.layers.conv_norm import batch_norm
from jknas.networks.layers.convolution import convolution
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.parameters import Averages, Shapes, WeightTree, conv_shapes, moved
from jknas.spaces.darts.cost import Stem


def stem_shapes(stem: Stem, inputs: int, channels: int) -> Shapes:
    """Return the shapes of a stem's arrays."""
    if stem == "cifar":
        return {"first": conv_shapes(3, inputs, 3 * channels)}
    widths = {"first": (inputs, channels // 2), "second": (channels // 2, channels), "third": (channels, channels)}
    return {name: conv_shapes(3, *width) for name, width in widths.items()}


def run_stem(stem: Stem, weights: WeightTree, x: jax.Array, statistics: Statistics) -> tuple[tuple[jax.Array, jax.Array], Averages]:
    """Return the inputs of the first cell, and the moved running averages."""
    averages: dict[str, Any] = {}

    def layer(name: str, x: jax.Array, stride: int) -> jax.Array:
        y = convolution(x, weights[name]["kernel"].astype(x.dtype), stride, 1)
        y, moments = batch_norm(y, weights[name]["norm"], statistics)
        averages[name] = {"norm": moved(weights[name]["norm"], moments)}
        return y

    if stem == "cifar":
        y = layer("first", x, 1)
        return (y, y), averages
    quarter = layer("second", jax.nn.relu(layer("first", x, 2)), 2)
    eighth = layer("third", jax.nn.relu(quarter), 2)
    return (quarter, eighth), averages
