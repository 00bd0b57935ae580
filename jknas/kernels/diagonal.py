r"""The diagonal of the empirical neural tangent kernel: every example's squared gradient norm, and no N x N array."""

import dataclasses
import functools

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jknas.kernels.chunks import count_examples, in_chunks
from jknas.kernels.examples import Examples, Interaction, Outputs, Setup, layout_of, prepared, scalar_of
from jknas.kernels.objectives import Apply, Objective, Parameters
from jknas.kernels.tape.one_pass import one_pass
from jknas.xla.programs import PROGRAMS


def gram_diagonal(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    *,
    objective: Objective = "logits",
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    outputs: Outputs = "sum",
    parameters: Parameters = "all",
    chunk_size: int | None = None,
    interaction: Interaction = "refuse",
) -> Float[Array, "n ..."]:
    r"""Compute :math:`K_{ii} = |\partial_w y_i|^2` for every example, the diagonal of :func:`jknas.gram`.

    Each operation contracts an example's activations and cotangents with themselves: a dense layer with t positions either forms its
    gradient :math:`A^T D` or sums :math:`(A A^T) \circ (D D^T)`, whichever takes fewer multiplications.

    Cost: linear in the number of examples (``benchmarks/speed/gram_parts.py``: 0.7 to 1.6 training steps on the same batch), K times that
    for ``outputs="trace"`` or ``"full"``. Memory: the activations of a training step and the per-example gradients of the largest layer,
    :math:`N \max_l P_l` numbers, both for ``chunk_size`` examples.

    Args:
        apply: the model, as in :func:`jknas.gram`, which lists what works.
        params: any pytree of arrays.
        x: inputs, a pytree of arrays ``[n, ...]``.
        objective: ``"logits"`` (the outputs) or ``"loss"`` (each example's cross-entropy).
        labels: class indices ``[n]``, needed by ``"loss"``.
        outputs: how the K outputs of an example are combined; other than ``"sum"`` only with ``objective="logits"``.
        parameters: ``"all"``, ``"weights"``, or a predicate on the leaf's path.
        chunk_size: examples processed at once; None takes all. The time does not depend on it.
        interaction: what to do about examples that change each other's outputs, as in :func:`jknas.gram`.

    Returns:
        ``[n]``; for ``outputs="full"`` the ``[n, k, k]`` kernels of every example's outputs. The widest dtype of the parameters, at least
        float32.

    Raises:
        KernelError: an unknown name, shapes that do not fit, missing labels, nothing to differentiate, or examples that interact.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    >>> import jax.numpy as jnp
    >>> x, w = jnp.array([[1.0, 2.0], [3.0, -1.0]]), jnp.ones((2, 1))
    >>> gram_diagonal(lambda w, x: x @ w, w, x).tolist()
    [5.0, 10.0]
    """
    plan, examples = prepared(
        Setup(apply, objective, outputs, parameters), params, x, labels, chunk_size=chunk_size, interaction=interaction
    )
    return in_chunks(functools.partial(PROGRAMS.jitted(_norms, plan), params), examples, chunk_size)


def _norms(plan: Setup, params: PyTree, examples: Examples) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        leaves, names, scalar = scalar_of(plan, params)
        layout, batch = layout_of(plan, leaves, examples, 0)
        n = count_examples(examples)
        found, _ = one_pass(scalar, leaves, names, batch, dataclasses.replace(layout, groups=n, first=layout.first // n))
        return found.reshape(n, plan.classes, plan.classes) if plan.outputs == "full" else found[:, 0]
