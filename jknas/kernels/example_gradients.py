r"""Scores of the gradients of single examples, which are folded up chunk by chunk: they are never all in memory.

With :math:`g_n` the gradient of example *n*'s objective with respect to the weights of the layers:

.. math:: \mathrm{GradSign} = \sum_i \Bigl| \sum_n \operatorname{sign}(g_{n,i}) \Bigr| \qquad
          \mathrm{HNAS} = \sqrt{\tfrac{1}{N} \sum_n \|g_n\|_2^2} = \sqrt{\operatorname{tr} K / N}

with :math:`K` the tangent kernel of these gradients. GradSign takes the loss; HNAS the output of the example's own class.

References:
    Zhang and Jia, "GradSign: Model Performance Inference with Theoretical Insights", ICLR 2022, arXiv:2110.08616, Algorithm 1.
    Shu, Dai, Wu and Low, "Unifying and Boosting Gradient-Based Training-Free Neural Architecture Search", NeurIPS 2022, arXiv:2201.09785.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import KernelError, choose
from jknas.kernels.mgm import Layers
from jknas.kernels.objectives import Apply, per_example, split_parameters
from jknas.kernels.per_layer import every_kernel, stacks, sum_over_layers
from jknas.xla.soundness import require_sound_backend

Examples = Literal["alone", "together"]
"""``alone``: each example is a batch of its own. ``together``: one batch, whose examples may depend on each other, as in training-mode
normalisation; row *n* is then one backward pass of the whole batch."""

Target = Literal["target", "logits", "loss"]
"""``target``: the output of the example's own class. ``logits``: the sum of its outputs. ``loss``: its cross-entropy."""

Scalars = Callable[[jax.Array, jax.Array], jax.Array]
Entries = list[jax.Array]
Fold = Callable[[Any, Entries, jax.Array], Any]
"""``fold(carry, gradients, counts) -> carry``: gradients ``[c, l, p]`` of a chunk for every stack of layers, and 1 for each example that
counts, 0 for those that only fill the last chunk up."""


