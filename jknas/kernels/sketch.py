r"""A sketch of the empirical neural tangent kernel: few random features of every example, :math:`K \approx \Phi \Phi^T`."""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import KernelError
from jknas.kernels.chunks import count_examples, in_chunks
from jknas.kernels.examples import Examples, Interaction, Outputs, Setup, prepared, scalar_of
from jknas.kernels.objectives import Apply, Objective, Parameters, chosen_names
from jknas.kernels.tape.one_pass import one_pass
from jknas.kernels.tape.rows import Layout
from jknas.kernels.tape.sketching import widest
from jknas.xla.programs import PROGRAMS


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["features", "diagonal"],
    meta_fields=["objective", "parameters"],
)
@dataclass(frozen=True, eq=False)
class SketchedGram:
    """Random features whose inner products estimate a kernel. A pytree, so functions under ``jax.jit`` may return it.

    Attributes:
        features: ``[n, width]``; after a ``jax.vmap``, for example over keys, with its axis in front, as in the other attributes.
        diagonal: ``[n]``, the exact diagonal of the kernel.
        objective: ``"logits"`` or ``"loss"``.
        parameters: paths of the parameters that were differentiated.
        outputs: ``"sum"``, how the outputs of one example are combined.
        method: ``"sketch"``.
    """

    features: Float[Array, "*maps n width"]
    diagonal: Float[Array, "*maps n"]
    objective: Objective
    parameters: tuple[str, ...]
    outputs: ClassVar[Outputs] = "sum"
    method: ClassVar[str] = "sketch"

    @property
    def matrix(self) -> Float[Array, "*maps n n"]:
        """The estimated kernel, multiplied when it is asked for."""
        return jnp.matmul(self.features, self.features.mT, precision="highest")

    @property
    def width(self) -> int:
        """Number of features."""
        return self.features.shape[-1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the estimated kernel for NumPy functions."""
        return np.asarray(self.matrix, dtype=dtype, copy=copy)


def sketched_gram(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    *,
    width: int,
    key: jax.Array,
    objective: Objective = "logits",
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    parameters: Parameters = "all",
    chunk_size: int | None = None,
    interaction: Interaction = "refuse",
) -> SketchedGram:
    r"""Project every example's gradient to ``width`` numbers, layer by layer in one backward pass.

    The projection R is a count sketch in blocks (:mod:`jknas.kernels.tape.sketching`) with as many parameters as rows of :math:`R^T`, which
    is never stored. Over random keys,

    .. math:: E[\Phi \Phi^T] = K, \qquad \mathrm{std}[(\Phi \Phi^T)_{ij}] \le \sqrt{\frac{K_{ii} K_{jj} + K_{ij}^2}{w}},

    the bound for dense random signs or better. The record holds the exact :math:`K_{ii}`, so the bound can be computed without K. R depends
    on the key, the width and the parameters' paths, not on the examples: features of different sets of examples, computed with the same key
    and the same model, may be multiplied with each other, and those of disjoint sets of parameters add up.

    Cost: linear in the number of examples, and hardly dependent on the width (``benchmarks/speed/gram_parts.py``: 0.9 to 2 training steps).
    Memory: the activations of a training step and the per-example gradients of the largest layer, :math:`N \max_l P_l` numbers, both for
    ``chunk_size`` examples; then N x ``width`` numbers.

    Args:
        apply: the model, as in :func:`jknas.gram`, which lists what works.
        params: any pytree of arrays.
        x: inputs, a pytree of arrays ``[n, ...]``.
        width: number of features.
        key: a key of ``jax.random``.
        objective: ``"logits"`` (the sum of the outputs) or ``"loss"`` (each example's cross-entropy).
        labels: class indices ``[n]``, needed by ``"loss"``.
        parameters: ``"all"``, ``"weights"``, or a predicate on the leaf's path.
        chunk_size: examples processed at once; None takes all. The projection and the time do not depend on it.
        interaction: what to do about examples that change each other's outputs, as in :func:`jknas.gram`.

    Returns:
        The features in the widest dtype of the parameters, at least float32. Features may cancel to zeros although the gradient is not
        zero: those of a gradient with two equal entries do with probability 1 / (2 ``width``). That raises an error, or where JAX traces
        the arguments returns NaN.

    Raises:
        KernelError: a width below 1, no key, features that cancel, or what :func:`jknas.gram` refuses.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    >>> import jax, jax.numpy as jnp
    >>> x, w = jnp.array([[1.0, 2.0], [3.0, -1.0]]), jnp.ones((2, 1))
    >>> sketched_gram(lambda w, x: x @ w, w, x, width=2, key=jax.random.key(0)).matrix.tolist()  # one block of two entries: exact
    [[5.0, 1.0], [1.0, 10.0]]
    """
    if not isinstance(width, int) or width < 1:
        raise KernelError(f"width must be a whole number of features, at least 1, got {width!r}")
    if not _is_key(key):
        raise KernelError(f"key must be a key of jax.random, such as jax.random.key(0), got {key!r}")
    plan, examples = prepared(Setup(apply, objective, "sum", parameters), params, x, labels, chunk_size=chunk_size, interaction=interaction)
    found = in_chunks(functools.partial(PROGRAMS.jitted(_features, plan, width), params, key), examples, chunk_size)
    features, diagonal, lost = found
    if not isinstance(lost, jax.core.Tracer) and np.any(lost):
        raise KernelError(
            f"the features of {int(np.sum(lost))} of {len(lost)} examples cancel to zeros, although their gradients are not zero "
            f"(the first is example {int(np.argmax(lost))}); use another key or a larger width than {width}"
        )
    return SketchedGram(features, diagonal, objective, tuple(chosen_names(params, parameters)))


def _is_key(key: Any) -> bool:
    dtype = getattr(key, "dtype", None)
    if dtype is None:
        return False
    return bool(jnp.issubdtype(dtype, jax.dtypes.prng_key)) if jnp.ndim(key) == 0 else dtype == jnp.uint32 and jnp.shape(key) == (2,)


def _features(plan: Setup, width: int, params: PyTree, key: jax.Array, examples: Examples) -> tuple[jax.Array, jax.Array, jax.Array]:
    with jax.default_matmul_precision("highest"):
        leaves, names, scalar = scalar_of(plan, params)
        layout = Layout(count_examples(examples), 0, 1, widest([leaf.dtype for leaf in leaves]), width=width)
        found, _ = one_pass(scalar, leaves, names, (examples, None), layout, key=key)
    features, diagonal = found[:, :width], found[:, width]
    lost = jnp.all(features == 0, 1) & (diagonal > 0)
    return jnp.where(lost[:, None], jnp.nan, features), diagonal, lost
