r"""The exact N x N empirical neural tangent kernel of any JAX model.

.. math:: K_{ij} = \Bigl\langle \frac{\partial y_i}{\partial w}, \frac{\partial y_j}{\partial w} \Bigr\rangle

with :math:`y_i` one scalar for example *i*: the sum of its outputs, or its loss. The model is any function ``apply(params, x)`` of a batch.
It sees one example at a time, so examples cannot interact. (In training-mode batch normalisation they do; :mod:`jknas.kernels.coupled`
computes that kernel.)

``method="one_pass"`` computes the whole matrix in one backward pass (:mod:`jknas.kernels.tape`). ``method="slices"`` forms the gradients of
a chunk of examples after the other and multiplies them: for batches that are taken in chunks. ``method="jacobian"`` is ``vmap(grad)`` and
a product: slow and obvious, the reference that tests compare the fast ways with.

What may be in a model, here and in :mod:`~jknas.kernels.diagonal`, :mod:`~jknas.kernels.products` and :mod:`~jknas.kernels.sketch`:

* half precision (bfloat16, float16): products of gradients are accumulated in float32, the dtype of the result.
* mixed precision: parameters that the model casts count in their own dtype.
* jax.jit: any nesting.
* jax.checkpoint: with its policy; recomputed in the backward pass as usual.
* lax.scan: over stacked layers (one layer's gradients at a time) or over time (shared parameters: their summed gradients).
* lax.cond, lax.switch: branches chosen by constants, by the data or by the carry of a loop.
* lax.while_loop, lax.fori_loop: over data; parameters only where JAX differentiates in reverse (a loop of fixed length).
* jax.vmap inside the model: over tokens, heads or experts.
* jax.custom_vjp: the kernel follows the rule; the parameters of such a function take the leaf form.
* jax.custom_jvp: likewise.
* lax.stop_gradient: stopped uses do not count.
* tied weights and parameters used several times: the gradient is the sum over all uses.
* stacked parameters: parts that do not overlap, such as ``p[0]`` and ``p[1]``, are treated like parameters of their own.
* any pytree of parameters and inputs: also with random keys, as in dropout.
* complex intermediate values, as in a Fourier layer: allowed, if the parameters are real.
* complex parameters: refused with a KernelError.
* integer, boolean and key leaves: constants.

References: Jacot, Gabriel, Hongler, "Neural Tangent Kernel", NeurIPS 2018, arXiv:1806.07572; Xu et al., "KNAS", ICML 2021,
arXiv:2111.13293 (the Gram matrix of loss gradients); Novak, Sohl-Dickstein, Schoenholz, "Fast Finite Width Neural Tangent Kernel",
ICML 2022, arXiv:2206.08720 (the sum over outputs, and the cost of the alternatives).
"""

import functools
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import KernelError, choose
from jknas.kernels.chunks import chunks, count_examples, in_chunks, joined
from jknas.kernels.examples import (
    Examples,
    Interaction,
    Outputs,
    Setup,
    gradient_slice,
    layout_of,
    prepared,
    prepared_second,
    scalar_of,
)
from jknas.kernels.objectives import Apply, Objective, Parameters, chosen_names, split_parameters
from jknas.kernels.tape.one_pass import contract_gradients, gradients, one_pass
from jknas.kernels.tape.rewriting import Contraction
from jknas.kernels.tape.sketching import widest
from jknas.kernels.tile_sweep import by_slices
from jknas.xla.programs import PROGRAMS

Method = Literal["auto", "one_pass", "slices", "jacobian"]

_KEPT = 2**30
"""Bytes of gradients that ``method="auto"`` keeps to save backward passes."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["matrix"],
    meta_fields=["objective", "outputs", "parameters", "method", "contractions"],
)
@dataclass(frozen=True, eq=False)
class Gram:
    """A kernel and its definition. A pytree, so functions under ``jax.jit`` may return it.

    Attributes:
        matrix: ``[n, n]``, or ``[n, n2]`` against other examples, or ``[n, n2, k, k]`` for ``outputs="full"``.
        objective: ``"logits"`` or ``"loss"``.
        outputs: how the outputs of one example are combined.
        parameters: paths of the parameters that were differentiated.
        method: ``"one_pass"``, ``"slices"`` or ``"jacobian"``.
        contractions: for ``"one_pass"``, how each parameter's gradients were multiplied: its path, the form and the reason. A parameter
            that is used several times may appear several times.
    """

    matrix: Float[Array, "n m ..."]
    objective: Objective
    outputs: Outputs
    parameters: tuple[str, ...]
    method: str
    contractions: tuple[Contraction, ...]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the matrix for NumPy functions."""
        return np.asarray(self.matrix, dtype=dtype, copy=copy)


