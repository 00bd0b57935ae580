r"""The exact N x N empirical neural tangent kernel of any JAX model.

.. math:: K_{ij} = \Bigl\langle \frac{\partial y_i}{\partial w}, \frac{\partial y_j}{\partial w} \Bigr\rangle

with :math:`y_i` one scalar for example *i*: the sum of its outputs, or its loss. The model is any function ``apply(params, x)`` of a batch.
It sees one example at a time, so examples cannot interact. (In training-mode batch normalisation they do; :mod:`jknas.kernels.coupled`
computes that kernel.)

``method="one_pass"`` computes the whole matrix in one backward pass (:mod:`jknas.kernels.tape`). ``method="jacobian"`` forms every
example's gradient and multiplies: slow and obvious, the reference that tests compare the fast way with.

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
* any pytree of parameters and inputs: also with random keys, as in dropout.
* complex intermediate values, as in a Fourier layer: allowed, if the parameters are real.
* complex parameters: refused with a KernelError.
* integer, boolean and key leaves: constants.

References: Jacot, Gabriel, Hongler, "Neural Tangent Kernel", NeurIPS 2018, arXiv:1806.07572; Xu et al., "KNAS", ICML 2021,
arXiv:2111.13293 (the Gram matrix of loss gradients); Novak, Sohl-Dickstein, Schoenholz, "Fast Finite Width Neural Tangent Kernel",
ICML 2022, arXiv:2206.08720 (the sum over outputs, and the cost of the alternatives).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import KernelError, choose
from jknas.kernels.chunks import check_chunk_size, chunks, count_examples
from jknas.kernels.objectives import Apply, Objective, Parameters, chosen_names, per_example, split_parameters
from jknas.kernels.tape.one_pass import contract_gradients, example_gradients, gradients, one_pass
from jknas.kernels.tape.rewriting import Contraction
from jknas.kernels.tape.rows import Layout
from jknas.kernels.tape.sketching import widest
from jknas.kernels.tile_plan import Plan as TilePlan
from jknas.kernels.tile_plan import cheaper_slices, tiles
from jknas.kernels.tile_sizes import measure
from jknas.kernels.tile_sweep import assembled, by_slices, multiply
from jknas.xla.programs import PROGRAMS
from jknas.xla.soundness import require_sound_backend

Outputs = Literal["sum", "trace", "full"]
"""``sum``: one scalar per example, the sum of its K outputs. ``trace``: the kernels of the K outputs, summed. ``full``: all K x K pairs."""

Method = Literal["auto", "one_pass", "jacobian"]

Interaction = Literal["refuse", "ignore"]
"""What to do with a model whose examples change each other's outputs: raise an error, or take each example alone regardless."""


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
        method: ``"one_pass"`` or ``"jacobian"``.
        contractions: for ``"one_pass"``, how each parameter's gradients were multiplied: its path, the form and the reason. A parameter
            that is used several times may appear several times. In chunks the form may be ``"slices"``.
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


class _Plan(NamedTuple):
    """The constants of a compiled program."""

    apply: Apply
    objective: Objective
    outputs: Outputs
    parameters: Parameters
    method: str = "one_pass"
    classes: int = 1

    @property
    def rows_each(self) -> int:
        """Rows of the matrix per example."""
        return self.classes if self.outputs == "full" else 1


class _Examples(NamedTuple):
    x: PyTree
    labels: Any


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
    ``jacobian`` keeps the gradients of all examples, :math:`N \sum_l P_l` numbers (twice that while it multiplies).

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
        method: ``"one_pass"`` or ``"jacobian"``. ``"auto"`` takes ``"one_pass"``, and ``"jacobian"`` for a model that it cannot rewrite.
        chunk_size: examples processed at once; None takes all. ``one_pass`` then visits every pair of chunks or, if that costs less within
            the memory of one chunk (what its activations, and twice its gradients of the largest parameter, add up to), forms the
            gradients of groups of parameters (:mod:`jknas.kernels.tile_plan`, whose cost model decides). ``jacobian`` takes no more time;
            chunks only bound its activations.
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
    second = None if x2 is None else _examples("x2", x2, labels2, objective)
    plan = _Plan(apply, objective, outputs, parameters, "one_pass" if method == "auto" else method)
    plan, first = _prepared(plan, params, x, labels, chunk_size=chunk_size, interaction=interaction)
    classes = plan.classes
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


