"""Spaces in which each edge holds one operation and every integer code is a genotype: what such a space needs, derived from its code.

NAS-Bench-201 is such a space, and so is the easiest space of your own: :func:`edge_space` asks for the operations, the number of edges, the
network and its cost, and supplies text form, sampling, mutation, neighbours and enumeration.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any, SupportsIndex, TypeVar

import numpy as np

from jknas.errors import GenotypeError, SpaceError, choose
from jknas.spaces.code import Ordered, read_digits
from jknas.spaces.sampling import check_generator, sampler
from jknas.spaces.space import Genotype, Macs, Parameters, Space

G = TypeVar("G", bound=Genotype)


@dataclass(frozen=True)
class EdgeGenotype(Ordered):
    """One operation on each edge, written ``|conv|skip|none|``.

    Attributes:
        operations: the names of the operations, edge by edge.
        code: their places among the operations of the space.
    """

    operations: tuple[str, ...]
    code: tuple[int, ...]

    def __str__(self) -> str:
        return f"|{'|'.join(self.operations)}|"


def edge_space(
    *,
    name: str,
    operations: tuple[str, ...],
    num_edges: int,
    parameters: Parameters[Any],
    macs: Macs[Any],
    cells: int = 1,
    from_code: Callable[[Iterable[SupportsIndex]], Any] | None = None,
    **given: Any,
) -> Space[Any]:
    """Make a space whose genotypes are all codes of ``num_edges`` digits.

    Args:
        name: the name of the space.
        operations: the operation names; the place of a name is its digit.
        num_edges: the number of edges.
        parameters: counts trainable parameters, see :class:`~jknas.spaces.space.Space`.
        macs: counts multiply-accumulates.
        cells: the usual depth of the network.
        from_code: digits to genotype; makes an :class:`EdgeGenotype` by default.
        **given: other fields of :class:`~jknas.spaces.space.Space`. They replace what is derived: ``parse`` reads ``|op|op|...|``,
            ``mutate`` replaces the operation of one edge, drawn uniformly, every genotype is its own ``canonical`` form, and none
            ``is_dead``. A space that is scored or trained needs ``networks``.

    Raises:
        SpaceError: operations or edges that make no space.
        TypeError: a field that a space does not have.

    >>> space = edge_space(
    ...     name="toy",
    ...     operations=("none", "skip", "conv"),
    ...     num_edges=2,
    ...     parameters=lambda genotype, **size: 0,
    ...     macs=lambda genotype, **size: 0,
    ... )
    >>> space.size, str(space.parse("|conv|skip|")), space.from_code([2, 1]) == space.parse("|conv|skip|")
    (9, '|conv|skip|', True)
    """
    if num_edges < 1 or len(operations) < 2 or len(set(operations)) < len(operations):
        raise SpaceError(f"{num_edges} edges with operations {operations} were given: expected one or more edges, and two or more names.")
    size = len(operations) ** num_edges
    expected = f"expected {num_edges} integers in 0..{len(operations) - 1}, one for each edge"

    def make(code: Iterable[SupportsIndex]) -> EdgeGenotype:
        places = tuple(f"edge {edge}" for edge in range(num_edges))
        digits = read_digits(code, places=places, operations=operations, expected=expected, parser="the space's parse", error=GenotypeError)
        return EdgeGenotype(tuple(operations[digit] for digit in digits), digits)

    build = make if from_code is None else from_code

    def read(text: str) -> Any:
        form = f"|{'|'.join(['op'] * num_edges)}|"
        if not isinstance(text, str) or len(text) > 10_000:
            raise GenotypeError(f"the genotype is a {type(text).__name__}; expected a text of the form {form}, as {name!r} writes it.")
        names = text[1:-1].split("|")
        if text[:1] != "|" or text[-1:] != "|" or len(names) != num_edges:
            raise GenotypeError(f"cannot read the genotype {text[:80]!r}: expected the form {form}, as the space {name!r} writes it.")
        chosen = [choose("operation", operation, operations, error=GenotypeError) for operation in names]
        return build([operations.index(operation) for operation in chosen])

    def at_rank(rank: int) -> Any:
        digits = []
        for _ in range(num_edges):
            rank, digit = divmod(rank, len(operations))
            digits.append(digit)
        return build(digits[::-1])

    def neighbours(genotype: Any) -> tuple[Any, ...]:
        return tuple(changed for edge in range(num_edges) for changed in with_others(genotype, edge, build, len(operations)))

    def change(genotype: Any, rng: np.random.Generator, *, rule: str = "edge") -> Any:
        choose("mutation rule", rule, ("edge",), error=SpaceError)
        check_generator(rng)
        return replace_one(genotype, int(rng.integers(num_edges)), rng, build, len(operations))

    def enumerate_all() -> Iterator[Any]:
        return map(build, product(range(len(operations)), repeat=num_edges))

    def itself(genotype: Any, *, rule: str = "string") -> Any:
        choose("canonical rule", rule, ("string",), error=SpaceError)
        return genotype

    derived: dict[str, Any] = {
        "named": MappingProxyType({}),
        "mutation_rules": ("edge",),
        "canonical_rules": ("string",),
        "parse": read,
        "sample": sampler(size, at_rank),
        "mutate": change,
        "neighbours": neighbours,
        "enumerate": enumerate_all,
        "canonical": itself,
        "is_dead": lambda genotype: False,
    }
    fixed: dict[str, Any]
    fixed = {"num_edges": num_edges, "size": size, "cells": cells, "from_code": build, "parameters": parameters, "macs": macs}
    return Space(name=name, operations=operations, **fixed, **(derived | given))


def replace_one(genotype: G, edge: int, rng: np.random.Generator, build: Callable[[tuple[int, ...]], G], operations: int) -> G:
    """Return the genotype with another operation on an edge, drawn uniformly from the others."""
    others = with_others(genotype, edge, build, operations)
    return others[int(rng.integers(len(others)))]


def with_others(genotype: G, edge: int, build: Callable[[tuple[int, ...]], G], operations: int) -> list[G]:
    """Return the genotypes with another operation on an edge, in the order of operations."""
    code = genotype.code
    return [build((*code[:edge], digit, *code[edge + 1 :])) for digit in range(operations) if digit != code[edge]]
