"""The tiles of a large kernel, one after the other, in either scheme of :mod:`~jknas.kernels.tile_plan`."""

from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

Tile = tuple[int, int]
"""The block of rows and the block of columns of a tile."""

T = TypeVar("T")


def by_slices(
    gradients: Callable[[int, int, int], Any],
    multiply: Callable[..., Any],
    wanted: Collection[Tile],
    *,
    strip: int,
    groups: int,
    symmetric: bool,
    spread: Callable[[Any], Any] = lambda block: block,
) -> Iterator[tuple[Tile, Any]]:
    """Yield every wanted tile, strip by strip.

    A tile is yielded when all groups have contributed: between groups the sums stay in memory, so a run that ends early leaves no tile half
    done.

    Args:
        gradients: ``gradients(side, block, group)``, the gradients of a block of ``x`` (side 0) or ``x2`` (side 1), one row per example.
        multiply: ``multiply(first, second[, total])``, their inner products, added to ``total``.
        wanted: the tiles.
        strip: blocks of rows whose gradients stay in memory.
        groups: groups of parameters.
        symmetric: whether columns are the blocks of ``x`` too.
        spread: makes a block ready to be the second factor, once for all products.
    """
    last = max((i for i, _ in wanted), default=-1)
    for start in range(0, last + 1, strip):
        tiles = {(i, j) for i, j in wanted if start <= i < start + strip}
        totals: dict[Tile, Any] = {}
        for group in range(groups):
            kept = {i: gradients(0, i, group) for i in sorted({i for i, _ in tiles})}
            for j in sorted({j for _, j in tiles}):
                right = spread(kept[j] if symmetric and j in kept else gradients(0 if symmetric else 1, j, group))
                for i, left in kept.items():
                    if (i, j) not in tiles:
                        continue
                    before = (totals.pop((i, j)),) if group else ()
                    found = multiply(left, right, *before)
                    if group == groups - 1:
                        yield (i, j), found
                    else:
                        totals[i, j] = found


def by_pairs(kernels: Callable[[list[Tile]], list[Any]], wanted: Collection[Tile], *, together: int) -> Iterator[tuple[Tile, Any]]:
    """Yield every wanted tile, ``together`` of them at a time (one on each device)."""
    tiles = sorted(wanted)
    for start in range(0, len(tiles), together):
        some = tiles[start : start + together]
        filled = some + some[:1] * (together - len(some))
        yield from zip(some, kernels(filled), strict=False)


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, each after the next one was asked for: the device computes while the host writes."""
    previous: list[T] = []
    for item in items:
        previous.append(item)
        if len(previous) > 1:
            yield previous.pop(0)
    yield from previous
