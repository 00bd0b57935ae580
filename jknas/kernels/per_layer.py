"""The layers that a score sums over: which arrays of a parameter tree are weights of layers, and how to sum over them.

A *cut* (:data:`jknas.kernels.mgm.Layers`) divides a tree of parameters, or of their gradients, into stacks of equal layers,
``(stack [l, ...], used [l])``. A layer whose ``used`` is 0 does not exist in the architecture and must not count.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jknas.errors import KernelError
from jknas.kernels.mgm import Layers, wide


class Stack(NamedTuple):
    """Equal layers, flattened.

    Attributes:
        entries: one row per layer, at least float32.
        used: 1 for the layers that exist, 0 for the others.
    """

    entries: Float[Array, "l p"]
    used: Float[Array, " l"]


def every_kernel(tree: PyTree) -> list[tuple[jax.Array, jax.Array]]:
    """Cut a tree into its floating-point leaves of two or more axes, each one layer: no biases, no normalisation scales and shifts."""
    kernels = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) and jnp.ndim(leaf) >= 2]
    return [(leaf[None], jnp.ones((1,), leaf.dtype)) for leaf in kernels]


def stacks(layers: Layers, tree: PyTree) -> list[Stack]:
    """Cut a tree and flatten the layers.

    Raises:
        KernelError: there is no layer.
    """
    found = []
    for stack, used in layers(tree):
        entries = wide(stack).reshape(len(stack), -1)
        found.append(Stack(entries, used.astype(entries.dtype)))
    if not found:
        raise KernelError("there is no layer to score: no floating-point array of two or more axes; pass layers=..., which cuts out yours")
    return found


def sum_over_layers(values: Sequence[jax.Array], cut: Sequence[Stack]) -> Float[Array, ""]:
    """Return the sum of one number per layer, given as ``[l]`` for every stack, over the layers that exist."""
    parts = [jnp.sum(jnp.where(stack.used > 0, value, jnp.zeros_like(value))) for value, stack in zip(values, cut, strict=True)]
    return jnp.sum(jnp.stack(parts))
