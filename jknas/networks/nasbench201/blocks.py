"""The NAS-Bench-201 network run block by block, with everything in reach that an activation-based score looks at.

The network of :mod:`jknas.networks.nasbench201.network` gives logits. The scores that look inside need what the ReLUs read, the variances
that
normalisations divide by, the outputs of the blocks, or gradients at a convolution's output. Here the same network, with the same
parameters, is a chain of *blocks*,

    stem, cells of stage 1, reduction 1, cells of stage 2, reduction 2, cells of stage 3, last normalisation and ReLU, classifier

and two functions of the caller decide what is computed of them:

* a :data:`Layer` computes one convolution or pooling and *records* something of it, such as its batch variance;
* a :data:`Visit` runs one block and *summarises* it. The cells of a stage share one traced loop, so that a summary is all that is kept of a
  cell: a kernel of the batch, not its activations.

The wiring is a genotype (static) or a code (traced: one compilation for the whole space; only the chosen operations run, forwards and
backwards). No gradient reaches the parameters.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import NetworkError
from jknas.networks.layers.conv_norm import NormWeights, batch_norm
from jknas.networks.layers.convolution import convolution
from jknas.networks.layers.normalisation import Statistics, check_statistics
from jknas.networks.layers.pooling import average_pool_2x2, average_pool_3x3
from jknas.networks.nasbench201.cell import KERNEL_SIZES, edge_name
from jknas.networks.nasbench201.network import CellNetwork, Wiring, resolve_wiring
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS
from jknas.xla.switch import Branch, add_chosen

BLOCKS = ("stem", "stage1", "reduction1", "stage2", "reduction2", "stage3", "last_norm", "classifier")
"""The blocks in their order, by their names in the parameters; a stage is as many as it has cells."""

_POOL, _SKIP = "avg_pool_3x3", OPERATIONS.index("skip_connect")
_CONVOLUTIONS = tuple(OPERATIONS.index(name) for name in KERNEL_SIZES)


class Weights(NamedTuple):
    """What one layer computes with; None where it has no such part.

    Attributes:
        kernel: ``[k, k, c_in, c_out]``, or the classifier's matrix ``[c_in, c_out]``.
        norm: scale and shift of the batch normalisation behind it, ``[c_out]`` each.
        bias: the classifier's, ``[c_out]``.
    """

    kernel: Array | None = None
    norm: NormWeights | None = None
    bias: Array | None = None


Layer = Callable[[str, Array, Weights, PyTree], tuple[Array, PyTree]]
"""``layer(kind, x, weights, given) -> (output, record)``.

