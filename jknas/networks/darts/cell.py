"""The DARTS cell: two inputs, four nodes that are sums of edges, and the concatenation of the four.

How the edges are run depends on the wiring. The chosen operations of a genotype are written out one after the other. A code's edges are
turns of a loop with one choice among the operations inside, so that a cell has each operation twice (with the stride of the outer and of
the inner edges) and not fourteen times. Mixtures run each operation once for all edges that leave one node.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jknas.networks.darts.operations import factorized_reduce, operate
from jknas.networks.darts.parameters import GROUPS, INNER, ROWS, CellPlan, chosen_edges, edge_name
from jknas.networks.layers.conv_norm import Moments, relu_conv_norm
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.layers.relu_conv_norm import at_least_float32
from jknas.networks.parameters import Averages, WeightTree, moved
from jknas.spaces.darts.genotype import NODES, OPERATIONS, DartsGenotype
from jknas.xla.switch import Branch, add_chosen

Drop = Callable[[int, jax.Array], jax.Array]
"""``drop(place, y)`` drops the output of the edge at ``place`` of the genotype for some examples."""


def preprocess(
    weights: WeightTree, before_last: jax.Array, last: jax.Array, plan: CellPlan, statistics: Statistics
) -> tuple[tuple[jax.Array, jax.Array], Averages]:
    """Bring a cell's inputs to its resolution and number of channels: nodes 0 and 1."""
    first, second = weights["preprocess0"], weights["preprocess1"]
    if plan.halved:
        node0, moments0 = factorized_reduce(before_last, first, statistics)
    else:
        node0, moments0 = relu_conv_norm(before_last, first["kernel"], first["norm"], statistics)
    node1, moments1 = relu_conv_norm(last, second["kernel"], second["norm"], statistics)
    found = {"preprocess0": moments0, "preprocess1": moments1}
    return (node0, node1), {name: {"norm": moved(weights[name]["norm"], moments)} for name, moments in found.items()}


def concatenated(nodes: jax.Array) -> jax.Array:
    """Return the nodes ``[4, n, h, w, c]`` as one image ``[n, h, w, 4 c]``."""
    return jnp.moveaxis(nodes, 0, 3).reshape(*nodes.shape[1:4], -1)


# ---- genotype


def chosen_nodes(  # noqa: PLR0917
    weights: WeightTree,
    inputs: tuple[jax.Array, jax.Array],
    genotype: DartsGenotype,
    plan: CellPlan,
    statistics: Statistics,
    drop: Drop | None,
) -> tuple[jax.Array, Averages]:
    """Run a genotype's edges; return the four nodes, concatenated, and the running averages of its operations."""
    nodes, averages = dict(enumerate(inputs)), {}
    for place, (node, source, name) in enumerate(chosen_edges(genotype, reduction=plan.reduction)):
        stride, key = (2 if plan.reduction and source < NODES[0] else 1), edge_name(node, source, name)
        y, moments, _ = operate(name, nodes[source], weights.get(key), statistics, stride=stride)
        if moments:
            averages[key] = {part: {"norm": moved(weights[key][part]["norm"], found)} for part, found in moments.items()}
        if drop is not None and not (name == "skip_connect" and stride == 1):
            y = drop(place, y)
        nodes[node] = nodes[node] + y if node in nodes else y
    return jnp.concatenate([nodes[node] for node in NODES], -1), averages


# ---- code


