"""The kernel of a per-example function, in one backward pass or from explicit gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jknas.kernels.tape.planning import Kind
from jknas.kernels.tape.rewriting import Contraction, Run, Value, interpret
from jknas.kernels.tape.rows import Layout, inner_products
from jknas.kernels.tape.sketching import key_of

Scalar = Callable[[list[jax.Array], PyTree], jax.Array]
"""``scalar(leaves, example) -> y``, the number whose gradients the kernel multiplies."""


def one_pass(
    scalar: Scalar, leaves: Sequence[jax.Array], names: Sequence[str], examples: PyTree, layout: Layout, *, key: Any = None
) -> tuple[jax.Array, tuple[Contraction, ...]]:
    """Return the kernel ``[groups * first, columns]`` and how the gradients of each parameter were contracted.

    Args:
        scalar: the per-example function.
        leaves: the parameters to differentiate.
        names: their names.
        examples: pytree whose leaves have a leading axis of ``layout.entries``.
        layout: how that axis is composed.
        key: of the random numbers of a sketch.
    """
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), examples)
    closed = jax.make_jaxpr(scalar)(list(leaves), one)
    keys = [None if key is None else key_of(key, name) for name in names]
    parameters = [Value(array, Kind.VIEW, name, key=key) for array, name, key in zip(leaves, names, keys, strict=True)]
    contractions: list[Contraction] = []

    def with_tape(tape: jax.Array, example: PyTree) -> jax.Array:
        data = [Value(array, Kind.INPUT) for array in jax.tree.leaves(example)]
        (result,) = interpret(closed.jaxpr, closed.consts, [*parameters, *data], Run(tape, layout, contractions))
        return result.array

    tapes = jnp.zeros((layout.entries, layout.columns), layout.dtype)
    rows = jax.vmap(jax.grad(with_tape))(tapes, examples)
    summed = rows.reshape(-1, layout.repeats, layout.columns).sum(1)[: layout.groups * layout.first]
    return summed, tuple(dict.fromkeys(contractions))  # each once: JAX may trace a loop's body several times


def example_gradients(
    scalar: Scalar, leaves: Sequence[jax.Array], positions: Sequence[int], examples: PyTree, layout: Layout
) -> list[jax.Array]:
    """Return every example's gradient of the leaves at ``positions``, ``[(first + second) * repeats, ...]`` each.

    The same numbers as :func:`gradients`. Convolutions whose weight is a leaf form it by a product of patches and cotangents, where
    ``vmap`` of their own reverse rule is a grouped convolution: several times slower on CPU, and for depthwise layers far larger. What the
    other leaves would need of the backward pass is not computed.
    """
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), examples)
    closed = jax.make_jaxpr(scalar)(list(leaves), one)

    def value(chosen: list[jax.Array], example: PyTree) -> jax.Array:
        parameters = [Value(array, Kind.CONSTANT) for array in leaves]
        for position, array in zip(positions, chosen, strict=True):
            parameters[position] = Value(array, Kind.VIEW)
        data = [Value(array, Kind.INPUT) for array in jax.tree.leaves(example)]
        return interpret(closed.jaxpr, closed.consts, [*parameters, *data], Run(None, layout, []))[0].array

    return jax.vmap(jax.grad(value), in_axes=(None, 0))([leaves[position] for position in positions], examples)


def gradients(scalar: Scalar, leaves: Sequence[jax.Array], examples: PyTree, layout: Layout) -> list[jax.Array]:
    """Return every example's gradient, ``[first + second, repeats, ...]`` for each leaf: the Jacobian."""
    found = jax.vmap(jax.grad(scalar), in_axes=(None, 0))(list(leaves), examples)
    return [leaf.reshape(-1, layout.repeats, *leaf.shape[1:]) for leaf in found]


def contract_gradients(first: Sequence[jax.Array], second: Sequence[jax.Array]) -> jax.Array:
    """Return the inner products ``[n, m]`` of two lists of per-example gradients ``[n, ...]`` and ``[m, ...]``, summed over the leaves."""
    blocks = [inner_products([a], [b]) for a, b in zip(first, second, strict=True)]
    return jnp.sum(jnp.stack(blocks), 0)
