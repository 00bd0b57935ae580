"""The names of an observed network's layers in their order, for measurements that give each layer something of its own."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jknas.networks.observation import ObservableNetwork, RunBlock, normalised

LayerNames = dict[str, tuple[int | None, tuple[str, ...]]]
"""By block, in the network's order: its number of stacked cells, None for a single block, and the names of its layers, in their order."""


def layer_names(network: ObservableNetwork, params: PyTree, x: Float[Array, "n h w c"], wiring: Any) -> LayerNames:
    """Return the layers of a network. Nothing is computed: the network is traced."""
    names: dict[str, tuple[str, ...]] = {}

    def visit(kind: str, run: RunBlock, x: Array, _extra: PyTree) -> tuple[Array, None]:
        seen = run(normalised("batch"), x, {})
        names[kind] = tuple(seen.records)  # the order of a dictionary gets lost in a summary
        return seen.output, None

    jax.eval_shape(lambda params, x: network.walk(params, x, wiring, visit).logits, params, x)
    return {name: (block.cells, names[block.kind]) for name, block in network.observed_layers(wiring).items()}


def for_every_layer(layers: LayerNames, make: Callable[[tuple[int, ...]], Array]) -> dict[str, dict[str, Array]]:
    """Return ``make(shape)`` for every layer, by block and name: the ``extras`` of a walk.

    The shape is ``(cells,)`` in a stage, else ``()``.
    """
    return {block: {name: make(() if cells is None else (cells,)) for name in names} for block, (cells, names) in layers.items()}


def in_order(layers: LayerNames, values: Mapping[str, Any]) -> Float[Array, "m ..."]:
    """Return what belongs to the layers, ``[...]`` or ``[cells, ...]`` each, as one array: cell by cell, in a cell layer by layer."""
    rows = []
    for block, (cells, names) in layers.items():
        stacked = [values[block][name] for name in names]
        joined = jnp.stack(stacked, 0 if cells is None else 1)
        rows.append(joined if cells is None else joined.reshape(-1, *joined.shape[2:]))
    return jnp.concatenate(rows)
