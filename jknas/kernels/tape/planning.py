"""Which parameters of a traced function take a form of their own, and which the leaf form."""

import enum
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend import core as jex

from jknas.kernels.tape.operations import is_lookup

SCALINGS = {"mul", "div"}
INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
REMAT = {"checkpoint", "remat", "remat2"}

_RESHUFFLES = {"reshape", "transpose", "squeeze", "expand_dims", "slice", "rev", "copy", "copy_p", "convert_element_type", "neg"}


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


class Box(NamedTuple):
    """Which entries of a parameter a ``slice`` takes along each axis: from a first one to that before a limit, in steps."""

    start: tuple[int, ...]
    limit: tuple[int, ...]
    steps: tuple[int, ...]


class Part(NamedTuple):
    """A part that a ``slice`` takes of a parameter whose parts do not overlap.

    Attributes:
        position: of the parameter among the inputs.
        number: of the part, counted from 1; 0 for the only one.
        reason: why it needs the leaf form; empty if it has another.
    """

    position: int
    number: int
    reason: str


class Plan(NamedTuple):
    """What to do with the parameters of a function.

    Attributes:
        leaves: the positions of those that need the leaf form as a whole, and why.
        parts: the equations, by their place, that take a part of a parameter.
    """

    leaves: dict[int, str]
    parts: dict[int, Part]


class _Use(NamedTuple):
    operation: str
    has_form: bool


def plan(jaxpr: jex.Jaxpr, kinds: Sequence[Kind]) -> Plan:
    """Return the forms of the views among a function's inputs, whose kinds are given."""
    kind: dict[Any, Kind] = dict.fromkeys(jaxpr.constvars, Kind.CONSTANT) | dict(zip(jaxpr.invars, kinds, strict=True))
    inputs = {var: position for position, (var, what) in enumerate(zip(jaxpr.invars, kinds, strict=True)) if what is Kind.VIEW}
    root: dict[Any, tuple[int, Box | None]] = {var: (position, None) for var, position in inputs.items()}
    uses: dict[int, dict[Box | None, list[_Use]]] = {position: {None: []} for position in inputs.values()}
    takers: dict[int, tuple[int, Box]] = {}
    for place, equation in enumerate(jaxpr.eqns):
        given = [Kind.CONSTANT if isinstance(atom, jex.Literal) else kind[atom] for atom in equation.invars]
        if is_view(equation, given):
            source = next(atom for atom, what in zip(equation.invars, given, strict=True) if what is Kind.VIEW)
            kind[equation.outvars[0]], root[equation.outvars[0]] = Kind.VIEW, root[source]
            if equation.primitive.name == "slice" and source in inputs:
                position, box = takers[place] = root[equation.outvars[0]] = (inputs[source], _box(equation))
                uses[position].setdefault(box, [])
            continue
        for at, (atom, what) in enumerate(zip(equation.invars, given, strict=True)):
            if what is Kind.VIEW:
                position, part = root[atom]
                uses[position][part].append(_Use(equation.primitive.name, has_form(equation, at, given) and not is_empty(equation)))
        kind.update(dict.fromkeys(equation.outvars, result_of(given)))
    for atom in jaxpr.outvars:
        if not isinstance(atom, jex.Literal) and atom in root:
            position, part = root[atom]
            uses[position][part].append(_Use("return", has_form=False))
    return _judged(uses, takers)


def _judged(uses: dict[int, dict[Box | None, list[_Use]]], takers: dict[int, tuple[int, Box]]) -> Plan:
    found = Plan({}, {})
    parts: dict[tuple[int, Box], Part] = {}
    for position, by_part in uses.items():
        boxes = [box for box in by_part if box is not None]
        if by_part[None] or any(_overlap(*pair) for pair in itertools.combinations(boxes, 2)):
            if reason := _reason([use for some in by_part.values() for use in some]):
                found.leaves[position] = reason
            continue
        for number, box in enumerate(boxes, 1):
            parts[position, box] = Part(position, number if len(boxes) > 1 else 0, _reason(by_part[box]))
    found.parts.update({place: parts[taken] for place, taken in takers.items() if taken in parts})
    return found


