"""What a training run returns: plain, frozen data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jknas.training.recipe import AnyRecipe

Status = Literal["ok", "diverged"]
"""``diverged``: a loss of the last epoch in the curves is not finite, and training stopped there."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """A split's score.

    Attributes:
        loss: mean cross-entropy in nats, of any value.
        accuracy: correct share, 0..1; an image with a non-finite logit counts as wrong.
        n: number of images.
    """

    loss: float
    accuracy: float
    n: int


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch. Records are equal when everything but the time is.

    Attributes:
        epoch: 0, 1, ...
        learning_rate: of this epoch; of its first step, where it changes at every step.
        train_loss: mean cross-entropy in training mode during the epoch, on augmented images; without what an auxiliary classifier and
            label smoothing add.
        train_accuracy: correct share, likewise.
        splits: the evaluated splits after the epoch, with running statistics.
        seconds: wall-clock time of the epoch with its evaluation, without compilation and checkpoint.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    splits: Mapping[str, Metrics]
    seconds: float = field(compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return a flat dictionary of numbers; a split's are ``<split>_loss``, ``<split>_accuracy`` and ``<split>_n``."""
        flat: dict[str, Any] = {name: getattr(self, name) for name in ("epoch", "learning_rate", "train_loss", "train_accuracy")}
        for split, metrics in self.splits.items():
            flat |= {f"{split}_loss": metrics.loss, f"{split}_accuracy": metrics.accuracy, f"{split}_n": metrics.n}
        return flat | {"seconds": self.seconds}

    @classmethod
    def from_dict(cls, flat: Mapping[str, Any]) -> "EpochRecord":
        """Read what `as_dict` wrote."""
        named = [name.removesuffix("_n") for name in flat if name.endswith("_n")]
        splits = {split: Metrics(flat[f"{split}_loss"], flat[f"{split}_accuracy"], flat[f"{split}_n"]) for split in named}
        return cls(flat["epoch"], flat["learning_rate"], flat["train_loss"], flat["train_accuracy"], splits, flat["seconds"])


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A finished training run.

    Attributes:
        genotype: the trained cell.
        recipe: how it was trained.
        seed: from which weights and data order follow.
        status: see :data:`Status`.
        curves: one record per epoch.
        variables: ``{"params", "batch_stats"}`` of this genotype alone, whatever the wiring was.
        compile_seconds: spent on compilation by this call; near zero when the programs were there already.
    """

    genotype: Any
    recipe: AnyRecipe
    seed: int
    status: Status
    curves: tuple[EpochRecord, ...]
    variables: dict[str, Any] = field(repr=False)
    compile_seconds: float

    @property
    def final(self) -> Mapping[str, Metrics]:
        """The evaluated splits after the last epoch."""
        return self.curves[-1].splits

    @property
    def run_seconds(self) -> float:
        """Seconds of all epochs, those before a resume included."""
        return sum(record.seconds for record in self.curves)

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the variables as plain data; non-finite numbers stay floats (see `jknas.files.json_text.export_json`)."""
        return {
            "genotype": str(self.genotype),
            "recipe": self.recipe.as_dict(),
            "seed": self.seed,
            "status": self.status,
            "curves": [record.as_dict() for record in self.curves],
            "compile_seconds": self.compile_seconds,
            "run_seconds": self.run_seconds,
        }
