"""The cell genotype: an immutable value, its string grammar and its integer code.

A genotype is plain data. Networks, costs, mutations and drawings are functions of it; nothing is ever evaluated as code.

Reference: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", arXiv:2001.00326, section 2.1.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self, SupportsIndex

from jknas.errors import GenotypeError, choose, shown
from jknas.spaces.code import Ordered, read_digits

__all__ = ["EDGES", "KERNEL_SIZES", "OPERATIONS", "CellGenotype", "GenotypeError"]

OPERATIONS: tuple[str, ...] = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The five operations; an operation's place in this tuple is its digit in the integer code."""

KERNEL_SIZES = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
"""Side of the kernel of every operation that has one."""

EDGES: tuple[tuple[int, int], ...] = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
"""The six edges as (node, source), in the order of the string and of the code. Node 0 is the input, node 3 the output."""

_DIGIT = {name: digit for digit, name in enumerate(OPERATIONS)}
_PLACES = tuple(f"edge {node}<-{source}" for node, source in EDGES)
_TEMPLATE = "+".join("|" + "".join(f"op~{source}|" for source in range(node)) for node in range(1, 4))
_LONGEST = 200  # the longest valid string has 97 characters


@dataclass(frozen=True)
class CellGenotype(Ordered):
    """A NAS-Bench-201 cell: one operation on each of the six edges of the complete directed graph on four nodes.

    Genotypes are immutable, hashable, equal when their operations are equal, and ordered by their integer code. Equality is
    equality of strings; use ``Space.canonical`` to compare what two cells compute.

    >>> cell = CellGenotype.parse("|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|")
    >>> cell.code
    (3, 0, 3, 1, 0, 1)
    >>> CellGenotype.from_code(cell.code) == cell
    True

    Attributes:
        operations: six operation names, in the order of the edges 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2.

    Raises:
        GenotypeError: not six names, or a name that is not in ``OPERATIONS``.
    """

    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.operations, (tuple, list)):
            hint = " To read an architecture string, use CellGenotype.parse." if isinstance(self.operations, str) else ""
            raise GenotypeError(f"operations is a {type(self.operations).__name__}; expected a tuple of six operation names.{hint}")
        if len(self.operations) != len(EDGES):
            raise GenotypeError(
                f"{len(self.operations)} operations given; expected {len(EDGES)}, one for each edge 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2. "
                "Write 'none' for an absent edge."
            )
        digits = [_digit(name, edge) for name, edge in zip(self.operations, EDGES, strict=True)]
        object.__setattr__(self, "operations", tuple(OPERATIONS[digit] for digit in digits))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an architecture string, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``.

        The grammar is strict, so that ``str(CellGenotype.parse(text)) == text`` for every text that is accepted.

        Args:
            text: the architecture string.

        Returns:
            The genotype.

        Raises:
            GenotypeError: anything else than a well-formed string; the message names the first place that is wrong.
        """
        if not isinstance(text, str):
            hint = " Decode the bytes first, with .decode()." if isinstance(text, (bytes, bytearray)) else " Pass the architecture string."
            raise GenotypeError(f"The genotype is a {type(text).__name__}; expected a string of the form {_TEMPLATE}.{hint}")
        if not text:
            raise GenotypeError(f"The genotype is an empty string; expected the form {_TEMPLATE}. Check the file or argument it came from.")
        if len(text) > _LONGEST:
            raise _malformed(
                text, f"it is {len(text)} characters long, and no cell needs more than {_LONGEST}. Pass one architecture at a time"
            )
        if text != text.strip():
            raise _malformed(text, "it starts or ends with white space. Strip it first")
        groups = text.split("+")
        if len(groups) != 3:
            raise _malformed(text, f"it has {_count(len(groups), 'group')} separated by '+', and a cell has 3, for its nodes 1, 2 and 3")
        operations: list[str] = []
        for node, group in enumerate(groups, start=1):
            operations.extend(_parse_group(text, group, node))
        return cls(tuple(operations))

    @classmethod
    def from_code(cls, code: Iterable[SupportsIndex]) -> Self:
        """Build a genotype from six integers, the digits of its operations in ``OPERATIONS``.

        Args:
            code: six integers in 0..4: a list, a tuple, or a one-dimensional integer array.

        Returns:
            The genotype.

        Raises:
            GenotypeError: not six integers, or an integer out of range.
        """
        digits = read_digits(
            code,
            places=_PLACES,
            operations=OPERATIONS,
            expected=f"expected six integers in 0..{len(OPERATIONS) - 1}, one for each edge",
            parser="CellGenotype.parse",
            error=GenotypeError,
        )
        return cls(tuple(OPERATIONS[digit] for digit in digits))

    @property
    def code(self) -> tuple[int, ...]:
        """Six integers in 0..4, the digits of the operations in edge order."""
        return tuple(_DIGIT[name] for name in self.operations)

    def __str__(self) -> str:
        one, *rest = (f"{name}~{source}|" for name, (_, source) in zip(self.operations, EDGES, strict=True))
        return f"|{one}+|{''.join(rest[:2])}+|{''.join(rest[2:])}"


def _parse_group(text: str, group: str, node: int) -> list[str]:
    """Read ``|op~0|...|``, the incoming edges of one node."""
    if len(group) < 2 or not (group.startswith("|") and group.endswith("|")):
        raise _malformed(text, f"the group of node {node}, {group!r}, does not start and end with '|'")
    operations: list[str] = []
    seen: list[str] = []
    for token in group[1:-1].split("|"):
        name, separator, source = token.partition("~")
        if not separator or "~" in source:
            raise _malformed(
                text, f"{token!r} in the group of node {node} is not an operation, '~' and a source node, as in 'skip_connect~0'"
            )
        if source not in [str(earlier) for earlier in range(node)]:
            allowed = "node 0" if node == 1 else f"nodes 0 to {node - 1}"
            raise _malformed(text, f"{token!r} takes its input from {source!r}, and node {node} can take input from {allowed} only")
        if source in seen:
            raise _malformed(text, f"edge {node}<-{source} is given twice. Keep one operation an edge")
        seen.append(source)
        operations.append(OPERATIONS[_digit(name, (node, int(source)))])
    if len(seen) != node:
        raise _malformed(
            text, f"node {node} has {_count(len(seen), 'incoming edge')}, and {node} expected. Write 'none' on an edge that is absent"
        )
    if seen != sorted(seen):
        raise _malformed(text, f"the edges of node {node} come in the order {', '.join(seen)}. Sort them by source node")
    return operations


def _digit(name: Any, edge: tuple[int, int]) -> int:
    """Look up an operation, or say which ones there are."""
    return _DIGIT[choose("operation", name, OPERATIONS, error=GenotypeError, where=f" on edge {edge[0]}<-{edge[1]}")]


def _malformed(text: str, reason: str) -> GenotypeError:
    return GenotypeError(f"Cannot read the genotype {shown(text, _LONGEST)}: {reason}. The form is {_TEMPLATE}.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
