"""Rows of the kernel: the cotangents of the tape that the reverse rule of an operation returns.

A per-example reverse rule calls :func:`row` for that example's inner products with all examples, or for its sketch. Under ``vmap``
its ``custom_vmap`` rule takes over, which sees the arrays of all examples and computes all rows at once.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jknas.kernels.tape.sketching import project, project_lookups, widest

_IN_CACHE = 2**22
"""Entries of a block of gradients that stays in the cache of a CPU."""

_COLUMNS = 2**19
"""Entries of the columns that are multiplied at a time: they stay in the cache of a core."""

_SMALL_PAIRS = 2**16  # so few are no work

Contract = Callable[..., jax.Array]
"""``contract(first, second) -> [n1, n2]``: inner products between two lists of per-example arrays ``[n, k, ...]``, summed over ``k``.
For a sketch, ``contract(arrays, keys) -> [n, width + 1]``."""


@dataclass(frozen=True)
class Layout:
    """How the axis of the ``vmap`` over examples is composed.

    Attributes:
        first: examples whose rows are computed.
        second: the other examples, which follow the first ones in the batch; 0 for a square kernel.
        repeats: consecutive entries of the axis that form one example (its outputs); their inner products are summed.
        dtype: of the kernel.
        groups: how many square kernels of ``first`` examples each the axis holds one after the other: the diagonal blocks of a kernel.
        width: of a sketch; 0 for inner products. A sketch has neither ``second`` nor ``repeats`` nor ``groups``.
    """

    first: int
    second: int
    repeats: int
    dtype: jnp.dtype
    groups: int = 1
    width: int = 0

    @property
    def columns(self) -> int:
        """Length of the tape: of a row of inner products, or of a sketch and the squared norm."""
        return self.width + 1 if self.width else self.second or self.first

    @property
    def entries(self) -> int:
        """Length of the axis."""
        return (self.first + self.second) * self.repeats * self.groups


def row(layout: Layout, contract: Contract, tape: jax.Array, *arrays: jax.Array, keys: Sequence[Any] = ()) -> jax.Array:
    """Return the row ``[columns]`` of the current example.

    Args:
        layout: of the surrounding ``vmap``.
        contract: computes the inner products of two batches.
        tape: the tape of the current example. It marks the ``vmap`` over examples: the arrays may be the same for all examples, like the
            gradient of a bias added to the output, and then another, outer ``vmap`` must not be mistaken for it.
        arrays: the arrays of the current example, in the order that ``contract`` takes them.
        keys: of the random numbers of a sketch.
    """

    @custom_vmap
    def present(tape: jax.Array, keys: Sequence[Any], *arrays: jax.Array) -> jax.Array:
        return jnp.full((layout.columns,), jnp.nan, layout.dtype)  # never runs: the tape is always batched

    @present.def_vmap
    def _all(size: int, batched: list[Any], _: jax.Array, keys: Sequence[Any], *arrays: jax.Array) -> tuple[jax.Array, bool]:
        grouped = [a.reshape(size // layout.repeats, layout.repeats, *a.shape[1:]) for a in for_each_example(size, batched[2:], arrays)]
        if layout.width:
            rows = contract(grouped, keys).astype(layout.dtype)
        elif layout.groups > 1:
            rows = jax.vmap(block)([a.reshape(layout.groups, len(a) // layout.groups, *a.shape[1:]) for a in grouped])
            rows = rows.reshape(-1, layout.columns)
        else:
            rows = block(grouped)
        # The repeats of an example must not count its row several times: the first one carries it.
        if layout.repeats > 1:
            rows = jnp.pad(rows[:, None], ((0, 0), (0, layout.repeats - 1), (0, 0))).reshape(size, -1)
        return rows, True

    def block(grouped: list[jax.Array]) -> jax.Array:
        first = [a[: layout.first] for a in grouped]
        second = [a[layout.first :] for a in grouped] if layout.second else first
        found = contract(first, second).astype(layout.dtype)
        return jnp.pad(found, ((0, layout.second), (0, 0))) if layout.second else found

    return present(tape, keys, *arrays)


def for_each_example(size: int, batched: Sequence[bool], arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """Return the arrays of a batching rule with a leading axis of ``size`` each: what the examples share is repeated."""
    return [a if is_batched else jnp.broadcast_to(a, (size, *a.shape)) for a, is_batched in zip(arrays, batched, strict=True)]


def product(subscripts: str, *operands: jax.Array) -> jax.Array:
    """Compute an einsum at the highest precision, at least in float32; the operands may have different dtypes."""
    wide = widest([operand.dtype for operand in operands])
    if len({operand.dtype for operand in operands}) > 1:
        operands = tuple(operand.astype(wide) for operand in operands)
    return jnp.einsum(subscripts, *operands, precision="highest", preferred_element_type=wide)


def inner_products(first: list[jax.Array], second: list[jax.Array]) -> jax.Array:
    """Contract per-example gradients, a list of arrays ``[n, k, ...]`` on each side.

    On CPUs long gradients are multiplied some columns at a time: XLA's product of two flat matrices runs at a third of the speed.
    """
    a = _flat(first)
    b = a if second is first else _flat(second)
    columns = max(1, _COLUMNS // max(len(a), len(b)))

    def whole(a: jax.Array, b: jax.Array) -> jax.Array:
        return product("np,mp->nm", a, b)

    def in_blocks(a: jax.Array, b: jax.Array) -> jax.Array:
        def block(start: Any, width: int) -> jax.Array:
            return whole(*(lax.dynamic_slice_in_dim(side, start, width, 1) for side in (a, b)))

        return _sum_of_blocks(block, a.shape[1], columns)

    return lax.platform_dependent(a, b, cpu=in_blocks, default=whole) if a.shape[1] >= 8 * columns else whole(a, b)


def _sum_of_blocks(block: Callable[[Any, int], jax.Array], length: int, size: int) -> jax.Array:
    """Add up ``block(start, width)`` over an axis of ``length``, ``size`` at a time and one after the other."""
    count, rest = divmod(length, size)
    total = lax.fori_loop(1, count, lambda number, total: total + block(number * size, size), block(0, size))
    return total + block(count * size, rest) if rest else total


def _flat(gradients: list[jax.Array]) -> jax.Array:
    flat = [gradient.reshape(gradient.shape[0], -1) for gradient in gradients]
    if len(flat) == 1:
        return flat[0]
    wide = widest([gradient.dtype for gradient in flat])
    return jnp.concatenate([gradient.astype(wide) for gradient in flat], 1)


def leaf_contract(layout: Layout) -> Contract:
    """Return what :func:`row` does with per-example gradients: multiply, or sketch them."""
    return functools.partial(project, width=layout.width) if layout.width else inner_products


_dense_gradient = functools.partial(product, "nkbtc,nkbtf->nkbcf")


def dense_direct(first: list[jax.Array], second: list[jax.Array]) -> jax.Array:
    """Contract a dense layer's inputs ``[n, k, b, t, c]`` and cotangents ``[n, k, b, t, f]`` through its per-example weight gradients.

    On CPUs large gradients are formed and multiplied block by block of their columns, so that they stay in the cache: formed as a whole,
    they are written to memory and read back, which takes twice the time of the multiplications.
    """
    sides = [first] if first is second else [first, second]
    if first[0].shape[-1] > first[1].shape[-1]:
        sides = [[d, a] for a, d in sides]  # the gradients are transposed, their inner products the same
    entries = max(math.prod(a.shape[:3]) * a.shape[-1] for a, _ in sides)
    columns = sides[0][1].shape[-1]
    size = -(-columns // -(-entries * columns // _IN_CACHE))

    def whole() -> jax.Array:
        return by_gradients(_dense_gradient, sides[0], sides[-1])

    def in_blocks() -> jax.Array:
        def block(start: Any, width: int) -> jax.Array:
            parts = [[a, lax.dynamic_slice_in_dim(d, start, width, axis=-1)] for a, d in sides]
            return by_gradients(_dense_gradient, parts[0], parts[-1])

        return _sum_of_blocks(block, columns, size)

    return lax.platform_dependent(cpu=in_blocks, default=whole) if size < columns else whole()


def by_gradients(gradient: Callable[..., jax.Array], first: list[jax.Array], second: list[jax.Array]) -> jax.Array:
    """Contract the gradients ``gradient(*side)``, formed only once if both sides are the same examples."""
    left = gradient(*first)
    return inner_products([left], [left if first is second else gradient(*second)])


def dense_pairwise(first: list[jax.Array], second: list[jax.Array]) -> jax.Array:
    """Contract the same arrays pair by pair: ``sum (a_i . a_j) (d_i . d_j)`` over the positions of both."""
    (a, d), (b, e) = first, second
    if a.shape[3] == 1:  # one position per example
        a, b, d, e = (value[:, :, :, 0] for value in (a, b, d, e))
        return jnp.sum(product("nkbc,mkbc->kbnm", a, b) * product("nkbf,mkbf->kbnm", d, e), (0, 1))
    return jnp.sum(product("nkbtc,mkbsc->nmkbts", a, b) * product("nkbtf,mkbsf->nmkbts", d, e), (2, 3, 4, 5))


def embedding(first: list[jax.Array], second: list[jax.Array]) -> jax.Array:
    """Contract look-ups: multiply cotangents ``[n, k, t, e]`` wherever their indices ``[n, k, t]`` agree.

    Negative indices are outside the table and have no gradient.
    """
    (index, d), (other, e) = first, second
    same = (index[:, None, :, :, None] == other[None, :, :, None, :]) & (index >= 0)[:, None, :, :, None]
    return jnp.sum(jnp.where(same, product("nkte,mkse->nmkts", d, e), 0), (2, 3, 4))


def scattered(first: list[jax.Array], second: list[jax.Array], *, rows: int) -> jax.Array:
    """Contract the same arrays through every example's gradient of a whole table of ``rows`` rows."""

    def gradient(index: jax.Array, d: jax.Array) -> jax.Array:
        wide = widest([d.dtype])
        table = jnp.zeros((rows, d.shape[-1]), wide)
        return table.at[jnp.where(index < 0, rows, index)].add(d.astype(wide), mode="drop")

    return by_gradients(jax.vmap(jax.vmap(gradient)), first, second)


