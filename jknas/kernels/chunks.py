"""Cutting a batch of examples into chunks of equal size, so that one compiled program serves all of them."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jknas.errors import KernelError

T = TypeVar("T")


def check_chunk_size(chunk_size: int | None) -> None:
    """Raise KernelError unless ``chunk_size`` is a positive number of examples, or None."""
    if chunk_size is not None and chunk_size < 1:
        raise KernelError(f"chunk_size must be at least 1, got {chunk_size}")


def count_examples(examples: PyTree) -> int:
    """Return the length of the leading axis, which all leaves share."""
    return jax.tree.leaves(examples)[0].shape[0]


def chunks(examples: PyTree, size: int) -> list[tuple[PyTree, int]]:
    """Cut examples into chunks of ``size``.

    Args:
        examples: a pytree of arrays ``[n, ...]``.
        size: examples per chunk.

    Returns:
        Each chunk with its number of real examples. The last chunk is padded with its own first example.
    """
    found = []
    for start in range(0, count_examples(examples), size):
        part = jax.tree.map(lambda a, start=start: a[start : start + size], examples)
        n = count_examples(part)
        filled = jax.tree.map(lambda a, n=n: jnp.concatenate([a, jnp.repeat(a[:1], size - n, 0)]) if n < size else a, part)
        found.append((filled, n))
    return found


def in_chunks(program: Callable[[PyTree], T], examples: PyTree, size: int | None) -> T:
    """Return ``program(examples)``, a pytree of arrays ``[n, ...]``, computed for ``size`` examples at once; None takes all."""
    if size is None or size >= count_examples(examples):
        return program(examples)
    found = [jax.tree.map(lambda a, n=n: a[:n], program(chunk)) for chunk, n in chunks(examples, size)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)
