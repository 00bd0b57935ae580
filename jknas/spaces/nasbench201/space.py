"""The NAS-Bench-201 space: five operations on six edges, 15,625 cells.

Also called the topology search space of NATS-Bench. 341 of the cells are dead: no path of operations other than "none" leads from the
input to the output.

References:
    Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", arXiv:2001.00326.
    Real, Aggarwal, Huang and Le, "Regularized Evolution for Image Classifier Architecture Search", arXiv:1802.01548 (mutation).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import overload

import numpy as np

from jknas.errors import SpaceError, choose
from jknas.spaces.nasbench201.canonical import RULES, canonical
from jknas.spaces.nasbench201.cost import macs, parameters
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype
from jknas.spaces.pruning import PruningPlan
from jknas.spaces.sampling import check_generator, sample_ranks
from jknas.spaces.space import Space

__all__ = ["MUTATION_RULES", "NAMED", "NASBENCH201", "is_dead", "mutate", "neighbours", "sample"]

SIZE = len(OPERATIONS) ** len(EDGES)
MUTATION_RULES = ("node", "edge")

NAMED: Mapping[str, CellGenotype] = MappingProxyType(
    {
        "resnet": CellGenotype(("nor_conv_3x3", "none", "nor_conv_3x3", "skip_connect", "none", "skip_connect")),
        "all_nor_conv_3x3": CellGenotype(("nor_conv_3x3",) * 6),
        "all_nor_conv_1x1": CellGenotype(("nor_conv_1x1",) * 6),
        "all_skip_connect": CellGenotype(("skip_connect",) * 6),
    }
)
"""Well-known cells by name. "resnet" is the residual block: two 3x3 convolutions in a row beside a skip connection."""


def is_dead(genotype: CellGenotype) -> bool:
    """Say whether the cell's output does not depend on its input.

    That is the case when every path from node 0 to node 3 has an edge "none". 341 of the 15,625 cells are dead.

    Args:
        genotype: the cell.

    Returns:
        True for a dead cell.
    """
    fed = {0}
    for name, (node, source) in zip(genotype.operations, EDGES, strict=True):
        if name != "none" and source in fed:
            fed.add(node)
    return 3 not in fed


def enumerate_cells() -> Iterator[CellGenotype]:
    """Yield all 15,625 cells in the order of their codes (edge 1<-0 is the most significant digit)."""
    for operations in product(OPERATIONS, repeat=len(EDGES)):
        yield CellGenotype(operations)


def neighbours(genotype: CellGenotype) -> tuple[CellGenotype, ...]:
    """Return the 24 cells that differ from this one on exactly one edge.

    Args:
        genotype: the cell.

    Returns:
        The neighbours: for each edge in order, the four other operations in the order of their digits.
    """
    return tuple(
        _with_operation(genotype, edge, name) for edge, current in enumerate(genotype.operations) for name in OPERATIONS if name != current
    )


def mutate(genotype: CellGenotype, rng: np.random.Generator, *, rule: str = "node") -> CellGenotype:
    """Replace the operation of one random edge by a different one, drawn uniformly from the other four.

    Args:
        genotype: the cell.
        rng: the source of randomness; it advances.
        rule: how the edge is drawn. "node", the rule of the field's regularised evolution: one of the three nodes uniformly, then one of
            its incoming edges uniformly, so that the edges have probability 1/3, 1/6, 1/6, 1/9, 1/9, 1/9. "edge": one of the six uniformly.

    Returns:
        A cell that differs on exactly one edge.

    Raises:
        SpaceError: unknown rule.
        TypeError: ``rng`` is not a ``numpy.random.Generator``.
    """
    choose("mutation rule", rule, MUTATION_RULES, error=SpaceError)
    check_generator(rng)
    if rule == "node":
        node = int(rng.integers(1, 4))
        edge = EDGES.index((node, int(rng.integers(node))))
    else:
        edge = int(rng.integers(len(EDGES)))
    others = [name for name in OPERATIONS if name != genotype.operations[edge]]
    return _with_operation(genotype, edge, others[int(rng.integers(len(others)))])


@overload
def sample(rng: np.random.Generator, n: None = None, *, unique: bool = False) -> CellGenotype: ...
@overload
def sample(rng: np.random.Generator, n: int, *, unique: bool = False) -> tuple[CellGenotype, ...]: ...
def sample(rng: np.random.Generator, n: int | None = None, *, unique: bool = False) -> CellGenotype | tuple[CellGenotype, ...]:
    """Draw cells uniformly from the 15,625 strings.

    Args:
        rng: the source of randomness; it advances.
        n: how many; None draws one and returns it bare.
        unique: draw without replacement, so that the n strings are distinct (they may still compute the same function).

    Returns:
        One genotype when n is None, else a tuple of n.

    Raises:
        SpaceError: n is negative, or ``unique`` is asked for with more than 15,625.
        TypeError: ``rng`` is not a ``numpy.random.Generator``.
    """
    cells = tuple(map(_at_rank, sample_ranks(rng, 1 if n is None else n, size=SIZE, unique=unique and n is not None)))
    return cells[0] if n is None else cells


def _at_rank(rank: int) -> CellGenotype:
    """The cell at a place in the order of codes."""
    digits = []
    for _ in EDGES:
        rank, digit = divmod(rank, len(OPERATIONS))
        digits.append(digit)
    return CellGenotype(tuple(OPERATIONS[digit] for digit in reversed(digits)))


def _with_operation(genotype: CellGenotype, edge: int, name: str) -> CellGenotype:
    return CellGenotype((*genotype.operations[:edge], name, *genotype.operations[edge + 1 :]))


NASBENCH201: Space[CellGenotype] = Space(
    name="nasbench201",
    operations=OPERATIONS,
    num_edges=len(EDGES),
    size=SIZE,
    cells=5,
    named=NAMED,
    mutation_rules=MUTATION_RULES,
    canonical_rules=RULES,
    parse=CellGenotype.parse,
    from_code=CellGenotype.from_code,
    sample=sample,
    mutate=mutate,
    neighbours=neighbours,
    enumerate=enumerate_cells,
    canonical=canonical,
    is_dead=is_dead,
    parameters=parameters,
    macs=macs,
    pruning=PruningPlan(
        cells=(tuple(range(len(EDGES))),),
        order=tuple(range(1, len(OPERATIONS))),
        absent=0,
        absent_competes=True,
        kept=None,
        pruned=1,
        genotype=CellGenotype.from_code,
    ),
    networks="jknas.networks.nasbench201.network:CellNetwork",
)