def coded_nodes(
    weights: WeightTree, inputs: tuple[jax.Array, jax.Array], code: jax.Array, plan: CellPlan, statistics: Statistics
) -> tuple[jax.Array, Averages]:
    """Run the edges of a cell's code ``[14]``; only the chosen operations run."""
    stride, (n, height, width, features) = (2 if plan.reduction else 1), inputs[1].shape
    nodes = jnp.zeros((len(NODES), n, -(-height // stride), -(-width // stride), features), inputs[1].dtype)
    nodes, outer = _looped(weights["outer"], jnp.stack(inputs), nodes, code, "outer", stride, statistics)
    nodes, inner = _looped(weights["inner"], None, nodes, code, "inner", 1, statistics)
    return concatenated(nodes), {"outer": outer, "inner": inner}


def _looped(  # noqa: PLR0917
    weights: WeightTree, sources: jax.Array | None, nodes: jax.Array, code: jax.Array, group: str, stride: int, statistics: Statistics
) -> tuple[jax.Array, Averages]:
    """Add the edges of a group to the nodes one by one; without ``sources``, they are the nodes themselves."""
    branches = tuple(_branch(name, statistics, stride) for name in OPERATIONS)
    edges = GROUPS[group]
    targets, origins = (np.array([edge[end] for edge in edges], np.int32) for end in (0, 1))
    digits = code[np.array(ROWS[group])]
    floats = at_least_float32(jnp.zeros((2, nodes.shape[-1]), nodes.dtype))

    def turn(nodes: jax.Array, edge: tuple[Any, ...]) -> tuple[jax.Array, Any]:
        weights, digit, target, origin = edge
        source = lax.dynamic_index_in_dim(nodes if sources is None else sources, origin, keepdims=False)
        value = lax.dynamic_index_in_dim(nodes, target, keepdims=False)
        value, moments = add_chosen(branches, digit, (value, Moments(floats, floats)), (source, weights))
        return lax.dynamic_update_index_in_dim(nodes, value, target, 0), moments

    first_origin = NODES[0] if sources is None else 0
    nodes, moments = lax.scan(turn, nodes, (weights, digits, targets - NODES[0], origins - first_origin))
    averages = {}
    for name, operation in weights.items():
        used = (digits == OPERATIONS.index(name))[:, None]
        averages[name] = {
            part: {"norm": moved(block["norm"], Moments(moments.mean[:, at], moments.variance[:, at]), used)}
            for at, (part, block) in enumerate(sorted(operation.items()))
        }
    return nodes, averages


def _branch(name: str, statistics: Statistics, stride: int) -> Branch | None:
    """Return an operation as a function of the image and the weights of all, giving its value and the moments of up to two blocks."""
    if name == "none":
        return None

    def run(x: jax.Array, weights: WeightTree) -> tuple[jax.Array, Moments]:
        value, found, _ = operate(name, x, weights.get(name), statistics, stride=stride)
        zeros = at_least_float32(jnp.zeros(value.shape[-1:], value.dtype))
        listed = [*found.values(), *(Moments(zeros, zeros) for _ in range(2 - len(found)))]
        return value, Moments(*(jnp.stack(pair) for pair in zip(*listed, strict=True)))

    return run


# ---- mixture


def mixed_nodes(
    weights: WeightTree, inputs: tuple[jax.Array, jax.Array], mixture: jax.Array, plan: CellPlan, statistics: Statistics
) -> tuple[jax.Array, Averages, dict[str, Any]]:
    """Run all operations of all edges and weigh them by a cell's mixture ``[14, 8]``, dead operations at zero.

    Returns:
        The nodes ``[4, n, h, w, c]``; the running averages; and by group and operation what the ReLUs of second blocks read,
        ``[edges, n, h, w, c]``.
    """
    stride = 2 if plan.reduction else 1

    def edge(x: jax.Array, weights: WeightTree, mixture: jax.Array, stride: int) -> Any:
        return _mixed_edge(x, weights, mixture, stride, statistics)

    def from_one(x: jax.Array, group: str, edges: slice, stride: int) -> Any:
        part = jax.tree.map(lambda leaf: leaf[edges], weights[group])
        return jax.vmap(lambda weights, row: edge(x, weights, row, stride))(part, mixture[np.array(ROWS[group])[edges]])

    per_source = jax.tree.map(lambda leaf: leaf.reshape(2, len(NODES), *leaf.shape[1:]), weights["outer"])
    rows = mixture[np.array(ROWS["outer"])].reshape(2, len(NODES), -1)
    from_inputs = jax.vmap(lambda x, weights, rows: jax.vmap(lambda weights, row: edge(x, weights, row, stride))(weights, rows))
    values, moments, hidden = from_inputs(jnp.stack(inputs), per_source, rows)
    nodes = values.sum(0)
    flat: dict[str, Any] = {}
    flat["outer"] = jax.tree.map(lambda leaf: leaf.reshape(2 * len(NODES), *leaf.shape[2:]), (moments, hidden))
    found, start = [], 0
    for source in NODES[:-1]:
        count = NODES[-1] - source
        values, *rest = from_one(nodes[source - NODES[0]], "inner", slice(start, start + count), 1)
        nodes, start = nodes.at[-count:].add(values), start + count
        found.append(tuple(rest))
    flat["inner"] = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)
    assert start == len(INNER)
    averages = {
        group: {
            name: {part: {"norm": moved(weights[group][name][part]["norm"], found)} for part, found in moments[name].items()}
            for name in weights[group]
        }
        for group, (moments, _) in flat.items()
    }
    return nodes, averages, {group: hidden for group, (_, hidden) in flat.items()}


def _mixed_edge(x: jax.Array, weights: WeightTree, mixture: jax.Array, stride: int, statistics: Statistics) -> Any:
    total: jax.Array | None = None
    moments, hidden = {}, {}
    for digit, name in enumerate(OPERATIONS):
        if name == "none":
            continue
        y, moments[name], before = operate(name, x, weights.get(name), statistics, stride=stride)
        y = mixture[digit].astype(x.dtype) * y
        total = y if total is None else total + y
        if before is not None:
            hidden[name] = before
    return total, moments, hidden


def cell(  # noqa: PLR0917
    weights: WeightTree,
    before_last: jax.Array,
    last: jax.Array,
    wiring: DartsGenotype | jax.Array,
    plan: CellPlan,
    statistics: Statistics,
    drop: Drop | None = None,
) -> tuple[jax.Array, Averages]:
    """Run a cell.

    Args:
        weights: of this cell, joined with its running averages.
        before_last: output of the cell before the last one.
        last: output of the last cell.
        wiring: genotype, code ``[28]``, or mixture ``[28, 8]`` with dead operations at zero.
        plan: the cell's kind.
        statistics: what batch normalisation normalises over.
        drop: drops the outputs of a genotype's edges.

    Returns:
        The output ``[n, h, w, 4 features]`` and the moved running averages.
    """
    inputs, averages = preprocess(weights, before_last, last, plan, statistics)
    if isinstance(wiring, DartsGenotype):
        y, moved_averages = chosen_nodes(weights, inputs, wiring, plan, statistics, drop)
        return y, averages | moved_averages
    own = wiring.reshape(2, -1, *wiring.shape[1:])[int(plan.reduction)]
    if own.ndim == 1:
        y, moved_averages = coded_nodes(weights, inputs, own, plan, statistics)
        return y, averages | moved_averages
    nodes, moved_averages, _ = mixed_nodes(weights, inputs, own, plan, statistics)
    return concatenated(nodes), averages | moved_averages
