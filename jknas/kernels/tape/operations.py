"""Operations in which a parameter meets data, with the tape as another argument.

``leaves`` is the universal form: it returns parameters unchanged and takes their per-example cotangents, whatever the model does with them.
The dense, convolution and look-up forms each know one operation and are cheaper: they multiply pairs of examples where that costs less than
per-example gradients, and never form those gradients by a grouped convolution.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jknas.kernels.tape.rows import Layout, dense_form, leaf_contract, lookup_form, row
from jknas.kernels.tape.sketching import widest

Operation = Callable[[jax.Array, jax.Array], jax.Array]
"""``operation(parameter, data) -> output``, linear in both."""

Rows = Callable[[jax.Array, jax.Array, jax.Array, Any], jax.Array]
"""``rows(tape, data, cotangent, key)``, the row of the current example; the key is that of a sketch."""

_SMALL = 4096  # entries; the gradients of smaller parameters share one matrix product


def leaves(parameters: Sequence[jax.Array], tape: jax.Array, layout: Layout, scales: Sequence[Any], keys: Sequence[Any]) -> list[jax.Array]:
    """Return the parameters unchanged; the cotangent of each, summed over all its uses, contributes to the row.

    Args:
        parameters: leaves, or their entries in another arrangement.
        tape: the tape.
        layout: of the examples.
        scales: the factor between each parameter and its leaf; None for one.
        keys: of a sketch, one for each parameter; otherwise None.
    """

    @jax.custom_vjp
    def through(parameters: list[jax.Array], constants: Any, tape: jax.Array) -> list[jax.Array]:
        del constants, tape
        return parameters

    def backward(saved: tuple[Any, jax.Array], cotangents: list[jax.Array]) -> tuple[None, None, jax.Array]:
        (scales, keys), tape = saved
        scaled = [(_scaled(d, scale), key) for d, scale, key in zip(cotangents, scales, keys, strict=True)]
        small = [pair for pair in scaled if pair[0].size <= _SMALL]
        groups = [*([small] if small else []), *([pair] for pair in scaled if pair[0].size > _SMALL)]
        rows = [row(layout, leaf_contract(layout), tape, *(d for d, _ in group), keys=[key for _, key in group]) for group in groups]
        return None, None, functools.reduce(jnp.add, rows)

    through.defvjp(lambda parameters, constants, tape: (parameters, (constants, tape)), backward)
    return through(list(parameters), (list(scales), list(keys)), tape)


def _scaled(cotangent: jax.Array, scale: Any) -> jax.Array:
    """Return the cotangent of a leaf from that of the leaf times ``scale``, without rounding it to half precision."""
    if scale is None:
        return cotangent
    wide = widest([cotangent.dtype])
    return cotangent.astype(wide) * jnp.asarray(scale).astype(wide)


def taped(
    operation: Operation,
    parameter: jax.Array,
    data: jax.Array,
    tape: jax.Array,
    *,
    rows: Rows,
    scale: jax.Array | None,
    key: Any,
    needs_cotangent: bool,
) -> jax.Array:
    """Run ``operation`` with a reverse rule that returns the row of the tape.

    Args:
        operation: the operation to run.
        parameter: its parameter, used nowhere else.
        data: its other operand.
        tape: the tape.
        rows: computes the row of the current example.
        scale: the factor between ``parameter`` and its leaf; None for one.
        key: of a sketch.
        needs_cotangent: whether ``data`` depends on parameters.
    """

    @jax.custom_vjp
    def run(parameter: jax.Array, constants: Any, data: jax.Array, tape: jax.Array) -> jax.Array:
        del constants, tape
        return operation(parameter, data)

    def forward(parameter: jax.Array, constants: Any, data: jax.Array, tape: jax.Array) -> tuple[jax.Array, Any]:
        return operation(parameter, data), (parameter, constants, data, tape)

    def backward(saved: Any, cotangent: jax.Array) -> tuple[None, None, jax.Array | None, jax.Array]:
        parameter, (scale, key), data, tape = saved
        filled = rows(tape, data, _scaled(cotangent, scale), key)
        if not needs_cotangent:
            return None, None, None, filled
        (d_data,) = jax.vjp(lambda data: operation(parameter, data), data)[1](cotangent)
        # Without the barrier XLA keeps every layer's operands alive and computes the rows at the end.
        d_data, filled = lax.optimization_barrier((d_data, filled))
        return None, None, d_data, filled

    run.defvjp(forward, backward)
    return run(parameter, (scale, key), data, tape)


def dot_rows(layout: Layout, params: dict[str, Any], position: int, shapes: tuple[Any, Any]) -> tuple[str, Rows]:
    """Return the form and the row function of a ``dot_general`` whose operand ``position`` is the parameter of shape ``shapes[0]``."""
    (summed, batch) = params["dimension_numbers"]
    in_parameter, in_data = (summed[position], batch[position]), (summed[1 - position], batch[1 - position])
    parameter, data = shapes
    order = [*in_data[1], *_free(data, in_data), *in_data[0]]
    sizes = _sizes(data, in_data)
    free = _sizes(parameter, in_parameter)[1]
    form, contract = dense_form(layout, sizes[0], sizes[1], sizes[2], free)

    def rows(tape: jax.Array, data: jax.Array, cotangent: jax.Array, key: Any) -> jax.Array:
        a = data.transpose(order).reshape(sizes)
        # The output has batch dimensions first, then the free ones of the first operand, then those of the second.
        by_parameter = cotangent.reshape(sizes[0], free, sizes[1]).swapaxes(1, 2)
        d = by_parameter if position == 0 else cotangent.reshape(sizes[0], sizes[1], free)
        return row(layout, contract, tape, a, d, keys=[key])

    return form, rows


def _free(shape: tuple[int, ...], used: tuple[Any, Any]) -> list[int]:
    return [axis for axis in range(len(shape)) if axis not in {*used[0], *used[1]}]


def _sizes(shape: tuple[int, ...], used: tuple[Any, Any]) -> tuple[int, int, int]:
    return math.prod(shape[a] for a in used[1]), math.prod(shape[a] for a in _free(shape, used)), math.prod(shape[a] for a in used[0])


def is_lookup(params: dict[str, Any], table: tuple[int, ...], index: tuple[int, ...]) -> bool:
    """Tell whether a ``gather`` takes whole rows of a table, as an embedding does."""
    numbers = params["dimension_numbers"]
    return (
        len(table) == 2
        and tuple(params["slice_sizes"]) == (1, table[1])
        and tuple(numbers.collapsed_slice_dims) == (0,)
        and tuple(numbers.start_index_map) == (0,)
        and tuple(numbers.offset_dims) == (len(index) - 1,)
        and not numbers.operand_batching_dims
        and params["mode"] != lax.GatherScatterMode.ONE_HOT
    )


def lookup_rows(layout: Layout, params: dict[str, Any], table: tuple[int, ...], index: tuple[int, ...]) -> tuple[str, Rows]:
    """Return the form and the row function of a look-up in ``table`` ``[v, e]`` by an index array ``[..., 1]``."""
    form, contract = lookup_form(layout, math.prod(index[:-1]), table)

    def rows(tape: jax.Array, index: jax.Array, cotangent: jax.Array, key: Any) -> jax.Array:
        index = index.reshape(-1)
        if index.dtype.itemsize < 4:
            index = index.astype(jnp.int32)  # the number of rows may not fit into the index's own type
        if params["mode"] == lax.GatherScatterMode.CLIP:
            index = jnp.clip(index, 0, table[0] - 1)
        inside = (index >= 0) & (index < table[0])
        index = jnp.where(inside, index.astype(jnp.int32), jnp.full(index.shape, -1, jnp.int32))  # index may be unsigned
        return row(layout, contract, tape, index, cotangent.reshape(-1, table[1]), keys=[key])

    return form, rows
