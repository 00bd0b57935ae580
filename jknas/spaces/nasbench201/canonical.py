"""Canonical forms of NAS-Bench-201 cells: which strings are the same cell, by three named rules.

"function" (the default, 5,234 classes; see ``function_key``)
    Cells that compute the same function for every value of their parameters are equal.
"isomorphism" (5,425 classes; see ``isomorphism_key``)
    Cells whose graphs of operations are isomorphic are equal.
"published" (6,466 classes; see ``published_key``)
    Cells with the same string under the rule of NAS-Bench-201 are equal. It both splits and merges too much, and is kept to
    reproduce the published count.
"""

import functools
from collections.abc import Callable, Hashable, Mapping
from itertools import chain, permutations, product
from types import MappingProxyType

from jknas.errors import SpaceError, choose
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype

Code = tuple[int, ...]
Term = tuple[int, int]  # (source, k): average pooling, k times, of the input or of the output of an instance
Sum = tuple[Term, ...]  # sorted; a term that occurs twice counts twice
Instances = dict[int, tuple[int, Sum]]  # edge -> (kind, the sum it is applied to)

_NONE, _SKIP, _CONV_1X1, _CONV_3X3, _POOL = range(len(OPERATIONS))
_INPUT = -1  # the source of the cell input; the source of an instance is its edge
_SHIFT = 0  # the kind of a convolution without input, of which only the shift remains


def canonical(genotype: CellGenotype, *, rule: str = "function") -> CellGenotype:
    """Return the representative of a cell's class, the member with the smallest code.

    Idempotent, and equal for two cells exactly when the rule calls them equal. The first call for a rule classifies the whole space
    (about a second) and keeps the table; later calls are look-ups.

    Args:
        genotype: the cell.
        rule: "function", "isomorphism" or "published"; see the module's docstring.

    Returns:
        The representative.

    Raises:
        SpaceError: unknown rule.
    """
    return _representatives(choose("canonical rule", rule, RULES, error=SpaceError))[genotype]


def function_key(code: Code) -> Hashable:
    """Compute a key that two cells share exactly when they compute the same function for every value of their parameters.

    The value of a node is a formal sum, with multiplicities, of terms P^k(s): 3x3 average pooling P applied k times to
    a source s, which is the cell input or the output of a convolution (ReLU, convolution, batch normalisation). Pooling
    is linear, so it distributes over sums; its divisor leaves out the padding, so it leaves spatially constant maps as
    they are. Every convolution has parameters of its own, so a convolution is the same as another only if it is the
    same instance; what two cells call their instances does not matter. Convolutions that do not reach the output are
    left out. Keys are equal when the sums at the output are equal up to a renaming of instances.

    A convolution whose input is zero is not zero: batch normalisation adds its shift. It is a constant map, whatever
    the kernel size, and so is a 1x1 convolution of constant maps. It matters before training too, when shifts are zero:
    their gradients are not. Without shifts there would be 5,044 classes; with them there are 5,234, of which 7 are dead.

    The rule speaks of feature maps from 3x3 pixels up (on smaller ones pooling twice is pooling once), and takes c(x + x) and c(x) for
    different, although batch normalisation makes them equal but for its epsilon.
    """
    sums: list[list[Term]] = [[(_INPUT, 0)], [], [], []]
    instances: Instances = {}
    constant: set[int] = set()
    for edge, (operation, (node, source)) in enumerate(zip(code, EDGES, strict=True)):
        value = sums[source]
        if operation == _SKIP:
            sums[node] += value
        elif operation == _POOL:
            sums[node] += [(origin, k if origin in constant else k + 1) for origin, k in value]
        elif operation != _NONE:
            instances[edge] = (operation if value else _SHIFT, tuple(sorted(value)))
            if not value or (operation == _CONV_1X1 and all(origin in constant for origin, _ in value)):
                constant.add(edge)
            sums[node].append((edge, 0))
    return _up_to_renaming(tuple(sorted(sums[3])), instances)


