"""What a training run is asked to do, checked before anything is computed."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from jknas.data import SPLITS, Dataset
from jknas.errors import TrainingError, choose
from jknas.networks.families import check_fit, require
from jknas.networks.layers.initialisation import Scheme, check_scheme
from jknas.training.fine_tuning import FineTuning
from jknas.training.network import can_have_auxiliary
from jknas.training.recipe import PRESETS, AnyRecipe, Recipe

WiringKind = Literal["code", "static"]
"""``code``: every candidate operation has parameters and the cell is data; the first training of a network, recipe and data shape compiles,
all others run that program.  ``static``: only the cell's own operations exist; each cell compiles, and runs somewhat faster. Drop path
needs it, and a DARTS network of all candidates is large: for one DARTS genotype it is the better choice."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """The arguments of `jknas.training.train` that decide its numbers.

    Raises:
        TrainingError: they do not fit each other.
        ValueError: an unknown initialisation scheme.
    """

    network: Any
    genotype: Any
    dataset: Dataset
    recipe: AnyRecipe
    seed: int
    scheme: Scheme
    wiring: WiringKind
    splits: tuple[str, ...]

    def __post_init__(self) -> None:
        check_pair(self.network, self.genotype, self.dataset)
        if not isinstance(self.recipe, Recipe | FineTuning):
            hint = f": use jknas.training.preset({self.recipe!r})" if isinstance(self.recipe, str) else ""
            raise TrainingError(f"recipe is a {type(self.recipe).__name__}; expected a Recipe{hint}.")
        _check_seed(self.seed)
        check_scheme(self.scheme)
        choose("wiring", self.wiring, get_args(WiringKind), error=TrainingError)
        object.__setattr__(self, "seed", operator.index(self.seed))
        check_splits(self.splits)
        check_recipe(self.network, self.recipe, self.dataset)
        if self.wiring == "code" and not hasattr(self.genotype, "code"):
            raise TrainingError(f"a {type(self.genotype).__name__} has no code: train with wiring='static'.")
        if self.recipe.drop_path and self.wiring != "static":
            raise TrainingError(
                f"the recipe has drop_path={self.recipe.drop_path}, which drops the edges of a genotype: train with wiring='static'."
            )

    @property
    def chosen(self) -> Any:
        """The cell where it is part of the program, None where it is data."""
        return self.genotype if self.wiring == "static" else None

    def identity(self) -> dict[str, Any]:
        """Return plain data that differ whenever the numbers may."""
        fields = ("network", "genotype", "recipe", "seed", "scheme", "wiring", "splits")
        facts = getattr(self.network, "own_facts", {})
        more = {"dataset": f"{self.dataset.name}, sha256 {self.dataset.digest}"} | ({"own_facts": str(facts)} if facts else {})
        return {name: str(getattr(self, name)) for name in fields} | more


def check_recipe(network: Any, recipe: AnyRecipe, dataset: Dataset) -> None:
    """Raise TrainingError for a recipe that the network cannot be trained by on a data set, or not fully."""
    if recipe.inputs != dataset.inputs:
        names = ", ".join(name for name, other in PRESETS.items() if other.inputs == dataset.inputs)
        raise TrainingError(f"the recipe trains on {recipe.inputs}, but {dataset.name} holds {dataset.inputs}: take one of {names}.")
    kind, weight, drop = type(network).__name__, recipe.auxiliary_weight, recipe.drop_path
    auxiliary = getattr(network, "auxiliary", False)
    if weight and not auxiliary:
        build = "build it with auxiliary=True, or " if can_have_auxiliary(network) else ""
        raise TrainingError(
            f"the recipe has auxiliary_weight={weight}, but the {kind} has no auxiliary classifier: {build}set auxiliary_weight=0."
        )
    if auxiliary and not weight:
        raise TrainingError(
            f"the {kind} has an auxiliary classifier, but the recipe has auxiliary_weight=0: set a weight (DARTS takes 0.4), or "
            "build the network with auxiliary=False."
        )
    if weight:
        try:  # a network with an auxiliary classifier has this check
            network.check_auxiliary(dataset.resolution, dataset.resolution)
        except ValueError as error:
            size = f"{dataset.resolution}x{dataset.resolution}"
            raise TrainingError(f"{dataset.name} has images of {size} pixels: {error}, with auxiliary_weight=0.") from error
    if drop and not getattr(network, "has_drop_path", False):
        raise TrainingError(f"the recipe has drop_path={drop}, but the {kind} has no drop path: set drop_path=0.")
    if recipe.dropout and not getattr(network, "has_dropout", False):
        raise TrainingError(f"the recipe has dropout={recipe.dropout}, but the {kind} has none: set dropout=0.")
    if recipe.resized_crop and not dataset.streamed:
        raise TrainingError(
            f"the recipe has resized_crop=True, which cuts training images out of files; {dataset.name} holds arrays of one size: "
            "load a folder of images, or set resized_crop=False."
        )


def check_pair(network: Any, genotype: Any, dataset: Dataset) -> None:
    """Raise TrainingError unless the network can be trained, and be given this cell and these images."""
    require(network, "trainable", "training", error=TrainingError)
    if not isinstance(genotype, kind := getattr(network, "genotypes", object)):
        wanted = kind.__name__
        hint = f"; parse it first: {wanted}.parse(text)" if isinstance(genotype, str) else f" for a {type(network).__name__}"
        raise TrainingError(f"genotype is a {type(genotype).__name__}; expected a {wanted}{hint}.")
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
