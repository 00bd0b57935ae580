"""Rows of the kernel: the cotangents of the tape that the reverse rule of an operation returns.

A per-example reverse rule calls :func:`row` for that example's inner products with all examples. Under ``vmap`` its ``custom_vmap`` rule
takes over, which sees the arrays of all examples and computes all rows at once.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

Contract = Callable[..., jax.Array]
"""``contract(first, second) -> [n1, n2]``: inner products between two lists of per-example arrays ``[n, k, ...]``, summed over ``k``."""


@dataclass(frozen=True)
class Layout:
    """How the axis of the ``vmap`` over examples is composed.

    Attributes:
        first: examples whose rows are computed.
        second: the other examples, which follow the first ones in the batch; 0 for a square kernel.
        repeats: consecutive entries of the axis that form one example (its outputs); their inner products are summed.
        dtype: of the kernel.
    """

    first: int
    second: int
    repeats: int
    dtype: jnp.dtype

    @property
    def columns(self) -> int:
        """Length of the tape."""
        return self.second or self.first


def widest(dtypes: Sequence[Any]) -> jnp.dtype:
    """Return the dtype that holds the given floating-point ones, at least float32, also under strict promotion."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(jnp.float32, *dtypes)


def row(layout: Layout, contract: Contract, tape: jax.Array, *arrays: jax.Array) -> jax.Array:
    """Return the row ``[columns]`` of the current example.

    Args:
        layout: of the surrounding ``vmap``.
        contract: computes the inner products of two batches.
        tape: the tape of the current example. It marks the ``vmap`` over examples: the arrays may be the same for all examples, like the
            gradient of a bias added to the output, and then another, outer ``vmap`` must not be mistaken for it.
        arrays: the arrays of the current example, in the order that ``contract`` takes them.
    """

    @custom_vmap
    def present(tape: jax.Array, *arrays: jax.Array) -> jax.Array:
        return jnp.full((layout.columns,), jnp.nan, layout.dtype)  # never runs: the tape is always batched

    @present.def_vmap
    def _all(size: int, batched: list[bool], _: jax.Array, *arrays: jax.Array) -> tuple[jax.Array, bool]:
        full = [a if is_batched else jnp.broadcast_to(a, (size, *a.shape)) for a, is_batched in zip(arrays, batched[1:], strict=True)]
        grouped = [a.reshape(size // layout.repeats, layout.repeats, *a.shape[1:]) for a in full]
        first = [a[: layout.first] for a in grouped]
        second = [a[layout.first :] for a in grouped] if layout.second else first
        block = contract(first, second).astype(layout.dtype)
        rest = size // layout.repeats - layout.first
        rows = jnp.pad(block, ((0, rest), (0, 0))) if rest else block
        # The repeats of an example must not count its row several times: the first one carries it.
        if layout.repeats > 1:
            rows = jnp.pad(rows[:, None], ((0, 0), (0, layout.repeats - 1), (0, 0))).reshape(size, -1)
        return rows, True

    return present(tape, *arrays)


def product(subscripts: str, *operands: jax.Array) -> jax.Array:
    """Compute an einsum at the highest precision, at least in float32; the operands may have different dtypes."""
    wide = widest([operand.dtype for operand in operands])
    if len({operand.dtype for operand in operands}) > 1:
        operands = tuple(operand.astype(wide) for operand in operands)
    return jnp.einsum(subscripts, *operands, precision="highest", preferred_element_type=wide)


def inner_products(first: list[jax.Array], second: list[jax.Array]) -> jax.Array:
    """Contract per-example gradients, a list of arrays ``[n, k, ...]`` on each side, in one matrix product."""
    return product("np,mp->nm", _flat(first), _flat(second))


def _flat(gradients: list[jax.Array]) -> jax.Array:
    flat = [gradient.reshape(gradient.shape[0], -1) for gradient in gradients]
    if len(flat) == 1:
        return flat[0]
    wide = widest([gradient.dtype for gradient in flat])
    return jnp.concatenate([gradient.astype(wide) for gradient in flat], 1)


def dense_direct(first: list[jax.Array], second: list[jax.Array]) -> jax.Array:
    """Contract a dense layer's inputs ``[n, k, b, t, c]`` and cotangents ``[n, k, b, t, f]`` through its per-example weight gradients."""
    return _by_gradients(functools.partial(product, "nkbtc,nkbtf->nkbcf"), first, second)


def _by_gradients(gradient: Callable[..., jax.Array], first: list[jax.Array], second: list[jax.Array]) -> jax.Array:
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

    return _by_gradients(jax.vmap(jax.vmap(gradient)), first, second)


def lookup_form(layout: Layout, positions: int, table: tuple[int, ...]) -> tuple[str, Contract]:
    """Choose how to contract a look-up of ``positions`` rows: pair by pair, unless that needs a larger buffer than the gradients."""
    pairs = layout.first * layout.columns * layout.repeats * positions**2
    gradients = (layout.first + layout.second) * layout.repeats * table[0] * table[1]
    if 2 * pairs <= max(gradients, 2**22):
        return "lookup", embedding
    return "direct", functools.partial(scattered, rows=table[0])


def dense_form(layout: Layout, batch: int, positions: int, inputs: int, outputs: int) -> tuple[str, Contract]:
    """Choose the form of a dense layer with fewer multiplications, but never one whose buffer is much larger than the gradients."""
    n, m = layout.first, layout.columns
    rows = (layout.first + layout.second) * layout.repeats
    gradient = batch * inputs * outputs
    pairs = n * m * layout.repeats * batch * positions**2
    direct = rows * positions * gradient + n * m * layout.repeats * gradient
    pairwise = pairs * (inputs + outputs)
    largest = max(rows * gradient, rows * batch * positions * (inputs + outputs), 2**22)
    if pairwise < direct and (positions == 1 or 2 * pairs <= largest):
        return "pairwise", dense_pairwise
    return "direct", dense_direct
