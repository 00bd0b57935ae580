"""The interpreter that runs a traced per-example function with a tape.

The interpreter tracks what each value depends on. A parameter that is only rearranged (reshape, transpose, slice, cast, scaling by a
constant) and then enters exactly one operation with a cheap form takes that form; so does each part of one whose parts, such as stacked
layers, do not overlap. Every other parameter (used more than once, combined with other parameters, broadcast, inside a custom rule, ...)
takes the leaf form, whose cotangent autodiff sums over all uses. No cross term is dropped, and every model that JAX can differentiate in
reverse has an exact answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core as jex

from jknas.kernels.tape.convolutions import convolution_gradient, convolution_rows, with_own_gradient
from jknas.kernels.tape.operations import dot_rows, leaves, lookup_rows, taped
from jknas.kernels.tape.planning import (
    INLINED,
    REMAT,
    SCALINGS,
    Kind,
    Part,
    aval_of,
    is_empty,
    is_view,
    parts_of,
    plan,
    result_of,
    scan_sizes,
)
from jknas.kernels.tape.rows import Layout
from jknas.kernels.tape.sketching import key_of_part, widest
from jknas.xla.interception import INTERCEPTED, Interceptible


@dataclass(frozen=True)
class Value:
    """A value of the interpreted function.

    Attributes:
        array: the value.
        kind: what it depends on.
        name: the parameter's name, for views.
        scale: the factor of the parameter, for views; None for one.
        key: of the random numbers of a sketch, for views: different entries of parameters have different keys, or places under one key.
    """

    array: Any
    kind: Kind
    name: str = ""
    scale: Any = None
    key: Any = None


class Contraction(NamedTuple):
    """How the per-example gradients of one parameter were multiplied.

    Attributes:
        name: path of the parameter.
        form: ``"pairwise"``, ``"direct"``, ``"lookup"`` or ``"leaf"``.
        reason: why this form was chosen.
    """

    name: str
    form: str
    reason: str


class Run(NamedTuple):
    """The constants of one interpretation: the tape, the layout of the examples, and the list that collects the contractions.

    Without a tape the function stays differentiable with respect to its parameters, and convolutions get a cheap rule for their weights.
    """

    tape: Any
    layout: Layout
    contractions: list[Contraction]


def interpret(jaxpr: jex.Jaxpr, constants: Sequence[Any], inputs: Sequence[Value], run: Run) -> list[Value]:
    """Run ``jaxpr`` on ``inputs``, attaching the tape wherever an operation consumes a view."""
    values: dict[Any, Value] = {}

    def read(atom: Any) -> Value:
        return Value(atom.val, Kind.CONSTANT) if isinstance(atom, jex.Literal) else values[atom]

    parts: Mapping[int, Value] = {}
    if run.tape is not None:
        inputs, parts = _leaf_forms(jaxpr, inputs, run)
    values.update(zip(jaxpr.constvars, (Value(constant, Kind.CONSTANT) for constant in constants), strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    for place, equation in enumerate(jaxpr.eqns):
        found = [parts[place]] if place in parts else _step(equation, [read(atom) for atom in equation.invars], run)
        values.update(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _leaf_forms(jaxpr: jex.Jaxpr, inputs: Sequence[Value], run: Run) -> tuple[list[Value], dict[int, Value]]:
    """Give the leaf form to every view, or part of one, that does not enter exactly one operation with a cheaper form.

    Returns:
        The inputs, and the results of the equations that take parts of parameters, by their place.
    """
    forms = plan(jaxpr, [value.kind for value in inputs])
    views: dict[int | Part, Value] = dict(enumerate(inputs))
    for place, part in forms.parts.items():
        if part not in views:
            view = _reshuffled(jaxpr.eqns[place], [inputs[part.position]])
            views[part] = replace(view, key=key_of_part(view.key, part.number)) if part.number else view
    reasons: dict[int | Part, str] = dict(forms.leaves.items())
    reasons |= {part: part.reason for part in forms.parts.values() if part.reason}
    if reasons:
        taken = [views[one] for one in reasons]
        run.contractions.extend(Contraction(view.name, "leaf", reason) for view, reason in zip(taken, reasons.values(), strict=True))
        arrays = leaves([view.array for view in taken], run.tape, run.layout, [view.scale for view in taken], [view.key for view in taken])
        views |= zip(reasons, (Value(array, Kind.FLOW) for array in arrays), strict=True)
    return [views[position] for position in range(len(inputs))], {place: views[part] for place, part in forms.parts.items()}


def _step(equation: jex.JaxprEqn, given: list[Value], run: Run) -> list[Value]:
    kinds = [value.kind for value in given]
    if Kind.VIEW not in kinds:
        return _differentiable(equation, given, run)
    if is_view(equation, kinds):
        return [_reshuffled(equation, given)]
    name = equation.primitive.name
    if (found := INTERCEPTED.get(equation.params.get("name", ""))) and _can_intercept(found[0], given):
        return _plain(equation, given) if run.tape is None else _intercepted(equation, found[1], given, run)
    if name in INLINED:
        return interpret(*parts_of(equation.params[INLINED[name]]), given, run)
    return _STRUCTURED.get(name, _consumed if run.tape is not None else _differentiable)(equation, given, run)


def _bind(equation: jex.JaxprEqn, arrays: Sequence[Any]) -> list[Any]:
    params = equation.primitive.get_bind_params(equation.params)
    functions, params = params if isinstance(params, tuple) else ((), params)  # releases before 0.10 split functions off
    with equation.ctx.manager:
        results = equation.primitive.bind(*functions, *arrays, **params)
    return list(results) if equation.primitive.multiple_results else [results]


def _plain(equation: jex.JaxprEqn, given: list[Value]) -> list[Value]:
    kind = result_of([value.kind for value in given])
    return [Value(array, kind) for array in _bind(equation, [value.array for value in given])]


def _reshuffled(equation: jex.JaxprEqn, given: list[Value]) -> Value:
    (view,) = (value for value in given if value.kind is Kind.VIEW)
    (array,) = _bind(equation, [value.array for value in given])
    scale = view.scale
    if equation.primitive.name in SCALINGS:
        factor = next(value.array for value in given if value.kind is not Kind.VIEW)
        if equation.primitive.name == "div":
            factor = 1 / jnp.asarray(factor, widest([jnp.result_type(factor)]))
        factor = jnp.asarray(factor)
        scale = factor if scale is None else _wide_product(scale, factor)
    return replace(view, array=array, scale=scale)


def _wide_product(one: jax.Array, other: jax.Array) -> jax.Array:
    wide = widest([one.dtype, other.dtype])
    return one.astype(wide) * other.astype(wide)


def _consumed(equation: jex.JaxprEqn, given: list[Value], run: Run) -> list[Value]:
    """Run a dense layer, convolution or look-up in the form that suits its sizes."""
    place = next(at for at, value in enumerate(given) if value.kind is Kind.VIEW)
    view, data = given[place], given[1 - place]
    shapes = jnp.shape(view.array), jnp.shape(data.array)
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        form, rows = dot_rows(run.layout, params, place, shapes)
    elif name == "conv_general_dilated":
        form, rows = convolution_rows(run.layout, params, shapes, aval_of(equation.outvars[0]).shape)
    else:
        form, rows = lookup_rows(run.layout, params, *shapes)
    run.contractions.append(Contraction(view.name, form, f"enters one {name}"))

    def operation(parameter: jax.Array, data: jax.Array) -> jax.Array:
        return _bind(equation, (parameter, data) if place == 0 else (data, parameter))[0]

    floating = jnp.issubdtype(jnp.result_type(data.array), jnp.floating)
    output = taped(
        operation,
        view.array,
        jnp.asarray(data.array),
        run.tape,
        rows=rows,
        scale=view.scale,
        key=view.key,
        needs_cotangent=floating and data.kind is Kind.FLOW,
    )
    return [Value(output, Kind.FLOW)]


def _differentiable(equation: jex.JaxprEqn, given: list[Value], run: Run) -> list[Value]:
    """Run an operation without a row: as it is, unless it is a convolution through whose weight autodiff passes.

    ``vmap`` turns the rule of that weight into a grouped convolution, which is slow.
    """
    del run
    own = equation.primitive.name == "conv_general_dilated" and given[1].kind >= Kind.FLOW and equation.params["batch_group_count"] == 1
    if not own or is_empty(equation):
        return _plain(equation, given)
    data, weight = given
    shapes = jnp.shape(weight.array), jnp.shape(data.array)
    gradient = convolution_gradient(equation.params, shapes, aval_of(equation.outvars[0]).shape)

    def operation(parameter: jax.Array, data: jax.Array) -> jax.Array:
        return _bind(equation, (data, parameter))[0]

    flows = data.kind >= Kind.FLOW
    return [Value(with_own_gradient(operation, weight.array, data.array, gradient=gradient, needs_cotangent=flows), Kind.FLOW)]


def _can_intercept(operands: int, given: list[Value]) -> bool:
    """Tell whether a function can be intercepted: all operands but the first must be unscaled views or constants.

    Other parameters would need cotangents, and a choice that depends on the example would come after the rows.
    """
    tidy = all(value.scale is None for value in given if value.kind is Kind.VIEW)
    return tidy and len(given) == operands and all(value.kind in {Kind.VIEW, Kind.CONSTANT} for value in given[1:])


def _intercepted(equation: jex.JaxprEqn, function: Interceptible, given: list[Value], run: Run) -> list[Value]:
    views = {position: value for position, value in enumerate(given) if value.kind is Kind.VIEW}
    run.contractions.extend(Contraction(value.name, "leaf", f"enters {equation.params['name']}") for value in views.values())
    layout = run.layout

    def intercept(positions: Sequence[int], parameters: Sequence[jax.Array], tape: jax.Array) -> list[jax.Array]:
        wanted = [at for at, position in enumerate(positions) if position in views]
        if not wanted:
            return list(parameters)
        keys = [views[positions[at]].key for at in wanted]
        arrays = leaves([parameters[at] for at in wanted], tape, layout, [None] * len(wanted), keys)
        found = dict(zip(wanted, arrays, strict=True))
        return [found.get(at, parameter) for at, parameter in enumerate(parameters)]

    return [Value(array, Kind.FLOW) for array in function([value.array for value in given], run.tape, intercept)]


def _opened(values: Sequence[Value]) -> tuple[list[Any], Callable[[Sequence[Any]], list[Value]]]:
    """Return the arrays, which may enter a JAX function, and a function that puts other arrays in their places."""
    return [value.array for value in values], lambda arrays: [
        replace(value, array=array) for value, array in zip(values, arrays, strict=True)
    ]


def _rematerialised(equation: jex.JaxprEqn, given: list[Value], run: Run) -> list[Value]:
    arrays, close = _opened(given)
    params = equation.params

    def body(arrays: list[Any]) -> list[Any]:
        return [value.array for value in interpret(*parts_of(params["jaxpr"]), close(arrays), run)]

    results = jax.checkpoint(body, prevent_cse=params["prevent_cse"], policy=params["policy"])(arrays)
    return [Value(array, Kind.FLOW) for array in results]


def _scanned(equation: jex.JaxprEqn, given: list[Value], run: Run) -> list[Value]:
    params, (constants, carried) = equation.params, scan_sizes(equation)
    constant, initial, stacked = given[:constants], given[constants : constants + carried], given[constants + carried :]
    arrays, close = _opened(stacked)
    counter = jnp.arange(params["length"]) if run.layout.width else None

    def body(state: list[Any], given: tuple[list[Any], Any]) -> tuple[list[Any], list[Any]]:
        slices, iteration = given
        flowing = [Value(array, Kind.FLOW) for array in state]
        closed = [replace(value, key=key_of_part(value.key, iteration)) for value in close(slices)]
        results = interpret(*parts_of(params["jaxpr"]), [*constant, *flowing, *closed], run)
        outputs = [value.array for value in results]
        return outputs[:carried], outputs[carried:]

    state, outputs = lax.scan(
        body,
        [value.array for value in initial],
        (arrays, counter),
        length=params["length"],
        reverse=params["reverse"],
        unroll=params["unroll"],
    )
    return [Value(array, Kind.FLOW) for array in [*state, *outputs]]


def _branched(equation: jex.JaxprEqn, given: list[Value], run: Run) -> list[Value]:
    index, *operands = given
    arrays, close = _opened(operands)

    def branch(closed: jex.ClosedJaxpr) -> Callable[[list[Any]], list[Any]]:
        return lambda arrays: [value.array for value in interpret(*parts_of(closed), close(arrays), run)]

    results = lax.switch(index.array, [branch(closed) for closed in equation.params["branches"]], arrays)
    return [Value(array, Kind.FLOW) for array in results]


_STRUCTURED = {"scan": _scanned, "cond": _branched} | dict.fromkeys(REMAT, _rematerialised)
