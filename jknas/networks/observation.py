"""What scores see inside a network: its blocks, one after the other, and the layers of each block.

A network that can be observed has the method ``walk(params, x, wiring, visit, extras=None)``. It runs the network as a chain of *blocks*
(a stem, cells, ...), and two functions of the caller decide what is computed in each block:

* a :data:`Layer` computes one convolution, pooling or normalisation, and *records* something about it, such as its batch variance;
* a :data:`Visit` runs one block and *summarises* it. Equal cells share one traced loop, so only the summary of a cell is kept: a kernel of
  the batch, for example, and not its activations.

The wiring is a genotype (static) or a code (traced: one compilation serves the whole space, and only the chosen operations run, forwards
and backwards). No gradient reaches the parameters.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import NetworkError
from jknas.networks.layers.conv_norm import NormWeights, batch_norm
from jknas.networks.layers.convolution import convolution
from jknas.networks.layers.normalisation import Statistics, check_statistics
from jknas.networks.network import Network


class LayerWeights(NamedTuple):
    """What one layer computes with: ``before``, ReLU, convolution or matrix product, normalisation; each part may be absent.

    Attributes:
        kernel: weights ``[k, k, c_in, c_out]`` (``[k, k, 1, c]`` of a depthwise convolution), or a classifier's matrix ``[c_in, c_out]``.
        norm: batch normalisation that follows, ``[c_out]``.
        bias: a classifier's, ``[c_out]``.
        relu: whether a ReLU precedes the convolution.
        stride: of the convolution, which is padded to keep the size at stride 1.
        before: pooling that precedes everything else, or is the whole layer.
        convolve: applies the kernel where that is no ordinary convolution, ``convolve(x, kernel)``; the stride is then its business.
        inside: whether the ReLU reads a value inside an operation, which nothing else reads and which is not among a block's sources.
    """

    kernel: Array | None = None
    norm: NormWeights | None = None
    bias: Array | None = None
    relu: bool = False
    stride: int = 1
    before: Callable[[Array], Array] | None = None
    convolve: Callable[[Array, Array], Array] | None = None
    inside: bool = False


Layer = Callable[[str, Array, LayerWeights, PyTree], tuple[Array, PyTree]]
"""``layer(kind, x, weights, given) -> (output, record)``.

Kinds are names of the network's own, such as ``stem``, ``nor_conv_3x3`` or ``avg_pool_3x3``; skip connections and ``none`` are no layers.
``given`` is what the caller handed to the block for this layer: floating-point arrays, for gradients to flow to, or None. Records of the
layers that may run at one place of an edge must have one shape. With a code, the record of a place at which no layer runs is zero.
"""


class Source(NamedTuple):
    """A value and how many operations read it.

    Attributes:
        value: ``[n, h, w, c]``.
        convolutions: convolutional operations that read it, each through a ReLU of its own; an integer, traced with a code.
        skips: skip connections that read it, likewise.
    """

    value: Array
    convolutions: Int[Array, ""] | int
    skips: Int[Array, ""] | int


class Seen(NamedTuple):
    """One block after its run.

    Attributes:
        output: what the next block reads.
        sources: what ReLUs read, such as the nodes of a cell.
        records: of the block's layers; by edge in a cell (``edge_3_2``, or ``edge_3_2_first`` where an operation has several layers), by
            kind in other blocks.
    """

    output: Array
    sources: tuple[Source, ...]
    records: Mapping[str, PyTree]


RunBlock = Callable[[Layer, Array, Mapping[str, PyTree]], Seen]
"""``run(layer, x, given)``: a block as a function of the output of the block before it; ``given`` is keyed like the records.

Where a block also reads an older output, that is a constant of the function, unless it is the same value.
"""

Visit = Callable[[str, RunBlock, Array, PyTree], tuple[Array, PyTree]]
"""``visit(kind, run, x, extra) -> (output, summary)``; ``kind`` is the block's :attr:`ObservedBlock.kind`."""


class Observation(NamedTuple):
    """What a walk returns.

    Attributes:
        logits: ``[n, k]``.
        summaries: what the visits returned, by block in the network's order; those of repeated cells are stacked along the first axis.
    """

    logits: Float[Array, "n k"]
    summaries: Mapping[str, PyTree]


class ObservedLayer(NamedTuple):
    """What a layer that may hold a convolution or a matrix product is before it runs.

    Attributes:
        channels: of its output.
        fan_in: weights behind one output channel (inputs times kernel size); on an edge, traced with a code, and zero without a kernel.
    """

    channels: int
    fan_in: Float[Array, ""] | float


class ObservedBlock(NamedTuple):
    """What a block is before it runs.

    Attributes:
        kind: ``stem``, ``cell``, ``reduction``, ``last_norm`` or ``classifier``.
        cells: number of equal cells whose summaries are stacked; None for a single block.
        layers: by the names of their records, those that may hold a convolution or a matrix product.
    """

    kind: str
    cells: int | None
    layers: Mapping[str, ObservedLayer]


