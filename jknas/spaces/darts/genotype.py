"""The DARTS genotype: a normal and a reduction cell as an immutable value, its text and its integer code.

A cell has two inputs, node 0 (the output of the cell before the previous one) and node 1 (that of the previous cell), and four nodes 2..5.
Each node is the sum of two operations, applied to two different earlier nodes. The output is the concatenation of the channels of the
four nodes.

References:
    Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", arXiv:1806.09055, section 2.1 and appendix A.1.
    Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective",
    arXiv:2102.11535 (the TE-NAS cells of ``NAMED``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self, SupportsIndex

from jknas.errors import GenotypeError, choose
from jknas.spaces.code import Ordered, as_integer, read_digits
from jknas.spaces.darts.text import CONCAT, Pair, read, write

__all__ = ["CONCAT", "EDGES", "NAMED", "NODES", "OPERATIONS", "DartsGenotype", "Pair"]

OPERATIONS: tuple[str, ...] = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""The eight operations in the released order; an operation's place is its digit in the code. A genotype never names "none"."""

NODES: tuple[int, ...] = (2, 3, 4, 5)
"""The nodes of a cell that have inputs of their own."""

EDGES: tuple[tuple[int, int], ...] = tuple((node, source) for node in NODES for source in range(node))
"""The 14 edges of one cell as (node, source): (2, 0), (2, 1), (3, 0), ..., (5, 4); a genotype has operations on eight of them."""

_DIGIT = {name: digit for digit, name in enumerate(OPERATIONS)}
_EDGE = {edge: place for place, edge in enumerate(EDGES)}
_PLACES = tuple(f"{cell} edge {node}<-{source}" for cell in ("normal", "reduction") for node, source in EDGES)
_PAIRS = 2 * len(NODES)


