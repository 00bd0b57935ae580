"""The interpreter that runs a traced per-example function with a tape.

The interpreter tracks what each value depends on. A parameter that is only rearranged (reshape, transpose, slice, cast, scaling by a
constant) and then enters exactly one operation with a cheap form takes that form. Every other parameter (used more than once, combined
with other parameters, broadcast, inside a custom rule, ...) takes the leaf form, whose cotangent autodiff sums over all uses. No cross term
is dropped, and every model that JAX can differentiate in reverse has an exact answer.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core as jex

from jknas.kernels.tape.operations import convolution_rows, dot_rows, is_lookup, leaves, lookup_rows, taped
from jknas.kernels.tape.rows import Layout
from jknas.kernels.tape.sketching import key_of_part
from jknas.kernels.tape.weight_gradients import convolution_gradient, with_own_gradient
from jknas.xla.interception import INTERCEPTED, Interceptible


class Kind(enum.IntEnum):
    """What a value depends on."""

    CONSTANT = 0
    """Neither on the example nor on a parameter."""
    INPUT = 1
    """On the example, on no parameter: needs no cotangent."""
    FLOW = 2
    """On a parameter whose form is already decided."""
    VIEW = 3
    """It holds the entries of one parameter in some arrangement, times a constant."""


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


_RESHUFFLES = {"reshape", "transpose", "squeeze", "expand_dims", "slice", "rev", "copy", "copy_p", "convert_element_type", "neg"}
_SCALINGS = {"mul", "div"}


def interpret(jaxpr: jex.Jaxpr, constants: Sequence[Any], inputs: Sequence[Value], run: Run) -> list[Value]:
    """Run ``jaxpr`` on ``inputs``, attaching the tape wherever an operation consumes a view."""
    values: dict[Any, Value] = {}

    def read(atom: Any) -> Value:
        return Value(atom.val, Kind.CONSTANT) if isinstance(atom, jex.Literal) else values[atom]

    if run.tape is not None:
        inputs = _leaf_forms(jaxpr, [value.kind for value in inputs], inputs, run)
    values.update(zip(jaxpr.constvars, (Value(constant, Kind.CONSTANT) for constant in constants), strict=True))
    values.update(zip(jaxpr.invars, inputs, strict=True))
    for equation in jaxpr.eqns:
        values.update(zip(equation.outvars, _step(equation, [read(atom) for atom in equation.invars], run), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _leaf_forms(jaxpr: jex.Jaxpr, kinds: list[Kind], inputs: Sequence[Value], run: Run) -> list[Value]:
    """Give the leaf form to every view that does not enter exactly one operation with a cheaper form."""
    reasons = _plan(jaxpr, kinds)
    if not reasons:
        return list(inputs)
    taken = [inputs[position] for position in reasons]
    run.contractions.extend(Contraction(value.name, "leaf", reason) for value, reason in zip(taken, reasons.values(), strict=True))
    scales, keys = [value.scale for value in taken], [value.key for value in taken]
    arrays = leaves([value.array for value in taken], run.tape, run.layout, scales, keys)
    found = dict(zip(reasons, (Value(array, Kind.FLOW) for array in arrays), strict=True))
    return [found.get(position, value) for position, value in enumerate(inputs)]


def _plan(jaxpr: jex.Jaxpr, kinds: list[Kind]) -> dict[int, str]:
    """Return the input positions whose views need the leaf form, and why."""
    kind: dict[Any, Kind] = dict.fromkeys(jaxpr.constvars, Kind.CONSTANT) | dict(zip(jaxpr.invars, kinds, strict=True))
    root: dict[Any, int] = {
        var: position for position, (var, what) in enumerate(zip(jaxpr.invars, kinds, strict=True)) if what is Kind.VIEW
    }
    uses: dict[int, list[tuple[str, bool]]] = {position: [] for position in root.values()}
    for equation in jaxpr.eqns:
        given = [Kind.CONSTANT if isinstance(atom, jex.Literal) else kind[atom] for atom in equation.invars]
        if _is_view(equation, given):
            source = next(atom for atom, what in zip(equation.invars, given, strict=True) if what is Kind.VIEW)
            kind[equation.outvars[0]], root[equation.outvars[0]] = Kind.VIEW, root[source]
            continue
        for place, (atom, what) in enumerate(zip(equation.invars, given, strict=True)):
            if what is Kind.VIEW:
                uses[root[atom]].append((equation.primitive.name, _has_form(equation, place, given)))
        kind.update(dict.fromkeys(equation.outvars, _result(given)))
    for atom in jaxpr.outvars:
        if not isinstance(atom, jex.Literal) and atom in root:
            uses[root[atom]].append(("return", False))
    reasons = {}
    for position, found in uses.items():
        if len(found) > 1:
            reasons[position] = f"used {len(found)} times ({', '.join(sorted({name for name, _ in found}))})"
        elif found and not found[0][1]:
            reasons[position] = f"enters {found[0][0]}"
    return reasons


def _result(given: Sequence[Kind]) -> Kind:
    highest = max(given, default=Kind.CONSTANT)
    return Kind.FLOW if highest is Kind.VIEW else highest


def _is_view(equation: jex.JaxprEqn, given: Sequence[Kind]) -> bool:
    if given.count(Kind.VIEW) != 1:
        return False
    name, floating = equation.primitive.name, jnp.issubdtype(_aval(equation.outvars[0]).dtype, jnp.floating)
    if name in _RESHUFFLES:
        return floating
    if name in _SCALINGS:
        at = given.index(Kind.VIEW)
        other = equation.invars[1 - at]
        return given[1 - at] is Kind.CONSTANT and _aval(other).ndim == 0 and not (name == "div" and at == 1)
    return name == "broadcast_in_dim" and _aval(equation.invars[0]).size == _aval(equation.outvars[0]).size


def _has_form(equation: jex.JaxprEqn, place: int, given: Sequence[Kind]) -> bool:
    """Tell whether the operation accepts a view as operand ``place``."""
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return given[1 - place] is not Kind.VIEW
    if name == "conv_general_dilated":
        return place == 1 and given[0] is not Kind.VIEW and params["batch_group_count"] == 1
    if name == "gather":
        return place == 0 and is_lookup(params, _aval(equation.invars[0]).shape, _aval(equation.invars[1]).shape)
    if name == "scan":
        return place >= sum(_scan_sizes(equation))
    if name == "cond":
        # If examples take different branches, vmap runs all branches for all examples and selects afterwards, too late for a row.
        return place > 0 and given[0] is Kind.CONSTANT
    return name in _INLINED or name in _REMAT


_INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
_REMAT = {"checkpoint", "remat", "remat2"}


def _step(equation: jex.JaxprEqn, given: list[Value], run: Run) -> list[Value]:
    kinds = [value.kind for value in given]
    if Kind.VIEW not in kinds:
        return _plain(equation, given)
    if _is_view(equation, kinds):
        return [_reshuffled(equation, given)]
    name = equation.primitive.name
    if (found := INTERCEPTED.get(equation.params.get("name", ""))) and _can_intercept(found[0], given):
        return _plain(equation, given) if run.tape is None else _intercepted(equation, found[1], given, run)
    if name in _INLINED:
        return interpret(*_parts(equation.params[_INLINED[name]]), given, run)
    return _STRUCTURED.get(name, _consumed if run.tape is not None else _differentiable)(equation, given, run)


def _bind(equation: jex.JaxprEqn, arrays: Sequence[Any]) -> list[Any]:
    params = equation.primitive.get_bind_params(equation.params)
    functions, params = params if isinstance(params, tuple) else ((), params)  # releases before 0.10 split functions off
    with equation.ctx.manager:
        results = equation.primitive.bind(*functions, *arrays, **params)
    return list(results) if equation.primitive.multiple_results else [results]


def _aval(atom: Any) -> Any:
    """Return shape and dtype of a variable or literal."""
    return atom.aval


def _parts(jaxpr: Any) -> tuple[jex.Jaxpr, Sequence[Any]]:
    """Return a jaxpr, closed or open, and its constants."""
    return (jaxpr.jaxpr, jaxpr.consts) if isinstance(jaxpr, jex.ClosedJaxpr) else (jaxpr, ())


def _plain(equation: jex.JaxprEqn, given: list[Value]) -> list[Value]:
    kind = _result([value.kind for value in given])
    return [Value(array, kind) for array in _bind(equation, [value.array for value in given])]


def _reshuffled(equation: jex.JaxprEqn, given: list[Value]) -> Value:
    (view,) = (value for value in given if value.kind is Kind.VIEW)
    (array,) = _bind(equation, [value.array for value in given])
    scale = view.scale
    if equation.primitive.name in _SCALINGS:
        factor = next(value.array for value in given if value.kind is not Kind.VIEW)
        factor = jnp.asarray(factor if equation.primitive.name == "mul" else 1 / factor)
        scale = factor if scale is None else scale * factor
    return replace(view, array=array, scale=scale)


def _consumed(equation: jex.JaxprEqn, given: list[Value], run: Run) -> list[Value]:
    """Run a dense layer, convolution or look-up in the form that suits its sizes."""
    place = next(at for at, value in enumerate(given) if value.kind is Kind.VIEW)
    view, data = given[place], given[1 - place]
    shapes = jnp.shape(view.array), jnp.shape(data.array)
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        form, rows = dot_rows(run.layout, params, place, shapes)
    elif name == "conv_general_dilated":
        form, rows = convolution_rows(run.layout, params, shapes, _aval(equation.outvars[0]).shape)
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
    """Run an operation without a tape; ``vmap`` of a convolution's own rule would be a grouped convolution, which is slow."""
    if equation.primitive.name != "conv_general_dilated" or not _has_form(equation, 1, [value.kind for value in given]):
        return _plain(equation, given)
    data, weight = given
    gradient = convolution_gradient(
        run.layout, equation.params, (jnp.shape(weight.array), jnp.shape(data.array)), _aval(equation.outvars[0]).shape
    )

    def operation(parameter: jax.Array, data: jax.Array) -> jax.Array:
        return _bind(equation, (data, parameter))[0]

    flows = data.kind is Kind.FLOW
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
        return [value.array for value in interpret(*_parts(params["jaxpr"]), close(arrays), run)]

    results = jax.checkpoint(body, prevent_cse=params["prevent_cse"], policy=params["policy"])(arrays)
    return [Value(array, Kind.FLOW) for array in results]


