r"""Convolutions in which a parameter meets data: their rows, and per-example weight gradients.

A weight gradient is a matrix product, over positions, of two arrangements: one of the data, one of the cotangents. ``vmap`` of the
library's own rule is a grouped convolution in its place, several times slower on CPU, and for depthwise layers far larger.

*Patches* hold what the filter sees at every position of the output: ``[positions, k_h k_w c_in]`` against ``[positions, c_out]``. *Shifts*
(stride 1, one group) hold the data shifted along the width, and the cotangents shifted along the height: ``[positions, k_w c_in]`` against
``[positions, k_h c_out]``. Either product has each tap of the filter once and the same number of multiplications, but patches grow one
operand :math:`k^2` times and shifts both of them :math:`k` times. With 16 channels of 32 x 32 pixels shifts are 4.5 times as fast on one
CPU core.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jknas.kernels.tape.operations import Operation, Rows
from jknas.kernels.tape.rows import Layout, by_gradients, dense_form, for_each_example, leaf_contract, product, row
from jknas.kernels.tape.sketching import key_of_part

_BLOCK = 2**21
"""Entries of the arrangements that a CPU holds at a time, of some examples: they stay in its cache."""

_BLOCK_ELSEWHERE = 2**26
"""The same for other devices: an arrangement of all examples may not fit into their memory."""

_UNROLLED = 16  # taps of a depthwise filter up to which no loop is worth it


class Arrangement(NamedTuple):
    """How a weight gradient is a product, for each group of channels.

    Attributes:
        positions: the axis that is summed over.
        inputs: columns of the data's arrangement.
        outputs: columns of the cotangents' arrangement.
        data: arranges the data of one example, ``[groups, positions, inputs]``.
        cotangent: arranges its cotangents, ``[groups, positions, outputs]``.
        weight: brings the product ``[groups, inputs, outputs]`` into the form of the weight.
    """

    positions: int
    inputs: int
    outputs: int
    data: Callable[[jax.Array], jax.Array]
    cotangent: Callable[[jax.Array], jax.Array]
    weight: Callable[[jax.Array], jax.Array]


def convolution_rows(layout: Layout, params: dict[str, Any], shapes: tuple[Any, Any], out: tuple[int, ...]) -> tuple[str, Rows]:
    """Return the form and the row function of a ``conv_general_dilated``.

    It is a dense layer on an arrangement of its operands. Depthwise it works offset by offset of the filter, and so does a sketch, which
    must not depend on the number of examples.
    """
    groups = params["feature_group_count"]
    if layout.width:
        return "direct", _sketches_by_offset(layout, params, shapes, out)
    if _is_depthwise(params, shapes):

        def on_taps(tape: jax.Array, data: jax.Array, cotangent: jax.Array, key: Any) -> jax.Array:
            return row(layout, leaf_contract(layout), tape, _depthwise_taps(data, cotangent, params, shapes, out), keys=[key])

        return "direct", on_taps
    arranged = arrangement(params, shapes, out)
    form, contract = dense_form(layout, groups, arranged.positions, arranged.inputs, arranged.outputs)
    if form == "direct" and arranged.positions * (arranged.inputs + arranged.outputs) > arranged.inputs * arranged.outputs:
        gradients = functools.partial(_example_gradients, arranged=arranged, groups=groups)

        def on_operands(tape: jax.Array, data: jax.Array, cotangent: jax.Array, key: Any) -> jax.Array:
            return row(layout, functools.partial(by_gradients, gradients), tape, data, cotangent, keys=[key])

        return form, on_operands

    def on_arrangements(tape: jax.Array, data: jax.Array, cotangent: jax.Array, key: Any) -> jax.Array:
        return row(layout, contract, tape, arranged.data(data), arranged.cotangent(cotangent), keys=[key])

    return form, on_arrangements


def convolution_gradient(params: dict[str, Any], shapes: tuple[Any, Any], out: tuple[int, ...]) -> Operation:
    """Return ``gradient(data, cotangent)`` of the weight of a ``conv_general_dilated``, which ``vmap`` computes some examples at a time."""
    if _is_depthwise(params, shapes):
        return functools.partial(_depthwise_gradient, params=params, shapes=shapes, out=out)
    arranged, groups = arrangement(params, shapes, out), params["feature_group_count"]

    @custom_vmap
    def gradient(data: jax.Array, cotangent: jax.Array) -> jax.Array:
        return arranged.weight(product("gpi,gpo->gio", arranged.data(data), arranged.cotangent(cotangent)))

    @gradient.def_vmap
    def _all(size: int, batched: list[bool], *operands: jax.Array) -> tuple[jax.Array, bool]:
        found = _example_gradients(*(a[:, None] for a in for_each_example(size, batched, operands)), arranged=arranged, groups=groups)
        return jax.vmap(arranged.weight)(found[:, 0]), True

    return gradient


def with_own_gradient(
    operation: Operation, parameter: jax.Array, data: jax.Array, *, gradient: Operation, needs_cotangent: bool
) -> jax.Array:
    """Run ``operation`` with ``gradient(data, cotangent)`` as the reverse rule of its parameter.

    Args:
        operation: the operation to run.
        parameter: its parameter.
        data: its other operand.
        gradient: computes the parameter's cotangent.
        needs_cotangent: whether ``data`` depends on parameters.
    """

    @jax.custom_vjp
    def run(parameter: jax.Array, data: jax.Array) -> jax.Array:
        return operation(parameter, data)

    def backward(saved: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        parameter, data = saved
        found = gradient(data, cotangent).astype(parameter.dtype)
        if not needs_cotangent:
            return found, None
        return found, jax.vjp(lambda data: operation(parameter, data), data)[1](cotangent)[0]

    run.defvjp(lambda parameter, data: (operation(parameter, data), (parameter, data)), backward)
    return run(parameter, data)


def _example_gradients(data: jax.Array, cotangent: jax.Array, *, arranged: Arrangement, groups: int) -> jax.Array:
    """Return the products ``[n, k, groups, inputs, outputs]`` of data and cotangents ``[n, k, ...]``.

    On CPUs some examples are arranged at a time. Arranged as a whole, they are written to memory and read back.
    """

    def one(operands: tuple[jax.Array, ...]) -> jax.Array:
        return product("gpi,gpo->gio", arranged.data(operands[0]), arranged.cotangent(operands[1]))

    leading = data.shape[:2]
    every = tuple(a.reshape(-1, *a.shape[2:]) for a in (data, cotangent))
    entries = groups * arranged.positions * (arranged.inputs + arranged.outputs)

    def in_blocks(limit: int) -> Callable[..., jax.Array]:
        blocks = -(-len(every[0]) // max(2, limit // entries))
        size = -(-len(every[0]) // blocks)  # about as many in each block: a shorter one is compiled for itself
        return lambda *every: lax.map(one, every, batch_size=size) if blocks > 1 else jax.vmap(one)(every)

    found = lax.platform_dependent(*every, cpu=in_blocks(_BLOCK), default=in_blocks(_BLOCK_ELSEWHERE))
    return found.reshape(*leading, *found.shape[1:])


def arrangement(params: dict[str, Any], shapes: tuple[Any, Any], out: tuple[int, ...]) -> Arrangement:
    """Return shifts where they are possible and smaller, otherwise patches; ``shapes`` are those of the weight and of the data."""
    patches = _patches(params, shapes, out)
    numbers, (weight, _) = params["dimension_numbers"], shapes
    sides = [weight[axis] for axis in numbers.rhs_spec[2:]]
    ones = (params["window_strides"], params["lhs_dilation"], params["rhs_dilation"], [params["feature_group_count"]])
    inside = all(0 <= pad < side for pads, side in zip(params["padding"], sides, strict=True) for pad in pads)
    if len(sides) != 2 or any(step != 1 for steps in ones for step in steps) or not inside:
        return patches
    shifts = _shifts(params, shapes, out)
    smaller = shifts.positions * (shifts.inputs + shifts.outputs) < patches.positions * (patches.inputs + patches.outputs)
    return shifts if smaller else patches


def _shifts(params: dict[str, Any], shapes: tuple[Any, Any], out: tuple[int, ...]) -> Arrangement:
    numbers, (weight, data) = params["dimension_numbers"], shapes
    c_out, c_in, tall, wide = (weight[axis] for axis in numbers.rhs_spec)
    height, width = data[numbers.lhs_spec[2]], out[numbers.out_spec[3]]
    (above, below), (left, right) = params["padding"]

    def arranged_data(x: jax.Array) -> jax.Array:
        padded = jnp.pad(_channels_last(x, numbers.lhs_spec), ((0, 0), (0, 0), (left, right), (0, 0)))
        return jnp.concatenate([padded[:, :, at : at + width] for at in range(wide)], -1).reshape(1, -1, wide * c_in)

    def arranged_cotangent(d: jax.Array) -> jax.Array:
        padded = jnp.pad(_channels_last(d, numbers.out_spec), ((0, 0), (tall - 1 - above, tall - 1 - below), (0, 0), (0, 0)))
        return jnp.concatenate([padded[:, at : at + height] for at in reversed(range(tall))], -1).reshape(1, -1, tall * c_out)

    def to_weight(found: jax.Array) -> jax.Array:
        return _as_weight(found.reshape(wide, c_in, tall, c_out).transpose(2, 0, 1, 3), numbers)

    positions = data[numbers.lhs_spec[0]] * height * width
    return Arrangement(positions, wide * c_in, tall * c_out, arranged_data, arranged_cotangent, to_weight)


def _patches(params: dict[str, Any], shapes: tuple[Any, Any], out: tuple[int, ...]) -> Arrangement:
    numbers, groups, (weight, data) = params["dimension_numbers"], params["feature_group_count"], shapes
    c_out, c_in, *window = (weight[axis] for axis in numbers.rhs_spec)
    space = [out[axis] for axis in numbers.out_spec[2:]]
    positions = data[numbers.lhs_spec[0]] * math.prod(space)

    def arranged_data(x: jax.Array) -> jax.Array:
        parts = _shifted_inputs(x, params=params, space=space, window=window)
        return jnp.concatenate([part.reshape(positions, groups, c_in) for part in parts], -1).swapaxes(0, 1)

    def arranged_cotangent(d: jax.Array) -> jax.Array:
        return _channels_last(d, numbers.out_spec).reshape(positions, groups, c_out // groups).swapaxes(0, 1)

    def to_weight(found: jax.Array) -> jax.Array:
        split = found.reshape(groups, *window, c_in, c_out // groups)
        return _as_weight(jnp.moveaxis(split, 0, -2).reshape(*window, c_in, c_out), numbers)

    return Arrangement(positions, math.prod(window) * c_in, c_out // groups, arranged_data, arranged_cotangent, to_weight)


def _is_depthwise(params: dict[str, Any], shapes: tuple[Any, Any]) -> bool:
    c_out, c_in = (shapes[0][axis] for axis in params["dimension_numbers"].rhs_spec[:2])
    return bool(c_in == 1 and c_out == params["feature_group_count"])


def _gradients_by_offset(data: jax.Array, cotangent: jax.Array, params: dict[str, Any], shapes: Any, out: Any) -> list[jax.Array]:
    """Return the gradient of each offset of the filter, ``[groups, c_in, c_out / groups]``; of a depthwise layer ``[groups, 1]``."""
    numbers, groups, (weight, _) = params["dimension_numbers"], params["feature_group_count"], shapes
    c_out, c_in, *window = (weight[axis] for axis in numbers.rhs_spec)
    d = _channels_last(cotangent, numbers.out_spec).reshape(-1, groups, c_out // groups)
    parts = _shifted_inputs(data, params=params, space=[out[axis] for axis in numbers.out_spec[2:]], window=window)
    subscripts = "pgi,pgi->gi" if _is_depthwise(params, shapes) else "pgi,pgo->gio"
    return [product(subscripts, part.reshape(-1, groups, c_in), d) for part in parts]


def _sketches_by_offset(layout: Layout, params: dict[str, Any], shapes: tuple[Any, Any], out: tuple[int, ...]) -> Rows:
    def rows(tape: jax.Array, data: jax.Array, cotangent: jax.Array, key: Any) -> jax.Array:
        total = jnp.zeros((layout.columns,), layout.dtype)
        for offset, gradient in enumerate(_gradients_by_offset(data, cotangent, params, shapes, out)):
            total = total + row(layout, leaf_contract(layout), tape, gradient, keys=[key_of_part(key, offset)])
        return total

    return rows


def _depthwise_taps(data: jax.Array, cotangent: jax.Array, params: dict[str, Any], shapes: Any, out: Any) -> jax.Array:
    """Return the gradient of a depthwise layer, ``[taps, groups, 1]``; large filters row by row in a loop, which is compiled once."""
    numbers, (weight, _) = params["dimension_numbers"], shapes
    window = [weight[axis] for axis in numbers.rhs_spec[2:]]
    if len(window) != 2 or math.prod(window) <= _UNROLLED:
        return jnp.stack(_gradients_by_offset(data, cotangent, params, shapes, out))
    # A row of the filter sees the input without the rows above, padded as much as the first one needs: a filter of one row.
    (low, high), across = params["padding"]
    step = params["rhs_dilation"][0]
    spread = [(0, 0, 0)] * data.ndim
    spread[numbers.lhs_spec[2]] = (low, high, params["lhs_dilation"][0] - 1)
    tall = lax.pad(data, jnp.zeros((), data.dtype), spread)
    length = tall.shape[numbers.lhs_spec[2]] - (window[0] - 1) * step
    one_row = {**params, "padding": ((0, 0), across), "lhs_dilation": (1, params["lhs_dilation"][1])}
    short = list(weight)
    short[numbers.rhs_spec[2]] = 1

    def taps(number: jax.Array) -> jax.Array:
        strip = lax.dynamic_slice_in_dim(tall, number * step, length, numbers.lhs_spec[2])
        return jnp.stack(_gradients_by_offset(strip, cotangent, one_row, (tuple(short), strip.shape), out))

    return lax.map(taps, jnp.arange(window[0])).reshape(math.prod(window), -1, 1)


def _depthwise_gradient(
    data: jax.Array, cotangent: jax.Array, *, params: dict[str, Any], shapes: tuple[Any, Any], out: tuple[int, ...]
) -> jax.Array:
    numbers, (weight, _) = params["dimension_numbers"], shapes
    window = [weight[axis] for axis in numbers.rhs_spec[2:]]
    found = _depthwise_taps(data, cotangent, params, shapes, out)
    return _as_weight(found.swapaxes(1, 2).reshape(*window, 1, -1), numbers)


def _channels_last(a: jax.Array, spec: tuple[int, ...]) -> jax.Array:
    return a.transpose([spec[0], *spec[2:], spec[1]])


def _as_weight(found: jax.Array, numbers: Any) -> jax.Array:
    """Bring a gradient ``[*window, c_in, c_out]`` into the order of the weight's axes."""
    order = [*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0]]
    return found.transpose([order.index(axis) for axis in range(len(order))])


def _shifted_inputs(data: jax.Array, *, params: dict[str, Any], space: list[int], window: list[int]) -> list[jax.Array]:
    """Return what each offset of the filter's window multiplies: arrays ``[batch, *space, c_in]``, offsets in row-major order."""
    data = _channels_last(data, params["dimension_numbers"].lhs_spec)
    spread = [(low, high, inner - 1) for (low, high), inner in zip(params["padding"], params["lhs_dilation"], strict=True)]
    data = lax.pad(data, jnp.zeros((), data.dtype), [(0, 0, 0), *spread, (0, 0, 0)])
    found = []
    for offset in itertools.product(*map(range, window)):
        start = [at * step for at, step in zip(offset, params["rhs_dilation"], strict=True)]
        stop = [at + (n - 1) * step + 1 for at, n, step in zip(start, space, params["window_strides"], strict=True)]
        last = (data.shape[0], data.shape[-1])
        found.append(lax.slice(data, [0, *start, 0], [last[0], *stop, last[1]], [1, *params["window_strides"], 1]))
    return found
