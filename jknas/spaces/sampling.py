"""Draw members of a space by their rank."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jknas.errors import SpaceError


def sampler(size: int, at_rank: Callable[[int], Any]) -> Callable[..., Any]:
    """Return the ``sample`` of a space, which draws uniformly from its members.

    Args:
        size: the number of members of the space, below 2^63.
        at_rank: a number in 0..size-1 to the member of that rank.

    Returns:
        ``sample(rng, n=None, *, unique=False)``: one member, or a tuple of n; ``unique`` draws without replacement. It raises a
        ``SpaceError`` for a negative n, or more unique members than there are, and a ``TypeError`` for another ``rng`` than a
        ``numpy.random.Generator``.
    """

    def sample(rng: np.random.Generator, n: int | None = None, *, unique: bool = False) -> Any:
        check_generator(rng)
        if n is None:
            return at_rank(int(rng.integers(size, size=1)[0]))
        if n < 0:
            raise SpaceError(f"n = {n} cells asked for; expected n >= 0. Leave n out to draw a single cell.")
        if unique and n > size:
            raise SpaceError(
                f"n = {n} unique cells asked for, and the space has {size}. Ask for fewer, enumerate the space, or pass unique=False."
            )
        ranks = rng.choice(size, size=n, replace=False) if unique else rng.integers(size, size=n)
        return tuple(at_rank(int(rank)) for rank in ranks)

    return sample


def check_generator(rng: np.random.Generator) -> None:
    """Refuse anything but a NumPy generator."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is a {type(rng).__name__}; expected a numpy.random.Generator. Make one with numpy.random.default_rng(seed).")
