"""Draw members of a space by their rank."""

from __future__ import annotations

import numpy as np

from jknas.errors import SpaceError


def sample_ranks(rng: np.random.Generator, n: int, *, size: int, unique: bool) -> tuple[int, ...]:
    """Draw integers uniformly from 0..size-1.

    Args:
        rng: the source of randomness; it advances.
        n: how many.
        size: the number of members of the space, below 2^63.
        unique: draw without replacement.

    Returns:
        n ranks.

    Raises:
        SpaceError: n is negative, or ``unique`` is asked for with more than ``size``.
        TypeError: ``rng`` is not a ``numpy.random.Generator``.
    """
    check_generator(rng)
    if n < 0:
        raise SpaceError(f"n = {n} cells asked for; expected n >= 0. Leave n out to draw a single cell.")
    if unique and n > size:
        raise SpaceError(
            f"n = {n} unique cells asked for, and the space has {size}. Ask for fewer, enumerate the space, or pass unique=False."
        )
    ranks = rng.choice(size, size=n, replace=False) if unique else rng.integers(size, size=n)
    return tuple(map(int, ranks))


def check_generator(rng: np.random.Generator) -> None:
    """Refuse anything else than a numpy generator."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is a {type(rng).__name__}; expected a numpy.random.Generator. Make one with numpy.random.default_rng(seed).")
