"""What a search by pruning must know of a space: which operations its supernet starts from, in which order, and what it ends as."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PruningPlan:
    """How TE-NAS (:mod:`jknas.search.pruning.tenas`) prunes a space. Edges and operations are numbered as in a code.

    Attributes:
        cells: the edges of each kind of cell.
        order: the operations in the order that decides ties; the absent operation is not among them.
        absent: the operation that stands for no edge.
        absent_competes: whether the absent operation is a candidate, which may be kept.
        kept: None, or for each kind of cell the groups of edges of which two are kept after pruning.
        pruned: operations that an edge loses per round of TE-NAS's released code.
        genotype: operation numbers by edge, -1 for a lost edge, to genotype.
    """

    cells: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]
    absent: int
    absent_competes: bool
    kept: tuple[tuple[tuple[int, ...], ...], ...] | None
    pruned: int
    genotype: Callable[[Sequence[int]], Any]

    @property
    def edges(self) -> tuple[int, ...]:
        """All edges, kind by kind."""
        return tuple(edge for cell in self.cells for edge in cell)
