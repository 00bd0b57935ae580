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
    The papers sum over channels. The released code of the zero-cost comparison, by which its numbers were made and which is followed here
    alone, gives every weight the value of its channel and sums over weights: hence *f*. Its derivative is that of the mean loss, *N* times
    smaller than an example's own; that scales all scores alike. Its network has biases in front of normalisations and another batch for
    every architecture, see :mod:`jknas.proxies.measurements.batch_gradient`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.networks.network import Network
from jknas.networks.observation import LayerWeights, RunBlock, convolved, normalise_layer
from jknas.proxies.measurements.forward import observable
from jknas.proxies.proxy import NetworkProxy
from jknas.proxies.setup import Batch


def measure(network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray) -> Float[Array, ""]:
    """Return the score in training mode; the key is not used.

    Cost: a forward and a backward pass without weight gradients.
    """
    observed = observable(network, "fisher")
    blocks = observed.observed_layers(wiring)

    def loss(gates: PyTree) -> Float[Array, ""]:
        logits = observed.walk(params, batch.x, wiring, _gated_block, extras=gates).logits
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), batch.labels[:, None], 1).mean()

    gates = {}
    for name, block in blocks.items():
        shape = (*(() if block.cells is None else (block.cells,)), len(batch.x))
        gates[name] = {layer: jnp.ones((*shape, found.channels), batch.x.dtype) for layer, found in block.layers.items()}
    slopes = jax.grad(loss)(gates)
    layers = [(found.fan_in, slopes[name][layer]) for name, block in blocks.items() for layer, found in block.layers.items()]
    terms = [fan * jnp.square(slope).mean(-2).sum() for fan, slope in layers]
    return 0.5 * sum(terms, start=jnp.zeros((), batch.x.dtype))


def _gated_block(_kind: str, run: RunBlock, x: Array, gates: PyTree) -> tuple[Array, tuple[()]]:
    return run(_gated_layer, x, gates).output, ()


def _gated_layer(_kind: str, x: Array, weights: LayerWeights, gate: Array | None) -> tuple[Array, tuple[()]]:
    y = convolved(x, weights)
    if weights.kernel is not None and gate is not None:
        y = y * gate.reshape(len(gate), *(1,) * (y.ndim - 2), -1)
    return normalise_layer(y, weights, "batch")[0], ()


PROXY = NetworkProxy(
    name="fisher",
    measure=measure,
    summary="second-order cost of removing channels: squared gradients of gates on the outputs of all layers",
    reference="Theis et al., arXiv:1801.05787; as in Abdelfattah et al., Zero-Cost Proxies, ICLR 2021, arXiv:2101.08134",
    cost="1 backward pass without weight gradients",
    requires=("observable",),
)
