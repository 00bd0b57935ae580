"""Some architectures of a space as a space of their own: a pool to draw from."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from jknas.errors import SpaceError
from jknas.spaces.sampling import sampler
from jknas.spaces.space import Genotype, Space

G = TypeVar("G", bound=Genotype)


def restricted(space: Space[G], genotypes: Sequence[G]) -> Space[G]:
    """Return the space with ``sample``, ``enumerate`` and ``size`` confined to some of its genotypes.

    ``mutate`` and ``neighbours`` still lead to all of the space.

    Args:
        space: the whole.
        genotypes: those to keep, each once; their order does not matter.

    Raises:
        SpaceError: none, or one given twice.

    >>> import numpy as np
    >>> import jknas.spaces
    >>> whole = jknas.spaces.get("nasbench201")
    >>> few = restricted(whole, whole.sample(np.random.default_rng(0), 3, unique=True))
    >>> few.size, set(few.sample(np.random.default_rng(1), 3, unique=True)) == set(few.enumerate())
    (3, True)
    """
    kept = sorted(genotypes, key=lambda genotype: genotype.code)
    if not kept or len(set(kept)) < len(kept):
        raise SpaceError(f"{len(kept)} genotypes given, {len(set(kept))} of them different: expected one or more, each once.")

    return dataclasses.replace(space, size=len(kept), sample=sampler(len(kept), kept.__getitem__), enumerate=lambda: iter(kept))
