"""What a model's gradients cost, counted on its traced programs."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jknas.kernels.tape.sketching import widest
from jknas.kernels.tile_plan import Sizes


def measure(
    forward: Callable[[list[Any], PyTree, PyTree], jax.Array],
    pair: Callable[[int], Callable[..., Any]],
    leaves: list[Any],
    params: PyTree,
    one: PyTree,
    *,
    rows: int,
    columns: int | None,
    repeats: int = 1,
    devices: int = 1,
) -> Sizes | None:
    """Trace the programs of a kernel, and compile none.

    Args:
        forward: ``forward(leaves, params, examples)``, the scalar of the first example.
        pair: ``pair(t)``, the one-pass program ``(params, first, second)`` of two blocks of t examples.
        leaves: shapes of the parameters to differentiate.
        params: all parameters, or their shapes.
        one: shapes of a batch of one example.
        rows: number of examples.
        columns: number of the other examples; None for a symmetric kernel.
        repeats: gradients per example.
        devices: how many share the work.

    Returns:
        The sizes. None for a model that closes over a value of a transformation that is under way: it cannot be measured apart from it.
    """
    closed = jax.make_jaxpr(forward)(leaves, params, one)
    if any(isinstance(constant, jax.core.Tracer) for constant in closed.consts):
        return None
    order = order_of_use(closed.jaxpr, len(leaves))

    def flops_of_pair(t: int) -> float:
        half = jax.tree.map(lambda a: jax.ShapeDtypeStruct((t, *a.shape[1:]), a.dtype), one)
        try:
            return _flops(pair(t), params, half, half)
        except NotImplementedError:
            return math.inf

    return Sizes(
        rows=rows,
        columns=columns,
        leaves=tuple(repeats * leaves[at].size for at in order),
        activations=repeats * activation_bytes(closed.jaxpr),
        width=np.dtype(widest([leaf.dtype for leaf in leaves])).itemsize,
        devices=devices,
        step=repeats * _flops(jax.grad(forward), leaves, params, one),
        pair=flops_of_pair,
        order=tuple(order),
    )


def _flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Count as if for a GPU, where no examples are taken in turns: XLA counts what is in a loop once."""
    with jax.default_matmul_precision("highest"):
        traced = jax.jit(function).trace(*arguments)
        try:
            lowered = traced.lower(lowering_platforms=("cuda",))
        except NotImplementedError:  # an operation that this installation cannot lower for another platform
            lowered = traced.lower()
        return float((lowered.cost_analysis() or {}).get("flops", 0.0))


def activation_bytes(jaxpr: Any) -> int:
    """Return the bytes of everything that a traced function computes: an upper bound of what its backward pass keeps."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [
            part
            for value in equation.params.values()
            for part in (value if isinstance(value, tuple | list) else (value,))
            if hasattr(part, "eqns")
        ]
        if inner:
            times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
            total += times * max(activation_bytes(getattr(part, "jaxpr", part)) for part in inner)
        else:
            total += sum(_bytes(var.aval) for var in equation.outvars)
    return total


def _bytes(aval: Any) -> int:
    dtype = getattr(aval, "dtype", None)
    if dtype is None or jnp.issubdtype(dtype, jax.dtypes.extended):
        return 0
    return math.prod(aval.shape) * dtype.itemsize


def order_of_use(jaxpr: Any, count: int) -> list[int]:
    """Return the first ``count`` inputs of a traced function in the order in which they are used."""
    first = {var: count + len(jaxpr.eqns) for var in jaxpr.invars[:count]}
    for at, equation in reversed(list(enumerate(jaxpr.eqns))):
        first.update({atom: at for atom in equation.invars if not hasattr(atom, "val") and atom in first})
    return sorted(range(count), key=lambda at: first[jaxpr.invars[at]])
