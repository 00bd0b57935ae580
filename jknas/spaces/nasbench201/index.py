"""The published index of NAS-Bench-201: the number by which papers and tables name a cell.

The released benchmark lists the cells in the order of their codes and then shuffles the list once with Python's own
generator seeded with 88. The index of a cell is its place in the shuffled list.
"""

import functools
import operator
import random
from collections.abc import Mapping
from itertools import product
from types import MappingProxyType
from typing import SupportsIndex

from jknas.errors import GenotypeError
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype


@functools.cache
def published_order() -> tuple[CellGenotype, ...]:
    """Return all 15,625 cells in the published order. Computed once, at the first call (about 0.1 s)."""
    cells = [CellGenotype(operations) for operations in product(OPERATIONS, repeat=len(EDGES))]
    random.Random(88).shuffle(cells)
    return tuple(cells)


def genotype_at(index: SupportsIndex) -> CellGenotype:
    """Return the cell with a published index.

    Args:
        index: an integer in 0..15624.

    Returns:
        The cell.

    Raises:
        GenotypeError: not an integer, or out of range. Negative numbers do not count from the end.
    """
    order = published_order()
    try:
        place = operator.index(index)
    except TypeError:
        raise GenotypeError(f"The index is a {type(index).__name__}; expected an integer in 0..{len(order) - 1}.") from None
    if not 0 <= place < len(order):
        shown = str(place) if place.bit_length() < 64 else f"an integer of {place.bit_length()} bits"
        raise GenotypeError(f"No cell has the index {shown}; expected an integer in 0..{len(order) - 1}.")
    return order[place]


def index_of(genotype: CellGenotype) -> int:
    """Return the published index of a cell.

    Args:
        genotype: the cell.

    Returns:
        An integer in 0..15624.
    """
    return _places()[genotype]


@functools.cache
def _places() -> Mapping[CellGenotype, int]:
    return MappingProxyType({cell: place for place, cell in enumerate(published_order())})
