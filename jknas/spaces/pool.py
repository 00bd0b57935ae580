"""Some architectures of a space as a space of their own: a pool to draw from."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from jknas.errors import SpaceError
from jknas.spaces.sampling import check_generator, sample_ranks
from jknas.spaces.space import Genotype, Space

__all__ = ["restricted"]

G = TypeVar("G", bound=Genotype)


def restricted(space: Space[G], genotypes: Sequence[G]) -> Space[G]:
    """Return the space with ``sample``, ``enumerate`` and ``size`` confined to some of its genotypes.

    ``mutate`` and ``neighbours`` still lead to all of the space.

    Args:
        space: the whole.
        genotypes: those to keep, each once; their order does not matter.

    Raises:
        SpaceError: none, or one given twice.

    >>> import jknas.spaces
    >>> whole = jknas.spaces.get("nasbench201")
    >>> few = restricted(whole, whole.sample(np.random.default_rng(0), 3, unique=True))
    >>> few.size, set(few.sample(np.random.default_rng(1), 3, unique=True)) == set(few.enumerate())
    (3, True)
    """
    kept = sorted(genotypes, key=lambda genotype: genotype.code)
    if not kept or len(set(kept)) < len(kept):
        raise SpaceError(f"{len(kept)} genotypes given, {len(set(kept))} of them different: expected one or more, each once.")

    def sample(rng: np.random.Generator, n: int | None = None, *, unique: bool = False) -> Any:
        check_generator(rng)
        drawn = tuple(kept[rank] for rank in sample_ranks(rng, 1 if n is None else n, size=len(kept), unique=unique and n is not None))
        return drawn[0] if n is None else drawn

    return dataclasses.replace(space, size=len(kept), sample=sample, enumerate=lambda: iter(kept))
