r"""The genotype of a skip-connection encoder: a family, a cell size and a depth as an immutable value, its text and its wiring.

A transformer encoder is a chain of layers 1..L behind its embeddings, 0. A genotype adds connections. Cells are runs of ``size`` layers
in a row; the last cell takes the remainder and follows the same rule with its shorter length. Layer *l* reads the mean of the outputs of
its *sources* :math:`S_l`; :math:`S_l = \{l - 1\}` unless

``highway``
    the last layer *e* of a cell that begins with layer *s* < *e*: :math:`S_e = \{s, e - 1\}`;
``look_ahead``
    the last layer *e* of such a cell: :math:`S_e = \{s, ..., e - 1\}`;
``densenet``
    the first layer of a cell: the last layers of all cells before it;
``densenet+emb``
    the same, and the embeddings, 0: as in the original DenseNet, whose blocks keep their input.

Reference: Xu et al., "KNAS: Green Neural Architecture Search", ICML 2021, arXiv:2111.13293, section 8 (the first three; sizes 2 to 11, 24
layers).

Deviations: the paper leaves open how a layer combines what it reads, what happens to a remainder, and whether a source may count twice.
Here sources are sets, so that ``highway:2`` and ``look_ahead:2`` are the ordinary encoder.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from jknas.errors import GenotypeError, check_count, choose, shown
from jknas.spaces.code import Ordered

FAMILIES: tuple[str, ...] = ("plain", "highway", "look_ahead", "densenet", "densenet+emb")
"""The families, in the order in which one wiring prefers its names."""

OPERATIONS: tuple[str, ...] = ("none", "read")
"""Whether a layer reads a source; an operation's place is its digit in the code."""

LARGEST = 11
"""Layers of the largest cells, in the paper."""

_LONGEST = 60


@functools.lru_cache
def edges(layers: int) -> tuple[tuple[int, int], ...]:
    """Return what may be connected at a depth as (layer, source), in the order of a code: (1, 0), (2, 0), (2, 1), (3, 0), ..."""
    return tuple((layer, source) for layer in range(1, layers + 1) for source in range(layer))


@dataclass(frozen=True)
class SkipGenotype(Ordered):
    """A wiring of an encoder of a given depth, by its name.

    Genotypes are equal when their names are. Different names may mean one wiring, and then have one code; ``Space.canonical`` with the
    rule "function" chooses one of them.

    >>> SkipGenotype("look_ahead", 4, layers=6).sources
    ((0,), (1,), (2,), (1, 2, 3), (4,), (5,))
    >>> str(SkipGenotype.parse("densenet:3", layers=6))
    'densenet:3'

    Attributes:
        family: one of :data:`FAMILIES`.
        size: layers of a cell, 2 to :data:`LARGEST` and at most the depth; 1 for ``plain``.
        layers: depth of the encoder, L.

    Raises:
        GenotypeError: another family, size or depth.
    """

    family: str
    size: int
    layers: int

    def __post_init__(self) -> None:
        choose("family", self.family, FAMILIES, error=GenotypeError)
        check_count("layers", self.layers, error=GenotypeError)
        check_count("size", self.size, error=GenotypeError)
        if self.family == "plain" and self.size != 1:
            raise GenotypeError(f"plain has cells of one layer, got size {self.size}: write plain, without a size.")
        if self.family != "plain" and not 2 <= self.size <= largest(self.layers):
            most = largest(self.layers)
            raise GenotypeError(
                f"{self.family} has cells of {self.size} layers; expected 2 to {most} in an encoder of {self.layers} layers."
            )

    @classmethod
    def parse(cls, text: str, *, layers: int) -> Self:
        """Read ``plain``, or a family, a colon and the size of a cell: ``highway:4``.

        Args:
            text: the genotype's text.
            layers: depth of the encoder.

        Raises:
            GenotypeError: any other text; the message says what is wrong with it.
        """
        form = f"plain, or FAMILY:SIZE with a family of {', '.join(FAMILIES[1:])} and 2 to {largest(layers)} layers in a cell"
        if not isinstance(text, str):
            raise GenotypeError(f"The genotype is a {type(text).__name__}; expected a string of the form {form}.")
        family, colon, size = text.partition(":")
        known = family in FAMILIES and (family == "plain") == (not colon)
        if not known or (colon and not (size.isascii() and size.isdecimal() and len(size) < 4 and size[0] != "0")):
            raise GenotypeError(f"Cannot read the genotype {shown(text, _LONGEST)}. The form is {form}.")
        return cls(family, int(size or 1), layers)

    @property
    def sources(self) -> tuple[tuple[int, ...], ...]:
        """What layers 1..L read, layer by layer; 0 stands for the embeddings."""
        found: list[tuple[int, ...]] = [(layer - 1,) for layer in range(1, self.layers + 1)]
        ends = [0] if self.family == "densenet+emb" else []
        for first in range(1, self.layers + 1, self.size):
            last = min(first + self.size - 1, self.layers)
            if self.family == "highway":
                found[last - 1] = (first, last - 1) if last - 1 > first else (last - 1,)
            elif self.family == "look_ahead" and last > first:
                found[last - 1] = tuple(range(first, last))
            elif self.family.startswith("densenet") and first > 1:
                found[first - 1] = tuple(ends)
            ends.append(last)
        return tuple(found)

    @property
    def code(self) -> tuple[int, ...]:
        """One digit per edge of :func:`edges`: 1 where the layer reads the source."""
        sources = self.sources
        return tuple(int(source in sources[layer - 1]) for layer, source in edges(self.layers))

    def __str__(self) -> str:
        return self.family if self.family == "plain" else f"{self.family}:{self.size}"

    def _order(self) -> tuple[Any, ...]:
        return (self.code, *_name(self))


def largest(layers: int) -> int:
    """Return the largest size of a cell at a depth."""
    return min(LARGEST, layers)


def all_names(layers: int, families: Iterable[str]) -> tuple[SkipGenotype, ...]:
    """Return the genotypes of some families at a depth, in the order in which one wiring prefers its names."""
    found = [
        SkipGenotype(family, size, layers) for family in families for size in ((1,) if family == "plain" else range(2, largest(layers) + 1))
    ]
    return tuple(sorted(found, key=_name))


def _name(genotype: SkipGenotype) -> tuple[Any, ...]:
    return FAMILIES.index(genotype.family), genotype.size
