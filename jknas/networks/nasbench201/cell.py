"""The NAS-Bench-201 cell and the residual reduction block, with their parameters declared in Flax."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from jknas.errors import NetworkError
from jknas.networks.layers.conv_norm import ConvNorm, ConvNormWeights, Moments, NormWeights, declare, relu_conv_norm
from jknas.networks.layers.convolution import convolution
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.layers.pooling import average_pool_2x2, average_pool_3x3
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS
from jknas.xla.fence import fence
from jknas.xla.interception import INTERCEPTED, Intercept
from jknas.xla.switch import Branch, add_chosen, add_chosen_inside, add_switched, pull_back

KERNEL_SIZES = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
"""Side of the kernel of every operation that has one."""


def edge_name(edge: int) -> str:
    """Return the parameter name of an edge: ``edge_<target>_<source>``."""
    return "edge_{}_{}".format(*EDGES[edge])


EdgeWeights = dict[str, ConvNormWeights]

SKIP = OPERATIONS.index("skip_connect")
"""The code of the operation that is added up without a choice, see ``_skips``."""


def _operations(statistics: Statistics) -> tuple[Branch | None, ...]:
    """Return the candidates that compute, as functions of ``(x, weights)`` that give value and moments, in the order of ``OPERATIONS``."""

    def average(x: jax.Array, weights: EdgeWeights) -> tuple[jax.Array, Moments]:
        return average_pool_3x3(x), _no_moments(weights)

    functions: dict[str, Branch] = {"avg_pool_3x3": average}
    for name in KERNEL_SIZES:
        functions[name] = lambda x, weights, name=name: relu_conv_norm(x, weights[name], statistics)
    return tuple(functions.get(name) for name in OPERATIONS)


def _no_moments(weights: EdgeWeights) -> Moments:
    like = next(iter(weights.values())).norm.running_mean
    return Moments(jnp.zeros_like(like), jnp.zeros_like(like))


def _skips(code: jax.Array, values: list[tuple[int, jax.Array]]) -> jax.Array:
    """Sum the values whose edge is a skip: one pass over memory for all edges of a node, where adding them one by one takes one each."""
    return functools.reduce(jnp.add, (jnp.where(code[edge] == SKIP, value, jnp.zeros_like(value)) for edge, value in values))


def _coded_nodes(
    x: jax.Array, weights: list[EdgeWeights], code: jax.Array, statistics: Statistics, add: Callable[..., Any]
) -> tuple[list[jax.Array], list[Moments]]:
    nodes, moments = [x], [_no_moments(edge) for edge in weights]
    for node in (1, 2, 3):
        incoming = [(edge, source) for edge, (target, source) in enumerate(EDGES) if target == node]
        value = _skips(code, [(edge, nodes[source]) for edge, source in incoming])
        for edge, source in incoming:
            value, moments[edge] = add(_operations(statistics), code[edge], (value, moments[edge]), (nodes[source], weights[edge]))
        nodes.append(value)
    return nodes, moments


def coded_cell(x: jax.Array, weights: list[EdgeWeights], code: jax.Array, statistics: Statistics) -> tuple[jax.Array, list[Moments]]:
    """Run the cell of a traced code; only the chosen operations run. The moments carry no gradient.

    The reverse rule keeps the nodes alone, and adds every edge's share to its source's cotangent in place. What runs here, without that
    rule, is a plain switch, so that a transformation that brings its own rule finds nothing irreversible inside.
    """
    return _NAMED[statistics](x, weights, code)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _coded_cell(x: jax.Array, weights: list[EdgeWeights], code: jax.Array, statistics: Statistics) -> tuple[jax.Array, list[Moments]]:
    nodes, moments = _coded_nodes(x, weights, code, statistics, add_switched)
    return nodes[3], moments


def _coded_cell_fwd(x: jax.Array, weights: list[EdgeWeights], code: jax.Array, statistics: Statistics) -> tuple[Any, Any]:
    nodes, moments = _coded_nodes(x, weights, code, statistics, add_chosen_inside)
    return (nodes[3], moments), (nodes[:3], weights, code)


def _coded_cell_bwd(statistics: Statistics, saved: Any, cotangents: tuple[jax.Array, Any]) -> tuple[jax.Array, list[EdgeWeights], None]:
    nodes, weights, code = saved
    branches = tuple(pull_back(branch and (lambda x, weights, branch=branch: branch(x, weights)[0])) for branch in _operations(statistics))
    d_weights = jax.tree.map(jnp.zeros_like, weights)

    def add(edge: int, cotangent: jax.Array, x: jax.Array, d_output: jax.Array) -> jax.Array:
        cotangent, d_weights[edge] = add_chosen_inside(branches, code[edge], (cotangent, d_weights[edge]), ((x, weights[edge]), d_output))
        return cotangent

    return _reversed_nodes(nodes, code, cotangents[0], add), d_weights, None


def _reversed_nodes(nodes: list[jax.Array], code: jax.Array, cotangent: jax.Array, add: Callable[..., jax.Array]) -> jax.Array:
    """Return the cotangent of node 0, given that of node 3; ``add(edge, cotangent, x, d_output)`` adds an edge's share to ``cotangent``."""
    d_nodes = {3: cotangent}
    for node in (2, 1, 0):
        outgoing = [(edge, target) for edge, (target, source) in enumerate(EDGES) if source == node]
        d_nodes[node] = _skips(code, [(edge, d_nodes[target]) for edge, target in outgoing])
        for edge, target in outgoing:
            d_nodes[node] = add(edge, d_nodes[node], nodes[node], d_nodes[target])
    return d_nodes[0]


