"""The NAS-Bench-201 cell: four nodes, six edges, every node the sum of its incoming edges, for each kind of wiring.

What a layer does is an argument (:data:`jknas.networks.observation.Layer`): :func:`plain_layer` for logits, anything else for observation.
The operations of a genotype are written out. A code runs one branch per edge; mixture weights run every candidate.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jknas.networks.layers.conv_norm import Moments, NormWeights, batch_norm, relu_conv_norm
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.layers.pooling import average_pool_3x3
from jknas.networks.layers.relu_conv_norm import at_least_float32
from jknas.networks.observation import Layer, LayerWeights, Seen, Source, convolved
from jknas.networks.parameters import Shapes, WeightTree, conv_shapes
from jknas.spaces.nasbench201.genotype import EDGES, KERNEL_SIZES, OPERATIONS, CellGenotype
from jknas.xla.fence import fence
from jknas.xla.interception import INTERCEPTED, Intercept
from jknas.xla.switch import Branch, add_chosen, add_chosen_inside, add_switched, pull_back

_POOL = "avg_pool_3x3"
_SKIP = OPERATIONS.index("skip_connect")
_CONVOLUTIONS = tuple(OPERATIONS.index(name) for name in KERNEL_SIZES)

EdgeWeights = dict[str, WeightTree]
"""Kernel and normalisation of an edge's convolutions, by operation."""

Incoming = list[tuple[int, jax.Array]]
"""The edges into a node, and the values of the nodes that they leave."""


def edge_name(edge: int) -> str:
    """Return the name of an edge in parameters and records: ``edge_<target>_<source>``."""
    return "edge_{}_{}".format(*EDGES[edge])


LAYERS = tuple((edge, name, f"{edge_name(edge)}_{name}") for edge in range(len(EDGES)) for name in KERNEL_SIZES)
"""Edge, operation and key of every convolution that a cell can hold."""


def cell_shapes(features: int) -> Shapes:
    """Return the shapes of one cell's parameters, of all candidate operations."""
    return {key: conv_shapes(KERNEL_SIZES[name], features, features) for _, name, key in LAYERS}


def edge_weights(weights: WeightTree) -> list[EdgeWeights]:
    """Return the convolutions of every edge that a cell's weights hold."""
    named = [{name: f"{edge_name(edge)}_{name}" for name in KERNEL_SIZES} for edge in range(len(EDGES))]
    return [{name: weights[key] for name, key in keys.items() if key in weights} for keys in named]


def plain_layer(statistics: Statistics) -> Layer:
    """Return the layer that computes the network's own value, and records the batch's moments (zero without a normalisation)."""

    def layer(_kind: str, x: jax.Array, weights: LayerWeights, _given: PyTree) -> tuple[jax.Array, Moments]:
        if weights.relu and weights.kernel is not None and weights.norm is not None:
            return relu_conv_norm(x, weights.kernel, weights.norm, statistics, stride=weights.stride)
        y = convolved(x, weights)
        if weights.norm is not None:
            return batch_norm(y, weights.norm, statistics)
        zeros = at_least_float32(jnp.zeros(y.shape[-1:], y.dtype))
        return y, Moments(zeros, zeros)

    return layer


def _branches(layer: Layer) -> tuple[Branch | None, ...]:
    """Return the candidates that compute, as functions of ``(x, weights of the edge, given)``, in the order of ``OPERATIONS``."""

    def run(kind: str, x: jax.Array, weights: EdgeWeights, given: PyTree = None) -> tuple[jax.Array, PyTree]:
        if kind == _POOL:
            return layer(kind, x, LayerWeights(before=average_pool_3x3), given)
        return layer(kind, x, LayerWeights(weights[kind]["kernel"], weights[kind]["norm"], relu=True), given)

    return tuple(functools.partial(run, name) if name in {_POOL, *KERNEL_SIZES} else None for name in OPERATIONS)


