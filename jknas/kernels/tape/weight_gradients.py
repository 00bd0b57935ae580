"""Per-example weight gradients of convolutions, without the grouped convolutions that ``vmap`` makes of their reverse rule."""

from typing import Any

import jax
import jax.numpy as jnp

from jknas.kernels.tape import operations
from jknas.kernels.tape.operations import Operation, shifted_inputs
from jknas.kernels.tape.rows import Layout, product


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


def convolution_gradient(layout: Layout, params: dict[str, Any], shapes: tuple[Any, Any], out: tuple[int, ...]) -> Operation:
    """Return ``gradient(data, cotangent)`` of the weight of a ``conv_general_dilated``: patches times cotangents.

    Where the patches are large it works offset by offset of the filter.
    """
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    weight, data = shapes
    c_out, c_in, *window = (weight[axis] for axis in numbers.rhs_spec)
    space = [out[axis] for axis in numbers.out_spec[2:]]
    in_flight = (layout.first + layout.second) * layout.repeats
    patches = in_flight * data[numbers.lhs_spec[0]] * groups * weight[numbers.rhs_spec[1]]
    for size in (*space, *window):
        patches *= size
    depthwise = c_in == 1 and c_out == groups
    order = [*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0]]

    def gradient(data: jax.Array, cotangent: jax.Array) -> jax.Array:
        d = cotangent.transpose([numbers.out_spec[0], *numbers.out_spec[2:], numbers.out_spec[1]]).reshape(-1, groups, c_out // groups)
        parts = [part.reshape(-1, groups, c_in) for part in shifted_inputs(data, params=params, out=space, window=window)]
        if depthwise:
            found = jnp.stack([product("pgi,pgi->gi", part, d) for part in parts], 1)
        elif patches * 4 > operations._PATCH_BYTES:
            found = jnp.stack([product("pgi,pgo->gio", part, d) for part in parts], 1)
        else:
            found = product("pgi,pgo->gio", jnp.concatenate(parts, -1), d)
        found = jnp.moveaxis(found.reshape(groups, *window, c_in, c_out // groups), 0, -2).reshape(*window, c_in, c_out)
        return found.transpose([order.index(axis) for axis in range(len(order))])

    return gradient
