"""TE-NAS's thin network for counting linear regions: one cell of one channel, without a stem.

    input [n, 3, 3, 1], cell, batch normalisation, ReLU, global average, linear classifier

Batch normalisation is in training mode: over the batch, whose examples therefore depend on each other. The wiring is one of the three
kinds of :mod:`jknas.networks.wiring`. An edge is the weighted sum of its *live* operations, those of weight above 0.01; the others are not
executed: they add nothing, and their ReLUs do not count. A genotype and a code give their operation weight one.

References:
    Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
    arXiv:2102.11535, section 3.1.2, and its released code, github.com/VITA-Group/TENAS (``lib/procedures``).

Deviations:
    The released code hooks one ReLU per convolution. Convolutions of one node read the same signs, so each node counts once here:
    the same number of distinct patterns from at most 36 bits instead of 117. :meth:`ThinCellNetwork.relu_units` gives the released count.
    The released network also holds a stem, which it never runs; here there is none.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from jknas.errors import NetworkError
from jknas.networks.layers.conv_norm import batch_norm
from jknas.networks.layers.initialisation import Scheme, draw_parameters
from jknas.networks.nasbench201.cell import LAYERS, cell_shapes, plain_layer, run_cell
from jknas.networks.nasbench201.wiring import resolve_wiring
from jknas.networks.observation import Seen
from jknas.networks.parameters import Shapes, classified, classifier_shapes, joined, norm_shapes, unit_averages
from jknas.networks.sizes import check_sizes
from jknas.networks.wiring import Wiring
from jknas.spaces.nasbench201.genotype import KERNEL_SIZES, OPERATIONS, CellGenotype

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
        return np.asarray(wiring.code)[:, None] == np.arange(len(OPERATIONS))
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
    cells: ClassVar[int] = 1
    input_channels: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_sizes(self, "channels", "classes")

    def init(self, key: PRNGKeyArray, genotype: CellGenotype | None = None, *, scheme: Scheme = "pytorch") -> PyTree:
        """Draw parameters.

        Args:
            key: a JAX random key.
            genotype: draw only this cell's parameters; None draws those of every candidate, for codes and mixture weights. The full set is
                drawn in both cases and then cut.
            scheme: see :mod:`jknas.networks.layers.initialisation`. The released code means ``"he_normal"`` but misspells its option, and
                so uses ``"pytorch"``.

        Returns:
            ``{"cell": {edge and operation: {"kernel", "norm": {"scale", "bias"}}}, "last_norm", "classifier", "classifier_bias"}``.

        Raises:
            ValueError: for an unknown scheme.
        """
        params = draw_parameters(key, self._shapes(), scheme)
        if genotype is None:
            return params
        chosen = {key for edge, name, key in LAYERS if genotype.operations[edge] == name}
        return {**params, "cell": {name: layer for name, layer in params["cell"].items() if name in chosen}}

    def _shapes(self) -> Shapes:
        return {
            "cell": cell_shapes(self.channels),
            "last_norm": norm_shapes(self.channels),
            **classifier_shapes(self.channels, self.classes),
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
        return classified(params, jax.nn.relu(self._run(params, x, wiring)[1]).mean((1, 2)))

    def activations(self, params: PyTree, x: Float[Array, "n h w c"], wiring: Wiring) -> tuple[Float[Array, "n h w c"], ...]:
        """Return the inputs of the ReLUs of all executed operations, each node once, and that of the last ReLU.

        With a genotype, only nodes that an executed convolution reads are there. With a code or mixture weights all three are, and those
        that no executed convolution reads are zero for every input, so that they add nothing to a count of patterns.

        Arguments and errors are those of :meth:`apply`.
        """
        seen, last = self._run(params, x, wiring)
        read = [(source.value, source.convolutions > 0) for source in seen.sources]
        if isinstance(wiring, CellGenotype):
            return (*(value for value, counts in read if counts), last)
        return (*(jnp.where(counts, value, jnp.zeros_like(value)) for value, counts in read), last)

    def relu_units(self, wiring: Wiring, *, pixels: int = 9) -> Int[Array, ""] | int:
        """Return the units that the released code hooks: those of one ReLU per executed convolution, and of the last ReLU."""
        units = (live_operations(wiring)[:, _CONVOLUTIONS].sum() + 1) * pixels * self.channels
        return units if isinstance(units, jax.Array) else int(units)

    def _run(self, params: PyTree, x: jax.Array, wiring: Wiring) -> tuple[Seen, jax.Array]:
        """Return the cell, and its normalised output."""
        if x.ndim != 4 or x.shape[-1] != self.channels:
            raise NetworkError(f"inputs must be [n, height, width, {self.channels}], got {tuple(x.shape)}; tenas_crops draws such patches")
        live, mixture = live_operations(wiring), _mixture(wiring)
        for edge, name, key in LAYERS:
            if key not in params["cell"] and (mixture is not None or live[edge, OPERATIONS.index(name)]):
                raise NetworkError(
                    f"params hold no {key}, which the wiring may execute; draw the parameters for this genotype, or without one for codes "
                    "and mixture weights"
                )
        own = wiring if mixture is None else jnp.where(live, mixture, jnp.zeros_like(mixture)).astype(x.dtype)
        weights = joined(params, unit_averages(params))  # only evaluation mode reads the averages
        seen = run_cell(weights["cell"], own, plain_layer("batch"), x, {})
        return seen, batch_norm(seen.output, weights["last_norm"], "batch")[0]
