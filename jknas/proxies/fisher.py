r"""Fisher: the loss that removing channels would cost, to second order, summed over the network.

For a channel *c* of the output *a* of a convolution, or an output of the classifier, with *L* the mean cross-entropy,

.. math:: \Delta_c = \frac{1}{2 N} \sum_n \Bigl( \sum_{\text{pixels}} a_{nc} \frac{\partial L}{\partial a_{nc}} \Bigr)^2, \qquad
          s = \sum_{\text{layers}} \sum_c f \, \Delta_c

where *f* is the number of weights that make one channel, inputs times kernel size. The inner sum is the derivative of *L* by a gate on the
channel, :math:`a_{nc} \to g_{nc} a_{nc}` at one, so that one reverse pass with respect to the gates alone gives all of it.

References:
    Theis, Korshunova, Tejani and Huszar, "Faster gaze prediction with dense networks and Fisher pruning", arXiv:1801.05787, Eq. (7).
    Turner, Crowley, O'Boyle, Storkey and Gray, "BlockSwap: Fisher-guided Block Substitution for Network Compression on a Budget", ICLR
    2020, arXiv:1906.04113 (the sum over blocks as a score of architectures).
    Abdelfattah, Mehrotra, Dudziak and Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, arXiv:2101.08134, and its released code.

Deviations:
    The papers sum over channels. The released code, which is followed here, gives every weight the value of its channel and sums over
    weights: hence *f*. Its derivative is that of the mean loss, *N* times smaller than an example's own; that scales all scores alike.
    Its network has biases in front of normalisations and another batch for every architecture, see
    :mod:`jknas.proxies.measurements.batch_gradient`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.networks.nasbench201.blocks import BLOCKS
from jknas.networks.nasbench201.cell import KERNEL_SIZES, edge_name
from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.nasbench201.wiring import resolve_wiring
from jknas.networks.observation import LayerWeights, RunBlock, convolved, normalise_layer
from jknas.proxies.measurements.forward import walked
from jknas.proxies.proxy import NetworkProxy
from jknas.proxies.setup import Batch
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS


def measure(network: Any, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray) -> Float[Array, ""]:
    """Return the score in training mode.

    Args:
        network: a network that is observable.
        params: its parameters.
        wiring: genotype or code.
        batch: images and labels.
        key: not used.

    Cost: a forward and a backward pass without weight gradients.
    """
    del key
    observed = walked(network, "fisher")

    def loss(gates: PyTree) -> Float[Array, ""]:
        logits = observed.walk(params, batch.x, wiring, _gated_block, extras=gates).logits
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), batch.labels[:, None], 1).mean()

    slopes = jax.grad(loss)(_open_gates(observed, len(batch.x), batch.x.dtype))
    fans = _fans(observed, wiring)
    layers = [(fans[block][layer], slope) for block, inner in slopes.items() for layer, slope in inner.items()]
    # Gates are [n, c], in a stage [cells, n, c].
    terms = [fan * jnp.square(slope).mean(-2).sum() for fan, slope in layers]
    return 0.5 * sum(terms, start=jnp.zeros((), batch.x.dtype))


def _gated_block(kind: str, run: RunBlock, x: Array, gates: PyTree) -> tuple[Array, tuple[()]]:
    del kind
    return run(_gated_layer, x, gates or {}).output, ()


def _gated_layer(kind: str, x: Array, weights: LayerWeights, gate: Array | None) -> tuple[Array, tuple[()]]:
    y = convolved(x, weights)
    if weights.kernel is not None and gate is not None:
        y = y * gate.reshape(len(gate), *(1,) * (y.ndim - 2), -1)
    return normalise_layer(y, weights, "batch")[0], ()


def _open_gates(network: CellNetwork, n: int, dtype: Any) -> PyTree:
    """Return a gate of one for every example and channel of every convolution and of the classifier, by block and layer."""

    def ones(names: list[str], *shape: int) -> dict[str, Array]:
        return {name: jnp.ones(shape, dtype) for name in names}

    gates = {}
    for block, (layers, channels) in _layers(network).items():
        gates[block] = ones(layers, *((network.cells,) if block.startswith("stage") else ()), n, channels)
    return gates


def _layers(network: CellNetwork) -> dict[str, tuple[list[str], int]]:
    """Return the layers of every block that has some, and their output channels."""
    found: dict[str, tuple[list[str], int]] = {}
    width = network.channels
    for block in BLOCKS:
        if block.startswith("reduction"):
            width *= 2
            found[block] = ["conv_a", "conv_b", "downsample"], width
        elif block.startswith("stage"):
            found[block] = [edge_name(edge) for edge in range(len(EDGES))], width
    return {"stem": (["stem"], network.channels), **found, "classifier": (["classifier"], network.classes)}


def _fans(network: CellNetwork, wiring: Any) -> dict[str, dict[str, Any]]:
    """Return the weights behind one channel of every layer; zero for an edge without a convolution."""
    genotype, code = resolve_wiring(wiring)
    operations = jnp.asarray(genotype.code) if genotype is not None else code
    # Each cell's convolutions have as many inputs as outputs.
    taps = jnp.asarray([float(KERNEL_SIZES.get(name, 0) ** 2) for name in OPERATIONS], jnp.result_type(float))[operations]
    last = 4 * network.channels
    fans: dict[str, dict[str, Any]] = {"stem": {"stem": 9.0 * network.input_channels}, "classifier": {"classifier": float(last)}}
    for block, (layers, width) in _layers(network).items():
        if block.startswith("stage"):
            fans[block] = {layer: taps[edge] * width for edge, layer in enumerate(layers)}
        elif block.startswith("reduction"):
            fans[block] = {"conv_a": 9.0 * width / 2, "conv_b": 9.0 * width, "downsample": width / 2}
    return fans


PROXY = NetworkProxy(
    name="fisher",
    measure=measure,
    summary="second-order cost of removing channels: squared gradients of gates on the outputs of all layers",
    reference="Theis et al., arXiv:1801.05787; as in Abdelfattah et al., Zero-Cost Proxies, ICLR 2021, arXiv:2101.08134",
    cost="1 backward pass without weight gradients",
    requires=("observable",),
)