def _prepared(
    plan: _Plan, params: PyTree, x: PyTree, labels: Any, *, chunk_size: int | None, interaction: Interaction, name: str = "x"
) -> tuple[_Plan, _Examples]:
    """Check the arguments that all kernels share; return the plan with the number of classes, and the examples."""
    require_sound_backend()
    choose("outputs", plan.outputs, get_args(Outputs), error=KernelError)
    choose("interaction", interaction, get_args(Interaction), error=KernelError)
    if plan.outputs != "sum" and plan.objective != "logits":
        raise KernelError(
            f'outputs={plan.outputs!r} combines the model\'s outputs and needs objective="logits", got objective={plan.objective!r}'
        )
    examples = _examples(name, x, labels, plan.objective)
    check_chunk_size(chunk_size)
    if plan.outputs != "sum":
        plan = plan._replace(classes=_classes(plan.apply, params, examples.x))
    if interaction == "refuse":
        _require_independence(plan.apply, params, x)
    return plan, examples


def _examples(name: str, x: PyTree, labels: Any, objective: Objective) -> _Examples:
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
    if len(sizes) != 1 or sizes & {(), (0,)}:
        shapes = [tuple(jnp.shape(leaf)) for leaf in jax.tree.leaves(x)]
        raise KernelError(f"{name} must be arrays with one common leading axis of at least one example, got shapes {shapes}")
    if objective != "loss":
        return _Examples(jax.tree.map(jnp.asarray, x), None)
    suffix = name.removeprefix("x") if name.startswith("x") else f"_{name}"
    if labels is None:
        raise KernelError(f'objective="loss" needs labels{suffix} [n]; pass them, or use objective="logits"')
    labels = jnp.asarray(labels)
    ((n,),) = sizes
    if labels.shape != (n,) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise KernelError(f"labels{suffix} must be {n} integers, one per example, got {labels.dtype}{list(labels.shape)}")
    return _Examples(jax.tree.map(jnp.asarray, x), labels)


def _alone(apply: Apply, params: PyTree, example: PyTree) -> jax.Array:
    return apply(params, jax.tree.map(lambda a: a[None], example))


def _classes(apply: Apply, params: PyTree, x: PyTree) -> int:
    one = jax.eval_shape(lambda params, x: _alone(apply, params, jax.tree.map(lambda a: a[0], x)), params, x)
    return 1 if _checked_result(one).ndim == 1 else one.shape[1]


def _checked_result(one: Any) -> Any:
    """Return the model's result for one example if it is one row of outputs, otherwise raise KernelError."""
    shape = getattr(one, "shape", None)
    if shape is None or len(shape) not in {1, 2} or shape[0] != 1:
        got = jax.tree.structure(one) if shape is None else shape
        raise KernelError(f"the model must return [n, k] or [n], one row per example; for one example it returned {got}")
    return one


def _gaps(apply: Apply, params: PyTree, x: PyTree) -> jax.Array:
    """Return how much the first example's outputs change with another neighbour, and without one, and how large they are."""
    with jax.default_matmul_precision("highest"):
        alone = _checked_result(_alone(apply, params, jax.tree.map(lambda a: a[0], x)))[0]
        together = apply(params, x)[0]
        repeated = apply(params, jax.tree.map(lambda a: jnp.stack([a[0], a[0]]), x))[0]
    return jnp.stack([jnp.max(jnp.abs(value)) for value in (together - repeated, together - alone, alone)])


def _require_independence(apply: Apply, params: PyTree, x: PyTree) -> None:
    leaves = jax.tree.leaves((params, x))
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves) or jax.tree.leaves(x)[0].shape[0] < 2:
        return
    found = PROGRAMS.jitted(_gaps, apply)(params, jax.tree.map(lambda a: a[:2], x))
    if isinstance(found, jax.core.Tracer):  # apply closes over a traced value
        return
    neighbour, company, size = np.asarray(found, np.float64)
    # A neighbour must not even change the rounding. Another batch size may round differently, visibly so in half precision.
    if neighbour > 1e-3 * size or company > 0.1 * size:
        raise KernelError(
            f"an example's outputs change by up to {max(neighbour, company):.3g} (of {size:.3g}) with the other examples of its batch: "
            "the examples interact, as in training-mode batch normalisation. Use jknas.ntk_coupled for that kernel, per-example or running "
            'statistics, or interaction="ignore" for the kernel of every example alone'
        )


