"""The DARTS cell: two inputs, four nodes that are sums of edges, and the concatenation of the four.

How the edges are run depends on the wiring. The chosen operations of a genotype are written out one after the other. A code's edges are
turns of a loop with one choice among the operations inside, so that a cell has each operation twice (with the stride of the outer and of
the inner edges) and not fourteen times. Mixtures run each operation once for all edges that leave one node.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import PyTree

from jknas.networks.darts.operations import factorized_reduce, operate
from jknas.networks.darts.parameters import GROUPS, INNER, INPUTS, ROWS, CellPlan, chosen_edges, edge_name, stride_of
from jknas.networks.observation import Layer, LayerWeights, Seen, Source
from jknas.networks.parameters import Averages, WeightTree, moved
from jknas.spaces.darts.genotype import EDGES, NODES, OPERATIONS, DartsGenotype
from jknas.xla.switch import Branch, add_chosen

Records = dict[str, Any]
"""What layers recorded, in nested dictionaries."""

Drop = Callable[[int, jax.Array], jax.Array]
"""``drop(place, y)`` drops the output of the edge at ``place`` of the genotype for some examples."""


def preprocess(  # noqa: PLR0917
    weights: WeightTree, before_last: jax.Array, last: jax.Array, plan: CellPlan, layer: Layer, given: Mapping[str, PyTree] | None = None
) -> tuple[tuple[jax.Array, jax.Array], Records]:
    """Bring a cell's inputs to its resolution and number of channels: nodes 0 and 1."""
    records: Records = {}
    given, nodes = given or {}, []
    for name, value in (("preprocess0", before_last), ("preprocess1", last)):
        own = weights[name]
        if name == "preprocess0" and plan.halved:
            y, found = factorized_reduce(name, value, own, layer, given, name)
            records |= found
        else:
            y, records[name] = layer(name, value, LayerWeights(own["kernel"], own["norm"], relu=True), given.get(name))
        nodes.append(y)
    return (nodes[0], nodes[1]), records


def concatenated(nodes: jax.Array) -> jax.Array:
    """Return the nodes ``[4, n, h, w, c]`` as one image ``[n, h, w, 4 c]``."""
    return jnp.moveaxis(nodes, 0, 3).reshape(*nodes.shape[1:4], -1)


# ---- genotype


def chosen_nodes(  # noqa: PLR0917
    weights: WeightTree,
    inputs: tuple[jax.Array, jax.Array],
    genotype: DartsGenotype,
    plan: CellPlan,
    layer: Layer,
    given: Mapping[str, PyTree],
    drop: Drop | None,
) -> tuple[dict[int, jax.Array], Records]:
    """Run a genotype's edges; return all nodes, and the records by operation of an edge and slot."""
    nodes, records = dict(enumerate(inputs)), {}
    for place, (node, source, name) in enumerate(chosen_edges(genotype, reduction=plan.reduction)):
        stride, key = stride_of(plan, source), edge_name(node, source, name)
        y, records[key], _ = operate(name, nodes[source], weights.get(key), layer, given.get(key), stride=stride)
        if drop is not None and not (name == "skip_connect" and stride == 1):
            y = drop(place, y)
        nodes[node] = nodes[node] + y if node in nodes else y
    return nodes, records


# ---- code


