r"""grasp: the preserved gradient flow: how much the gradient's norm would change without each weight.

With :math:`g = \partial L / \partial w` and :math:`H` the Hessian of the mean loss of one batch,

.. math:: s = -\sum_l \sum_i w_i \, (H g)_i ,

both over the weights of the layers *l*. :math:`H g` is the gradient of :math:`\langle g(w), c \rangle` at the constant :math:`c = g`, one
backward pass through the backward pass. There is no Hessian and no forward-mode derivative, which the networks' reverse rules do not have.

``statistics``
    what batch normalisation normalises over: ``batch`` (default), training mode, as in the released code; or ``example``.

References:
    Wang, Zhang and Grosse, "Picking Winning Tickets Before Training by Preserving Gradient Flow", ICLR 2020, arXiv:2002.07376, Eq. (8).
    Abdelfattah, Mehrotra, Dudziak and Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, arXiv:2101.08134 (as a score).

Deviations:
    The sign is that of zero-cost-nas: larger is better there, although pruning in the paper removes the weights with the *largest* of
    these. Published correlations are absolute values, and the sign of this score's correlation is not the same on all data sets. For
    pruning, the paper takes several batches and a softmax temperature of 200; zero-cost-nas, and this score, take one batch and no
    temperature. The network and the batch differ from zero-cost-nas as :mod:`jknas.proxies.measurements.batch_gradient` says.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jknas.kernels.mgm import Layers, mean_gradient
from jknas.kernels.objectives import Apply, Objective
from jknas.kernels.per_layer import every_kernel, stacks, sum_over_layers
from jknas.proxies.measurements.forward import on_networks
from jknas.proxies.proxy import NetworkProxy


def grasp(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    labels: Int[Array, " n"] | None = None,
    *,
    objective: Objective = "loss",
    layers: Layers = every_kernel,
) -> Float[Array, ""]:
    """Return the score of any model. Traceable.

    Cost: a gradient and the gradient of a gradient, about four to five times a backward pass.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``; the examples may depend on each other.
        params: any pytree of floating-point arrays.
        x: the inputs, passed to ``apply`` unchanged.
        labels: class indices ``[n]``, needed by ``objective="loss"``.
        objective: ``"loss"``, the mean cross-entropy, or ``"logits"``.
        layers: cuts parameters and gradients into layers; by default every array of two or more axes is one.

    Returns:
        A number of either sign, in the dtype of the parameters, at least float32.

    Raises:
        KernelError: for unknown names, missing labels, shapes that do not fit, or a model without layers.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    >>> import jax.numpy as jnp
    >>> def square(w, x):
    ...     return (x @ w) ** 2 / 2
    >>> float(grasp(square, jnp.array([[1.0], [1.0]]), jnp.array([[1.0, 2.0]]), objective="logits"))  # -(w . x)^2 (x . x)
    -45.0
    """

    def gradient(params: PyTree) -> PyTree:
        return mean_gradient(apply, params, x, labels, objective=objective)

    def inner_product(first: PyTree, second: PyTree) -> Float[Array, ""]:
        cut = stacks(layers, first)
        pairs = zip(cut, stacks(layers, second), strict=True)
        return sum_over_layers([jnp.sum(one.entries * other.entries, 1) for one, other in pairs], cut)

    direction = jax.lax.stop_gradient(gradient(params))
    with jax.default_matmul_precision("highest"):
        curved = jax.grad(lambda params: inner_product(gradient(params), direction))(params)
    return -inner_product(params, curved)


PROXY = NetworkProxy(
    name="grasp",
    measure=on_networks(grasp),
    summary="-sum of weight x (Hessian x gradient): how the gradient's norm would change without each weight",
    reference="Wang et al., GraSP, ICLR 2020, arXiv:2002.07376, Eq. (8); as a score: Abdelfattah et al., ICLR 2021, arXiv:2101.08134",
    cost="1 backward pass, and 1 through a backward pass",
    settings={"statistics": "batch"},
)
