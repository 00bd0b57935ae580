"""How TE-NAS decides which operations a supernet loses: pure functions of plain data.

A supernet is described by its *live* operations, ``live[edge][operation]``. Every one that an edge could do without is a
:class:`Removal`; for each, condition number and linear regions are measured with and without it (:class:`Measured`); :func:`rank` orders
the removals, and :func:`prune` takes from every edge the first few.

References:
    Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
    arXiv:2102.11535, Algorithm 1, and its released code, github.com/VITA-Group/TENAS (``prune_tenas.py``).
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

Live = Sequence[Sequence[bool]]
"""Which operations of which edges are left, ``[edge][operation]``."""

Rows = tuple[tuple[bool, ...], ...]
"""The same as an immutable value."""

Change = Literal["absolute", "relative"]


class Removal(NamedTuple):
    """An operation that could go."""

    edge: int
    operation: int


class Found(NamedTuple):
    """Condition numbers and regions of one supernet, one value per repeat."""

    condition: tuple[float, ...]
    regions: tuple[float, ...]


class Measured(NamedTuple):
    """A removal and what it does, one value per repeat.

    Attributes:
        removal: which.
        condition: condition number of the supernet's kernel without it; infinite where the kernel is singular or no kernel at all.
        regions: linear regions without it.
        condition_before: condition number of the supernet as it is, on the same images.
        regions_before: linear regions of the supernet as it is, on the same patches.
    """

    removal: Removal
    condition: tuple[float, ...]
    regions: tuple[float, ...]
    condition_before: tuple[float, ...]
    regions_before: tuple[float, ...]


class Ranked(NamedTuple):
    """A measured removal with its place: the smaller the score, the sooner it goes."""

    removal: Removal
    condition_change: float
    regions_change: float
    condition_rank: int
    regions_rank: int

    @property
    def score(self) -> int:
        """Rank sum."""
        return self.condition_rank + self.regions_rank


def removals(live: Live, edges: Sequence[int], *, order: Sequence[int], last: bool = False) -> list[Removal]:
    """List the removals of some edges, edge by edge, the operations in ``order``.

    An edge with one operation left is settled and has none, unless ``last``: then the edge itself may go.
    """
    found: list[Removal] = []
    for edge in edges:
        left = [operation for operation in order if live[edge][operation]]
        if len(left) > (0 if last else 1):
            found.extend(Removal(edge, operation) for operation in left)
    return found


def without(live: Live, gone: Sequence[Removal]) -> Rows:
    """Return what is left."""
    lost = set(gone)
    return tuple(tuple(kept and Removal(edge, at) not in lost for at, kept in enumerate(row)) for edge, row in enumerate(live))


def mixture(live: Live) -> list[list[float]]:
    """Return the weights of the operations: each edge is the mean of those that are left, and zero when there is none."""
    return [[float(kept) / max(1, sum(row)) for kept in row] for row in live]


def rank(measured: Sequence[Measured], *, change: Change) -> list[Ranked]:
    """Order removals from the first to go to the last: the condition number should fall most, and the fewest regions be lost.

    Each removal gets its place by the change of the condition number, each by that of the regions, and the sum of both decides; ties keep
    the order by condition number.

    Args:
        measured: in the order of :func:`removals`, which decides between equal changes.
        change: ``"absolute"``: before minus after, the mean over the repeats (the paper). ``"relative"``: every repeat's
            (before - after) / before, rounded to three decimals, and of these the mean; sorted by that mean rounded to three significant
            figures, while only equal unrounded means share a rank (the released code).
    """
    of_condition = [_change(m.condition_before, m.condition, change) for m in measured]
    of_regions = [_change(m.regions_before, m.regions, change) for m in measured]
    rounded: Callable[[float], float] = three_figures if change == "relative" else float
    by_condition = sorted(range(len(measured)), key=lambda at: rounded(of_condition[at]), reverse=True)
    by_regions = sorted(range(len(measured)), key=lambda at: rounded(of_regions[at]))
    condition_ranks, regions_ranks = _dense(by_condition, of_condition), _dense(by_regions, of_regions)
    ranked = [Ranked(measured[at].removal, of_condition[at], of_regions[at], condition_ranks[at], regions_ranks[at]) for at in by_condition]
    return sorted(ranked, key=lambda r: r.score)


def prune(ranked: Sequence[Ranked], *, each: int) -> list[Removal]:
    """Return the first ``each`` removals of every edge."""
    taken: dict[int, list[Removal]] = {}
    for r in ranked:
        if len(of_edge := taken.setdefault(r.removal.edge, [])) < each:
            of_edge.append(r.removal)
    return [removal for of_edge in taken.values() for removal in of_edge]


def three_figures(value: float) -> float:
    """Round to three significant figures, as the released code does before it sorts."""
    if value == 0 or not math.isfinite(value):
        return value
    size = abs(value) + 1e-8
    power = math.floor(math.log10(size)) + 1
    return math.copysign(round(size * 10.0**-power, 3) * 10.0**power, value)


def _change(before: Sequence[float], after: Sequence[float], change: Change) -> float:
    if change == "relative":
        return mean([_relative(b, a) for b, a in zip(before, after, strict=True)])
    first, second = mean(before), mean(after)
    return 0.0 if first == second else first - second  # both may be infinite


def _relative(before: float, after: float) -> float:
    if before == 0 or not math.isfinite(before):
        # Python's and NumPy's zero or infinity over itself would be NaN, which no sort survives.
        return 0.0 if before == after else math.copysign(math.inf, before - after)
    value = (before - after) / before
    return round(value, 3) if math.isfinite(value) else value


def mean(values: Sequence[float]) -> float:
    """Return the mean; NaN of nothing."""
    return math.nan if not values else sum(values) / len(values)


def _dense(places: Sequence[int], values: Sequence[float]) -> dict[int, int]:
    """Return dense ranks along an order: a value equal to the one before it shares its rank."""
    ranks: dict[int, int] = {}
    for before, at in zip([None, *places], places, strict=False):
        ranks[at] = 0 if before is None else ranks[before] + (values[at] != values[before])
    return ranks
