"""TE-NAS's thin network for counting linear regions: one cell of one channel, without a stem.

    input [n, 3, 3, 1], cell, batch normalisation, ReLU, global average, linear classifier

Batch normalisation is in training mode: over the batch, whose examples therefore depend on each other. The wiring is one of the three
kinds of :mod:`jknas.networks.nasbench201.network`. An edge is the weighted sum of its *live* operations, those of weight above 0.01; the
others
are not executed: they add nothing, and their ReLUs do not count. A genotype and a code give their operation weight one.

References:
    Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
    arXiv:2102.11535, section 3.1.2, and its released code, github.com/VITA-Group/TENAS (``lib/procedures``).

Deviations:
    The released code hooks one ReLU a convolution. Convolutions that leave one node read the same signs, so that here a node counts once:
    the same number of distinct patterns from at most 36 bits instead of 117. :meth:`ThinCellNetwork.relu_units` gives the released count.
    The released network also holds a stem, which it never runs; here there is none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jknas.errors import NetworkError
from jknas.networks.layers.conv_norm import ConvNormWeights, NormWeights, batch_norm, relu_conv_norm
from jknas.networks.layers.initialisation import Scheme, check_scheme, draw_parameters
from jknas.networks.layers.pooling import average_pool_3x3
from jknas.networks.nasbench201.cell import KERNEL_SIZES, edge_name
from jknas.networks.nasbench201.network import Wiring, resolve_wiring
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype

LIVE_ABOVE = 0.01
"""An operation of this weight or less is not executed."""

_CONVOLUTIONS = [OPERATIONS.index(name) for name in KERNEL_SIZES]


def live_operations(wiring: Wiring) -> Bool[Array, "6 5"] | Bool[np.ndarray, "6 5"]:
    """Return which operations of which edges are executed; a NumPy array for a genotype, else traced where the wiring is.

    Raises:
        ValueError, TypeError: as :meth:`jknas.networks.nasbench201.network.CellNetwork.apply` for a wiring that is none.
    """
    mixture = _mixture(wiring)
    if mixture is None:
        return np.asarray(wiring.code)[:, None] == np.arange(len(OPERATIONS))  # type: ignore[union-attr]
    return ~(mixture <= LIVE_ABOVE)  # a NaN is live: it must come through to the outputs


def _mixture(wiring: Wiring) -> Float[Array, "6 5"] | None:
    """Return the weights of the operations, or None for a genotype; a code chooses one with weight one."""
    traced = resolve_wiring(wiring)[1]
    if traced is None or traced.ndim == 2:
        return traced
    return jax.nn.one_hot(jnp.clip(traced, 0, len(OPERATIONS) - 1), len(OPERATIONS), dtype=jnp.result_type(float))


@dataclass(frozen=True)
class ThinCellNetwork:
    """The thin network's size; its methods are pure functions of their arguments.

    Attributes:
        channels: channels of the inputs and of the cell, C (1 in TE-NAS).
        classes: number of outputs, K.
    """

    channels: int = 1
    classes: int = 10

    def __post_init__(self) -> None:
        for name in ("channels", "classes"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise NetworkError(f"{name} must be a positive integer, got {value!r}")

    def init(self, key: PRNGKeyArray, genotype: CellGenotype | None = None, *, scheme: Scheme = "pytorch") -> PyTree:
        """Draw parameters.

        Args:
            key: a JAX random key.
            genotype: draw only this cell's parameters; None draws those of every candidate, for code and mixture wirings. The full set is
                drawn all the same and cut.
            scheme: see :mod:`jknas.networks.layers.initialisation`. The released code means ``"he_normal"`` and, its option being
            misspelt, uses
                ``"pytorch"``.

        Returns:
            ``{"cell": {edge and operation: {"kernel", "norm": {"scale", "bias"}}}, "last_norm", "classifier", "classifier_bias"}``.

        Raises:
            ValueError: for an unknown scheme.
        """
        check_scheme(scheme)
        params = draw_parameters(key, self._shapes(), scheme)
        if genotype is None:
            return params
        wanted = {f"{edge_name(edge)}_{name}" for edge, name in enumerate(genotype.operations)}
        return {**params, "cell": {name: layer for name, layer in params["cell"].items() if name in wanted}}

    def _shapes(self) -> PyTree:
        def array(*shape: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape, jnp.result_type(float))

        norm = {"scale": array(self.channels), "bias": array(self.channels)}
        return {
            "cell": {
                f"{edge_name(edge)}_{name}": {"kernel": array(size, size, self.channels, self.channels), "norm": norm}
                for edge in range(len(EDGES))
                for name, size in KERNEL_SIZES.items()
            },
            "last_norm": norm,
            "classifier": array(self.channels, self.classes),
            "classifier_bias": array(self.classes),
        }

    def apply(self, params: PyTree, x: Float[Array, "n h w c"], wiring: Wiring) -> Float[Array, "n k"]:
        """Compute the logits.

        Args:
            params: parameters from :meth:`init`; a genotype also runs on the full set.
            x: inputs, channels last.
            wiring: genotype, code, or mixture weights. Each new genotype is a compilation, all codes share one, all mixtures another.

        Raises:
            ValueError: for inputs of another number of channels, an array that is no wiring, or parameters that the wiring needs and
                ``params`` lacks.
            TypeError: if the wiring is a string.
        """
        pooled = jax.nn.relu(self._run(params, x, wiring)[1]).mean((1, 2))
        return pooled @ params["classifier"].astype(x.dtype) + lax.broadcast_to_rank(params["classifier_bias"].astype(x.dtype), 2)

    def activations(self, params: PyTree, x: Float[Array, "n h w c"], wiring: Wiring) -> tuple[Float[Array, "n h w c"], ...]:
        """Return the inputs of the ReLUs of all executed operations, each node once, and that of the last ReLU.

        With a genotype, only nodes that an executed convolution reads are there. With a code or mixture weights all three are, and those
        that no executed convolution reads are zero for every input, so that they add nothing to a count of patterns.

        Arguments and errors are those of :meth:`apply`.
        """
        nodes, last = self._run(params, x, wiring)
        read = self._nodes_read(live_operations(wiring))
        if isinstance(read, np.ndarray):
            return (*(node for node, counts in zip(nodes, read, strict=True) if counts), last)
        return (*(jnp.where(counts, node, jnp.zeros_like(node)) for node, counts in zip(nodes, read, strict=True)), last)

    def relu_units(self, wiring: Wiring, *, pixels: int = 9) -> Int[Array, ""] | int:
        """Return the units that the released code hooks: those of one ReLU an executed convolution, and of the last ReLU."""
        return (live_operations(wiring)[:, _CONVOLUTIONS].sum() + 1) * pixels * self.channels

    @staticmethod
    def _nodes_read(live: Any) -> Any:
        """Return for nodes 0, 1, 2 whether an executed convolution reads them, ``[3]``."""
        leaves = np.array([[source == node for _, source in EDGES] for node in range(3)])
        return (leaves & live[:, _CONVOLUTIONS].any(1)).any(1)

    def _run(self, params: PyTree, x: jax.Array, wiring: Wiring) -> tuple[list[jax.Array], jax.Array]:
        """Return nodes 0 to 2, and the normalised node 3."""
        if x.ndim != 4 or x.shape[-1] != self.channels:
            raise NetworkError(f"inputs must be [n, height, width, {self.channels}], got {tuple(x.shape)}; tenas_crops draws such patches")
        live, weights = live_operations(wiring), _mixture(wiring)
        if weights is not None:
            weights = jnp.where(live, weights, jnp.zeros_like(weights)).astype(x.dtype)
        nodes = [x, *(jnp.zeros_like(x) for _ in range(3))]
        for edge, (target, source) in enumerate(EDGES):
            for index, name in enumerate(OPERATIONS):
                if name == "none" or (weights is None and not live[edge, index]):
                    continue
                y = _operate(params["cell"], edge, name, nodes[source])
                nodes[target] = nodes[target] + (y if weights is None else weights[edge, index] * y)
        return nodes[:3], batch_norm(nodes[3], _norm(params["last_norm"]), "batch")[0]


def _operate(cell: Mapping[str, Any], edge: int, name: str, x: jax.Array) -> jax.Array:
    if name == "skip_connect":
        return x
    if name == "avg_pool_3x3":
        return average_pool_3x3(x)
    layer = cell.get(f"{edge_name(edge)}_{name}")
    if layer is None:
        raise NetworkError(
            f"params hold no {edge_name(edge)}_{name}, which the wiring may execute; draw the parameters for this genotype, or without one "
            "for codes and mixture weights"
        )
    return relu_conv_norm(x, ConvNormWeights(layer["kernel"], _norm(layer["norm"])), "batch")[0]


def _norm(layer: Mapping[str, jax.Array]) -> NormWeights:
    # Only evaluation mode reads running averages.
    return NormWeights(layer["scale"], layer["bias"], jnp.zeros_like(layer["scale"]), jnp.ones_like(layer["scale"]))