def gram(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    x2: PyTree | None = None,
    *,
    objective: Objective = "logits",
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    labels2: Int[Array, " n2"] | Int[np.ndarray, " n2"] | None = None,
    outputs: Outputs = "sum",
    parameters: Parameters = "all",
    method: Method = "auto",
    chunk_size: int | None = None,
    interaction: Interaction = "refuse",
) -> Gram:
    r"""Compute the empirical neural tangent kernel of ``x`` with itself, or with ``x2``.

    Cost: ``one_pass`` takes about the time of one training step on the batch (K times that for ``outputs="trace"`` or ``"full"``). Its
    memory holds the activations of that step, the per-example gradients of the largest layer, :math:`N \max_l P_l` numbers, and the matrix.
    ``slices`` forms all gradients of two chunks or more, :math:`\sum_l P_l` numbers an example, and takes N passes if it may keep those of
    all examples. ``jacobian`` keeps them, twice while it multiplies.

    A program is compiled for each ``apply`` (function object, as in ``jax.jit``), set of options and shapes. The least recently used of
    many are dropped (:mod:`jknas.xla.programs`).

    Args:
        apply: the model, ``apply(params, x) -> [n, k]`` (or ``[n]``): any JAX function, of Flax, Equinox, Haiku or none of them.
        params: any pytree of arrays. Only real floating-point leaves are differentiated; the result's ``parameters`` lists them.
        x: inputs, a pytree of arrays ``[n, ...]``.
        x2: other inputs ``[n2, ...]`` for a rectangular kernel.
        objective: ``"logits"`` (the outputs) or ``"loss"`` (each example's cross-entropy).
        labels: class indices ``[n]``, needed by ``"loss"``.
        labels2: class indices of ``x2``.
        outputs: how the K outputs of an example are combined; other than ``"sum"`` only with ``objective="logits"``.
        parameters: ``"all"``, ``"weights"``, or a predicate on the leaf's path.
        method: ``"one_pass"``, ``"slices"`` or ``"jacobian"``. ``"auto"`` takes ``"one_pass"``, and ``"jacobian"`` for a model that it
            cannot rewrite; with ``chunk_size`` it takes ``"slices"`` if the gradients of three chunks fit into 1 GiB.
        chunk_size: examples processed at once; None takes all. ``one_pass`` visits every pair of half chunks: with C chunks
            :math:`2 C - 1` times the passes. ``slices`` visits every chunk once, or again for each 1 GiB of gradients: at most
            :math:`(C + 1) / 2` times the passes. ``jacobian`` takes no more time; chunks only bound its activations.
            (:func:`jknas.tiled_gram` is told how much memory it may take.)
        interaction: ``"refuse"`` compares one example's outputs next to another example, next to itself and alone, and raises an error if
            they differ (not while JAX traces the arguments). ``"ignore"`` does not compare.

    Returns:
        The kernel in the widest dtype of the parameters, at least float32, accumulated at the highest matrix product precision.

    Raises:
        KernelError: an unknown name, shapes that do not fit, missing labels, nothing to differentiate, or examples that interact.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    >>> import jax.numpy as jnp
    >>> x, w = jnp.array([[1.0, 2.0], [3.0, -1.0]]), jnp.ones((2, 1))
    >>> gram(lambda w, x: x @ w, w, x).matrix.tolist()  # the gradients are the inputs
    [[5.0, 1.0], [1.0, 10.0]]
    """
    choose("method", method, get_args(Method), error=KernelError)
    plan = Setup(apply, objective, outputs, parameters, "one_pass" if method == "auto" else method)
    plan, first = prepared(plan, params, x, labels, chunk_size=chunk_size, interaction=interaction)
    second = None if x2 is None else prepared_second(plan, params, first, x2, labels2)
    classes = plan.classes
    count = count_examples(first) + (0 if second is None else count_examples(second))
    if method == "auto" and chunk_size is not None and chunk_size < count and _strip(plan, params, first, chunk_size) > 0:
        plan = plan._replace(method="slices")
    try:
        found = _in_chunks(plan, params, first, second, chunk_size)
    except NotImplementedError:
        if method != "auto":
            raise
        found = _in_chunks(plan._replace(method="jacobian"), params, first, second, chunk_size)
    if outputs == "full":
        n, m = found.matrix.shape
        matrix = found.matrix.reshape(n // classes, classes, m // classes, classes).transpose(0, 2, 1, 3)
        return replace(found, matrix=matrix)
    return found


def _block(plan: Setup, second: int, params: PyTree, examples: Examples) -> Gram:
    """Return the kernel of the leading examples with the last ``second``; for ``second=0``, of all examples with themselves."""
    with jax.default_matmul_precision("highest"):
        leaves, names, scalar = scalar_of(plan, params)
        layout, batch = layout_of(plan, leaves, examples, second)
        matrix, contractions = one_pass(scalar, leaves, names, batch, layout)
        return Gram(matrix, plan.objective, plan.outputs, tuple(names), plan.method, contractions)


def _jacobian(plan: Setup, params: PyTree, examples: Examples) -> list[jax.Array]:
    with jax.default_matmul_precision("highest"):
        leaves, _, scalar = scalar_of(plan, params)
        return gradients(scalar, leaves, *reversed(layout_of(plan, leaves, examples, 0)))


_contract = jax.jit(contract_gradients)


def pair(plan: Setup, second: int, params: PyTree, a: Examples, b: Examples) -> jax.Array:
    """Return the kernel of two batches; of the second one only the last ``second`` examples count as columns."""
    return _block(plan, second, params, joined(a, b)).matrix


def _in_chunks(plan: Setup, params: PyTree, first: Examples, second: Examples | None, chunk_size: int | None) -> Gram:
    """Return the kernel with one row per example, for ``outputs="full"`` one per example and output."""
    if plan.method == "jacobian":
        program = functools.partial(PROGRAMS.jitted(_jacobian, plan), params)
        found = [in_chunks(program, part, chunk_size, rows_each=plan.rows_each) for part in (first, second) if part is not None]
        return Gram(
            _contract(found[0], found[-1]), plan.objective, plan.outputs, tuple(chosen_names(params, plan.parameters)), plan.method, ()
        )
    if plan.method == "slices":
        return _in_slices(plan, params, first, second, chunk_size)
    count = count_examples(first) + (0 if second is None else count_examples(second))
    if chunk_size is None or chunk_size >= count:
        together = first if second is None else joined(first, second)
        return PROGRAMS.jitted(_block, plan, count - count_examples(first))(params, together)
    half = max(1, chunk_size // 2)
    if second is None:
        return _square(plan, params, chunks(first, half))
    return rectangle(plan, params, chunks(first, half), chunks(second, half))


def _strip(plan: Setup, params: PyTree, first: Examples, chunk_size: int) -> int:
    """Return of how many chunks the gradients may stay in memory, beside those of two more; 0 if not even of one."""
    leaves, _ = split_parameters(params, plan.parameters)
    rows = min(chunk_size, count_examples(first)) * (1 if plan.outputs == "sum" else plan.classes)
    each = rows * sum(jnp.size(leaf) for leaf in leaves) * widest([jnp.result_type(leaf) for leaf in leaves]).itemsize
    return max(0, _KEPT // max(1, each) - 2)


def _in_slices(plan: Setup, params: PyTree, first: Examples, second: Examples | None, chunk_size: int | None) -> Gram:
    """Form the gradients of chunk after chunk, and multiply them with those that are kept."""
    size = chunk_size or count_examples(first)
    sides = [chunks(examples, min(size, count_examples(examples))) for examples in (first, second) if examples is not None]
    names = tuple(chosen_names(params, plan.parameters))
    form = functools.partial(PROGRAMS.jitted(gradient_slice, plan, tuple(range(len(names)))), params)
    rows, columns = ([count * plan.rows_each for _, count in side] for side in (sides[0], sides[-1]))
    blocks: list[list[Any]] = [[None] * len(columns) for _ in rows]
    wanted = [(i, j) for i in range(len(rows)) for j in range(0 if second else i, len(columns))]
    found = by_slices(
        lambda side, at, _: form(sides[side][at][0]),
        lambda one, other: _contract([one], [other]),
        wanted,
        strip=max(1, _strip(plan, params, first, size)),
        groups=1,
        symmetric=second is None,
    )
    for (i, j), block in found:
        blocks[i][j] = block[: rows[i], : columns[j]]
        if second is None:
            blocks[j][i] = blocks[i][j].T
    return Gram(jnp.block(blocks), plan.objective, plan.outputs, names, plan.method, ())


def _square(plan: Setup, params: PyTree, parts: list[tuple[PyTree, int]]) -> Gram:
    """Visit every pair of chunks. The square kernel of some pairs holds all blocks of the diagonal; of the others one block is computed."""
    each, size, last = plan.rows_each, count_examples(parts[0][0]), len(parts) - 1
    square, one_block = PROGRAMS.jitted(_block, plan, 0), PROGRAMS.jitted(_block, plan, size)
    blocks: list[list[Any]] = [[None] * len(parts) for _ in parts]
    for i, (a, n) in enumerate(parts):
        for j, (b, m) in enumerate(parts[i + 1 :], i + 1):
            rows, columns, start = n * each, m * each, size * each
            if j == i + 1 and (i % 2 == 0 or j == last):
                found = square(params, joined(a, b))
                blocks[i][i], blocks[j][j] = found.matrix[:rows, :rows], found.matrix[start : start + columns, start : start + columns]
                blocks[i][j] = found.matrix[:rows, start : start + columns]
            else:
                blocks[i][j] = one_block(params, joined(a, b)).matrix[:rows, :columns]
            blocks[j][i] = blocks[i][j].T
    return replace(found, matrix=jnp.block(blocks))


def rectangle(plan: Setup, params: PyTree, first: list[tuple[PyTree, int]], second: list[tuple[PyTree, int]]) -> Gram:
    """Return the kernel of two lists of chunks, each with its number of real examples."""
    each, program = plan.rows_each, PROGRAMS.jitted(_block, plan, count_examples(second[0][0]))
    blocks: list[list[jax.Array]] = []
    for a, n in first:
        blocks.append([])
        for b, m in second:
            found = program(params, joined(a, b))
            blocks[-1].append(found.matrix[: n * each, : m * each])
    return replace(found, matrix=jnp.block(blocks))