@dataclass(frozen=True)
class DartsGenotype(Ordered):
    """A DARTS architecture: for the normal and for the reduction cell, two inputs of each of the nodes 2..5.

    Genotypes are immutable and hashable. They are equal when their texts are: the order in which the two inputs of a node are listed
    has no influence on what the network computes, and is kept, because released weights follow it. ``Space.canonical`` with
    the rule "string" forgets it. They are ordered by their integer codes, and for one code by their lists.

    >>> cell = NAMED["DARTS_V2"].normal
    >>> cell[:4]
    (('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1))
    >>> print(str(NAMED["DARTS_V2"])[:58])
    Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
    >>> DartsGenotype.parse(str(NAMED["DARTS_V2"])) == NAMED["DARTS_V2"]
    True

    Attributes:
        normal: eight pairs (operation, source), two for each of the nodes 2, 3, 4, 5 in this order.
        reduce: the same for the reduction cell, where the operations applied to nodes 0 and 1 have stride 2.

    Raises:
        GenotypeError: not eight pairs, an operation that is not in ``OPERATIONS`` or is "none", a source that does not come before
            its node, or a node with both inputs from the same source.
    """

    normal: tuple[Pair, ...]
    reduce: tuple[Pair, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "normal", _check_cell(self.normal, "normal"))
        object.__setattr__(self, "reduce", _check_cell(self.reduce, "reduce"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the released form, ``Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], reduce=[...], ...)``.

        Pairs grouped by node, ``range(2, 6)`` and any white space are read as well (see ``jknas.spaces.darts.text``); nothing is
        evaluated. ``str(DartsGenotype.parse(text)) == text`` for every text that ``str`` wrote.

        Args:
            text: the genotype's text.

        Returns:
            The genotype, with the pairs in the order of the text.

        Raises:
            GenotypeError: anything else than a well-formed text of a valid genotype; the message names the first place that is wrong.
        """
        return cls(*read(text))

    @classmethod
    def from_code(cls, code: Iterable[SupportsIndex]) -> Self:
        """Build a genotype from 28 integers, one for each of the 14 edges of the normal and then of the reduction cell.

        Args:
            code: 28 integers in 0..7, the places of the operations in ``OPERATIONS`` and 0 on an absent edge: a list, a tuple, or a
                one-dimensional integer array.

        Returns:
            The genotype; the two inputs of a node are listed in the order of their sources.

        Raises:
            GenotypeError: not 28 integers, an integer out of range, or a node that has not exactly two inputs.
        """
        digits = read_digits(
            code,
            places=_PLACES,
            operations=OPERATIONS,
            expected=f"expected {len(_PLACES)} integers in 0..{len(OPERATIONS) - 1}, 14 for the normal and 14 for the reduction cell",
            parser="DartsGenotype.parse",
            error=GenotypeError,
        )
        return cls(_pairs(digits[: len(EDGES)], "normal"), _pairs(digits[len(EDGES) :], "reduce"))

    @property
    def code(self) -> tuple[int, ...]:
        """28 integers in 0..7: the operations on the edges of the normal, then of the reduction cell; 0 where there is no edge."""
        return (*_digits(self.normal), *_digits(self.reduce))

    def __str__(self) -> str:
        return write(self.normal, self.reduce)

    def _order(self) -> tuple[Any, ...]:
        return self.code, self.normal, self.reduce


def _check_cell(pairs: Any, cell: str) -> tuple[Pair, ...]:
    expected = "expected eight pairs (operation, source), two for each of the nodes 2, 3, 4, 5"
    if not isinstance(pairs, (tuple, list)):
        hint = " To read a genotype's text, use DartsGenotype.parse." if isinstance(pairs, str) else ""
        raise GenotypeError(f"{cell} is a {type(pairs).__name__}; {expected}.{hint}")
    if len(pairs) != _PAIRS:
        raise GenotypeError(
            f"{cell} has {len(pairs)} entries; {expected}. Only cells of four nodes with two inputs each are in this space."
        )
    checked = tuple(_check_pair(pair, cell, NODES[place // 2]) for place, pair in enumerate(pairs))
    for node, (_, first), (_, second) in zip(NODES, checked[::2], checked[1::2], strict=True):
        if first == second:
            raise GenotypeError(
                f"Node {node} of {cell} takes both of its inputs from node {first}; expected two different nodes. "
                "Cells with a double edge (NASNet, AmoebaNet) are not in this space."
            )
    return checked


def _check_pair(pair: Any, cell: str, node: int) -> Pair:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        came = f"{len(pair)} entries" if isinstance(pair, (tuple, list)) else f"a {type(pair).__name__}"
        raise GenotypeError(f"An input of node {node} of {cell} is {came}; expected a pair, as in ('sep_conv_3x3', 0).")
    name, source = pair
    place = f"of node {node} of {cell}"
    if isinstance(name, str) and name == "none":
        raise GenotypeError(f"An input {place} has the operation 'none'; expected one of {', '.join(OPERATIONS[1:])}. No input is absent.")
    known = choose(f"operation at an input {place}:", name, OPERATIONS[1:], error=GenotypeError)
    number = as_integer(source)
    if number is None:
        raise GenotypeError(f"An input {place} has a {type(source).__name__} for its source; expected an integer in 0..{node - 1}.")
    if not 0 <= number < node:
        shown = str(number) if number.bit_length() < 64 else f"an integer of {number.bit_length()} bits"
        raise GenotypeError(f"An input {place} comes from node {shown}; expected an earlier node, 0..{node - 1}.")
    return OPERATIONS[_DIGIT[known]], number


def _digits(pairs: tuple[Pair, ...]) -> list[int]:
    digits = [0] * len(EDGES)
    for place, (name, source) in enumerate(pairs):
        digits[_EDGE[NODES[place // 2], source]] = _DIGIT[name]
    return digits


def _pairs(digits: tuple[int, ...], cell: str) -> tuple[Pair, ...]:
    pairs: list[Pair] = []
    for node in NODES:
        inputs = [(OPERATIONS[digit], source) for digit, (target, source) in zip(digits, EDGES, strict=True) if target == node and digit]
        if len(inputs) != 2:
            raise GenotypeError(
                f"The code gives node {node} of {cell} {len(inputs)} input{'s' * (len(inputs) != 1)}; expected two. "
                "Write 0 on every other edge of the node."
            )
        pairs.extend(inputs)
    return tuple(pairs)


def _named(normal: str, reduce: str) -> DartsGenotype:
    """Read cells written ``sep3 0 sep3 1 | ...``, node by node."""
    names = {"sep3": 4, "sep5": 5, "dil3": 6, "dil5": 7, "skip": 3, "max": 1, "avg": 2}
    cells = [cell.replace("|", " ").split() for cell in (normal, reduce)]
    return DartsGenotype(*(tuple((OPERATIONS[names[o]], int(s)) for o, s in zip(cell[::2], cell[1::2], strict=True)) for cell in cells))


NAMED: Mapping[str, DartsGenotype] = MappingProxyType(
    {
        "DARTS_V1": _named(
            "sep3 1 sep3 0 | skip 0 sep3 1 | skip 0 sep3 1 | sep3 0 skip 2", "max 0 max 1 | skip 2 max 0 | max 0 skip 2 | skip 2 avg 0"
        ),
        "DARTS_V2": _named(
            "sep3 0 sep3 1 | sep3 0 sep3 1 | sep3 1 skip 0 | skip 0 dil3 2", "max 0 max 1 | skip 2 max 1 | max 0 skip 2 | skip 2 max 1"
        ),
        "TENAS_cifar10": _named(
            "dil3 0 sep5 1 | sep3 0 sep3 2 | skip 0 dil5 1 | sep3 1 sep5 3", "sep5 0 sep5 1 | sep5 1 sep5 2 | sep3 1 sep3 3 | sep5 2 sep3 4"
        ),
        "TENAS_imagenet": _named(
            "sep3 0 skip 1 | dil5 1 sep3 2 | sep3 0 dil5 3 | sep3 0 dil3 4", "dil3 0 sep5 1 | dil3 0 sep3 2 | sep3 0 dil3 1 | sep3 0 sep5 4"
        ),
    }
)
"""Published genotypes by name, with the pairs in their published order: DARTS of first and second order, and TE-NAS searched on CIFAR-10
and on ImageNet. The paper of TE-NAS reports 3.8 M parameters for its CIFAR-10 cell; the published genotype has 4.1 M."""