def _nothing(branches: tuple[Branch | None, ...], x: jax.Array, weights: EdgeWeights, given: PyTree = None) -> PyTree:
    """Return the record of an edge on which no layer runs."""
    shapes = jax.eval_shape(branches[OPERATIONS.index(_POOL)], x, weights, given)[1]  # type: ignore[arg-type]
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def _nodes(x: jax.Array, total: Callable[[Incoming], jax.Array]) -> list[jax.Array]:
    nodes = [x]
    for node in (1, 2, 3):
        nodes.append(total([(edge, nodes[source]) for edge, (target, source) in enumerate(EDGES) if target == node]))
    return nodes


def run_cell(weights: WeightTree, wiring: CellGenotype | jax.Array, layer: Layer, x: jax.Array, given: Mapping[str, PyTree]) -> Seen:
    """Run a cell.

    Args:
        weights: of this cell, by edge and operation.
        wiring: genotype, code, or mixture weights.
        layer: computes one convolution or pooling.
        x: node 0, ``[n, h, w, c]``.
        given: what ``layer`` gets, by edge.

    Returns:
        The last node and what is inside. The records are by edge; with mixture weights by edge and then by operation.
    """
    edges, extras = edge_weights(weights), [given.get(edge_name(edge)) for edge in range(len(EDGES))]
    live: Any
    if isinstance(wiring, CellGenotype):
        live = np.asarray(wiring.code)[:, None] == np.arange(len(OPERATIONS))
        nodes, records = _chosen_nodes(x, edges, wiring.code, layer, extras)
    elif wiring.ndim == 1:
        code = jnp.clip(wiring, 0, len(OPERATIONS) - 1)
        live = code[:, None] == np.arange(len(OPERATIONS))[None]
        nodes, records = _coded_nodes(x, edges, code, layer, add_chosen, extras)
    else:
        live = wiring != 0
        nodes, records = _mixed_nodes(x, edges, wiring, layer)
    sources = tuple(Source(nodes[node], _readers(live, node, _CONVOLUTIONS), _readers(live, node, (_SKIP,))) for node in range(3))
    return Seen(nodes[3], sources, {edge_name(edge): record for edge, record in enumerate(records)})


def _readers(live: Any, node: int, kinds: tuple[int, ...]) -> Any:
    """Return how many operations of these kinds read a node."""
    edges = [edge for edge, (_, source) in enumerate(EDGES) if source == node]
    return live[np.ix_(edges, kinds)].astype(int).sum()


def _chosen_nodes(
    x: jax.Array, weights: list[EdgeWeights], code: Sequence[int], layer: Layer, given: list[PyTree]
) -> tuple[list[jax.Array], list[PyTree]]:
    branches = _branches(layer)
    records = [_nothing(branches, x, edge, extra) for edge, extra in zip(weights, given, strict=True)]

    def total(incoming: Incoming) -> jax.Array:
        value = None
        for edge, source in incoming:
            run, y = branches[code[edge]], source
            if run is not None:
                y, records[edge] = run(source, weights[edge], given[edge])
            elif code[edge] != _SKIP:
                continue
            value = y if value is None else value + y
        # A node that nothing reaches is zero, and the operations behind it still run: a normalised zero is the layer's shift.
        return jnp.zeros_like(x) if value is None else value

    return _nodes(x, total), records


def _mixed_nodes(x: jax.Array, weights: list[EdgeWeights], mixture: jax.Array, layer: Layer) -> tuple[list[jax.Array], list[PyTree]]:
    branches, never = _branches(layer), jnp.isnan(mixture[0, 0])
    records: list[dict[str, PyTree]] = [{} for _ in weights]

    def total(incoming: Incoming) -> jax.Array:
        value = jnp.zeros_like(x)
        for edge, source in incoming:
            for digit, (name, run) in enumerate(zip(OPERATIONS, branches, strict=True)):
                y = source
                if run is not None:
                    y, records[edge][name] = run(source, weights[edge])
                elif digit != _SKIP:
                    continue
                value = value + mixture[edge, digit].astype(x.dtype) * y
        return fence(value, never)  # the sum is finished, and read by many from now on

    return _nodes(fence(x, never), total), records


def _skips(code: jax.Array, values: Incoming) -> jax.Array:
    """Sum the values whose edge is a skip: one pass over memory for all edges of a node, adding them one by one takes one per edge."""
    return functools.reduce(jnp.add, (jnp.where(code[edge] == _SKIP, value, jnp.zeros_like(value)) for edge, value in values))


