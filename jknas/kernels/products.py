r"""Inner products of the gradients of two sets of examples, such as training and test examples.

Reference: Pruthi, Liu, Sundararajan, Kale, "Estimating Training Data Influence by Tracing Gradient Descent" (TracIn), NeurIPS 2020,
arXiv:2002.08484, whose influence of a on b at one checkpoint is the learning rate times :math:`\nabla \ell(a) \cdot \nabla \ell(b)`.
"""

import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jknas.kernels.chunks import chunks, count_examples
from jknas.kernels.examples import Interaction, Setup, prepared, prepared_second
from jknas.kernels.gram import rectangle
from jknas.kernels.objectives import Apply, Objective, Parameters


def gradient_products(
    apply: Apply,
    params: PyTree,
    a: PyTree,
    b: PyTree,
    *,
    objective: Objective = "loss",
    labels_a: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    labels_b: Int[Array, " m"] | Int[np.ndarray, " m"] | None = None,
    parameters: Parameters = "all",
    chunk_size: int | None = None,
    interaction: Interaction = "refuse",
) -> Float[Array, "n m"]:
    r"""Compute :math:`\partial_w y(a_i) \cdot \partial_w y(b_j)` for two sets of examples: the rectangular kernel, of losses by default.

    Cost: one backward pass over the joint batch. With ``chunk_size`` = c, a long list ``a`` streams against all of ``b``: n / c passes over
    c + m examples, so with c >= m at most twice the passes over ``a`` alone. Memory: that of :func:`jknas.gram` for c + m examples, and the
    result; never the gradients of ``a`` or ``b``.

    Args:
        apply: the model, as in :func:`jknas.gram`, which lists what works.
        params: any pytree of arrays.
        a: inputs, a pytree of arrays ``[n, ...]``, for example training examples.
        b: inputs ``[m, ...]``, for example test examples.
        objective: ``"loss"`` (each example's cross-entropy) or ``"logits"`` (the sum of its outputs).
        labels_a: class indices ``[n]``, needed by ``"loss"``.
        labels_b: class indices ``[m]``.
        parameters: ``"all"``, ``"weights"``, or a predicate on the leaf's path.
        chunk_size: examples of ``a`` processed at once; None takes all.
        interaction: what to do about examples that change each other's outputs, as in :func:`jknas.gram`.

    Returns:
        ``[n, m]`` in the widest dtype of the parameters, at least float32.

    Raises:
        KernelError: an unknown name, shapes that do not fit, missing labels, nothing to differentiate, or examples that interact.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    >>> import jax.numpy as jnp
    >>> train, test = jnp.array([[1.0, 2.0], [3.0, -1.0], [0.0, 1.0]]), jnp.array([[1.0, 1.0]])
    >>> gradient_products(lambda w, x: x @ w, jnp.ones((2, 1)), train, test, objective="logits").tolist()
    [[3.0], [2.0], [1.0]]
    """
    plan, first = prepared(
        Setup(apply, objective, "sum", parameters), params, a, labels_a, chunk_size=chunk_size, interaction=interaction, name="a"
    )
    second = prepared_second(plan, params, first, b, labels_b, names=("a", "b"))
    n, m = count_examples(first), count_examples(second)
    return rectangle(plan, params, chunks(first, min(chunk_size or n, n)), [(second, m)]).matrix
