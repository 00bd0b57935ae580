"""TE-NAS's thin network for counting linear regions in the DARTS space: the network of :mod:`~jknas.networks.darts.tenas`, no stem.

    input [n, 3, 3, 1], normal cell of one channel, reduction cell of two channels, batch normalisation, ReLU, global average, classifier

References:
    Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
    arXiv:2102.11535, section 3.1.2, and its released code, github.com/VITA-Group/TENAS (``lib/procedures``).

Deviations:
    The released code hooks one ReLU per convolution. Convolutions of one node read the same signs, so each node counts once here: the same
    number of distinct patterns from fewer bits. :meth:`TenasDartsThinNetwork.relu_units` gives the released count. See also
    :mod:`~jknas.networks.darts.tenas`.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jknas.errors import NetworkError
from jknas.networks.darts.operations import BLOCKS
from jknas.networks.darts.parameters import ROWS
from jknas.networks.darts.tenas import PLANS, Inside, check_params, logits_of, network_shapes, run_cells
from jknas.networks.darts.wiring import live_mixture
from jknas.networks.layers.initialisation import Scheme, draw_parameters
from jknas.networks.parameters import joined, unit_averages
from jknas.networks.sizes import check_sizes
from jknas.networks.wiring import Wiring
from jknas.spaces.darts.genotype import EDGES, NODES, OPERATIONS

_CONVOLUTIONS = [OPERATIONS.index(name) for name in BLOCKS]
_SKIP = OPERATIONS.index("skip_connect")


def _halved(extent: int) -> int:
    return -(-extent // 2)


@dataclass(frozen=True)
class TenasDartsThinNetwork:
    """The thin network; its methods are pure functions of their arguments.

    Attributes:
        classes: number of outputs, K.
    """

    classes: int = 10
    channels: ClassVar[int] = 1
    cells: ClassVar[int] = 2
    input_channels: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_sizes(self, "classes")

    def init(self, key: PRNGKeyArray, *, scheme: Scheme = "pytorch") -> PyTree:
        """Draw the parameters of all operations.

        Args:
            key: a JAX random key.
            scheme: see :mod:`jknas.networks.layers.initialisation`. The released code means ``"he_normal"`` but misspells its option, and
                so uses ``"pytorch"``.

        Returns:
            ``{"cells", "last_norm", "classifier", "classifier_bias"}``.

        Raises:
            ValueError: for an unknown scheme.
        """
        return draw_parameters(key, network_shapes(self.classes), scheme)

    def apply(self, params: PyTree, x: Float[Array, "n h w 1"], wiring: Wiring) -> Float[Array, "n k"]:
        """Compute the logits.

        Args:
            params: parameters from :meth:`init`.
            x: inputs of one channel, channels last, of at least 2x2 pixels.
            wiring: mixture weights ``[28, 8]``; a genotype or a code is turned into mixture weights. All share one compilation where the
                wiring is traced.

        Raises:
            ValueError: for inputs of the wrong shape, an array that is no wiring, or other parameters.
            TypeError: if the wiring is a string.
        """
        return logits_of(params, self._run(params, x, live_mixture(wiring)).last)

    def activations(self, params: PyTree, x: Float[Array, "n h w 1"], wiring: Wiring) -> tuple[Float[Array, "..."], ...]:
        """Return what the ReLUs of all executed operations read, each node once.

        What no executed operation reads is zero for every input, so that it adds nothing to a count of patterns.

        Arguments and errors are those of :meth:`apply`.

        Returns:
            Arrays ``[n, ...]``: the input; of each cell the nodes and the insides of separable convolutions; what the last ReLU reads.
        """
        mixture = live_mixture(wiring)
        run = self._run(params, x, mixture)
        found = [x]  # both cells' first preprocessing reads it
        for (name, plan), live in zip(PLANS.items(), self._live(mixture), strict=True):
            read = _nodes_read(live, reduction=plan.reduction)
            # The next cell's preprocessing reads all nodes of the first cell.
            always = not plan.reduction
            found.extend(_kept(read[node], value) for node, value in enumerate(run.inputs[name]))
            nodes = zip(NODES, run.nodes[name], strict=True)
            found.extend(value if always else _kept(read[node], value) for node, value in nodes if always or node != NODES[-1])
            for group, hidden in run.hidden[name].items():
                for operation, values in hidden.items():
                    executed = live[np.array(ROWS[group]), OPERATIONS.index(operation)][:, None, None, None, None]
                    found.append(jnp.moveaxis(_kept(executed, values), 0, 1))
        return (*found, run.last)

    def relu_units(self, wiring: Wiring, *, height: int = 3, width: int = 3) -> Int[Array, ""]:
        """Return the units that the released code hooks, for inputs of this size: those of one ReLU per executed convolution."""
        pixels, fewer = height * width, _halved(height) * _halved(width)
        # What one executed operation costs at stride 1, and at stride 2 on the inputs and behind.
        blocks = np.array([len(BLOCKS.get(name, ())) for name in OPERATIONS])
        strided = np.minimum(blocks, 1) + (np.arange(len(OPERATIONS)) == _SKIP)
        outer = np.array([source < NODES[0] for _, source in EDGES])[:, None]
        features = PLANS["reduction"].features
        behind = np.where(outer, np.maximum(blocks - 1, 0), blocks)
        costs = np.stack([np.broadcast_to(blocks * pixels, behind.shape), features * (strided * outer * pixels + behind * fewer)])
        preprocessing = (2 + 1 + len(NODES)) * pixels
        return jnp.sum(jnp.where(self._live(live_mixture(wiring)), jnp.asarray(costs), 0)) + preprocessing + len(NODES) * features * fewer

    @staticmethod
    def _live(mixture: jax.Array) -> jax.Array:
        return (mixture != 0).reshape(2, len(EDGES), len(OPERATIONS))

    @staticmethod
    def _run(params: PyTree, x: jax.Array, mixture: jax.Array) -> Inside:
        if x.ndim != 4 or x.shape[-1] != 1 or min(x.shape[1:3]) < 2:
            raise NetworkError(
                f"inputs must be [n, height, width, 1] of at least 2x2 pixels, got {tuple(x.shape)}; tenas_crops draws such patches"
            )
        check_params(params)
        return run_cells(joined(params, unit_averages(params)), x, mixture, "batch")


def _nodes_read(live: jax.Array, *, reduction: bool) -> list[jax.Array]:
    """Return for each of the nodes 0 to 4 whether the ReLU of an executed operation reads it."""
    reads = live[:, np.array(_CONVOLUTIONS)].any(1)
    # A strided skip begins with a ReLU, too.
    shrinking = live[:, _SKIP] & np.array([reduction and source < NODES[0] for _, source in EDGES])
    return [((reads | shrinking) & np.array([source == node for _, source in EDGES])).any() for node in range(NODES[-1])]


def _kept(wanted: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.where(wanted, values, jnp.zeros_like(values))