_coded_cell.defvjp(_coded_cell_fwd, _coded_cell_bwd)

_Intercept = Callable[[int, str, ConvNormWeights, jax.Array], ConvNormWeights]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _intercepted_cell(  # noqa: PLR0917 (the rule of custom_vjp is positional)
    x: jax.Array, weights: list[EdgeWeights], code: jax.Array, tape: jax.Array, statistics: Statistics, intercept: _Intercept
) -> tuple[jax.Array, list[Moments]]:
    """Run :func:`coded_cell` with gradients for ``x`` and ``tape`` only: what ``intercept`` makes of a cotangent stays in its branch."""
    del tape, intercept
    return _coded_cell(x, weights, code, statistics)


def _intercepted_cell_fwd(  # noqa: PLR0917
    x: jax.Array, weights: list[EdgeWeights], code: jax.Array, tape: jax.Array, statistics: Statistics, intercept: _Intercept
) -> tuple[Any, Any]:
    del intercept
    results, saved = _coded_cell_fwd(x, weights, code, statistics)
    return results, (*saved, tape)


def _intercepted_cell_bwd(
    statistics: Statistics, intercept: _Intercept, saved: Any, cotangents: tuple[jax.Array, Any]
) -> tuple[Any, None, None, jax.Array]:
    nodes, weights, code, tape = saved

    def branches(edge: int) -> tuple[Branch | None, ...]:
        def pulled(name: str) -> Branch:
            def back(x: jax.Array, weights: EdgeWeights, tape: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
                def forward(x: jax.Array, tape: jax.Array) -> jax.Array:
                    return relu_conv_norm(x, intercept(edge, name, weights[name], tape), statistics)[0]

                return jax.vjp(forward, x, tape)[1](cotangent)

            return back

        def average(x: jax.Array, weights: EdgeWeights, tape: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
            del weights
            return jax.vjp(average_pool_3x3, x)[1](cotangent)[0], jnp.zeros_like(tape)

        functions = {"avg_pool_3x3": average} | {name: pulled(name) for name in KERNEL_SIZES}
        return tuple(functions.get(name) for name in OPERATIONS)

    d_tape = jnp.zeros_like(tape)

    def add(edge: int, cotangent: jax.Array, x: jax.Array, d_output: jax.Array) -> jax.Array:
        nonlocal d_tape
        cotangent, d_tape = add_chosen(branches(edge), code[edge], (cotangent, d_tape), (x, weights[edge], tape, d_output))
        return cotangent

    return _reversed_nodes(nodes, code, cotangents[0], add), None, None, d_tape


_intercepted_cell.defvjp(_intercepted_cell_fwd, _intercepted_cell_bwd)


def _arguments() -> tuple[Any, int]:
    hole: Any = 0
    weights = ConvNormWeights(hole, NormWeights(hole, hole, hole, hole))
    leaves, structure = jax.tree.flatten((hole, [dict.fromkeys(KERNEL_SIZES, weights) for _ in EDGES], hole))
    return structure, len(leaves)


_ARGUMENTS, _OPERANDS = _arguments()
"""Structure of the coded cell's arguments, and how many arrays they are."""


def _run_intercepted(operands: Sequence[jax.Array], tape: jax.Array, intercept: Intercept, *, statistics: Statistics) -> list[jax.Array]:
    positions = jax.tree.unflatten(_ARGUMENTS, range(len(operands)))[1]

    def inner(edge: int, name: str, weights: ConvNormWeights, tape: jax.Array) -> ConvNormWeights:
        flat, structure = jax.tree.flatten(weights)
        return jax.tree.unflatten(structure, intercept(jax.tree.leaves(positions[edge][name]), flat, tape))

    x, weights, code = jax.tree.unflatten(_ARGUMENTS, operands)
    return jax.tree.leaves(_intercepted_cell(x, weights, code, tape, statistics, inner))


def _named(statistics: Statistics) -> Callable[..., Any]:
    def run(x: jax.Array, weights: list[EdgeWeights], code: jax.Array) -> tuple[jax.Array, list[Moments]]:
        return _coded_cell(x, weights, code, statistics)

    run.__name__ = f"jknas coded cell, {statistics} statistics"
    INTERCEPTED[run.__name__] = _OPERANDS, functools.partial(_run_intercepted, statistics=statistics)
    return jax.jit(run)


_NAMED = {statistics: _named(statistics) for statistics in get_args(Statistics)}


class Cell(nn.Module):
    """One cell: four nodes, six edges, every node the sum of its incoming edges.

    Attributes:
        features: channels, the same in and out.
        statistics: what batch normalisation normalises over.
        chosen: six operation names (static wiring: only their parameters exist), or None for all candidates on every edge.
    """

    features: int
    statistics: Statistics
    chosen: tuple[str, ...] | None

    def setup(self) -> None:
        """Declare the layers that the wiring can use."""
        for edge in range(len(EDGES)):
            wanted = KERNEL_SIZES.keys() if self.chosen is None else KERNEL_SIZES.keys() & {self.chosen[edge]}
            layers = {name: ConvNorm(self.features, self.features, size) for name, size in KERNEL_SIZES.items() if name in wanted}
            setattr(self, edge_name(edge), layers)

    def _layers(self, edge: int) -> dict[str, ConvNorm]:
        return getattr(self, edge_name(edge))

    def _named(self, total: jax.Array | None, x: jax.Array, edge: int, name: str) -> jax.Array | None:
        if name == "none":
            return total
        if name == "skip_connect":
            y = x
        elif name == "avg_pool_3x3":
            y = average_pool_3x3(x)
        else:
            y = self._layers(edge)[name](x, self.statistics)
        return y if total is None else total + y

    def _coded(self, x: jax.Array, code: jax.Array) -> jax.Array:
        layers = [self._layers(edge) for edge in range(len(EDGES))]
        y, moments = coded_cell(x, [{name: layer.weights() for name, layer in edge.items()} for edge in layers], code, self.statistics)
        for edge, named in enumerate(layers):
            for name, layer in named.items():
                layer.record(moments[edge], code[edge] == OPERATIONS.index(name))
        return y

    def _mixed(self, total: jax.Array | None, x: jax.Array, edge: int, weights: jax.Array) -> jax.Array:
        total = jnp.zeros_like(x) if total is None else total
        for index, name in enumerate(OPERATIONS):
            y = self._named(None, x, edge, name)
            if y is not None:
                total = total + weights[index].astype(x.dtype) * y
        return total

    def __call__(self, x: jax.Array, wiring: jax.Array | None) -> tuple[jax.Array, None]:
        """Map ``x`` [n, h, w, features] to the last node's value; the second result is for ``nn.scan``."""
        if self.is_initializing():  # nothing is computed: the arrays only need to be declared
            for edge in range(len(EDGES)):
                for layer in self._layers(edge).values():
                    layer.weights()
            return x, None
        if self.chosen is None and wiring is not None and wiring.ndim == 1:
            return self._coded(x, wiring), None
        nodes: list[jax.Array | None] = [x, None, None, None]
        for edge, (target, source) in enumerate(EDGES):
            if self.chosen is None and wiring is not None and source == target - 1:  # the sum is finished, and read from now on
                nodes[source] = fence(nodes[source], jnp.isnan(wiring[0, 0]))
            value = nodes[source]
            if value is None:
                # A node that nothing reaches is zero, and the operations behind it still run: a normalised zero is the layer's shift.
                value = nodes[source] = jnp.zeros_like(x)
            if self.chosen is not None:
                nodes[target] = self._named(nodes[target], value, edge, self.chosen[edge])
            elif wiring is None:
                raise NetworkError("a cell with all candidate operations needs a code or mixture weights")
            else:
                nodes[target] = self._mixed(nodes[target], value, edge, wiring[edge])
        output = jnp.zeros_like(x) if nodes[3] is None else nodes[3]
        return (output if self.chosen is not None or wiring is None else fence(output, jnp.isnan(wiring[0, 0]))), None


class Reduction(nn.Module):
    """Residual block that halves the resolution: two 3x3 convolutions beside average pooling and a 1x1 convolution."""

    in_features: int
    features: int
    statistics: Statistics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [n, h, w, in_features] to [n, h/2, w/2, features]."""
        y = ConvNorm(self.in_features, self.features, 3, name="conv_a")(x, self.statistics, stride=2)
        y = ConvNorm(self.features, self.features, 3, name="conv_b")(y, self.statistics)
        kernel = declare(self, "downsample", 1, 1, self.in_features, self.features)
        return convolution(average_pool_2x2(x), kernel.astype(x.dtype)) + y