def _coded_nodes(  # noqa: PLR0917
    x: jax.Array, weights: list[EdgeWeights], code: jax.Array, layer: Layer, add: Callable[..., Any], given: list[PyTree] | None = None
) -> tuple[list[jax.Array], list[PyTree]]:
    branches, given = _branches(layer), given or [None] * len(EDGES)
    records = [_nothing(branches, x, edge, extra) for edge, extra in zip(weights, given, strict=True)]

    def total(incoming: Incoming) -> jax.Array:
        value = _skips(code, incoming)
        for edge, source in incoming:
            value, records[edge] = add(branches, code[edge], (value, records[edge]), (source, weights[edge], given[edge]))
        return value

    return _nodes(x, total), records


# The CPU speed of codes rests on the reverse rule that follows: autodiff of `run_cell` keeps one residual per edge and copies every
# cotangent. So the logits of a code take `coded_cell`; it runs the same `_coded_nodes`.


def coded_cell(x: jax.Array, weights: list[EdgeWeights], code: jax.Array, statistics: Statistics) -> tuple[jax.Array, list[Moments]]:
    """Run the cell of a traced code; only the chosen operations run. The moments carry no gradient.

    The reverse rule keeps only the nodes, and adds every edge's share to its source's cotangent in place. What runs here, without that
    rule, is a plain switch, so that a transformation that brings its own rule finds nothing irreversible inside.
    """
    return _NAMED[statistics](x, weights, code)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _coded_cell(x: jax.Array, weights: list[EdgeWeights], code: jax.Array, statistics: Statistics) -> tuple[jax.Array, list[Moments]]:
    nodes, moments = _coded_nodes(x, weights, code, plain_layer(statistics), add_switched)
    return nodes[3], moments


def operations(statistics: Statistics) -> tuple[Branch | None, ...]:
    """Return the candidates that compute, as functions of ``(x, weights of the edge)``, in the order of ``OPERATIONS``."""
    return tuple(branch and (lambda x, weights, branch=branch: branch(x, weights)[0]) for branch in _branches(plain_layer(statistics)))


def coded_forward(x: jax.Array, weights: list[EdgeWeights], code: jax.Array, statistics: Statistics) -> tuple[Any, Any]:
    """Return what :func:`coded_cell` does, and what a reverse rule needs: the nodes before the last, the weights and the code."""
    nodes, moments = _coded_nodes(x, weights, code, plain_layer(statistics), add_chosen_inside)
    return (nodes[3], moments), (nodes[:3], weights, code)


def _coded_cell_bwd(statistics: Statistics, saved: Any, cotangents: tuple[jax.Array, Any]) -> tuple[jax.Array, list[EdgeWeights], None]:
    nodes, weights, code = saved
    branches = tuple(map(pull_back, operations(statistics)))
    d_weights = jax.tree.map(jnp.zeros_like, weights)

    def add(edge: int, cotangent: jax.Array, x: jax.Array, d_output: jax.Array) -> jax.Array:
        cotangent, d_weights[edge] = add_chosen_inside(branches, code[edge], (cotangent, d_weights[edge]), ((x, weights[edge]), d_output))
        return cotangent

    return coded_backward(nodes, code, cotangents[0], add), d_weights, None


def coded_backward(nodes: list[jax.Array], code: jax.Array, cotangent: jax.Array, add: Callable[..., jax.Array]) -> jax.Array:
    """Return the cotangent of node 0, given that of node 3; ``add(edge, cotangent, x, d_output)`` adds an edge's share to ``cotangent``."""
    d_nodes = {3: cotangent}
    for node in (2, 1, 0):
        outgoing = [(edge, target) for edge, (target, source) in enumerate(EDGES) if source == node]
        d_nodes[node] = _skips(code, [(edge, d_nodes[target]) for edge, target in outgoing])
        for edge, target in outgoing:
            d_nodes[node] = add(edge, d_nodes[node], nodes[node], d_nodes[target])
    return d_nodes[0]


_coded_cell.defvjp(coded_forward, _coded_cell_bwd)

