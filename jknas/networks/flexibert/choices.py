"""What a FlexiBERT genotype, or its code, chooses in the network as trained: width, depth, and in every layer heads and feed-forward.

The declared operators choose nothing, and the feed-forward width of a layer with one feed-forward layer neither:
:mod:`jknas.spaces.flexibert.genotype` says why.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from jknas.errors import NetworkError
from jknas.spaces.flexibert.genotype import (
    DEPTHS,
    FEED_FORWARD,
    FEED_FORWARDS,
    FIRST_LAYER,
    FIRST_WIDTH,
    HEADS,
    HIDDEN,
    LAYERS,
    OPERATIONS,
    PLACES,
    EncoderLayer,
    FlexibertGenotype,
)

Choice = Int[Array, ""] | int
"""The place of an alternative: an integer, or a traced one."""

WIDTHS = ("narrow", "wide")
"""Names of the modules of each width of the states."""

FEED_FORWARD_BLOCKS = ("shallow", *(f"deep{width}" for width in FEED_FORWARD))
"""Alternatives behind the first feed-forward layer: nothing; two more layers of either width."""


class LayerChoice(NamedTuple):
    """The choices of a layer.

    Attributes:
        heads: place in :data:`~jknas.spaces.flexibert.genotype.HEADS`.
        feed_forward: place in :data:`FEED_FORWARD_BLOCKS`.
    """

    heads: Choice
    feed_forward: Choice


class Choices(NamedTuple):
    """The choices of an encoder.

    Attributes:
        width: place in :data:`WIDTHS`.
        depth: place in :data:`~jknas.spaces.flexibert.genotype.DEPTHS`.
        layers: of each layer; of a genotype of two layers, two, otherwise four.
    """

    width: Choice
    depth: Choice
    layers: tuple[LayerChoice, ...]


def choices_of(wiring: Any) -> Choices:
    """Return the choices of a genotype, integers, or of its code, traced integers.

    Raises:
        NetworkError: no genotype of the space and no code of it.
        TypeError: a string.
    """
    if isinstance(wiring, FlexibertGenotype):
        layers = tuple(_of_layer(layer) for layer in wiring.layers)
        return Choices(HIDDEN.index(wiring.hidden), DEPTHS.index(len(wiring.layers)), layers)
    if isinstance(wiring, str):
        raise TypeError("wiring is a string; parse it first: FlexibertGenotype.parse(text)")
    code = jnp.asarray(wiring)
    if code.shape != (len(PLACES),) or not jnp.issubdtype(code.dtype, jnp.integer):
        raise NetworkError(
            f"wiring must be a FlexibertGenotype or its code, integers [{len(PLACES)}], got {code.dtype}{list(code.shape)}: "
            "take the architectures of the space flexibert."
        )
    heads, blocks = (jnp.asarray(table)[code[1:]] for table in _TABLES)
    deep = (code[1 + min(DEPTHS)] > 0).astype(jnp.int32)
    layers = tuple(LayerChoice(heads[number], blocks[number]) for number in range(max(DEPTHS)))
    return Choices(code[0] - FIRST_WIDTH, deep, layers)


def chosen(
    module: nn.Module, choice: Choice, alternatives: Sequence[Callable[[nn.Module, jax.Array], jax.Array]], x: jax.Array
) -> jax.Array:
    """Return what the chosen alternative makes of ``x``; call it inside a module's ``__call__``.

    With an integer the others are not in the program. With a traced one they are, but only the chosen one runs, and the gradient of the
    parameters of the others is zero. When parameters are declared, those of all alternatives are.
    """
    if isinstance(choice, int):
        return alternatives[choice](module, x)
    if module.is_initializing():
        first, *_ = [alternative(module, x) for alternative in alternatives]
        return first
    found: jax.Array = nn.switch(choice, alternatives, module, x)
    return found


def used(names: Sequence[str], choices: Choices) -> Any:
    """Return whether a parameter belongs to the architecture: a boolean, or a traced one.

    Args:
        names: the path of the parameter.
        choices: of the architecture.
    """
    found: Any = True
    layer: LayerChoice | None = None
    for name in names:
        if name in WIDTHS:
            found = found & (choices.width == WIDTHS.index(name))
        elif name.startswith("layer_"):
            number = int(name.removeprefix("layer_"))
            if number >= len(choices.layers):
                return False
            found = found & ((number < min(DEPTHS)) | (choices.depth == 1))
            layer = choices.layers[number]
        elif layer is not None and (block := name.partition("_")[0]) in FEED_FORWARD_BLOCKS:
            found = found & (layer.feed_forward == FEED_FORWARD_BLOCKS.index(block))
    return found


def kernel_layers(wiring: Any) -> Callable[[PyTree], list[tuple[jax.Array, jax.Array]]]:
    """Return the function that cuts a gradient into its layers: every table of embeddings and every matrix.

    Args:
        wiring: genotype, whose layers alone are returned, or code; matrices that a code does not choose get weight zero.
    """
    choices = choices_of(wiring)

    def cut(tree: PyTree) -> list[tuple[jax.Array, jax.Array]]:
        found = []
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
            exists = used([part.key for part in path], choices)
            if jnp.ndim(leaf) >= 2 and exists is not False:
                found.append((leaf[None], jnp.asarray(exists)[None].astype(leaf.dtype)))
        return found

    return cut


def restricted(tree: PyTree, choices: Choices, above: tuple[str, ...] = ()) -> PyTree:
    """Return the part of the parameters of all alternatives that a genotype uses."""
    found = {}
    for name, value in tree.items():
        path = (*above, name)
        if used(path, choices):
            found[name] = restricted(value, choices, path) if isinstance(value, dict) else value
    return found


def _of_layer(layer: EncoderLayer) -> LayerChoice:
    deep = layer.feed_forwards > min(FEED_FORWARDS)
    return LayerChoice(HEADS.index(layer.heads), 1 + FEED_FORWARD.index(layer.feed_forward) if deep else 0)


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Return by digit of a code the heads and the feed-forward block; 0 for digits that are no layer."""
    tables = np.zeros((2, len(OPERATIONS)), np.int32)
    for place, layer in enumerate(LAYERS):
        tables[:, FIRST_LAYER + place] = _of_layer(layer)
    return tables[0], tables[1]


_TABLES = _tables()