The kinds are ``stem``, ``nor_conv_1x1``, ``nor_conv_3x3``, ``avg_pool_3x3``, ``conv_a``, ``conv_b``, ``downsample``, ``last_norm`` and
``classifier``; skip connections and ``none`` are no layers. ``given`` is what the caller handed to the block for this layer: floating-point
arrays, for gradients to flow to, or None. Records of the operations on an edge must have one shape, and are zero where none of them runs.
"""


class Source(NamedTuple):
    """A value and how many operations read it.

    Attributes:
        value: ``[n, h, w, c]``.
        convolutions: convolutions that read it, each behind a ReLU of its own; an integer, traced with a code.
        skips: skip connections that do.
    """

    value: Array
    convolutions: Int[Array, ""] | int
    skips: Int[Array, ""] | int


class Seen(NamedTuple):
    """One block after its run.

    Attributes:
        output: what the next block reads.
        sources: what ReLUs read: nodes 0 to 2 of a cell, the inputs of a reduction's two convolutions, the last normalised value.
        records: of its layers, by name: ``edge_1_0`` to ``edge_3_2`` in a cell, else the kinds.
        operations: what the edges of a cell hold, ``[6]`` positions in ``OPERATIONS``; traced with a code. None in other blocks.
    """

    output: Array
    sources: tuple[Source, ...]
    records: Mapping[str, PyTree]
    operations: Int[Array, " 6"] | Int[np.ndarray, " 6"] | None = None


Run = Callable[[Layer, Array, Mapping[str, PyTree]], Seen]
"""``run(layer, x, given)``: a block as a function of its input; ``given`` by the names of the records."""

Visit = Callable[[str, Run, Array, PyTree], tuple[Array, PyTree]]
"""``visit(kind, run, x, extra) -> (output, summary)``; kinds are those of :data:`BLOCKS` with ``cell`` and ``reduction`` in place of the
numbered ones."""


class Observation(NamedTuple):
    """What came of a walk.

    Attributes:
        logits: ``[n, k]``.
        summaries: what the visits returned, by the names of :data:`BLOCKS`; those of a stage are stacked, the first axis is the cell.
    """

    logits: Float[Array, "n k"]
    summaries: Mapping[str, PyTree]


def walk(
    network: CellNetwork,
    params: PyTree,
    x: Float[Array, "n h w c"],
    wiring: Wiring,
    visit: Visit,
    *,
    extras: Mapping[str, PyTree] | None = None,
) -> Observation:
    """Run the network block by block.

    Args:
        network: its size.
        params: its parameters, as :meth:`CellNetwork.init` draws them; a genotype also runs on the full set.
        x: images, channels last; height and width multiples of 4.
        wiring: genotype or code. A new genotype is a new compilation, all codes share one.
        visit: called once a block, and once for all the cells of a stage, inside their loop.
        extras: what ``visit`` gets as ``extra``, by block; for a stage stacked like its parameters. None where a block is not named.

    Raises:
        ValueError: for mixture weights (an edge that is several operations at once has no one thing to look at), an array that is no
            wiring, or images of another number of channels or a side that is no multiple of 4.
        TypeError: if the wiring is a string.
    """
    genotype, code = resolve_wiring(wiring)
    if code is not None and code.ndim == 2:
        raise NetworkError("mixture weights have no activations to observe: give a genotype or a code")
    if x.ndim != 4 or x.shape[-1] != network.input_channels or x.shape[1] % 4 or x.shape[2] % 4:
        raise NetworkError(
            f"images must be [n, height, width, {network.input_channels}] with sides that are multiples of 4, got {tuple(x.shape)}"
        )
    operations = np.asarray(genotype.code) if genotype is not None else jnp.clip(code, 0, len(OPERATIONS) - 1)
    given, summaries = extras or {}, {}
    for name in BLOCKS:
        if not name.startswith("stage"):
            x, summaries[name] = visit(name.rstrip("12"), _run(name, params), x, given.get(name))
            continue

        def cell(x: Array, item: tuple[PyTree, PyTree]) -> tuple[Array, PyTree]:
            return visit("cell", functools.partial(_cell, item[0], operations), x, item[1])

        x, summaries[name] = lax.scan(cell, x, (params[name], given.get(name)))
    return Observation(x, summaries)


def look(
    network: CellNetwork,
    params: PyTree,
    x: Float[Array, "n h w c"],
    wiring: Wiring,
    summarise: Callable[[str, Seen], PyTree],
    *,
    statistics: Statistics = "batch",
) -> Observation:
    """Run the network as it is and summarise every block, ``summarise(kind, seen)``; the records are those of :func:`normalised`.

    The other arguments and the errors are those of :func:`walk`.
    """
    layer = normalised(statistics)

    def visit(kind: str, run: Run, x: Array, extra: PyTree) -> tuple[Array, PyTree]:
        del extra
        seen = run(layer, x, {})
        return seen.output, summarise(kind, seen)

    return walk(network, params, x, wiring, visit)


def convolved(kind: str, x: Array, weights: Weights) -> Array:
    """Return what a layer gives before its normalisation: of ReLU and convolution, of the pooling, of the classifier; else ``x``."""
    if kind == _POOL:
        return average_pool_3x3(x)
    if weights.kernel is None:
        return x
    kernel = lax.stop_gradient(weights.kernel.astype(x.dtype))
    if kind == "classifier":
        return x @ kernel + lax.broadcast_to_rank(lax.stop_gradient(weights.bias.astype(x.dtype)), 2)  # type: ignore[union-attr]
    if kind == "downsample":
        x = average_pool_2x2(x)
    elif kind != "stem":
        x = jax.nn.relu(x)
    return convolution(x, kernel, 2 if kind == "conv_a" else 1, kernel.shape[0] // 2)


def normalised(statistics: Statistics) -> Layer:
    """Return the layer as the network has it, which records its batch variances ``[c_out]``.

    They are the unbiased ones over batch and pixels, as they enter running averages; zero where nothing is normalised, and for
    ``"example"``, which has no variance of the batch.

    Raises:
        ValueError: for other statistics than ``"batch"`` and ``"example"``: an initialised network has no running averages.
    """
    check_statistics(statistics)
    if statistics not in {"batch", "example"}:
        raise NetworkError(f'an observed network normalises over "batch" or "example", got statistics={statistics!r}')

    def layer(kind: str, x: Array, weights: Weights, given: PyTree) -> tuple[Array, Array]:
        del given
        return normalise_layer(convolved(kind, x, weights), weights, statistics)

    return layer


def normalise_layer(y: Array, weights: Weights, statistics: Statistics) -> tuple[Array, Array]:
    """Normalise what :func:`convolved` gave, where the layer does so, and return it with the variances that :func:`normalised` records."""
    if weights.norm is None:
        return y, jnp.zeros(y.shape[-1:], y.dtype)
    norm = jax.tree.map(lax.stop_gradient, weights.norm)
    out, moments = batch_norm(y, norm, statistics)
    return out, lax.stop_gradient(moments.variance).astype(y.dtype)


def _norm(layer: Mapping[str, Array]) -> NormWeights:
    # Only evaluation mode reads running averages.
    return NormWeights(layer["scale"], layer["bias"], jnp.zeros_like(layer["scale"]), jnp.ones_like(layer["scale"]))


def _conv_norm(layer: Mapping[str, Any]) -> Weights:
    return Weights(layer["kernel"], _norm(layer["norm"]))


def _run(name: str, params: Mapping[str, Any]) -> Run:
    """Return a block that is not a cell."""
    if name.startswith("reduction"):
        return functools.partial(_reduction, params[name])
    if name == "last_norm":
        return functools.partial(_last, Weights(norm=_norm(params["last_norm"])))
    if name == "classifier":
        return functools.partial(_classifier, Weights(params["classifier"], bias=params["classifier_bias"]))
    return functools.partial(_stem, Weights(params["stem"], _norm(params["stem_norm"])))


def _stem(weights: Weights, layer: Layer, x: Array, given: Mapping[str, PyTree]) -> Seen:
    y, record = layer("stem", x, weights, given.get("stem"))
    return Seen(y, (), {"stem": record})


def _last(weights: Weights, layer: Layer, x: Array, given: Mapping[str, PyTree]) -> Seen:
    """Run the last normalisation and ReLU; the output is the feature map before pooling."""
    y, record = layer("last_norm", x, weights, given.get("last_norm"))
    return Seen(jax.nn.relu(y), (Source(y, 1, 0),), {"last_norm": record})


def _classifier(weights: Weights, layer: Layer, x: Array, given: Mapping[str, PyTree]) -> Seen:
    logits, record = layer("classifier", x.mean((1, 2)), weights, given.get("classifier"))
    return Seen(logits, (), {"classifier": record})


def _reduction(params: Mapping[str, Any], layer: Layer, x: Array, given: Mapping[str, PyTree]) -> Seen:
    records: dict[str, PyTree] = {}

    def run(kind: str, x: Array, weights: Weights) -> Array:
        y, records[kind] = layer(kind, x, weights, given.get(kind))
        return y

    inner = run("conv_a", x, _conv_norm(params["conv_a"]))
    y = run("conv_b", inner, _conv_norm(params["conv_b"]))
    return Seen(run("downsample", x, Weights(params["downsample"])) + y, (Source(x, 1, 0), Source(inner, 1, 0)), records)


def _cell(params: Mapping[str, Any], operations: Any, layer: Layer, x: Array, given: Mapping[str, PyTree]) -> Seen:
    nodes, records = [x], {}
    for node in (1, 2, 3):
        incoming = [(edge, source) for edge, (target, source) in enumerate(EDGES) if target == node]
        value = jnp.zeros_like(x)
        for edge, source in incoming:
            value = value + jnp.where(operations[edge] == _SKIP, nodes[source], jnp.zeros_like(x))
        for edge, source in incoming:
            name = edge_name(edge)
            own = {kind: params[f"{name}_{kind}"] for kind in KERNEL_SIZES if f"{name}_{kind}" in params}
            value, records[name] = _add(_branches(layer, own), operations[edge], value, nodes[source], own, given.get(name))
        nodes.append(value)
    sources = (Source(nodes[node], *(_readers(operations, node, kinds) for kinds in (_CONVOLUTIONS, (_SKIP,)))) for node in range(3))
    return Seen(nodes[3], tuple(sources), records, operations)


def _readers(operations: Any, node: int, kinds: tuple[int, ...]) -> Any:
    """Return how many edges from a node hold one of ``kinds``."""
    edges = [edge for edge, (_, source) in enumerate(EDGES) if source == node]
    return sum((operations[edge] == kind).astype(int) for edge in edges for kind in kinds)


def _branches(layer: Layer, params: Mapping[str, Any]) -> tuple[Branch | None, ...]:
    """Return what an edge may run, as functions of ``(x, params, given)``, in the order of ``OPERATIONS``."""

    def run(kind: str, x: Array, params: Mapping[str, Any], given: PyTree) -> tuple[Array, PyTree]:
        return layer(kind, x, _conv_norm(params[kind]) if kind in params else Weights(), given)

    kinds = {_POOL, *params}
    return tuple(functools.partial(run, name) if name in kinds else None for name in OPERATIONS)


def _add(  # noqa: PLR0917
    branches: tuple[Branch | None, ...], operation: Any, total: Array, x: Array, params: PyTree, given: PyTree
) -> tuple[Array, PyTree]:
    """Add what an edge gives to its target, and return its record: zeros where it holds no layer."""
    shapes = jax.eval_shape(branches[OPERATIONS.index(_POOL)], x, params, given)[1]  # type: ignore[arg-type]
    record = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    if isinstance(operation, jax.Array):
        return add_chosen(branches, operation, (total, record), (x, params, given))
    chosen = branches[operation]
    if chosen is None:
        return total, record
    y, record = chosen(x, params, given)
    return total + y, record
