"""The parameter tree of a cell: its shapes, and the part that a genotype uses.

A cell that can run any wiring holds every operation of every edge, stacked over the edges of a group, so that a loop over edges, or one
operation over all of them, is traced once::

    preprocess0, preprocess1
    outer: operation -> block -> arrays [8, ...]     edges from nodes 0 and 1, which have stride 2 in a reduction cell
    inner: operation -> block -> arrays [6, ...]     edges among the nodes 2 to 5

The cell of a genotype holds the operations that it uses, ``edge_<node>_<source>_<operation> -> block``.

Equal cells in a row form a *run*; their arrays are stacked once more, along the first axis. A run's name says which cells it holds and of
which kind: ``normal0to5``, ``reduction6``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from jknas.networks.darts.operations import BLOCKS, PLACES, has_weights
from jknas.networks.parameters import Shapes, array, conv_shapes, norm_shapes, stacked
from jknas.spaces.darts.genotype import EDGES, NODES, OPERATIONS, DartsGenotype

OUTER = tuple((node, source) for source in (0, 1) for node in NODES)
"""The edges from the cell's inputs as (node, source), by source."""

INNER = tuple((node, source) for source in NODES for node in NODES if node > source)
"""The edges among the intermediate nodes as (node, source), by source, so that a node is complete before it is read."""

GROUPS = {"outer": OUTER, "inner": INNER}

ROWS = {name: [EDGES.index(edge) for edge in group] for name, group in GROUPS.items()}
"""Where a group's edges are in a cell's code or mixture weights."""


INPUTS = ("preprocess0", "preprocess1")
"""The names of what brings a cell's inputs to its resolution and channels."""


class CellPlan(NamedTuple):
    """What distinguishes one cell of a network from another.

    Attributes:
        before_last: channels of the first input, node 0's.
        last: channels of the second input, node 1's.
        features: channels of every node.
        reduction: whether it halves the resolution.
        halved: whether its first input has twice the resolution of its second one.
    """

    before_last: int
    last: int
    features: int
    reduction: bool
    halved: bool


class CellRun(NamedTuple):
    """Equal cells in a row, ``first`` to ``last``."""

    first: int
    last: int
    plan: CellPlan

    @property
    def name(self) -> str:
        """The key of the run's parameters."""
        kind = "reduction" if self.plan.reduction else "normal"
        return f"{kind}{self.first}" if self.first == self.last else f"{kind}{self.first}to{self.last}"

    @property
    def length(self) -> int:
        """Number of cells."""
        return self.last - self.first + 1


def edge_name(node: int, source: int, operation: str) -> str:
    """Return the key of an operation in the cell of a genotype."""
    return f"edge_{node}_{source}_{operation}"


def reduce_shapes(inputs: int, outputs: int) -> Shapes:
    """Return the shapes of a factorized reduction."""
    halves = {"even": outputs // 2, "odd": outputs - outputs // 2}
    return {name: {"kernel": array(1, 1, inputs, half)} for name, half in halves.items()} | {"norm": norm_shapes(outputs)}


def _operation_shapes(name: str, features: int) -> Shapes:
    if name == "skip_connect":
        return {"first": reduce_shapes(features, features)}
    return {
        place: {
            "depthwise": {"kernel": array(block.size, block.size, 1, features)},
            "pointwise": {"kernel": array(1, 1, features, features)},
            "norm": norm_shapes(features),
        }
        for place, block in zip(PLACES, BLOCKS[name], strict=False)
    }


def cell_shapes(plan: CellPlan) -> Shapes:
    """Return the shapes of all arrays of one cell."""
    preprocess0 = reduce_shapes if plan.halved else lambda inputs, outputs: conv_shapes(1, inputs, outputs)
    groups = {
        group: {
            name: stacked(_operation_shapes(name, plan.features), len(edges))
            for name in OPERATIONS
            if has_weights(name, 2 if plan.reduction and group == "outer" else 1)
        }
        for group, edges in GROUPS.items()
    }
    return {
        "preprocess0": preprocess0(plan.before_last, plan.features),
        "preprocess1": conv_shapes(1, plan.last, plan.features),
        **groups,
    }


def run_shapes(run: CellRun) -> Shapes:
    """Return the shapes of all arrays of a run."""
    return stacked(cell_shapes(run.plan), run.length)


def stride_of(plan: CellPlan, source: int) -> int:
    """Return the stride of the operations that read a node."""
    return 2 if plan.reduction and source < NODES[0] else 1


def chosen_edges(genotype: DartsGenotype, *, reduction: bool) -> list[tuple[int, int, str]]:
    """List a cell's edges as (node, source, operation), two per node."""
    pairs = genotype.reduce if reduction else genotype.normal
    return [(NODES[place // 2], source, name) for place, (name, source) in enumerate(pairs)]


def is_complete(cell: Mapping[str, Any]) -> bool:
    """Tell whether a cell's tree holds every operation of every edge."""
    return "outer" in cell


def used_operations(genotype: DartsGenotype, *, reduction: bool) -> list[tuple[str, str, int, str]]:
    """List what a genotype's cell needs of the full set: (key, group, place in the group, operation)."""
    needed = []
    for node, source, name in chosen_edges(genotype, reduction=reduction):
        group = "outer" if source < NODES[0] else "inner"
        if has_weights(name, 2 if reduction and group == "outer" else 1):
            needed.append((edge_name(node, source, name), group, GROUPS[group].index((node, source)), name))
    return needed


def restrict_cell(cell: Mapping[str, Any], genotype: DartsGenotype, *, reduction: bool) -> dict[str, Any]:
    """Return the part of a run's full tree that a genotype uses; a tree that is no full one is returned as it is."""
    if not is_complete(cell):
        return dict(cell)
    kept = {name: value for name, value in cell.items() if name not in GROUPS}
    for key, group, place, name in used_operations(genotype, reduction=reduction):
        kept[key] = jax.tree.map(lambda leaf, place=place: leaf[:, place], cell[group][name])
    return kept


def replaced_in_cell(cell: Mapping[str, Any], part: Mapping[str, Any], genotype: DartsGenotype, *, reduction: bool) -> dict[str, Any]:
    """Undo :func:`restrict_cell`: return a run's tree with the genotype's part replaced by ``part``."""
    if not is_complete(cell):
        return {**cell, **part}
    full = {name: part.get(name, value) for name, value in cell.items()}
    for key, group, place, name in used_operations(genotype, reduction=reduction):
        put = jax.tree.map(lambda old, new, place=place: old.at[:, place].set(new), full[group][name], part[key])
        full[group] = {**full[group], name: put}
    return full


def restrict(tree: PyTree, genotype: DartsGenotype) -> PyTree:
    """Return the part of full ``params`` or ``batch_stats`` that a genotype uses.

    ``restrict(network.init(key)["params"], genotype)`` equals ``network.init(key, genotype)["params"]``.
    """
    cells = {name: restrict_cell(run, genotype, reduction=name.startswith("reduction")) for name, run in tree["cells"].items()}
    return {**tree, "cells": cells}
