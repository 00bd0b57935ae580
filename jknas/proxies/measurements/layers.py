"""The names of an observed network's layers in their order, for measurements that give each layer something of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jknas.networks.observation import ObservableNetwork, RunBlock, normalised

LayerNames = dict[str, tuple[int | None, tuple[str, ...]]]
"""By block, in the network's order: its number of stacked cells, None for a single block, and the names of its layers, in their order."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Names:
    """Names as a summary: those of a dictionary would lose their order."""

    names: tuple[str, ...]


def layer_names(network: ObservableNetwork, params: PyTree, x: Float[Array, "n h w c"], wiring: Any) -> LayerNames:
    """Return the layers of a network. Nothing is computed: the network is traced."""

    def visit(_kind: str, run: RunBlock, x: Array, _extra: PyTree) -> tuple[Array, _Names]:
        seen = run(normalised("batch"), x, {})
        return seen.output, _Names(tuple(seen.records))

    found = jax.eval_shape(lambda params, x: network.walk(params, x, wiring, visit).summaries, params, x)
    return {name: (block.cells, found[name].names) for name, block in network.observed_layers(wiring).items()}


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