def isomorphism_key(code: Code) -> Hashable:
    """Compute a key that two cells share exactly when their graphs of operations are isomorphic.

    The vertices are the instances of convolutions and of average pooling, each with a sum, with multiplicities, of
    earlier instances and the cell input as its input; skip connections are no vertices but join sums. Operations with a
    zero input and operations that do not reach the output are removed. Two poolings of the same sum are two vertices,
    although they compute the same.
    """
    sums: list[list[Term]] = [[(_INPUT, 0)], [], [], []]
    instances: Instances = {}
    for edge, (operation, (node, source)) in enumerate(zip(code, EDGES, strict=True)):
        value = sums[source]
        if operation == _SKIP:
            sums[node] += value
        elif operation != _NONE and value:
            instances[edge] = (operation, tuple(sorted(value)))
            sums[node].append((edge, 0))
    return _up_to_renaming(tuple(sorted(sums[3])), instances)


def published_key(code: Code) -> str:
    """Compute the string by which NAS-Bench-201 counts 6,466 unique cells.

    Node 0 is "0"; the string of a node is the sorted terms of its incoming edges joined by "+": "#" for "none" or for a source that is
    exactly "#", the source's string for a skip connection, else "(source)@operation".

    Deviations: none from the released code, including its slips. A node with several zero inputs reads "#+#" and is not
    taken for zero, sums are not flattened through skip connections (both split equal cells), and two convolutions with
    their own parameters read the same as one that is used twice (merges different cells).
    """
    strings = ["0"]
    for node in (1, 2, 3):
        terms = []
        for operation, (target, source) in zip(code, EDGES, strict=True):
            if target != node:
                continue
            origin = strings[source]
            if operation == _NONE or origin == "#":
                terms.append("#")
            else:
                terms.append(origin if operation == _SKIP else f"({origin})@{OPERATIONS[operation]}")
        strings.append("+".join(sorted(terms)))
    return strings[3]


def _up_to_renaming(output: Sum, instances: Instances) -> Hashable:
    """A key of (output, the instances that reach it) that does not depend on the names of the instances.

    Each instance gets its unfolding, a nested tuple of kinds: two instances can only correspond if these are equal.
    Sorting by unfolding fixes the new names except among equals, where the smallest of all orders is taken (at most 3!
    for a cell).
    """
    unfolded: dict[int, tuple] = {_INPUT: ()}
    live = _reaching(output, instances)
    for edge in live:
        kind, value = instances[edge]
        unfolded[edge] = (kind, tuple(sorted((unfolded[origin], k) for origin, k in value)))
    groups: dict[tuple, list[int]] = {}
    for edge in sorted(live, key=unfolded.__getitem__):
        groups.setdefault(unfolded[edge], []).append(edge)
    return min(_renamed(output, instances, list(chain(*order))) for order in product(*map(permutations, groups.values())))


def _reaching(output: Sum, instances: Instances) -> list[int]:
    """The instances that the output depends on, in the order of edges, so that an instance comes after those that it reads."""
    needed = {origin for origin, _ in output}
    for edge in sorted(instances, reverse=True):
        if edge in needed:
            needed.update(origin for origin, _ in instances[edge][1])
    return sorted(needed - {_INPUT})


def _renamed(output: Sum, instances: Instances, order: list[int]) -> tuple:
    name = {edge: place for place, edge in enumerate(order)} | {_INPUT: _INPUT}

    def renamed(value: Sum) -> Sum:
        return tuple(sorted((name[origin], k) for origin, k in value))

    return renamed(output), tuple((instances[edge][0], renamed(instances[edge][1])) for edge in order)


_KEYS: Mapping[str, Callable[[Code], Hashable]] = MappingProxyType(
    {"function": function_key, "isomorphism": isomorphism_key, "published": published_key}
)
RULES = tuple(_KEYS)


@functools.cache
def _representatives(rule: str) -> Mapping[CellGenotype, CellGenotype]:
    """Every cell of the space and its representative; codes come in order, so the first of a class is its smallest."""
    first: dict[Hashable, CellGenotype] = {}
    cells = map(CellGenotype, product(OPERATIONS, repeat=len(EDGES)))
    return MappingProxyType({cell: first.setdefault(_KEYS[rule](cell.code), cell) for cell in cells})