@runtime_checkable
class ObservableNetwork(Network, Protocol):
    """A network that runs block by block."""

    def walk(
        self, params: PyTree, x: Float[Array, "n h w c"], wiring: Any, visit: Visit, extras: Mapping[str, PyTree] | None = None
    ) -> Observation:
        """Run the network block by block.

        Args:
            params: parameters; a genotype also runs on those of all candidate operations.
            x: images, channels last.
            wiring: genotype or code.
            visit: called once per block, and once for all the cells that share a loop, inside that loop.
            extras: what ``visit`` gets as ``extra``, by block; stacked for repeated cells. None where a block is not named.
        """

    def observed_layers(self, wiring: Any) -> Mapping[str, ObservedBlock]:
        """Return the blocks by name, in their order."""


def look(
    network: ObservableNetwork,
    params: PyTree,
    x: Float[Array, "n h w c"],
    wiring: Any,
    summarise: Callable[[str, Seen], PyTree],
    *,
    statistics: Statistics = "batch",
    record: Callable[[Array, LayerWeights], PyTree] | None = None,
) -> Observation:
    """Run the network unchanged and summarise every block by ``summarise(kind, seen)``.

    The records are ``record(x, weights)`` of each layer and what it reads, or None; by default the variances of :func:`normalised`. The
    other arguments and the errors are those of :meth:`ObservableNetwork.walk`.
    """
    plain = normalised(statistics)

    def layer(kind: str, x: Array, weights: LayerWeights, given: PyTree) -> tuple[Array, PyTree]:
        y, variances = plain(kind, x, weights, given)
        return y, variances if record is None else record(x, weights)

    def visit(kind: str, run: RunBlock, x: Array, _extra: PyTree) -> tuple[Array, PyTree]:
        seen = run(layer, x, {})
        return seen.output, summarise(kind, seen)

    return network.walk(params, x, wiring, visit)


def convolved(x: Array, weights: LayerWeights) -> Array:
    """Return what a layer computes before its normalisation: pooling, ReLU, convolution or matrix product, as far as it has them."""
    if weights.before is not None:
        x = weights.before(x)
    if weights.relu:
        x = jax.nn.relu(x)
    if weights.kernel is None:
        return x
    kernel = weights.kernel.astype(x.dtype)
    if weights.convolve is not None:
        return weights.convolve(x, kernel)
    if weights.bias is not None:
        return x @ kernel + lax.broadcast_to_rank(weights.bias.astype(x.dtype), 2)
    return convolution(x, kernel, weights.stride, kernel.shape[0] // 2)


def normalised(statistics: Statistics) -> Layer:
    """Return the layer as the network has it, which records its batch variances ``[c_out]``.

    They are the unbiased ones over batch and pixels, as they enter running averages. They are zero where nothing is normalised, and for
    ``"example"``, which has no variance of the batch.

    Raises:
        NetworkError: other statistics than ``"batch"`` and ``"example"``: an initialised network has no running averages.
    """
    check_statistics(statistics)
    if statistics not in {"batch", "example"}:
        raise NetworkError(f'an observed network normalises over "batch" or "example", got statistics={statistics!r}')

    def layer(_kind: str, x: Array, weights: LayerWeights, _given: PyTree) -> tuple[Array, Array]:
        return normalise_layer(convolved(x, weights), weights, statistics)

    return layer


def normalise_layer(y: Array, weights: LayerWeights, statistics: Statistics) -> tuple[Array, Array]:
    """Normalise what :func:`convolved` returned, if the layer does so; return it with the variances that :func:`normalised` records."""
    if weights.norm is None:
        return y, jnp.zeros(y.shape[-1:], y.dtype)
    out, moments = batch_norm(y, weights.norm, statistics)
    return out, lax.stop_gradient(moments.variance).astype(y.dtype)


def single(kind: str, weights: LayerWeights, layer: Layer, x: Array, given: Mapping[str, PyTree]) -> Seen:
    """Run a block that is one layer without a ReLU, such as a stem or a classifier."""
    y, record = layer(kind, x, weights, given.get(kind))
    return Seen(y, (), {kind: record})


def classifier(params: Mapping[str, PyTree]) -> LayerWeights:
    """Return the layer that averages over the image and classifies linearly."""
    return LayerWeights(params["classifier"], bias=params["classifier_bias"], before=lambda x: x.mean((1, 2)))


def frozen(layer: Layer) -> Layer:
    """Return the layer with its weights cut off from gradients; a network's ``walk`` wraps the layers of a visit in it.

    The cut must be where the weights are used: inside a choice or a loop, the reverse rule would compute their gradients otherwise.
    """

    def cut(kind: str, x: Array, weights: LayerWeights, given: PyTree) -> tuple[Array, PyTree]:
        stopped = {name: jax.tree.map(lax.stop_gradient, getattr(weights, name)) for name in ("kernel", "norm", "bias")}
        return layer(kind, x, weights._replace(**stopped), given)

    return cut
