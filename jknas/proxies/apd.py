r"""APD's score: the stable rank of normalised activations, times a soft count of weights.

.. math:: s = \Bigl( \sum_{l \in \text{normalisations}} \frac{\|M_l\|_F^2}{\|M_l\|_2^2} \Bigr)
          \Bigl( \sum_{l \in \text{convolutions}} \frac{\|W_l\|_1}{\|W_l\|_2} \Bigr)

with :math:`M_l` the output of a batch normalisation and :math:`W_l` the weights of a convolution, a vector. The second factor hardly
depends on the draw: a layer of *n* weights adds about :math:`\sqrt{2 n / \pi}` when they are normal, :math:`\sqrt{3 n} / 2` when uniform.

The formula was found by reinforcement learning over programs that a language model wrote, and chosen by its rank correlation with the
trained accuracies of NAS-Bench-201 on CIFAR-10: it is no prior knowledge about that benchmark.

Reference:
    The paper of APD, a search for proxies; its code is not public.

Deviations:
    The paper states neither how :math:`M_l` becomes a matrix nor batch and initialisation. Here its rows are all pixels of all images and
    its columns the channels; 64 training images are normalised over the batch, and the weights are those that were asked for. A normalised
    output that is zero everywhere, of a convolution that no path leads to, counts 0. The convolutions are all that the network runs, also
    those without a normalisation, and not the classifier. Norms are accumulated on the device, eigenvalues of :math:`M_l^T M_l` on the
    host in float64.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.networks.network import Network
from jknas.networks.observation import LayerWeights, RunBlock, convolved, normalise_layer
from jknas.proxies.measurements.forward import observable
from jknas.proxies.proxy import NetworkProxy, Outcome, read_scalar
from jknas.proxies.setup import Batch


class Norms(NamedTuple):
    """What counts of one layer, or of one in all cells of a stage.

    Attributes:
        product: :math:`M^T M` of the normalised output, ``[*m, c, c]``; zero where nothing is normalised.
        ratio: of the 1-norm and the 2-norm of a convolution's weights, ``[*m]``; zero where there is none.
    """

    product: Float[Array, "*m c c"]
    ratio: Float[Array, "*m"]


def measure(network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray) -> Mapping[str, Mapping[str, Norms]]:
    """Return the norms of all layers, by block and layer; the device part.

    Args:
        network: a network that is observable.
        params: its parameters.
        wiring: genotype or code.
        batch: images; the labels are not used.
        key: not used.

    Cost: a forward pass and, for every normalisation, a product over all pixels; on the host the eigenvalues of a C x C matrix each.
    """

    def layer(_kind: str, x: Array, weights: LayerWeights, _given: PyTree) -> tuple[Array, Norms]:
        out, _ = normalise_layer(convolved(x, weights), weights, "batch")
        product = jnp.zeros((out.shape[-1],) * 2, out.dtype)
        if weights.norm is not None:
            flat = out.reshape(-1, out.shape[-1])
            product = jnp.matmul(flat.T, flat, precision="highest")
        ratio = jnp.zeros((), out.dtype)
        if weights.kernel is not None and weights.kernel.ndim == 4:
            ratio = jnp.abs(weights.kernel).sum() / jnp.linalg.norm(weights.kernel.reshape(-1))
        return out, Norms(product, ratio)

    def visit(_kind: str, run: RunBlock, x: Array, _extra: PyTree) -> tuple[Array, PyTree]:
        seen = run(layer, x, {})
        return seen.output, dict(seen.records)

    return observable(network, "apd").walk(params, batch.x, wiring, visit).summaries


def stable_ranks(products: Float[Any, "*m c c"]) -> Float[np.ndarray, "*m"]:
    r"""Return :math:`\|M\|_F^2 / \|M\|_2^2` from :math:`M^T M`; 0 for a matrix of zeros, NaN for one that is not finite."""
    wide = np.asarray(products, np.float64)
    finite = np.asarray(np.isfinite(wide).all((-2, -1)))
    largest = np.linalg.eigvalsh(np.where(finite[..., None, None], wide, 0.0))[..., -1]
    ranks = np.divide(np.trace(wide, axis1=-2, axis2=-1), largest, out=np.zeros_like(largest), where=largest > 0)
    return np.where(finite, ranks, np.nan)


def product_of_sums(found: Mapping[str, Mapping[str, Norms]]) -> Outcome:
    """Return the product of the two sums, with both in the extras."""
    layers = [norms for block in found.values() for norms in block.values()]
    rank = float(sum(stable_ranks(norms.product).sum() for norms in layers))
    weight = float(sum(np.asarray(norms.ratio, np.float64).sum() for norms in layers))
    outcome = read_scalar(rank * weight)
    return Outcome(outcome.score, outcome.status, {"stable_rank": rank, "weight_ratio": weight})


PROXY = NetworkProxy(
    name="apd",
    measure=measure,
    summary="stable rank of the normalised activations, times the ratio of 1-norm and 2-norm of the weights, each summed over the layers",
    reference="APD; formula chosen by its correlation with NAS-Bench-201 CIFAR-10 accuracies",
    cost="1 forward pass",
    needs_labels=False,
    batch_size=64,
    read=product_of_sums,
    requires=("observable",),
)