def _reason(uses: list[_Use]) -> str:
    """Return why what is used so needs the leaf form; an empty text if it does not."""
    if len(uses) > 1:
        return f"used {len(uses)} times ({', '.join(sorted({use.operation for use in uses}))})"
    return f"enters {uses[0].operation}" if uses and not uses[0].has_form else ""


def _box(equation: jex.JaxprEqn) -> Box:
    start, limit, steps = (equation.params[name] for name in ("start_indices", "limit_indices", "strides"))
    return Box(tuple(start), tuple(limit), tuple(steps or (1,) * len(start)))


def _overlap(one: Box, other: Box) -> bool:
    """Tell whether two parts may share entries: whether the ranges from which they take them do."""
    return all(max(a, b) < min(c, d) for a, b, c, d in zip(one.start, other.start, one.limit, other.limit, strict=True))


def result_of(given: Sequence[Kind]) -> Kind:
    """Return what the results of an operation on such values depend on."""
    highest = max(given, default=Kind.CONSTANT)
    return Kind.FLOW if highest is Kind.VIEW else highest


def is_view(equation: jex.JaxprEqn, given: Sequence[Kind]) -> bool:
    """Tell whether an operation only rearranges a parameter's entries, or scales them by a constant."""
    if given.count(Kind.VIEW) != 1:
        return False
    name, floating = equation.primitive.name, jnp.issubdtype(aval_of(equation.outvars[0]).dtype, jnp.floating)
    if name in _RESHUFFLES:
        return floating
    if name in SCALINGS:
        at = given.index(Kind.VIEW)
        other = equation.invars[1 - at]
        return given[1 - at] is Kind.CONSTANT and aval_of(other).ndim == 0 and not (name == "div" and at == 1)
    return name == "broadcast_in_dim" and aval_of(equation.invars[0]).size == aval_of(equation.outvars[0]).size


def has_form(equation: jex.JaxprEqn, place: int, given: Sequence[Kind]) -> bool:
    """Tell whether the operation accepts a view as operand ``place``."""
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return given[1 - place] is not Kind.VIEW
    if name == "conv_general_dilated":
        return place == 1 and given[0] is not Kind.VIEW and params["batch_group_count"] == 1
    if name == "gather":
        return place == 0 and is_lookup(params, aval_of(equation.invars[0]).shape, aval_of(equation.invars[1]).shape)
    if name == "scan":
        return place >= sum(scan_sizes(equation))
    if name == "cond":
        # If examples take different branches, vmap runs all branches for all examples and selects afterwards, too late for a row.
        return place > 0 and given[0] is Kind.CONSTANT
    return name in INLINED or name in REMAT


def is_empty(equation: jex.JaxprEqn) -> bool:
    """Tell whether an array without entries takes part: there is nothing to multiply."""
    return any(aval_of(atom).size == 0 for atom in (*equation.invars, *equation.outvars) if hasattr(aval_of(atom), "shape"))


def aval_of(atom: Any) -> Any:
    """Return shape and dtype of a variable or literal."""
    return atom.aval


def parts_of(jaxpr: Any) -> tuple[jex.Jaxpr, Sequence[Any]]:
    """Return a jaxpr, closed or open, and its constants."""
    return (jaxpr.jaxpr, jaxpr.consts) if isinstance(jaxpr, jex.ClosedJaxpr) else (jaxpr, ())


def scan_sizes(equation: jex.JaxprEqn) -> tuple[int, int]:
    """Return how many of a scan's operands are constants and how many are carried; the others are stacked.

    Shapes tell in every release of JAX: a stacked operand has one axis more outside the loop than inside.
    """
    body, _ = parts_of(equation.params["jaxpr"])
    stacked = sum(aval_of(outer).ndim > aval_of(inner).ndim for outer, inner in zip(equation.invars, body.invars, strict=True))
    carried = sum(aval_of(outer).ndim == aval_of(inner).ndim for outer, inner in zip(equation.outvars, body.outvars, strict=True))
    return len(equation.invars) - stacked - carried, carried