def _scalar(plan: _Plan, params: PyTree) -> tuple[list[jax.Array], list[str], Callable[..., jax.Array]]:
    leaves, rebuild = split_parameters(params, plan.parameters)

    def scalar(leaves: list[jax.Array], example: tuple[_Examples, Any]) -> jax.Array:
        (x, label), selector = example
        result = _checked_result(_alone(plan.apply, rebuild(leaves), x))
        if selector is not None:
            return jnp.vdot(result.reshape(-1), selector.astype(result.dtype))
        return per_example(result, None if label is None else label[None], objective=plan.objective)[0]

    return leaves, chosen_names(params, plan.parameters), scalar


def _layout(plan: _Plan, leaves: list[jax.Array], examples: _Examples, second: int) -> tuple[Layout, Any]:
    """Return the layout and the batch that it describes, in which each example appears once, or once per output."""
    n = count_examples(examples)
    dtype = widest([leaf.dtype for leaf in leaves])
    if plan.outputs == "sum":
        return Layout(n - second, second, 1, dtype), (examples, None)
    repeated = jax.tree.map(lambda a: jnp.repeat(a, plan.classes, 0), examples)
    selectors = jnp.tile(jnp.eye(plan.classes, dtype=dtype), (n, 1))
    if plan.outputs == "trace":
        return Layout(n - second, second, plan.classes, dtype), (repeated, selectors)
    return Layout((n - second) * plan.classes, second * plan.classes, 1, dtype), (repeated, selectors)


def _block(plan: _Plan, second: int, params: PyTree, examples: _Examples) -> Gram:
    """Return the kernel of the leading examples with the last ``second``; for ``second=0``, of all examples with themselves."""
    with jax.default_matmul_precision("highest"):
        leaves, names, scalar = _scalar(plan, params)
        layout, batch = _layout(plan, leaves, examples, second)
        matrix, contractions = one_pass(scalar, leaves, names, batch, layout)
        return Gram(matrix, plan.objective, plan.outputs, tuple(names), plan.method, contractions)


def _jacobian(plan: _Plan, params: PyTree, examples: _Examples) -> list[jax.Array]:
    with jax.default_matmul_precision("highest"):
        leaves, _, scalar = _scalar(plan, params)
        return gradients(scalar, leaves, *reversed(_layout(plan, leaves, examples, 0)))


def _slice(plan: _Plan, group: tuple[int, ...], params: PyTree, examples: _Examples) -> jax.Array:
    """Return the gradients of the leaves at the positions ``group``, one row per row of the matrix, in its dtype."""
    with jax.default_matmul_precision("highest"):
        leaves, _, scalar = _scalar(plan, params)
        layout, batch = _layout(plan, leaves, examples, 0)
        try:
            found = example_gradients(scalar, leaves, group, batch, layout)
        except NotImplementedError:
            every = gradients(scalar, leaves, batch, layout)
            found = [every[position] for position in group]
        return jnp.concatenate([leaf.reshape(layout.first, -1).astype(layout.dtype) for leaf in found], 1)


_contract = jax.jit(contract_gradients)


def _joined(a: _Examples, b: _Examples) -> _Examples:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), a, b)


def _pair(plan: _Plan, second: int, params: PyTree, a: _Examples, b: _Examples) -> jax.Array:
    return _block(plan, second, params, _joined(a, b)).matrix


def _forward(plan: _Plan, leaves: list[jax.Array], params: PyTree, examples: _Examples) -> jax.Array:
    """Return the scalar of the first example; with several outputs, their sum."""
    selector = None if plan.outputs == "sum" else jnp.ones(plan.classes, leaves[0].dtype)
    return _scalar(plan, params)[2](leaves, (jax.tree.map(lambda a: a[0], examples), selector))