_InterceptEdge = Callable[[int, str, WeightTree, jax.Array], WeightTree]
"""``intercept(edge, operation, weights, tape)``: the weights through which the tape passes."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _intercepted_cell(  # noqa: PLR0917 (the rule of custom_vjp is positional)
    x: jax.Array, weights: list[EdgeWeights], code: jax.Array, tape: jax.Array, statistics: Statistics, intercept: _InterceptEdge
) -> tuple[jax.Array, list[Moments]]:
    """Run :func:`coded_cell` with gradients for ``x`` and ``tape`` only: what ``intercept`` makes of a cotangent stays in its branch."""
    del tape, intercept
    return _coded_cell(x, weights, code, statistics)


def _intercepted_cell_fwd(  # noqa: PLR0917
    x: jax.Array, weights: list[EdgeWeights], code: jax.Array, tape: jax.Array, statistics: Statistics, intercept: _InterceptEdge
) -> tuple[Any, Any]:
    del intercept
    results, saved = coded_forward(x, weights, code, statistics)
    return results, (*saved, tape)


def _intercepted_cell_bwd(
    statistics: Statistics, intercept: _InterceptEdge, saved: Any, cotangents: tuple[jax.Array, Any]
) -> tuple[Any, None, None, jax.Array]:
    nodes, weights, code, tape = saved
    d_tape, plain = jnp.zeros_like(tape), _branches(plain_layer(statistics))

    def pulled(edge: int, name: str, branch: Branch | None) -> Branch | None:
        def back(x: jax.Array, weights: EdgeWeights, tape: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
            def forward(x: jax.Array, tape: jax.Array) -> jax.Array:
                own = {name: intercept(edge, name, weights[name], tape)} if name in KERNEL_SIZES else weights
                return branch(x, own)[0]  # type: ignore[misc]

            return jax.vjp(forward, x, tape)[1](cotangent)

        return branch and back

    def add(edge: int, cotangent: jax.Array, x: jax.Array, d_output: jax.Array) -> jax.Array:
        nonlocal d_tape
        branches = tuple(pulled(edge, name, branch) for name, branch in zip(OPERATIONS, plain, strict=True))
        cotangent, d_tape = add_chosen(branches, code[edge], (cotangent, d_tape), (x, weights[edge], tape, d_output))
        return cotangent

    return coded_backward(nodes, code, cotangents[0], add), None, None, d_tape


_intercepted_cell.defvjp(_intercepted_cell_fwd, _intercepted_cell_bwd)

_HOLE: Any = 0
_EDGE = {name: {"kernel": _HOLE, "norm": NormWeights(_HOLE, _HOLE, _HOLE, _HOLE)} for name in KERNEL_SIZES}
_ARGUMENTS: Any = jax.tree.structure((_HOLE, [_EDGE for _ in EDGES], _HOLE))
"""Structure of the coded cell's arguments."""


def _run_intercepted(operands: Sequence[jax.Array], tape: jax.Array, intercept: Intercept, *, statistics: Statistics) -> list[jax.Array]:
    positions = jax.tree.unflatten(_ARGUMENTS, range(len(operands)))[1]

    def inner(edge: int, name: str, weights: WeightTree, tape: jax.Array) -> WeightTree:
        flat, structure = jax.tree.flatten(weights)
        return jax.tree.unflatten(structure, intercept(jax.tree.leaves(positions[edge][name]), flat, tape))

    x, weights, code = jax.tree.unflatten(_ARGUMENTS, operands)
    return jax.tree.leaves(_intercepted_cell(x, weights, code, tape, statistics, inner))


def _named(statistics: Statistics) -> Callable[..., Any]:
    def run(x: jax.Array, weights: list[EdgeWeights], code: jax.Array) -> tuple[jax.Array, list[Moments]]:
        return _coded_cell(x, weights, code, statistics)

    run.__name__ = f"jknas coded cell, {statistics} statistics"
    INTERCEPTED[run.__name__] = _ARGUMENTS.num_leaves, functools.partial(_run_intercepted, statistics=statistics)
    return jax.jit(run)


_NAMED = {statistics: _named(statistics) for statistics in get_args(Statistics)}
