r"""GraSP: how much the gradient's norm would change without each weight.

With :math:`g = \partial L / \partial w` and :math:`H` the Hessian of the mean loss of one batch,

.. math:: \mathrm{grasp} = -\sum_l \sum_i w_i \, (H g)_i ,

both over the weights of the layers *l*. :math:`H g` is the gradient of :math:`\langle g(w), c \rangle` at the constant :math:`c = g`, one
backward pass through the backward pass: no Hessian, and no forward-mode derivatives, which the networks' reverse rules do not have.

References:
    Wang, Zhang and Grosse, "Picking Winning Tickets Before Training by Preserving Gradient Flow", ICLR 2020, arXiv:2002.07376, Eq. (8).
    Abdelfattah, Mehrotra, Dudziak and Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, arXiv:2101.08134 (as a score).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jknas.kernels.mgm import Layers, mean_gradient
from jknas.kernels.objectives import Apply, Objective
from jknas.kernels.per_layer import every_kernel, stacks, sum_over_layers


def grasp(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    labels: Int[Array, " n"] | None = None,
    *,
    objective: Objective = "loss",
    layers: Layers = every_kernel,
) -> Float[Array, ""]:
    """Return the score of any model. Traceable: call it inside ``jax.jit``.

    Cost: a gradient and the gradient of a gradient, about four to five times a backward pass.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``; the examples may depend on each other.
        params: any pytree of floating-point arrays.
        x: the inputs, handed to ``apply`` as they are.
        labels: class indices ``[n]``, needed by ``objective="loss"``.
        objective: ``"loss"``, the mean cross-entropy, or ``"logits"``.
        layers: cuts parameters and gradients into layers; by default every array of two or more axes is one.

    Returns:
        A number of either sign, in the dtype of the parameters, at least float32.

    Raises:
        ValueError: for unknown names, missing labels, shapes that do not fit, or a model without layers.
        UnsoundBackendError: if the installed JAX computes wrong matrix products.

    >>> import jax.numpy as jnp
    >>> def square(w, x):
    ...     return (x @ w) ** 2 / 2
    >>> float(grasp(square, jnp.array([[1.0], [1.0]]), jnp.array([[1.0, 2.0]]), objective="logits"))  # -(w . x)^2 (x . x)
    -45.0
    """

    def gradient(params: PyTree) -> PyTree:
        return mean_gradient(apply, params, x, labels, objective=objective)

    def along(params: PyTree, direction: PyTree) -> jax.Array:
        pairs = zip(stacks(layers, gradient(params)), stacks(layers, direction), strict=True)
        products = [(jnp.sum(slope.entries * fixed.entries, 1), slope) for slope, fixed in pairs]
        return sum_over_layers([value for value, _ in products], [stack for _, stack in products])

    direction = jax.lax.stop_gradient(gradient(params))
    with jax.default_matmul_precision("highest"):
        curved = stacks(layers, jax.grad(along)(params, direction))
    weights = stacks(layers, params)
    return -sum_over_layers([jnp.sum(weight.entries * row.entries, 1) for weight, row in zip(weights, curved, strict=True)], weights)