def _in_chunks(plan: _Plan, params: PyTree, first: _Examples, second: _Examples | None, chunk_size: int | None) -> Gram:
    """Return the kernel with one row per example, for ``outputs="full"`` one per example and output."""
    if plan.method == "jacobian":
        a = _all_gradients(plan, params, first, chunk_size)
        b = a if second is None else _all_gradients(plan, params, second, chunk_size)
        return Gram(_contract(a, b), plan.objective, plan.outputs, tuple(chosen_names(params, plan.parameters)), plan.method, ())
    count = count_examples(first) + (0 if second is None else count_examples(second))
    if chunk_size is None or chunk_size >= count:
        together = first if second is None else _joined(first, second)
        return PROGRAMS.jitted(_block, plan, count - count_examples(first))(params, together)
    half = max(1, chunk_size // 2)
    shapes: Any = jax.eval_shape(lambda *arguments: arguments, params, first, second)
    leaves, structure = jax.tree.flatten(shapes)
    name = ("slices", plan, chunk_size, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
    if (found := PROGRAMS.kept(name, lambda: _plan_of_slices(plan, shapes[0], shapes[1], shapes[2], chunk_size))) is not None:
        return _sliced(plan, params, [first] if second is None else [first, second], found)
    if second is None:
        return _square(plan, params, chunks(first, half))
    return _rectangle(plan, params, chunks(first, half), chunks(second, half))


def _plan_of_slices(plan: _Plan, params: PyTree, first: _Examples, second: _Examples | None, chunk_size: int) -> TilePlan | None:
    """Return how to take slices of the parameters in the memory of one chunk, if that is cheaper than all pairs of chunks."""
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype), first)
    leaves = jax.eval_shape(lambda params: _scalar(plan, params)[0], params)
    counts: Any = {"rows": count_examples(first), "columns": None if second is None else count_examples(second), "repeats": plan.classes}
    sizes = measure(functools.partial(_forward, plan), lambda t: functools.partial(_pair, plan, t), leaves, params, one, **counts)
    if sizes is None:
        return None
    sizes = sizes._replace(activations=sizes.activations // 3)  # XLA keeps 0.29 of all that a ResNet-18 computes
    memory = chunk_size * (sizes.activations + 2 * sizes.width * max(sizes.leaves))
    return cheaper_slices(sizes, memory, max(1, chunk_size // 2))


def _sliced(plan: _Plan, params: PyTree, sides: list[_Examples], tiling: TilePlan) -> Gram:
    """Form the gradients of groups of parameters, and multiply them."""
    parts = [chunks(side, tiling.tile) for side in sides]

    def slices(side: int, at: int, group: int) -> jax.Array:
        program = PROGRAMS.jitted(_slice, plan, tiling.groups[group])
        return jnp.concatenate([program(params, part) for part, _ in chunks(parts[side][at][0], tiling.batch)])

    counts, symmetric = [count_examples(side) for side in sides], len(sides) == 1
    wanted = tiles(counts[0], None if symmetric else counts[-1], tiling.tile)
    found = by_slices(slices, multiply, wanted, strip=tiling.strip, groups=len(tiling.groups), symmetric=symmetric)
    names = tuple(chosen_names(params, plan.parameters))
    matrix = assembled(dict(found), [[n * plan.rows_each for _, n in side] for side in (parts[0], parts[-1])], symmetric=symmetric)
    why = "costs less than pairs of chunks"
    return Gram(matrix, plan.objective, plan.outputs, names, plan.method, tuple(Contraction(name, "slices", why) for name in names))


def _square(plan: _Plan, params: PyTree, parts: list[tuple[PyTree, int]]) -> Gram:
    """Visit every pair of chunks; the square kernel of a pair holds four blocks."""
    each, program = plan.rows_each, PROGRAMS.jitted(_block, plan, 0)
    blocks: list[list[Any]] = [[None] * len(parts) for _ in parts]
    for i, (a, n) in enumerate(parts):
        for j, (b, m) in enumerate(parts[i + 1 :], i + 1):
            found = program(params, _joined(a, b))
            half, rows, columns = len(found.matrix) // 2, n * each, m * each
            blocks[i][i], blocks[j][j] = found.matrix[:rows, :rows], found.matrix[half : half + columns, half : half + columns]
            blocks[i][j] = found.matrix[:rows, half : half + columns]
            blocks[j][i] = blocks[i][j].T
    return replace(found, matrix=jnp.block(blocks))


def _rectangle(plan: _Plan, params: PyTree, first: list[tuple[PyTree, int]], second: list[tuple[PyTree, int]]) -> Gram:
    each, program = plan.rows_each, PROGRAMS.jitted(_block, plan, count_examples(second[0][0]))
    blocks: list[list[jax.Array]] = []
    for a, n in first:
        blocks.append([])
        for b, m in second:
            found = program(params, _joined(a, b))
            blocks[-1].append(found.matrix[: n * each, : m * each])
    return replace(found, matrix=jnp.block(blocks))


def _all_gradients(plan: _Plan, params: PyTree, examples: _Examples, chunk_size: int | None) -> list[jax.Array]:
    program = PROGRAMS.jitted(_jacobian, plan)
    if chunk_size is None or chunk_size >= count_examples(examples):
        return program(params, examples)
    each = plan.rows_each
    parts = [[leaf[: n * each] for leaf in program(params, chunk)] for chunk, n in chunks(examples, chunk_size)]
    return [jnp.concatenate(leaves) for leaves in zip(*parts, strict=True)]