def lookup_form(layout: Layout, positions: int, table: tuple[int, ...]) -> tuple[str, Contract]:
    """Choose how to contract a look-up of ``positions`` rows: pair by pair, unless the gradients need a smaller buffer and less work."""
    if layout.width:
        return "lookup", functools.partial(project_lookups, table=table, width=layout.width)
    pairs = layout.groups * layout.first * layout.columns * layout.repeats * positions**2
    gradients = layout.entries * table[0] * table[1]
    small_table = table[0] < positions**2 and max(gradients, _SMALL_PAIRS) <= 2 * pairs  # such as one of positions
    if 2 * pairs <= max(gradients, 2**22) and not small_table:
        return "lookup", embedding
    return "direct", functools.partial(scattered, rows=table[0])


def dense_form(layout: Layout, batch: int, positions: int, inputs: int, outputs: int) -> tuple[str, Contract]:
    """Choose the form of a dense layer with fewer multiplications, but never one whose buffer is much larger than the gradients."""
    if layout.width:
        return "direct", lambda arrays, keys: project([_dense_gradient(*arrays)], keys, width=layout.width)
    products, rows = layout.groups * layout.first * layout.columns * layout.repeats, layout.entries
    gradient = batch * inputs * outputs
    pairs = products * batch * positions**2
    direct = (rows * positions + products) * gradient
    pairwise = pairs * (inputs + outputs)
    largest = max(rows * gradient, rows * batch * positions * (inputs + outputs), 2**22)
    if pairwise < direct and (positions == 1 or 2 * pairs <= largest):
        return "pairwise", dense_pairwise
    return "direct", dense_direct
