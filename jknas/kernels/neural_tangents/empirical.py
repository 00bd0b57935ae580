r"""The Gram matrix of gradients by the library neural-tangents, a cross-check of our own kernels.

With :math:`g_i = \partial y_i / \partial w` the gradient of example *i*'s scalar objective, the matrix is :math:`G_{ij} = g_i \cdot g_j`,
the empirical neural tangent kernel of that objective. It shares only the meaning of ``objective`` and ``parameters`` with our own
computation, so that their agreement is evidence. It is slower and needs an optional package: use it for comparison only.

References: Jacot, Gabriel and Hongler, "Neural Tangent Kernel", NeurIPS 2018, arXiv:1806.07572; Novak et al., "Neural Tangents", ICLR 2020,
arXiv:1912.02803; Novak, Sohl-Dickstein and Schoenholz, "Fast Finite Width Neural Tangent Kernel", ICML 2022, arXiv:2206.08720.
"""

from typing import Any, Literal, get_args

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import KernelError
from jknas.kernels.neural_tangents.shim import import_neural_tangents
from jknas.kernels.objectives import Apply, Objective, Parameters, per_example, split_parameters
from jknas.xla.soundness import require_sound_backend

Implementation = Literal[1, 2]
"""neural-tangents' own numbers. ``1``: contraction of Jacobians, which are all in memory unless the compiler can interleave layers.
``2``: NTK-vector products, transposed; works for models with custom reverse rules, too."""


def neural_tangents_gram(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    x2: PyTree | None = None,
    *,
    objective: Objective = "logits",
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    labels2: Int[Array, " m"] | Int[np.ndarray, " m"] | None = None,
    parameters: Parameters = "all",
    implementation: Implementation = 1,
) -> Float[Array, "n m"]:
    """Return the matrix of inner products of per-example gradients, computed by neural-tangents.

    The model sees every example alone, as a batch of one, so examples never interact.

    Cost: implementation 1 takes one backward pass per example and the contraction, and memory for ``n`` gradients; implementation 2 takes
    ``m`` passes over all ``n`` examples. Every call traces again: wrap it in ``jax.jit`` (with ``apply`` and the options closed over) to
    compile once per shape.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]`` or ``[n]``.
        params: any pytree of arrays; only floating-point leaves are differentiated.
        x: the inputs of the rows, arrays ``[n, ...]``.
        x2: the inputs of the columns, arrays ``[m, ...]``; None for those of the rows.
        objective: ``"logits"`` (the sum of the outputs) or ``"loss"`` (cross-entropy of the example's own label).
        labels: class indices ``[n]``, needed by ``"loss"``.
        labels2: class indices ``[m]`` of ``x2``, needed by ``"loss"`` with ``x2``.
        parameters: ``"all"``, ``"weights"``, or a predicate on the leaf's path.
        implementation: see :data:`Implementation`.

    Returns:
        The matrix ``[n, m]`` (``[n, n]`` without ``x2``) in the dtype of the gradients, at highest matrix product precision; NaN or
        infinity if the model produces them.

    Raises:
        NeuralTangentsImportError: neural-tangents is not installed; the message gives the command that installs it.
        KernelError: an unknown name, an implementation that does not work, missing labels, or shapes that do not fit.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    Deviations: of the library's implementations, 0 (the fastest by its own count) and 3 (structured derivatives) are refused: 3 reads JAX's
    internals of 2024 and fails on current releases, and 0 tries 3.
    """
    _check(objective, implementation, x2 is not None, labels is not None, labels2 is not None)
    require_sound_backend()
    chosen, rebuild = split_parameters(params, parameters)

    def objectives(chosen: list[jax.Array], examples: tuple[Any, ...]) -> jax.Array:
        return per_example(apply(rebuild(chosen), examples[0]), *examples[1:], objective=objective)

    def with_labels(x: PyTree, labels: Any) -> tuple[Any, ...]:
        return (x, labels) if objective == "loss" else (x,)

    kernel = import_neural_tangents().empirical_ntk_fn(objectives, trace_axes=(), vmap_axes=0, implementation=implementation)
    columns = None if x2 is None else with_labels(x2, labels2)
    with jax.default_matmul_precision("highest"):
        return kernel(with_labels(x, labels), columns, chosen)


def _check(objective: str, implementation: int, two: bool, labels: bool, labels2: bool) -> None:
    if implementation not in get_args(Implementation):
        reasons = {
            0: "choosing automatically would try implementation 3, which fails on current JAX",
            3: "structured derivatives read internals that current JAX no longer has",
        }
        reason = reasons.get(implementation, "there is no such implementation")
        raise KernelError(
            f"implementation={implementation!r}: {reason}; choose 1 (contraction of Jacobians) or 2 (NTK-vector products), "
            f"or jknas.gram, which is faster than all of them"
        )
    if objective == "loss" and not (labels and (labels2 or not two)):
        which = "labels2=... [m] for x2 as well as labels=... [n] for x" if two else "labels=... [n]"
        raise KernelError(f'objective="loss" needs {which}; pass them, or use objective="logits"')
