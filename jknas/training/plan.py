"""What a training run is asked to do, checked before anything is computed."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from jknas.data import SPLITS, Dataset
from jknas.fitting import check_fit
from jknas.genotype import CellGenotype
from jknas.networks.cell_network import CellNetwork
from jknas.networks.initialisation import Scheme, check_scheme
from jknas.training.errors import TrainingError
from jknas.training.recipe import Recipe

__all__ = ["Plan", "WiringKind", "check_pair", "check_splits"]

WiringKind = Literal["code", "static"]
"""``code``: every candidate operation has parameters and the cell is data; the first training of a network, recipe and data shape compiles,
all others run that program.  ``static``: only the cell's own operations exist; each cell compiles, and runs somewhat faster."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """The arguments of `jknas.training.train` that decide its numbers.

    Raises:
        TrainingError: they do not fit each other.
        ValueError: an unknown initialisation scheme.
    """

    network: CellNetwork
    genotype: CellGenotype
    dataset: Dataset
    recipe: Recipe
    seed: int
    scheme: Scheme
    wiring: WiringKind
    splits: tuple[str, ...]

    def __post_init__(self) -> None:
        check_pair(self.network, self.genotype, self.dataset)
        if not isinstance(self.recipe, Recipe):
            hint = f": use preset({self.recipe!r})" if isinstance(self.recipe, str) else ""
            raise TrainingError(f"recipe is a {type(self.recipe).__name__}; expected a Recipe{hint}.")
        _check_seed(self.seed)
        check_scheme(self.scheme)
        if self.wiring not in get_args(WiringKind):
            raise TrainingError(f"wiring is {self.wiring!r}; choose one of {', '.join(map(repr, get_args(WiringKind)))}.")
        object.__setattr__(self, "seed", operator.index(self.seed))
        check_splits(self.splits)

    @property
    def chosen(self) -> CellGenotype | None:
        """The cell where it is part of the program, None where it is data."""
        return self.genotype if self.wiring == "static" else None

    def identity(self) -> dict[str, Any]:
        """Return plain data that differ whenever the numbers may."""
        fields = ("network", "genotype", "recipe", "seed", "scheme", "wiring", "splits")
        return {name: str(getattr(self, name)) for name in fields} | {"dataset": f"{self.dataset.name}, sha256 {self.dataset.digest}"}


def check_pair(network: CellNetwork, genotype: CellGenotype, dataset: Dataset) -> None:
    """Raise TrainingError unless the network can be given this cell and these images."""
    if not isinstance(genotype, CellGenotype):
        hint = "; parse it first: CellGenotype.parse(text)" if isinstance(genotype, str) else ""
        raise TrainingError(f"genotype is a {type(genotype).__name__}; expected a CellGenotype{hint}.")
    check_fit(network, dataset, error=TrainingError)


def check_splits(splits: Sequence[str]) -> tuple[str, ...]:
    """Return the splits, each once, or raise TrainingError."""
    if isinstance(splits, str):
        raise TrainingError(f"splits is the string {splits!r}; expected a sequence of names: ({splits!r},).")
    unknown = [split for split in splits if split not in SPLITS]
    if unknown:
        raise TrainingError(f"there is no split {unknown[0]!r}; choose among {', '.join(SPLITS)}.")
    return tuple(dict.fromkeys(splits))


def _check_seed(seed: Any) -> None:
    try:
        fits = not isinstance(seed, bool) and 0 <= operator.index(seed) < 2**32
    except TypeError:
        fits = False
    if not fits:
        raise TrainingError(f"seed is {seed!r}; expected a whole number from 0 to 2^32 - 1.")
