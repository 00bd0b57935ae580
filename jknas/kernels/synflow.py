r"""Synaptic flow: how much of a network's output flows through its weights, without data.

With :math:`|\theta|` the absolute values of all parameters and :math:`R = \sum_k f_k(|\theta|; \mathbf 1)` the sum of the outputs for an
input of ones,

.. math:: \mathrm{synflow} = \sum_l \sum_i \Bigl| \theta_i \frac{\partial R}{\partial \theta_i} \Bigr|

over the weights of the layers *l*. Without normalisation every path from the input to an output multiplies its weights, so that the sum
grows with the power of the depth: float32 overflows at the published size.

References:
    Tanaka, Kunin, Yamins and Ganguli, "Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS 2020,
    arXiv:2006.05467, Eq. (1) and section 5.
    Abdelfattah, Mehrotra, Dudziak and Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, arXiv:2101.08134 (as a score).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jknas.kernels.mgm import Layers, mean_gradient
from jknas.kernels.objectives import Apply
from jknas.kernels.per_layer import every_kernel, stacks, sum_over_layers
from jknas.kernels.tape.rows import widest


def synflow(apply: Apply, params: PyTree, x: Float[Array, "n ..."], *, layers: Layers = every_kernel) -> Float[Array, ""]:
    """Return the synaptic flow of any model, from one backward pass on one input of ones. Traceable: call it inside ``jax.jit``.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``. In the paper and in zero-cost-nas it has no normalisation: leave it out.
        params: any pytree of arrays; the score is for their absolute values, biases included. Give them in float64.
        x: inputs; only the shape of one is looked at. The ones have the parameters' dtype.
        layers: cuts parameters and gradients into layers; by default every array of two or more axes is one.

    Returns:
        A non-negative number in the dtype of the parameters, at least float32; zero where nothing flows; infinite where that overflows.

    Raises:
        ValueError: for a model without layers, or outputs that are not one row an example.
        UnsoundBackendError: if the installed JAX computes wrong matrix products.

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
