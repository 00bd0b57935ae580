r"""zico: how large gradients are compared with how much they vary from mini-batch to mini-batch, layer by layer.

With :math:`g_b` the gradient of the mean loss of mini-batch *b* out of *B*,

.. math:: s = \sum_l \log \sum_i \frac{\frac{1}{B} \sum_b |g_{b,i}|}{\operatorname{std}_b(g_{b,i})}

over the weights *i* of each layer *l*, with the population's standard deviation. Weights whose gradients do not vary at all are left out,
and so are layers of which nothing is left.

With *B* = 2 a term is :math:`(|g_1| + |g_2|) / |g_1 - g_2|`: one where the signs differ and larger where they agree. A layer's sum is then
its number of weights plus a heavy tail: a soft count of parameters.

``batches``
    the number of mini-batches into which the proxy's batch is cut; 2 (default), as the authors' search passes.
``statistics``
    what batch normalisation normalises over: ``batch`` (default), training mode within each mini-batch, as in the released code; or
    ``example``.

Reference: Li, Yang, Bhardwaj and Marculescu, "ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients", ICLR 2023,
arXiv:2301.11300, and its released code, github.com/SLDGroup/ZiCo.

Deviations:
    The paper writes an expectation over mini-batches; the released code takes those of its loader, and the search two. A port in MeCo's
    repository does not reset the gradients between the two, so its second gradient is their sum; that is another score. Layers that a code
    does not choose have no gradient and are left out, where the released code raises an error.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import KernelError
from jknas.kernels.mgm import Layers, mean_gradient
from jknas.kernels.objectives import Apply, Objective
from jknas.kernels.per_layer import every_kernel, stacks, sum_over_layers
from jknas.proxies.measurements.forward import on_networks
from jknas.proxies.proxy import NetworkProxy


def zico(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    labels: Int[Array, " n"] | None = None,
    *,
    batches: int = 2,
    objective: Objective = "loss",
    layers: Layers = every_kernel,
) -> Float[Array, ""]:
    """Return the score of any model. Traceable.

    Cost: one backward pass of every mini-batch, one after the other. Memory: ``batches`` gradients.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``; the examples of a mini-batch may depend on each other.
        params: any pytree of arrays.
        x: the inputs, a pytree of arrays ``[n, ...]``, cut into mini-batches in their order.
        labels: class indices ``[n]``, needed by ``objective="loss"``.
        batches: the number of mini-batches, at least 2.
        objective: ``"loss"``, the mean cross-entropy, or ``"logits"``.
        layers: cuts gradients into layers; by default every array of two or more axes is one.

    Returns:
        A number in the dtype of the parameters, at least float32; zero where no gradient varies; NaN where a gradient is NaN.

    Raises:
        KernelError: for unknown names, missing labels, a model without layers, or examples that cannot be cut so.
        UnsoundBackendError: the installed JAX computes wrong matrix products.
    """
    (n,) = {len(leaf) for leaf in jax.tree.leaves((x, labels))}
    if batches < 2 or n % batches:
        raise KernelError(
            f"{n} examples cannot be cut into batches={batches} equal mini-batches, at least 2; choose a number that divides {n}"
        )
    parts = jax.tree.map(lambda a: a.reshape(batches, n // batches, *a.shape[1:]), (x, labels))
    cut = stacks(layers, params)

    def entries(part: tuple[PyTree, jax.Array | None]) -> list[jax.Array]:
        return [stack.entries for stack in stacks(layers, mean_gradient(apply, params, *part, objective=objective))]

    def score(gradients: jax.Array) -> jax.Array:
        """Return the logarithm of each layer's sum from ``[batches, l, p]``; NaN is not equal to zero, so it stays."""
        spread = jnp.std(gradients, 0)
        constant = spread == 0
        ratios = jnp.where(constant, 0, jnp.mean(jnp.abs(gradients), 0) / jnp.where(constant, 1, spread))
        sums = jnp.sum(ratios, 1)
        return jnp.where(sums == 0, 0, jnp.log(jnp.where(sums == 0, 1, sums)))

    return sum_over_layers([score(gradients) for gradients in jax.lax.map(entries, parts)], cut)


PROXY = NetworkProxy(
    name="zico",
    measure=on_networks(zico),
    summary="sum over the layers of the log of mean |gradient| over its standard deviation between mini-batches",
    reference="Li et al., ZiCo, ICLR 2023, arXiv:2301.11300",
    cost="1 backward pass of each of 2 mini-batches",
    batch_size=128,
    settings={"batches": 2, "statistics": "batch"},
)