def coded_nodes(  # noqa: PLR0917
    weights: WeightTree,
    inputs: tuple[jax.Array, jax.Array],
    code: jax.Array,
    plan: CellPlan,
    layer: Layer,
    given: Mapping[str, PyTree],
    drawn: jax.Array | None = None,
) -> tuple[jax.Array, Records]:
    """Run the edges of a cell's code ``[14]``; only the chosen operations run. ``drawn [14, 8]`` are the weights of a sampled code.

    Returns:
        The nodes ``[4, n, h, w, c]``; the records by group and slot, ``[edges, ...]``.
    """
    stride, (n, height, width, features) = (2 if plan.reduction else 1), inputs[1].shape
    nodes, records = jnp.zeros((len(NODES), n, -(-height // stride), -(-width // stride), features), inputs[1].dtype), {}
    for group, sources, step in (("outer", jnp.stack(inputs), stride), ("inner", None, 1)):
        nodes, records[group] = _looped(weights[group], sources, nodes, code, group, step, layer, given.get(group, {}), drawn)
    return nodes, records


def _looped(  # noqa: PLR0917
    weights: WeightTree,
    sources: jax.Array | None,
    nodes: jax.Array,
    code: jax.Array,
    group: str,
    stride: int,
    layer: Layer,
    given: Mapping[str, PyTree],
    drawn: jax.Array | None,
) -> tuple[jax.Array, Records]:
    """Add the edges of a group to the nodes one by one; without ``sources``, they are the nodes themselves."""
    edges = GROUPS[group]
    targets, origins = (np.array([edge[end] for edge in edges], np.int32) for end in (0, 1))
    digits = code[np.array(ROWS[group])]
    one = nodes[0] if sources is None else sources[0]
    first_weights, first_given = jax.tree.map(lambda leaf: leaf[0], (weights, dict(given)))
    nothing = _nothing(one, first_weights, first_given, layer, stride)
    branches = tuple(_branch(name, layer, stride, nothing) for name in OPERATIONS)

    def turn(nodes: jax.Array, edge: tuple[Any, ...]) -> tuple[jax.Array, Any]:
        weights, given, digit, target, origin, row = edge
        source = lax.dynamic_index_in_dim(nodes if sources is None else sources, origin, keepdims=False)
        value = lax.dynamic_index_in_dim(nodes, target, keepdims=False)
        if drawn is not None:  # the weights of the other operations are zero, and count as numbers
            value += (row.sum() - row[digit]).astype(value.dtype)
        scale = None if drawn is None else row[digit]
        value, records = add_chosen(branches, digit, (value, _zeros(nothing)), (source, weights, given, scale))
        return lax.dynamic_update_index_in_dim(nodes, value, target, 0), records

    first_origin = NODES[0] if sources is None else 0
    rows = None if drawn is None else drawn[np.array(ROWS[group])]
    return lax.scan(turn, nodes, (weights, dict(given), digits, targets - NODES[0], origins - first_origin, rows))


def _nothing(x: jax.Array, weights: WeightTree, given: Mapping[str, PyTree], layer: Layer, stride: int) -> Records:
    """Return the shapes of the records at all slots of an edge."""

    def every(x: jax.Array, weights: WeightTree, given: Mapping[str, PyTree]) -> Records:
        found: Records = {}
        for name in ("max_pool_3x3", "skip_connect", "sep_conv_3x3"):  # what the others have at a slot is of the same shape
            found |= operate(name, x, weights.get(name), layer, given, stride=stride).records
        return found

    return jax.eval_shape(every, x, weights, given)


def _zeros(shapes: Records) -> Records:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def _branch(name: str, layer: Layer, stride: int, nothing: Records) -> Branch | None:
    """Return an operation as a function of the image, the weights of all and what its layers are given; with the records at all slots."""
    if name == "none":
        return None

    def run(x: jax.Array, weights: WeightTree, given: Mapping[str, PyTree], scale: jax.Array | None) -> tuple[jax.Array, Records]:
        found = operate(name, x, weights.get(name), layer, given, stride=stride)
        value = found.value if scale is None else found.value * scale.astype(found.value.dtype)
        return value, {**_zeros(nothing), **found.records}

    return run


# ---- mixture


def mixed_nodes(
    weights: WeightTree, inputs: tuple[jax.Array, jax.Array], mixture: jax.Array, plan: CellPlan, layer: Layer
) -> tuple[jax.Array, Records, dict[str, Any]]:
    """Run all operations of all edges and weigh them by a cell's mixture ``[14, 8]``, dead operations at zero.

    Returns:
        The nodes ``[4, n, h, w, c]``; the records by group, operation and slot; and by group and operation what the ReLUs of second
        blocks read, ``[edges, n, h, w, c]``.
    """
    stride = 2 if plan.reduction else 1

    def edge(x: jax.Array, weights: WeightTree, mixture: jax.Array, stride: int) -> Any:
        return _mixed_edge(x, weights, mixture, stride, layer)

    def from_one(x: jax.Array, group: str, edges: slice, stride: int) -> Any:
        part = jax.tree.map(lambda leaf: leaf[edges], weights[group])
        return jax.vmap(lambda weights, row: edge(x, weights, row, stride))(part, mixture[np.array(ROWS[group])[edges]])

    per_source = jax.tree.map(lambda leaf: leaf.reshape(2, len(NODES), *leaf.shape[1:]), weights["outer"])
    rows = mixture[np.array(ROWS["outer"])].reshape(2, len(NODES), -1)
    from_inputs = jax.vmap(lambda x, weights, rows: jax.vmap(lambda weights, row: edge(x, weights, row, stride))(weights, rows))
    values, records, hidden = from_inputs(jnp.stack(inputs), per_source, rows)
    nodes = values.sum(0)
    flat: dict[str, Any] = {}
    flat["outer"] = jax.tree.map(lambda leaf: leaf.reshape(2 * len(NODES), *leaf.shape[2:]), (records, hidden))
    found, start = [], 0
    for source in NODES[:-1]:
        count = NODES[-1] - source
        values, *rest = from_one(nodes[source - NODES[0]], "inner", slice(start, start + count), 1)
        nodes, start = nodes.at[-count:].add(values), start + count
        found.append(tuple(rest))
    flat["inner"] = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)
    assert start == len(INNER)
    return nodes, *({group: found[part] for group, found in flat.items()} for part in (0, 1))


def _mixed_edge(x: jax.Array, weights: WeightTree, mixture: jax.Array, stride: int, layer: Layer) -> Any:
    total: jax.Array | None = None
    records, hidden = {}, {}
    for digit, name in enumerate(OPERATIONS):
        if name == "none":
            continue
        y, records[name], before = operate(name, x, weights.get(name), layer, stride=stride)
        y = mixture[digit].astype(x.dtype) * y
        total = y if total is None else total + y
        if before is not None:
            hidden[name] = before
    return total, records, hidden


# ---- any wiring


def run_cell(  # noqa: PLR0917
    plan: CellPlan,
    weights: WeightTree,
    before_last: jax.Array,
    wiring: DartsGenotype | jax.Array,
    layer: Layer,
    last: jax.Array,
    given: Mapping[str, PyTree],
    drop: Drop | None = None,
    drawn: jax.Array | None = None,
) -> Seen:
    """Run a cell.

    Args:
        plan: the cell's kind.
        weights: of this cell, joined with its running averages.
        before_last: output of the cell before the last one.
        wiring: genotype, code ``[28]``, or mixture ``[28, 8]`` with dead operations at zero.
        layer: computes one convolution, pooling or normalisation.
        last: output of the last cell.
        given: what ``layer`` gets, in the structure of the records; not with a mixture.
        drop: drops the outputs of a genotype's edges.
        drawn: the weights ``[28, 8]`` of a sampled code (:class:`jknas.networks.wiring.SampledCode`).

    Returns:
        The output ``[n, h, w, 4 features]`` and what is inside; none of its values with a mixture. The records are those of the two layers
        in front by name, a genotype's by operation of an edge, and a code's by group of edges; then by slot, and a code's are stacked.
    """
    inputs, records = preprocess(weights, before_last, last, plan, layer, given)
    if isinstance(wiring, DartsGenotype):
        nodes, found = chosen_nodes(weights, inputs, wiring, plan, layer, given, drop)
        code = np.asarray(wiring.code).reshape(2, -1)[int(plan.reduction)]
        output = jnp.concatenate([nodes[node] for node in NODES], -1)
        return Seen(output, _sources(before_last, last, nodes, code, plan), records | found)
    own = wiring.reshape(2, -1, *wiring.shape[1:])[int(plan.reduction)]
    if own.ndim == 2:
        stacked, found, _ = mixed_nodes(weights, inputs, own, plan, layer)
        return Seen(concatenated(stacked), (), records | found)
    own_drawn = None if drawn is None else drawn.reshape(2, -1, drawn.shape[-1])[int(plan.reduction)]
    stacked, found = coded_nodes(weights, inputs, own, plan, layer, given, own_drawn)
    nodes = {**dict(enumerate(inputs)), **{node: stacked[place] for place, node in enumerate(NODES)}}
    code = jnp.clip(own, 0, len(OPERATIONS) - 1)
    return Seen(concatenated(stacked), _sources(before_last, last, nodes, code, plan), records | found)


def _sources(before_last: jax.Array, last: jax.Array, nodes: Mapping[int, jax.Array], code: Any, plan: CellPlan) -> tuple[Source, ...]:
    """Return what ReLUs read but those inside an operation: the cell's inputs, and the nodes that edges leave."""
    found = [Source(before_last, 1, 0), Source(last, 1, 0)]
    skip = OPERATIONS.index("skip_connect")
    for node in range(NODES[-1]):
        digits = code[np.array([row for row, (_, source) in enumerate(EDGES) if source == node])]
        skips, convolutions = (digits == skip).sum(), (digits > skip).sum()  # what has no weights comes first
        reduced = stride_of(plan, node) == 2
        found.append(Source(nodes[node], convolutions + skips, 0) if reduced else Source(nodes[node], convolutions, skips))
    return tuple(found)


def moved_averages(weights: WeightTree, records: Mapping[str, PyTree], wiring: DartsGenotype | jax.Array, plan: CellPlan) -> Averages:
    """Return the running averages of a cell, moved by what :func:`plain_layer` recorded."""
    averages: Averages = {name: {"norm": moved(weights[name]["norm"], records[name])} for name in INPUTS}
    if isinstance(wiring, DartsGenotype):
        return averages | {key: _moved(weights[key], found) for key, found in records.items() if key in weights and key not in INPUTS}
    for group, rows in ROWS.items():
        if wiring.ndim == 2:
            averages[group] = {name: _moved(blocks, records[group][name]) for name, blocks in weights[group].items()}
            continue
        digits = wiring.reshape(2, -1)[int(plan.reduction)][np.array(rows)]
        averages[group] = {
            name: _moved(blocks, records[group], (digits == OPERATIONS.index(name))[:, None]) for name, blocks in weights[group].items()
        }
    return averages


def _moved(blocks: WeightTree, records: Mapping[str, PyTree], used: jax.Array | bool = True) -> Averages:
    return {place: {"norm": moved(block["norm"], records[place], used)} for place, block in blocks.items()}
