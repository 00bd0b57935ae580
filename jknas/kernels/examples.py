"""What the kernels of single examples share: the checked examples, one scalar per example, and its choice of parameters."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jknas.errors import KernelError, choose
from jknas.kernels.chunks import check_chunk_size, count_examples
from jknas.kernels.objectives import Apply, Objective, Parameters, chosen_names, per_example, split_parameters
from jknas.kernels.tape.one_pass import example_gradients, gradients
from jknas.kernels.tape.rows import Layout
from jknas.kernels.tape.sketching import widest
from jknas.xla.programs import PROGRAMS
from jknas.xla.soundness import require_sound_backend

Outputs = Literal["sum", "trace", "full"]
"""``sum``: one scalar per example, the sum of its K outputs. ``trace``: the kernels of the K outputs, summed. ``full``: all K x K pairs."""

Interaction = Literal["refuse", "ignore"]
"""What to do with a model whose examples change each other's outputs: raise an error, or take each example alone regardless."""


class Setup(NamedTuple):
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


class Examples(NamedTuple):
    """Inputs, arrays ``[n, ...]``, and class indices ``[n]`` or None."""

    x: PyTree
    labels: Any


def prepared(
    plan: Setup,
    params: PyTree,
    x: PyTree,
    labels: Any,
    *,
    chunk_size: int | None,
    interaction: Interaction,
    name: str = "x",
    on_host: bool = False,
) -> tuple[Setup, Examples]:
    """Check the arguments that all kernels share; return the plan with the number of classes, and the examples."""
    require_sound_backend()
    choose("outputs", plan.outputs, get_args(Outputs), error=KernelError)
    choose("interaction", interaction, get_args(Interaction), error=KernelError)
    if plan.outputs != "sum" and plan.objective != "logits":
        raise KernelError(
            f'outputs={plan.outputs!r} combines the model\'s outputs and needs objective="logits", got objective={plan.objective!r}'
        )
    examples = as_examples(name, x, labels, plan.objective, on_host=on_host)
    check_chunk_size(chunk_size)
    if plan.outputs != "sum":
        plan = plan._replace(classes=count_classes(plan.apply, params, examples.x))
    _check_labels(plan.apply, params, examples, name)
    if interaction == "refuse":
        require_independence(plan.apply, params, x)
    return plan, examples


def _suffix_of(name: str) -> str:
    """Return what the name of the labels of some examples ends in."""
    return name.removeprefix("x") if name.startswith("x") else f"_{name}"


def as_examples(name: str, x: PyTree, labels: Any, objective: Objective, *, on_host: bool = False) -> Examples:
    """Return checked examples; raise KernelError for shapes or labels that do not fit. ``on_host`` leaves them where they are."""
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(x)}
    if len(sizes) != 1 or sizes & {(), (0,)}:
        shapes = [tuple(jnp.shape(leaf)) for leaf in jax.tree.leaves(x)]
        raise KernelError(f"{name} must be arrays with one common leading axis of at least one example, got shapes {shapes}")
    x = x if on_host else jax.tree.map(jnp.asarray, x)
    if objective != "loss":
        return Examples(x, None)
    suffix = _suffix_of(name)
    if labels is None:
        raise KernelError(f'objective="loss" needs labels{suffix} [n]; pass them, or use objective="logits"')
    labels = (np if on_host else jnp).asarray(labels)
    ((n,),) = sizes
    if labels.shape != (n,) or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise KernelError(f"labels{suffix} must be {n} integers, one per example, got {labels.dtype}{list(labels.shape)}")
    return Examples(x, labels)


def prepared_second(
    plan: Setup, params: PyTree, first: Examples, x2: PyTree, labels2: Any, *, names: tuple[str, str] = ("x", "x2"), on_host: bool = False
) -> Examples:
    """Return the checked other examples of a rectangular kernel, which can be joined to the first ones.

    A joint array would have one dtype, and a model may compute something else for another.
    """
    second = as_examples(names[1], x2, labels2, plan.objective, on_host=on_host)
    given = [jax.tree.map(lambda leaf: (leaf.shape[1:], jnp.result_type(leaf).name), examples.x) for examples in (first, second)]
    if given[0] != given[1]:
        raise KernelError(
            f"examples of {' and '.join(names)} must have the same structure, shapes and dtypes, got {given[0]} and {given[1]}"
        )
    _check_labels(plan.apply, params, second, names[1])
    return second if second.labels is None else second._replace(labels=second.labels.astype(jnp.result_type(first.labels)))


