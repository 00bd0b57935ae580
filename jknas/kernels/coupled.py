r"""The kernel of a network whose examples interact: training-mode batch normalisation.

TE-NAS differentiates networks in training mode. There the batch's mean and variance enter every output, so
:math:`y_i = \sum_k f_k(w; x_1, \dots, x_N)_i` depends on all examples. Row *i* of the Jacobian takes one backward pass of the whole batch
with the cotangent :math:`e_i`, and the kernel takes N of them.

.. math:: K = J J^T, \qquad J_i = \frac{\partial}{\partial w} \sum_k f_k(w; x_1, \dots, x_N)_i

The one-pass kernel (:mod:`jknas.kernels.gram`) with per-example statistics is a different kernel and far cheaper. A score must say which of
the two it uses.

Reference: Chen, Gong, Wang, "Neural Architecture Search on ImageNet in Four GPU Hours", ICLR 2021, arXiv:2102.11535, and its released
``lib/procedures/ntk.py``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jknas.kernels.chunks import check_chunk_size
from jknas.kernels.objectives import Apply, Objective, Parameters, per_example, split_parameters
from jknas.kernels.tape.one_pass import contract_gradients
from jknas.xla.soundness import require_sound_backend

_AT_ONCE = 1
"""Backward passes that a CPU makes at a time: what one of them holds stays in its cache. Eight take 1.15 to 1.3 times as long."""

_AT_ONCE_ELSEWHERE = 8
"""The same for other devices, which one pass does not fill."""


def ntk_coupled(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    *,
    objective: Objective = "logits",
    parameters: Parameters = "weights",
    chunk_size: int | None = None,
) -> Float[Array, "n n"]:
    r"""Compute the kernel of a batch whose examples may depend on each other.

    Cost: one forward and N backward passes of the whole batch, :math:`O(N^2)` where :func:`jknas.gram` takes :math:`O(N)`. Memory: the
    Jacobian, :math:`N \sum_l P_l` numbers, and ``chunk_size`` backward passes. Traceable: call it inside ``jax.jit``.

    Args:
        apply: the model in training mode, ``apply(params, x) -> [n, k]``.
        params: any pytree of arrays; only floating-point leaves are differentiated.
        x: the batch, arrays ``[n, ...]``.
        labels: class indices ``[n]``, needed by ``objective="loss"``.
        objective: ``"logits"`` (the released code) or ``"loss"``.
        parameters: ``"weights"`` (the released code: every parameter with "weight" in its name, that is convolutions, normalisation scales
            and the classifier, but no shift or bias), ``"all"``, or a predicate on the leaf's path.
        chunk_size: backward passes at once; None takes one on a CPU and eight elsewhere.

    Returns:
        The kernel ``[n, n]`` in the widest dtype of the parameters, at least float32, accumulated at the highest matrix product precision.

    Raises:
        KernelError: an unknown name, shapes that do not fit, missing labels, or nothing to differentiate.
        UnsoundBackendError: the installed JAX computes wrong matrix products.
    """
    require_sound_backend()
    check_chunk_size(chunk_size)
    leaves, rebuild = split_parameters(params, parameters)

    def objectives(leaves: list[Any]) -> jax.Array:
        return per_example(apply(rebuild(leaves), x), labels, objective=objective)

    with jax.default_matmul_precision("highest"):
        values, pull = jax.vjp(objectives, leaves)
        cotangents = jnp.eye(values.shape[0], dtype=values.dtype)

        def in_chunks(size: int) -> Callable[[jax.Array], list[jax.Array]]:
            return lambda cotangents: jax.lax.map(pull, cotangents, batch_size=min(size, len(cotangents)))[0]

        if chunk_size is None:
            rows = jax.lax.platform_dependent(cotangents, cpu=in_chunks(_AT_ONCE), default=in_chunks(_AT_ONCE_ELSEWHERE))
        else:
            rows = in_chunks(chunk_size)(cotangents)
        return contract_gradients(rows, rows)
