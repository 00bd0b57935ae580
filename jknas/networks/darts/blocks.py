"""The DARTS network as a chain of blocks, written once: what a layer does, and what is kept of a block, is the caller's choice.

    stem (two blocks in the ImageNet network), cells, classifier

Logits, training and observation all run what is here and in :mod:`.cell`. Equal cells in a row share one loop.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from jknas.networks.darts.cell import Records, run_cell
from jknas.networks.darts.operations import fan_ins, slot_channels
from jknas.networks.darts.parameters import GROUPS, INPUTS, OUTER, CellPlan, CellRun, chosen_edges, edge_name, stride_of
from jknas.networks.darts.stem import stem_blocks
from jknas.networks.observation import Layer, Observation, ObservedBlock, ObservedLayer, Seen, Visit, classifier, single
from jknas.networks.parameters import WeightTree
from jknas.spaces.darts.cost import Stem
from jknas.spaces.darts.genotype import EDGES, OPERATIONS, DartsGenotype

_SLOTS = ("pool", "first_depthwise", "first_even", "first_odd", "first", "second_depthwise", "second")

RunCell = Callable[..., Seen]
"""``cell(plan, weights, before_last, wiring, layer, last, given)``, as :func:`jknas.networks.darts.cell.run_cell`."""


def kind_of(plan: CellPlan) -> str:
    """Return the kind of a cell as a block."""
    return "reduction" if plan.reduction else "cell"


def layer_name(node: int, source: int, slot: str) -> str:
    """Return the name of a layer of an edge's operation."""
    return f"edge_{node}_{source}_{slot}"


def walk_blocks(  # noqa: PLR0917
    stem: Stem,
    runs: Sequence[CellRun],
    weights: WeightTree,
    x: Array,
    wiring: Any,
    visit: Visit,
    extras: Mapping[str, PyTree],
    cell: RunCell,
) -> Observation:
    """Run the network block by block.

    Args:
        stem: which one.
        runs: the cells.
        weights: the network's, joined with its running averages; those of the cells stacked by run.
        x: images ``[n, h, w, c]``.
        wiring: genotype, code, or mixture weights with dead operations at zero.
        visit: called once per block, and once for all the cells of a run, inside their loop.
        extras: what ``visit`` gets, by block.
        cell: runs one cell.
    """
    summaries: dict[str, PyTree] = {}
    before_last: Array | None = None
    for name, (kind, block) in stem_blocks(stem, weights["stem"]).items():
        before_last = x if summaries else None
        x, summaries[name] = visit(kind, block, x, extras.get(name))

    for run in runs:
        one = functools.partial(_visited, visit, run.plan, wiring, cell)
        own, extra = weights["cells"][run.name], extras.get(run.name)
        if run.length > 1:
            (before_last, x), summaries[run.name] = lax.scan(one, (before_last, x), (own, extra))
        else:
            single_cell = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), own)
            (before_last, x), summaries[run.name] = one((before_last, x), (single_cell, extra))
    x, summaries["classifier"] = visit(
        "classifier", functools.partial(single, "classifier", classifier(weights)), x, extras.get("classifier")
    )
    return Observation(x, summaries)


def _visited(  # noqa: PLR0917
    visit: Visit, plan: CellPlan, wiring: Any, cell: RunCell, outputs: tuple[Array | None, Array], item: tuple[WeightTree, PyTree]
) -> tuple[tuple[Array, Array], PyTree]:
    (before_last, last), (weights, extra) = outputs, item

    def run(layer: Layer, x: Array, given: Mapping[str, PyTree]) -> Seen:
        return cell(plan, weights, x if before_last is None else before_last, wiring, layer, x, given)

    y, summary = visit(kind_of(plan), run, last, extra)
    return (last, y), summary


# ---- observation


def observed_cell(  # noqa: PLR0917
    plan: CellPlan, weights: WeightTree, before_last: Array, wiring: Any, layer: Layer, last: Array, given: Mapping[str, PyTree]
) -> Seen:
    """Run a cell whose records, and what its layers are given, are by :func:`layer_name`."""
    seen = run_cell(plan, weights, before_last, wiring, layer, last, _nested(given, wiring, plan))
    return seen._replace(records=_flat(seen.records, wiring, plan))


def _nested(given: Mapping[str, PyTree], wiring: Any, plan: CellPlan) -> Records:
    found: Records = {name: value for name, value in given.items() if name.startswith(INPUTS)}
    if isinstance(wiring, DartsGenotype):
        for node, source, name in chosen_edges(wiring, reduction=plan.reduction):
            own = {slot: layer_name(node, source, slot) for slot in _SLOTS}
            found[edge_name(node, source, name)] = {slot: given[key] for slot, key in own.items() if key in given}
        return found
    for group, edges in GROUPS.items():
        slots = {slot: [layer_name(*edge, slot) for edge in edges] for slot in _SLOTS}
        found[group] = {
            slot: jax.tree.map(lambda *leaves: jnp.stack(leaves), *(given[key] for key in keys))
            for slot, keys in slots.items()
            if any(key in given for key in keys)
        }
    return found


def _flat(records: Mapping[str, PyTree], wiring: Any, plan: CellPlan) -> Records:
    found: Records = {name: value for name, value in records.items() if name.startswith(INPUTS)}
    if isinstance(wiring, DartsGenotype):
        for node, source, name in chosen_edges(wiring, reduction=plan.reduction):
            found |= {layer_name(node, source, slot): record for slot, record in records[edge_name(node, source, name)].items()}
        return found
    for edge in EDGES:
        group = "outer" if edge in OUTER else "inner"
        place = GROUPS[group].index(edge)
        one = jax.tree.map(lambda leaf, place=place: leaf[place], records[group])
        found |= {layer_name(*edge, slot): one[slot] for slot in _SLOTS if slot in one}
    return found


def observed_run(run: CellRun, wiring: DartsGenotype | jax.Array) -> ObservedBlock:
    """Return what a run of cells is before it runs; with a genotype, its layers are those that it uses."""
    plan = run.plan
    layers = {"preprocess1": ObservedLayer(plan.features, float(plan.last))}
    halves = ("_even", "_odd") if plan.halved else ("",)
    for part in halves:
        name = f"preprocess0{part}"
        layers[name] = ObservedLayer(slot_channels(name, plan.features), float(plan.before_last))
    if isinstance(wiring, DartsGenotype):
        for node, source, operation in chosen_edges(wiring, reduction=plan.reduction):
            for slot, fan in fan_ins(operation, plan.features, stride_of(plan, source)).items():
                layers[layer_name(node, source, slot)] = ObservedLayer(slot_channels(slot, plan.features), fan)
    else:
        digits = wiring.reshape(2, -1)[int(plan.reduction)]
        for row, (node, source) in enumerate(EDGES):
            fans = [fan_ins(operation, plan.features, stride_of(plan, source)) for operation in OPERATIONS]
            for slot in dict.fromkeys(slot for fan in fans for slot in fan):
                table = np.array([fan.get(slot, 0.0) for fan in fans])
                own = jnp.asarray(table, jnp.result_type(float))[jnp.clip(digits[row], 0, len(OPERATIONS) - 1)]
                layers[layer_name(node, source, slot)] = ObservedLayer(slot_channels(slot, plan.features), own)
    return ObservedBlock(kind_of(plan), run.length if run.length > 1 else None, layers)