def _check_labels(apply: Apply, params: PyTree, examples: Examples, name: str) -> None:
    """Raise KernelError for labels that are no classes of the model, which would count for nothing; while JAX traces, do nothing."""
    leaves = jax.tree.leaves((params, examples))
    if examples.labels is None or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return
    one = _result_of_one(apply, params, examples.x)
    labels, classes = np.asarray(examples.labels), one.shape[-1]
    if one.ndim == 2 and (wrong := labels[(labels < 0) | (labels >= classes)]).size:
        raise KernelError(
            f"labels{_suffix_of(name)} must be class indices from 0 to {classes - 1}, the outputs of the model, got {wrong[0]}"
        )


def alone(apply: Apply, params: PyTree, example: PyTree) -> jax.Array:
    """Return the model's result for one example, as a batch of one."""
    return apply(params, jax.tree.map(lambda a: a[None], example))


def count_classes(apply: Apply, params: PyTree, x: PyTree) -> int:
    """Return the number of outputs per example."""
    one = _result_of_one(apply, params, x)
    return 1 if one.ndim == 1 else one.shape[1]


def _result_of_one(apply: Apply, params: PyTree, x: PyTree) -> Any:
    """Return the shape and dtype of the model's result for one example, without computing it."""
    return checked_result(jax.eval_shape(PROGRAMS.jitted(alone, apply), params, jax.tree.map(lambda a: a[0], x)))


def checked_result(one: Any) -> Any:
    """Return the model's result for one example if it is one row of outputs, otherwise raise KernelError."""
    shape = getattr(one, "shape", None)
    if shape is None or len(shape) not in {1, 2} or shape[0] != 1:
        got = jax.tree.structure(one) if shape is None else shape
        raise KernelError(f"the model must return [n, k] or [n], one row per example; for one example it returned {got}")
    return one


def _gaps(apply: Apply, params: PyTree, x: PyTree) -> jax.Array:
    """Return how much the first example's outputs change with another neighbour, and without one, and how large they are."""
    with jax.default_matmul_precision("highest"):
        single = checked_result(alone(apply, params, jax.tree.map(lambda a: a[0], x)))[0]
        together = apply(params, x)[0]
        repeated = apply(params, jax.tree.map(lambda a: jnp.stack([a[0], a[0]]), x))[0]
    return jnp.stack([jnp.max(jnp.abs(value)) for value in (together - repeated, together - single, single)])


def require_independence(apply: Apply, params: PyTree, x: PyTree) -> None:
    """Raise KernelError if the outputs of an example change with its neighbours; do nothing while JAX traces."""
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


def scalar_of(plan: Setup, params: PyTree) -> tuple[list[jax.Array], list[str], Callable[..., jax.Array]]:
    """Return the leaves to differentiate, their names, and ``scalar(leaves, (example, selector)) -> y``."""
    leaves, rebuild = split_parameters(params, plan.parameters)

    def scalar(leaves: list[jax.Array], example: tuple[Examples, Any]) -> jax.Array:
        (x, label), selector = example
        result = checked_result(alone(plan.apply, rebuild(leaves), x))
        if selector is not None:
            return jnp.vdot(result.reshape(-1), selector.astype(result.dtype))
        return per_example(result, None if label is None else label[None], objective=plan.objective)[0]

    return leaves, chosen_names(params, plan.parameters), scalar


def layout_of(plan: Setup, leaves: list[jax.Array], examples: Examples, second: int) -> tuple[Layout, Any]:
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


def gradient_slice(plan: Setup, group: tuple[int, ...], params: PyTree, examples: Examples) -> jax.Array:
    """Return the gradients of the leaves at the positions ``group``, one row per row of the matrix, in its dtype."""
    with jax.default_matmul_precision("highest"):
        leaves, _, scalar = scalar_of(plan, params)
        layout, batch = layout_of(plan, leaves, examples, 0)
        try:
            found = example_gradients(scalar, leaves, group, batch, layout)
        except NotImplementedError:
            every = gradients(scalar, leaves, batch, layout)
            found = [every[position] for position in group]
        return jnp.concatenate([leaf.reshape(layout.first, -1).astype(layout.dtype) for leaf in found], 1)


def forward(plan: Setup, leaves: list[jax.Array], params: PyTree, examples: Examples) -> jax.Array:
    """Return the scalar of the first example; with several outputs, their sum."""
    selector = None if plan.outputs == "sum" else jnp.ones(plan.classes, leaves[0].dtype)
    return scalar_of(plan, params)[2](leaves, (jax.tree.map(lambda a: a[0], examples), selector))