def fold_gradients(
    apply: Apply,
    params: PyTree,
    data: tuple[Float[Array, "n ..."], Int[Array, " n"]],
    *,
    scalars: Scalars,
    fold: Fold,
    initial: Any,
    layers: Layers,
    examples: Examples,
    chunk_size: int,
) -> Any:
    """Fold the examples' gradients into ``initial``, ``chunk_size`` of them at a time."""
    require_sound_backend()
    choose("examples", examples, get_args(Examples), error=KernelError)
    if chunk_size < 1:
        raise KernelError(f"chunk_size must be at least 1, got {chunk_size}")
    n = len(data[1])
    size = min(chunk_size, n)
    places = jnp.arange(-(-n // size) * size).reshape(-1, size)
    leaves, rebuild = split_parameters(params, "all")

    def entries(slopes: list[jax.Array]) -> Entries:
        return [stack.entries for stack in stacks(layers, rebuild(slopes))]

    def alone(leaves: list[Any], place: jax.Array) -> jax.Array:
        x, label = (array[place][None] for array in data)
        return scalars(apply(rebuild(leaves), x), label)[0]

    def together(leaves: list[Any]) -> jax.Array:
        return scalars(apply(rebuild(leaves), data[0]), data[1])

    with jax.default_matmul_precision("highest"):
        if examples == "alone":
            slope = jax.grad(alone)

            def row(place: jax.Array) -> Entries:
                return entries(slope(leaves, place))

        else:
            values, pull = jax.vjp(together, leaves)

            def row(place: jax.Array) -> Entries:
                return entries(pull(jax.nn.one_hot(place, n, dtype=values.dtype))[0])

        def turn(carry: Any, chunk: jax.Array) -> tuple[Any, None]:
            gradients = jax.vmap(row)(jnp.minimum(chunk, n - 1))
            return fold(carry, gradients, chunk < n), None

        return jax.lax.scan(turn, initial, places)[0]


def gradsign(
    apply: Apply,
    params: PyTree,
    x: Float[Array, "n ..."],
    labels: Int[Array, " n"],
    *,
    layers: Layers = every_kernel,
    examples: Examples = "alone",
    chunk_size: int = 8,
) -> Float[Array, ""]:
    """Return the score of any model: how often the examples' loss gradients agree in sign, weight by weight. Traceable.

    Cost: N backward passes at batch size one (``"together"``: of the whole batch). Memory: ``chunk_size`` gradients.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``.
        params: any pytree of arrays.
        x: the inputs, one array.
        labels: class indices.
        layers: cuts gradients into layers; by default every array of two or more axes is one.
        examples: ``"alone"`` (the paper and its code) or ``"together"``.
        chunk_size: examples at once.

    Returns:
        A whole number from 0 to N times the number of weights, in the dtype of the parameters, at least float32; NaN where a gradient is.

    Raises:
        ValueError: for an unknown name, shapes that do not fit, a model without layers, or ``chunk_size < 1``.
        UnsoundBackendError: if the installed JAX computes wrong matrix products.
    """
    cut = stacks(layers, params)

    def fold(agreement: Entries, gradients: Entries, counts: jax.Array) -> Entries:
        signs = [jnp.where(counts[:, None, None], jnp.sign(gradient), 0) for gradient in gradients]
        return [total + jnp.sum(sign, 0) for total, sign in zip(agreement, signs, strict=True)]

    zeros = [jnp.zeros_like(stack.entries) for stack in cut]
    agreement = fold_gradients(
        apply,
        params,
        (x, labels),
        scalars=per_example,
        fold=fold,
        initial=zeros,
        layers=layers,
        examples=examples,
        chunk_size=chunk_size,
    )
    return sum_over_layers([jnp.sum(jnp.abs(total), 1) for total in agreement], cut)


def mean_squared_gradient(
    apply: Apply,
    params: PyTree,
    x: Float[Array, "n ..."],
    labels: Int[Array, " n"],
    *,
    objective: Target = "target",
    layers: Layers = every_kernel,
    examples: Examples = "alone",
    chunk_size: int = 8,
) -> Float[Array, ""]:
    """Return the mean over the examples of the squared norm of their gradients, the trace of the tangent kernel over N. Traceable.

    Cost and memory are those of :func:`gradsign`; the kernel itself is not formed.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``.
        params: any pytree of arrays.
        x: the inputs, one array.
        labels: class indices.
        objective: see :data:`Target`.
        layers: cuts gradients into layers; by default every array of two or more axes is one.
        examples: ``"alone"`` or ``"together"``.
        chunk_size: examples at once.

    Raises:
        ValueError: for an unknown name, shapes that do not fit, a model without layers, or ``chunk_size < 1``.
        UnsoundBackendError: if the installed JAX computes wrong matrix products.
    """
    choose("objective", objective, get_args(Target), error=KernelError)
    cut = stacks(layers, params)

    def scalars(outputs: jax.Array, labels: jax.Array) -> jax.Array:
        if objective == "target":
            return jnp.take_along_axis(outputs, labels[:, None], axis=-1)[:, 0]
        return per_example(outputs, labels, objective=objective)

    def fold(total: jax.Array, gradients: Entries, counts: jax.Array) -> jax.Array:
        squares = [jnp.sum(jnp.where(counts[:, None, None], jnp.square(gradient), 0), (0, 2)) for gradient in gradients]
        return total + sum_over_layers(squares, cut)

    zero = jnp.zeros((), cut[0].entries.dtype)
    total = fold_gradients(
        apply,
        params,
        (x, labels),
        scalars=scalars,
        fold=fold,
        initial=zero,
        layers=layers,
        examples=examples,
        chunk_size=chunk_size,
    )
    return total / len(labels)
