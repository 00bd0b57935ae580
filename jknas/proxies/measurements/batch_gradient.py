r"""Sums over the weights of what one mini-batch gradient says about them: grad_norm, snip, plain, nasi and l2_norm.

With :math:`g = \partial L / \partial w` the gradient of the mean loss of a batch, and *l* running over the layers (convolution and linear
weights; no biases, no normalisation scales and shifts):

==================  ==========================================
gradient norm       :math:`\sum_l \|g_l\|_2`
squared gradient    :math:`\sum_l \|g_l\|_2^2`
snip                :math:`\sum_l \sum_i |w_i g_i|`
plain               :math:`\sum_l \sum_i w_i g_i`
weight norm         :math:`\sum_l \|w_l\|_2`
==================  ==========================================

All five come from one backward pass. The squared gradient is Eq. (15) of KNAS (:func:`jknas.kernels.mgm.mgm`) over the weights of the
layers. The proxies share one setting:

``statistics``
    what batch normalisation normalises over: ``batch`` (default), training mode, as in the code of all five papers; or ``example``.

Deviations:
    zero-cost-nas scores a network of its own: biases in the cells' convolutions and no affine parameters in their normalisations. A bias
    before a training-mode normalisation changes nothing, and at initialisation scales are one and shifts zero, so its numbers are those of
    the published network to the last digit. It draws another batch, augmented, for every architecture; here all architectures see the same
    batch, not augmented.
"""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jknas.kernels.mgm import Layers, mean_gradient
from jknas.kernels.objectives import Apply, Objective
from jknas.kernels.per_layer import every_kernel, stacks, sum_over_layers
from jknas.proxies.measurements.forward import on_networks
from jknas.proxies.proxy import NetworkProxy

ZERO_COST = "Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021, arXiv:2101.08134"


class Saliency(NamedTuple):
    """The five numbers of :func:`saliency`, which the module docstring defines."""

    gradient_norm: Float[Array, ""]
    squared_gradient: Float[Array, ""]
    snip: Float[Array, ""]
    plain: Float[Array, ""]
    weight_norm: Float[Array, ""]


def saliency(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    labels: Int[Array, " n"] | None = None,
    *,
    objective: Objective = "loss",
    layers: Layers = every_kernel,
) -> Saliency:
    """Return the five sums over the layers of any model, from one backward pass. Traceable.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``; the examples may depend on each other.
        params: any pytree of arrays.
        x: the inputs, passed to ``apply`` unchanged.
        labels: class indices ``[n]``, needed by ``objective="loss"``.
        objective: ``"loss"``, the mean cross-entropy (all published numbers), or ``"logits"``.
        layers: cuts parameters and gradients into layers; by default every array of two or more axes is one. For a network whose arrays
            stack its cells pass :func:`jknas.networks.network.layers_of`.

    Returns:
        Numbers in the dtype of the parameters, at least float32; NaN or infinity where the model produces them.

    Raises:
        KernelError: for unknown names, missing labels, shapes that do not fit, or a model without layers.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    >>> import jax.numpy as jnp
    >>> found = saliency(lambda w, x: x @ w, jnp.array([[3.0], [-4.0]]), jnp.array([[1.0, 2.0], [3.0, -1.0]]), objective="logits")
    >>> [float(found.snip), float(found.plain), float(found.weight_norm), float(found.squared_gradient)]  # the gradient is (2, 0.5)
    [8.0, 4.0, 5.0, 4.25]
    """
    weights = stacks(layers, params)
    gradients = stacks(layers, mean_gradient(apply, params, x, labels, objective=objective))
    squares = [jnp.sum(jnp.square(gradient.entries), 1) for gradient in gradients]
    products = [weight.entries * gradient.entries for weight, gradient in zip(weights, gradients, strict=True)]
    return Saliency(
        gradient_norm=sum_over_layers([jnp.sqrt(square) for square in squares], weights),
        squared_gradient=sum_over_layers(squares, weights),
        snip=sum_over_layers([jnp.sum(jnp.abs(product), 1) for product in products], weights),
        plain=sum_over_layers([jnp.sum(product, 1) for product in products], weights),
        weight_norm=sum_over_layers([jnp.sqrt(jnp.sum(jnp.square(weight.entries), 1)) for weight in weights], weights),
    )


row = functools.partial(NetworkProxy, measure=on_networks(saliency), cost="1 backward pass", settings={"statistics": "batch"})
"""The row of a proxy that reads one of the five sums."""
