r"""synflow: how much of a network's output flows through its weights, without data and without normalisation, in float64.

With :math:`|\theta|` the absolute values of all parameters and :math:`R = \sum_k f_k(|\theta|; \mathbf 1)` the sum of the outputs for an
input of ones,

.. math:: s = \sum_l \sum_i \Bigl| \theta_i \frac{\partial R}{\partial \theta_i} \Bigr|

over the weights of the layers *l*. Without normalisation every path from the input to an output multiplies its weights, so the sum grows
with the power of the depth: float32 overflows at the published size.

``normalisation``
    ``none`` (default): no batch normalisation, the definition in the paper and in most later work. ``reductions``: as zero-cost-nas ships
    it, which takes batch normalisation out of the stem, the cells and the head, and leaves it in the two reduction blocks (training mode on
    the single image). ``all``: everywhere, the published variant ``synflow_bn``.
``scale``
    ``log`` (default), the natural logarithm, as in NASLib; or ``raw``, as in zero-cost-nas, numbers up to 1e60. Ranks agree.

References:
    Tanaka, Kunin, Yamins and Ganguli, "Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS 2020,
    arXiv:2006.05467, Eq. (1) and section 5.
    Abdelfattah, Mehrotra, Dudziak and Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, arXiv:2101.08134 (as a score).

Deviations:
    zero-cost-nas scores a network with biases in the cells' convolutions, whose absolute values also flow; the published network has none.
    Nothing flows through a cell whose output does not depend on its input: the raw score is 0 and its logarithm minus infinity, with the
    status ``dead``, where NASLib leaves 0.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Real

from jknas.errors import ProxyError, choose
from jknas.kernels.mgm import Layers, mean_gradient
from jknas.kernels.objectives import Apply
from jknas.kernels.per_layer import every_kernel, stacks, sum_over_layers
from jknas.kernels.tape.sketching import widest
from jknas.networks.families import require
from jknas.networks.network import layers_of
from jknas.proxies.measurements.forward import Model, model
from jknas.proxies.proxy import NetworkProxy, Outcome, Setting, read_scalar
from jknas.proxies.setup import Batch

_CAPABILITIES: dict[Setting, str] = {"none": "normalisation_free", "reductions": "reductions"}


def synflow(apply: Apply, params: PyTree, x: Real[Array, "n ..."], *, layers: Layers = every_kernel) -> Float[Array, ""]:
    """Return the synaptic flow of any model, from one backward pass on one input of ones. Traceable.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``. In the paper and in zero-cost-nas it has no normalisation: leave it out.
        params: any pytree of arrays; the score uses their absolute values, biases included. Give them in float64.
        x: inputs, of which only the shape of one is used. The ones have the parameters' dtype.
        layers: cuts parameters and gradients into layers; by default every array of two or more axes is one.

    Returns:
        A non-negative number in the dtype of the parameters, at least float32; zero where nothing flows; infinite where that overflows.

    Raises:
        KernelError: for a model without layers, or outputs that are not one row per example.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    >>> import jax.numpy as jnp
    >>> float(synflow(lambda w, x: x @ w, jnp.array([[3.0], [-4.0]]), jnp.zeros((5, 2))))
    7.0
    """
    positive = jax.tree.map(lambda leaf: jnp.abs(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, params)
    floating = [leaf.dtype for leaf in jax.tree.leaves(positive) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    ones = jnp.ones((1, *x.shape[1:]), widest(floating))
    gradients = stacks(layers, mean_gradient(apply, positive, ones, objective="logits"))
    weights = stacks(layers, positive)
    flows = [jnp.sum(jnp.abs(weight.entries * gradient.entries), 1) for weight, gradient in zip(weights, gradients, strict=True)]
    return sum_over_layers(flows, weights)


def measure(
    network: Any,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    normalisation: str = "none",
    scale: str = "log",
) -> Float[Array, ""]:
    """Return the synaptic flow of a network, or its logarithm; only the size of the images matters, and the key is not used.

    Raises:
        ProxyError: for an unknown setting, or a network that cannot be normalised so.
    """
    choose("scale", scale, ("log", "raw"), error=ProxyError)
    flow = synflow(_normalised(network, wiring, normalisation), params, batch.x, layers=layers_of(network, wiring))
    return flow if scale == "raw" else jnp.log(flow)


def _normalised(network: Any, wiring: Any, normalisation: str) -> Model:
    choose("normalisation", normalisation, ("none", "reductions", "all"), error=ProxyError)
    if normalisation == "all":
        return model(network, wiring, "batch")
    require(network, _CAPABILITIES[normalisation], f"synflow with normalisation={normalisation}", error=ProxyError)
    apply = network.apply_without_normalisation if normalisation == "none" else network.apply_normalising_reductions
    return lambda params, x: apply(params, x, wiring)


def read_flow(value: Any) -> Outcome:
    """Return the score; minus infinity is the logarithm of exactly nothing."""
    found = read_scalar(value)
    return Outcome(found.score, "dead") if found.score == -math.inf else found


PROXY = NetworkProxy(
    name="synflow",
    measure=measure,
    summary="flow through the absolute weights from an image of ones to the outputs, without normalisation (log)",
    reference="Tanaka et al., SynFlow, NeurIPS 2020, arXiv:2006.05467; as a score: Abdelfattah et al., ICLR 2021, arXiv:2101.08134",
    cost="1 backward pass on one image, in float64",
    needs_labels=False,
    batch_size=1,
    settings={"normalisation": "none", "scale": "log"},
    requires_for={"normalisation": _CAPABILITIES},
    read=read_flow,
    precision="float64",
)
