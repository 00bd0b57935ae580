r"""The first-order Taylor expansion of a model in its parameters, and the products with its Jacobian that it rests on.

.. math:: f_\mathrm{lin}(w, x) = f(w_0, x) + \frac{\partial f(w_0, x)}{\partial w} (w - w_0)

The tangent kernel at :math:`w_0` is the exact and constant kernel of :math:`f_\mathrm{lin}`.

Reference: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient Descent", NeurIPS 2019, arXiv:1902.06720,
Eq. (8).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jknas.errors import KernelError
from jknas.kernels.objectives import Apply, split_parameters


def pull_and_push(
    function: Callable[[list[Any]], Any], leaves: list[Any]
) -> tuple[Any, Callable[[Any], list[jax.Array]], Callable[[list[jax.Array]], Any]]:
    """Return the value of a function, and the products with its transposed Jacobian and with its Jacobian.

    Both follow the model's reverse rule, the one that gradients and :func:`jknas.gram` use: the second is the transpose of the first. So
    it also works for ``jax.custom_vjp`` functions, which have no forward rule.

    Args:
        function: takes a list of arrays.
        leaves: where it is differentiated.

    Returns:
        The value; ``pull(cotangents) -> tangents of the leaves``; ``push(tangents of the leaves) -> tangents``.
    """
    values, pull = jax.vjp(function, leaves)

    def push(tangents: list[jax.Array]) -> Any:
        _, transposed = jax.vjp(lambda cotangents: pull(cotangents)[0], jax.tree.map(jnp.zeros_like, values))
        return transposed(tangents)[0]

    return values, lambda cotangents: pull(cotangents)[0], push


def linearize(apply: Apply, params: PyTree) -> Apply:
    """Return the model's first-order Taylor expansion around ``params`` as a function of other parameters and inputs.

    Cost: a call takes about as long as a forward pass and two thirds of a backward pass; put it under ``jax.jit``. Batches are seen whole,
    so a model whose examples interact is expanded as it is.

    Args:
        apply: the model, ``apply(params, x)``, of any outputs.
        params: any pytree of arrays, where it is expanded. Leaves that are not floating-point numbers stay what they are here.

    Returns:
        ``apply_lin(params, x)``, affine in the floating-point leaves; equal to ``apply`` at ``params``, to which it is tangent.

    Raises:
        KernelError: nothing to differentiate; ``apply_lin`` raises it for parameters of another structure or other shapes.

    >>> import jax.numpy as jnp
    >>> squared = linearize(lambda w, x: w**2 * x, jnp.array(3.0))
    >>> float(squared(jnp.array(3.5), jnp.array(1.0)))  # 9 + 6 * 0.5
    12.0
    """
    origin, rebuild = split_parameters(params, "all")
    structure: Any = jax.tree.structure(params)

    def apply_lin(params: PyTree, x: PyTree) -> jax.Array:
        if jax.tree.structure(params) != structure:
            raise KernelError(f"expected parameters of the structure {structure}, got {jax.tree.structure(params)}")
        leaves, _ = split_parameters(params, "all")
        shapes, expected = ([jnp.shape(leaf) for leaf in given] for given in (leaves, origin))
        if shapes != expected:
            raise KernelError(f"expected parameters of the shapes {expected}, those of the expansion point, got {shapes}")
        start = [jnp.asarray(leaf) for leaf in origin]
        values, _, push = pull_and_push(lambda chosen: apply(rebuild(chosen), x), start)
        moved = push([jnp.asarray(leaf, there.dtype) - there for leaf, there in zip(leaves, start, strict=True)])
        return jax.tree.map(jnp.add, values, moved)

    return apply_lin
