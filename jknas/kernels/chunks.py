"""Cutting a batch of examples into chunks of equal size, so that one compiled program serves all of them."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jknas.errors import KernelError

T = TypeVar("T")


def check_chunk_size(chunk_size: int | None) -> None:
    """Raise KernelError unless ``chunk_size`` is a positive number of examples, or None."""
    if chunk_size is None:
        return
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int | np.integer):
        raise KernelError(f"chunk_size must be a whole number of examples, or None, got {chunk_size!r}")
    if chunk_size < 1:
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
        found.append((padded(part, size), count_examples(part)))
    return found


def padded(examples: PyTree, size: int) -> PyTree:
    """Return examples filled up to ``size`` with their own first one; NumPy arrays stay on the host."""
    missing = size - count_examples(examples)
    return joined(examples, jax.tree.map(lambda a: _library(a).repeat(a[:1], missing, 0), examples)) if missing else examples


def joined(*parts: PyTree) -> PyTree:
    """Return batches as one; NumPy arrays stay on the host."""
    return jax.tree.map(lambda *arrays: _library(arrays[0]).concatenate(arrays), *parts)


def _library(array: Any) -> Any:
    return jnp if isinstance(array, jax.Array) else np


def in_chunks(program: Callable[[PyTree], T], examples: PyTree, size: int | None, *, rows_each: int = 1) -> T:
    """Return ``program(examples)``, a pytree of arrays ``[n * rows_each, ...]``, computed for ``size`` examples at once; None takes all."""
    if size is None or size >= count_examples(examples):
        return program(examples)
    found = [jax.tree.map(lambda a, n=n: a[: n * rows_each], program(chunk)) for chunk, n in chunks(examples, size)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)
