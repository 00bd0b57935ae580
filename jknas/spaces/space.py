"""What a search space is: a frozen record of pure functions over genotype values."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, SupportsIndex, TypeVar, overload, runtime_checkable

import numpy as np

from jknas.errors import SpaceError, choose
from jknas.spaces.graph import CellGraph
from jknas.spaces.pruning import PruningPlan


@runtime_checkable
class Genotype(Protocol):
    """What every genotype is: an immutable, hashable and ordered value with an integer code, which ``str`` prints and ``parse`` reads."""

    @property
    def code(self) -> tuple[int, ...]:
        """One digit per edge: the place of its operation."""

    def __lt__(self, other: Any, /) -> bool:
        """Order genotypes by their codes."""

    def __hash__(self) -> int:
        """Hash the value."""


G = TypeVar("G", bound=Genotype)
G_co = TypeVar("G_co", covariant=True)
G_contra = TypeVar("G_contra", contravariant=True)


@runtime_checkable
class Sample(Protocol[G_co]):
    """Draw genotypes uniformly."""

    @overload
    def __call__(self, rng: np.random.Generator, n: None = None, *, unique: bool = False) -> G_co: ...
    @overload
    def __call__(self, rng: np.random.Generator, n: int, *, unique: bool = False) -> tuple[G_co, ...]: ...
    def __call__(self, rng: np.random.Generator, n: int | None = None, *, unique: bool = False) -> G_co | tuple[G_co, ...]:
        """Return one genotype, or a tuple of n of them."""


@runtime_checkable
class Mutate(Protocol[G]):
    """Change one edge at random."""

    def __call__(self, genotype: G, rng: np.random.Generator, *, rule: str = ...) -> G:
        """Return a genotype that differs on one edge."""


@runtime_checkable
class Canonical(Protocol[G]):
    """Map a genotype to the representative of its class."""

    def __call__(self, genotype: G, *, rule: str = "function") -> G:
        """Return the member of the class with the smallest code."""


@runtime_checkable
class Parameters(Protocol[G_contra]):
    """Count trainable parameters."""

    def __call__(self, genotype: G_contra, *, channels: int = ..., cells: int = ..., classes: int = ..., image_channels: int = 3) -> int:
        """Return the number of trainable parameters of the whole network."""


@runtime_checkable
class Macs(Protocol[G_contra]):
    """Count multiply-accumulate operations."""

    def __call__(
        self,
        genotype: G_contra,
        *,
        channels: int = ...,
        cells: int = ...,
        classes: int = ...,
        resolution: int = 32,
        image_channels: int = 3,
    ) -> int:
        """Return the multiply-accumulates of one forward pass of one image."""


@dataclass(frozen=True)
class Index(Generic[G]):
    """The published numbers of the genotypes.

    Attributes:
        at: number to genotype.
        of: genotype to number.
    """

    at: Callable[[SupportsIndex], G]
    of: Callable[[G], int]


@dataclass(frozen=True, kw_only=True)
class Space(Generic[G]):
    """A search space: what can be searched, as pure functions over an immutable genotype value.

    Attributes:
        name: the name under which the space is registered.
        operations: the operation names; the place of a name is its digit in a code.
        num_edges: the number of edges that can carry an operation, and the length of a code.
        size: the number of genotypes (codes, not classes).
        channels: the usual width of the macro network, which ``parameters`` and ``macs`` take as ``channels``.
        cells: the usual depth of the macro network, which ``parameters`` and ``macs`` take as ``cells``.
        cells_unit: what ``cells`` counts, for messages: "cells per stage", "cells".
        named: well-known genotypes by name.
        mutation_rules: the names that ``mutate`` takes as ``rule``; the first is the default.
        canonical_rules: the names that ``canonical`` takes as ``rule``; the first is the default.
        parse: text to genotype.
        from_code: ``num_edges`` integers to genotype.
        sample: ``(rng, n=None, *, unique=False)``: one genotype, or a tuple of n; ``unique`` draws without replacement.
        mutate: ``(genotype, rng, *, rule)``: another genotype, one change away: what is changed is the rule's.
        neighbours: all genotypes that are one change away, each once.
        enumerate: every genotype, in the order of codes.
        canonical: ``(genotype, *, rule="function")``: the member with the smallest code of the genotype's class.
        is_dead: whether the output of the cell does not depend on its input.
        parameters: trainable parameters of the whole network.
        macs: multiply-accumulates of the whole network for one image.
        pruning: how TE-NAS prunes a supernet of the space, or None.
        networks: class of the macro network, or ``"module:Name"`` of it, so that the space can be used without JAX. It takes ``channels``,
            ``cells``, ``classes`` and ``input_channels``; see :mod:`jknas.networks.families`.
        stems: what ``parameters``, ``macs`` and the network class take as ``stem``, the default first; empty: they take none.
        index: the published numbers of the genotypes, or None.
        graph: a genotype's cells as graphs, from which they are drawn; None: the space has no drawings.
        convolutions: the operations that hold a convolution; None: the space does not say.
        inputs: what the networks read, "images" or "tokens"; says what a ``resolution`` means.
        parts: named parts of the space, such as those on which papers compare scores: whether a genotype belongs to one.
        from_record: reads an entry of the space's published benchmark, a JSON object, as the genotype and its scores by name; None: there
            is no such file. Genotypes of one canonical class are one network there.
    """

    name: str
    operations: tuple[str, ...]
    num_edges: int
    size: int
    channels: int = 16
    cells: int
    cells_unit: str = "cells"
    named: Mapping[str, G]
    mutation_rules: tuple[str, ...]
    canonical_rules: tuple[str, ...]
    parse: Callable[[str], G]
    from_code: Callable[[Iterable[SupportsIndex]], G]
    sample: Sample[G]
    mutate: Mutate[G]
    neighbours: Callable[[G], tuple[G, ...]]
    enumerate: Callable[[], Iterator[G]]
    canonical: Canonical[G]
    is_dead: Callable[[G], bool]
    parameters: Parameters[G]
    macs: Macs[G]
    pruning: PruningPlan | None = None
    networks: Any = None
    stems: tuple[str, ...] = ()
    index: Index[G] | None = None
    graph: Callable[[G], tuple[CellGraph, ...]] | None = None
    convolutions: tuple[str, ...] | None = None
    inputs: str = "images"
    parts: Mapping[str, Callable[[G], bool]] = field(default_factory=dict)
    from_record: Callable[[Mapping[str, Any]], tuple[G, Mapping[str, float]]] | None = None

    def stem(self, name: str) -> str:
        """Return the name of a stem that the space's networks have.

        Raises:
            SpaceError: they have no such stem, or only one.
        """
        if not self.stems:
            raise SpaceError(f"stem {name!r}: the networks of the space {self.name!r} have one stem: leave the stem out.")
        return choose("stem", name, self.stems, error=SpaceError)

    def __repr__(self) -> str:
        return f"Space({self.name!r}, size={self.size})"