def _scan_sizes(equation: jex.JaxprEqn) -> tuple[int, int]:
    """Return how many of a scan's operands are constants and how many are carried; the others are stacked.

    Shapes tell in every release of JAX: a stacked operand has one axis more outside the loop than inside.
    """
    body, _ = _parts(equation.params["jaxpr"])
    stacked = sum(_aval(outer).ndim > _aval(inner).ndim for outer, inner in zip(equation.invars, body.invars, strict=True))
    carried = sum(_aval(outer).ndim == _aval(inner).ndim for outer, inner in zip(equation.outvars, body.outvars, strict=True))
    return len(equation.invars) - stacked - carried, carried


def _scanned(equation: jex.JaxprEqn, given: list[Value], run: Run) -> list[Value]:
    params, (constants, carried) = equation.params, _scan_sizes(equation)
    constant, initial, stacked = given[:constants], given[constants : constants + carried], given[constants + carried :]
    arrays, close = _opened(stacked)
    counter = jnp.arange(params["length"]) if run.layout.width else None

    def body(state: list[Any], given: tuple[list[Any], Any]) -> tuple[list[Any], list[Any]]:
        slices, iteration = given
        flowing = [Value(array, Kind.FLOW) for array in state]
        closed = [replace(value, key=key_of_part(value.key, iteration)) for value in close(slices)]
        results = interpret(*_parts(params["jaxpr"]), [*constant, *flowing, *closed], run)
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
        return lambda arrays: [value.array for value in interpret(*_parts(closed), close(arrays), run)]

    results = lax.switch(index.array, [branch(closed) for closed in equation.params["branches"]], arrays)
    return [Value(array, Kind.FLOW) for array in results]


_STRUCTURED = {"scan": _scanned, "cond": _branched} | dict.fromkeys(_REMAT, _rematerialised)
