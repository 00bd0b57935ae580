r"""Which way to compute a large kernel: the cost model of :func:`jknas.tiled_gram`.

Let N and M be the numbers of rows and columns, t the rows of a tile, P the gradient entries per example, F the FLOPs of one example's
forward and backward pass, A the bytes of its activations, w the bytes of a number, D the devices.

``pairs``: the one-pass program on every pair of blocks. A pair takes :math:`2t` passes and B FLOPs in all, as XLA counts them, whatever
form the contraction takes.

.. math:: \text{passes} = T \cdot 2t, \quad \text{FLOPs} = T B, \quad \text{bytes} = 2t (A + 2 w \max_l P_l) + 4 w t^2

with T tiles: :math:`\lceil N/t \rceil (\lceil N/t \rceil + 1) / 2` for a symmetric kernel, else
:math:`\lceil N/t \rceil \lceil M/t \rceil`. Of the FLOPs, :math:`2 T t^2 P` (or all, if they are fewer) count as products.

``slices``: the gradients of one of G groups of parameters (p entries) are formed for a strip of s blocks and stay; those of the other
blocks are formed one after the other and multiplied with them. A pass for one group costs a share of F: the forward pass, the backward
pass down to the group, and the group's weight gradients.

.. math::
    \text{passes} = G \sum_{\text{strips}} t \cdot (\text{blocks of the strip} + \text{blocks to its right}), \quad
    \text{FLOPs} = \text{passes} \cdot \frac{F}{3} \Bigl(1 + \frac{G+1}{2G} + \frac{1}{G}\Bigr) + 2 T t^2 P, \quad
    \text{bytes} = \frac{t}{D} p w (s + 2) + t p w + m (A + 2 p w) + 4 w t^2 \; [+\, s t M w \text{ if } G > 1]

with m examples per backward pass. If the gradients of all examples fit, there is one group and one strip: N passes in all. Otherwise
s, G and t are chosen for the least cost within the memory, and the passes grow as :math:`N^2 P / \text{memory}`.

The FLOPs of backward passes count :data:`SLOWNESS` times those of the products, which run nearer to the device's peak; a product of t rows
counts :math:`1 + 32 / t` times, for it reads its operands from memory.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

from jknas.errors import KernelError

Scheme = Literal["auto", "pairs", "slices"]
"""``pairs``: the one-pass kernel of every pair of blocks. ``slices``: gradients of groups of parameters, and products of them."""

SLOWNESS = 2.0
"""Seen on two CPU cores: 1.7 to 2.0 for a CIFAR ResNet-20 in float32, with products of 126 rows."""
_MOST_AT_ONCE = 64  # examples per backward pass of slices; more are no faster
_GROUPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_TILES = tuple(2**power for power in range(13))


class Sizes(NamedTuple):
    """What the cost depends on.

    Attributes:
        rows: examples of ``x``.
        columns: examples of ``x2``; None for a symmetric kernel.
        leaves: gradient entries per example of each parameter, in the order of their use.
        activations: bytes of one example's activations.
        width: bytes of a number.
        devices: how many share the work.
        step: FLOPs of one example's forward and backward pass.
        pair: the FLOPs of the one-pass program on a pair of blocks of the given size; infinite where there is none.
        order: the position of each of ``leaves`` among the parameters; empty if they are in their order.
    """

    rows: int
    columns: int | None
    leaves: tuple[int, ...]
    activations: int
    width: int
    devices: int
    step: float
    pair: Callable[[int], float]
    order: tuple[int, ...] = ()


class Plan(NamedTuple):
    """A way to compute the kernel, and its cost.

    Attributes:
        scheme: ``"pairs"`` or ``"slices"``.
        tile: rows and columns of a tile.
        batch: examples per backward pass on each device.
        strip: blocks whose gradients stay in memory.
        groups: positions of the parameters in each group.
        passes: single-example backward passes.
        backward: FLOPs of these.
        products: FLOPs of the products of gradients.
        memory: bytes on each device.
    """

    scheme: str
    tile: int
    batch: int
    strip: int
    groups: tuple[tuple[int, ...], ...]
    passes: int
    backward: float
    products: float
    memory: int

    @property
    def cost(self) -> float:
        """FLOPs, weighted by how fast they run."""
        return SLOWNESS * self.backward + self.products * (1 + 32 / self.tile)


def plan_tiles(sizes: Sizes, memory: int, *, scheme: Scheme = "auto", tile: int | Literal["auto"] = "auto") -> Plan:
    """Return the cheapest plan that fits the memory.

    Raises:
        KernelError: an unknown scheme, a tile that is no multiple of the devices, or a memory that is too small for any plan.
    """
    if scheme not in get_args(Scheme):
        raise KernelError(f"scheme={scheme!r} is not known; choose 'auto', 'pairs' or 'slices'")
    if tile != "auto" and (isinstance(tile, bool) or not isinstance(tile, int) or tile < 1 or tile % sizes.devices):
        raise KernelError(f'tile must be "auto" or a positive multiple of the {sizes.devices} devices, got {tile!r}')
    found: list[Plan] = []
    if scheme != "pairs":
        found += _slices(sizes, memory, tile)
    if scheme != "slices":
        found += _pairs(sizes, memory, tile)
    found = [plan for plan in found if math.isfinite(plan.cost)]
    if not found:
        least = sizes.activations + 2 * sizes.width * max(sizes.leaves)
        raise KernelError(
            f"memory={memory} bytes hold no block of this kernel (tile={tile!r}, scheme={scheme!r}): one example alone takes about {least} "
            "bytes of activations and gradients. Raise memory=, lower tile=, or choose the other scheme"
        )
    return min(found, key=lambda plan: plan.cost)


def share_of_pass(groups: int) -> float:
    """Return what a pass for one of so many groups of parameters costs, in forward and backward passes for all of them."""
    return (1 + (groups + 1) / (2 * groups) + 1 / groups) / 3


def blocks(count: int, tile: int) -> int:
    """Return how many blocks of ``tile`` hold ``count`` examples."""
    return -(-count // tile)


def tiles(rows: int, columns: int | None, tile: int) -> list[tuple[int, int]]:
    """Return rows and columns of the tiles; of a symmetric kernel (``columns=None``) those of the upper half."""
    n, m = blocks(rows, tile), blocks(columns or rows, tile)
    return [(i, j) for i in range(n) for j in range(i if columns is None else 0, m)]


def _count(sizes: Sizes, tile: int) -> int:
    n = blocks(sizes.rows, tile)
    return n * (n + 1) // 2 if sizes.columns is None else n * blocks(sizes.columns, tile)


def _even(sizes: Sizes, wanted: int, most: int) -> tuple[int, int]:
    """Return a tile of about ``wanted`` rows that leaves little of the last one empty, and examples per pass of each device."""
    longest = max(sizes.rows, sizes.columns or 0)
    share = blocks(blocks(longest, blocks(longest, wanted)), sizes.devices)
    batch = blocks(share, blocks(share, most))
    return batch * blocks(share, batch) * sizes.devices, batch


def _choices(sizes: Sizes, tile: int | Literal["auto"], most: int) -> list[tuple[int, int]]:
    if tile != "auto":
        share = tile // sizes.devices
        return [(tile, max(m for m in range(1, min(share, most) + 1) if share % m == 0))]
    return sorted({_even(sizes, wanted * sizes.devices, most) for wanted in _TILES})


def _slices(sizes: Sizes, memory: int, tile: int | Literal["auto"]) -> list[Plan]:
    found = []
    for count in _GROUPS[: len(sizes.leaves)]:
        groups = _grouped(sizes.leaves, count)
        width = sizes.width * max(sum(sizes.leaves[at] for at in group) for group in groups)
        each = sizes.activations + 2 * width
        for t, m in _choices(sizes, tile, max(1, min(_MOST_AT_ONCE, memory // (4 * each)))):
            share = t // sizes.devices
            fixed = 2 * share * width + t * width + m * each + 4 * sizes.width * t * t
            columns = blocks(sizes.columns or sizes.rows, t)
            kept = share * width + (len(groups) > 1) * share * columns * t * sizes.width
            rows = blocks(sizes.rows, t)
            strip = min(rows, (memory - fixed) // kept)
            if strip < 1:
                continue
            visited = sum(min(strip, rows - at) if sizes.columns else 0 for at in range(0, rows, strip))
            visited += sum(columns if sizes.columns else rows - at for at in range(0, rows, strip))
            passes = len(groups) * visited * t
            products = 2.0 * _count(sizes, t) * t * t * sum(sizes.leaves)
            named = tuple(tuple(sizes.order[at] for at in group) for group in groups) if sizes.order else groups
            found.append(
                Plan("slices", t, m, strip, named, passes, passes * sizes.step * share_of_pass(len(groups)), products, fixed + strip * kept)
            )
    return found


def _grouped(leaves: Sequence[int], count: int) -> tuple[tuple[int, ...], ...]:
    """Cut the parameters into at most ``count`` runs of about the same number of entries."""
    found: dict[int, list[int]] = {}
    before, total = 0.0, sum(leaves)
    for at, size in enumerate(leaves):
        found.setdefault(min(count - 1, int(count * (before + size / 2) / max(1, total))), []).append(at)
        before += size
    return tuple(tuple(group) for group in found.values())


def _pairs(sizes: Sizes, memory: int, tile: int | Literal["auto"]) -> list[Plan]:
    each = sizes.activations + 2 * sizes.width * max(sizes.leaves)

    def bytes_of(t: int) -> int:
        return 2 * t * each + 4 * sizes.width * t * t

    fitting = [t for t, _ in _choices(sizes._replace(devices=1), tile, 2**30) if bytes_of(t) <= memory]
    if not fitting:
        return []
    t = max(fitting)  # a larger tile has fewer passes
    flops, count = sizes.pair(t), _count(sizes, t)
    products = min(flops, 2.0 * t * t * sum(sizes.leaves))
    return [Plan("pairs", t, 2 * t, 1, (), 2 * t * count, count * (flops - products), count * products, bytes_of(t))]
