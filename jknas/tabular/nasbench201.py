"""NAS-Bench-201's trained accuracies, embedded in the package: all 15,625 cells, three data sets, 12 and 200 epochs.

`nasbench201.npz` beside this file holds, in the order of the published index,

* validation and test accuracy in percent, as means over seeds;
* the training time of one epoch in seconds;
* for cells 0 to 999 the training loss of one seed, and the time of one evaluation.

Source: the records of NATS-Bench, Dong, Liu, Musial and Gabrys, arXiv:2009.00437, https://github.com/D-X-Y/NATS-Bench, MIT licence, which
repeat and complete those of NAS-Bench-201, Dong and Yang, arXiv:2001.00326. `benchmarks/embed_nasbench201.py` writes the file.

**Deviations** from the benchmark: neither the seeds nor their number are known (for 15 % of the cells the means of validation and test
cover different seeds); seconds are those that NATS-Bench reports, of which one data set's was measured (an epoch of CIFAR-100 is listed as
two of CIFAR-10's half, one of ImageNet16-120 as in proportion to its images), and so is the time of an evaluation; a training loss is that
of one seed, drawn when the file was made; parameters and MACs come from the formulas in :mod:`jknas.spaces.nasbench201.cost`, which
reproduce the published values. Use `nats_bench` for single seeds and their spread.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jknas.errors import TabularError, check_count, choose
from jknas.spaces.nasbench201 import cost
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.spaces.nasbench201.index import index_of, published_order
from jknas.tabular.table import DATASETS, EPOCHS, Accuracy, Seeds, Target, check_target

FILE = Path(__file__).with_name("nasbench201.npz")

# The rows of the arrays in the file. Accuracies and seconds are whole numbers of 10^-decimals, so that they are exact.
TARGETS = tuple(
    Target(dataset, split, epochs)
    for dataset in DATASETS
    for split in (("validation",) if dataset == "cifar10-valid" else ("test",) if dataset == "cifar10" else ("validation", "test"))
    for epochs in EPOCHS
)
LOSSES = tuple((dataset, epochs) for dataset in DATASETS[1:] for epochs in EPOCHS)
TIMED = ("cifar10-valid", "cifar100", "imagenet16-120")
ACCURACY_DECIMALS, SECONDS_DECIMALS = 6, 5

_TRAINING_IMAGES = {"cifar10-valid": 25_000, "cifar10": 50_000, "cifar100": 50_000, "imagenet16-120": 151_700}
_VALIDATION_IMAGES = {"cifar10-valid": 25_000, "cifar100": 5_000, "imagenet16-120": 3_000}
_CLASSES_AND_RESOLUTION = {"cifar10-valid": (10, 32), "cifar10": (10, 32), "cifar100": (100, 32), "imagenet16-120": (120, 16)}
# The evaluation times in the file are those of 12 passes over 5,000 images.
_EVALUATED_IMAGES = 12 * 5_000
# Seconds of evaluation per image divided by seconds of training per image: median of the 1,000 cells with both (5 and 95 %: 0.30, 0.48).
_EVALUATION_SHARE = 0.348


@dataclass(frozen=True, eq=False)
class MeansTable:
    """NAS-Bench-201 as a table of means over seeds; see the module. A `jknas.tabular.Table`, made by `embedded`.

    Attributes:
        accuracies: in percent, by target.
        epoch_seconds: training time of one epoch, by data set.
        losses: training loss of the first cells, by data set and number of epochs.
        evaluation_seconds: time of evaluating one image, of the first cells.
        name: what results say they rest on.
        space: name of the search space.
    """

    accuracies: Mapping[Target, Float[np.ndarray, " cells"]]
    epoch_seconds: Mapping[str, Float[np.ndarray, " cells"]]
    losses: Mapping[tuple[str, int], Float[np.ndarray, " first"]]
    evaluation_seconds: Float[np.ndarray, " first"]
    name: str = field(default="NAS-Bench-201 (means over seeds)", init=False)
    space: str = field(default="nasbench201", init=False)

    def targets(self) -> tuple[Target, ...]:
        """Return every accuracy that the table holds."""
        return tuple(self.accuracies)

    def genotypes(self) -> tuple[CellGenotype, ...]:
        """Return the architectures, in the order of the published index."""
        return published_order()

    def accuracy(self, genotype: CellGenotype, *, dataset: str, split: str, epochs: int, seeds: Seeds) -> Accuracy:
        """Return the mean accuracy over seeds; its spread and their number are not known.

        Args:
            genotype: the architecture.
            dataset: what it was trained on.
            split: "validation" or "test".
            epochs: 12 or 200.
            seeds: "mean", the only one that the table holds.

        Raises:
            TabularError: an architecture or a combination that the table does not hold, or single seeds.
        """
        target = check_target(self, dataset, split, epochs)
        if seeds != "mean":
            raise TabularError(
                f"{self.name} holds means over seeds, not the seed {_shown(seeds)}: pass seeds='mean', or read the benchmark's own file "
                "with jknas.tabular.nats_bench(path)."
            )
        return Accuracy(float(self.accuracies[target][self._row(genotype)]), math.nan, 0)

    def training_loss(self, genotype: CellGenotype, *, dataset: str, epochs: int, seeds: Seeds) -> float:
        """Return the training loss of one seed. The table has one draw of it: every call returns the same.

        Args:
            genotype: the architecture, one of the first 1,000.
            dataset: what it was trained on, except "cifar10-valid".
            epochs: 12 or 200.
            seeds: a NumPy generator, because the table holds one seed drawn at random.

        Raises:
            TabularError: an architecture or a combination without a training loss, a mean or a given seed.
        """
        choose("data set of a table", dataset, DATASETS, error=TabularError)
        if (dataset, epochs) not in self.losses:
            held = ", ".join(f"({name}, {number})" for name, number in self.losses)
            raise TabularError(f"{self.name} holds no training loss for ({dataset}, {epochs} epochs); it holds {held}.")
        if not isinstance(seeds, np.random.Generator):
            raise TabularError(
                f"{self.name} holds the training loss of one seed drawn at random, not {_shown(seeds)}: pass a numpy Generator as seeds, "
                "or read the benchmark's own file with jknas.tabular.nats_bench(path)."
            )
        losses, row = self.losses[dataset, epochs], self._row(genotype)
        if row >= len(losses):
            raise TabularError(f"{self.name} holds the training losses of the first {len(losses):,} cells only, not that of {genotype}.")
        return float(losses[row])

    def seconds(self, genotype: CellGenotype, *, dataset: str, epochs: int) -> float:
        """Return what training for any number of epochs took on the benchmark's machine: epochs times one measured epoch.

        Raises:
            TabularError: an unknown architecture or data set, or a number of epochs that is not positive.
        """
        choose("data set of a table", dataset, DATASETS, error=TabularError)
        check_count("epochs", epochs, error=TabularError)
        # An epoch of "cifar10" passes over twice the images of "cifar10-valid".
        timed, times = ("cifar10-valid", 2.0) if dataset == "cifar10" else (dataset, 1.0)
        return float(epochs * times * self.epoch_seconds[timed][self._row(genotype)])

    def validation_seconds(self, genotype: CellGenotype, *, dataset: str) -> float:
        """Return what one pass over the validation images takes on the benchmark's machine.

        For the first 1,000 cells it is the measured time of evaluation per image, times the images. Elsewhere it is estimated as 0.348 of
        the training time per image, the median of the cells where both are known.

        Raises:
            TabularError: an unknown architecture, or a data set without validation images.
        """
        choose("data set of a table", dataset, DATASETS, error=TabularError)
        images = _VALIDATION_IMAGES.get(dataset)
        if images is None:
            raise TabularError(f"{dataset} has no validation images; expected one of {', '.join(_VALIDATION_IMAGES)}.")
        row = self._row(genotype)
        if row < len(self.evaluation_seconds):
            return float(self.evaluation_seconds[row] * images)
        return self.seconds(genotype, dataset=dataset, epochs=1) / _TRAINING_IMAGES[dataset] * _EVALUATION_SHARE * images

    def parameters(self, genotype: CellGenotype, *, dataset: str) -> int:
        """Return the number of trainable parameters of the published network (16 channels, 5 cells per stage)."""
        self._row(genotype)
        classes, _ = _CLASSES_AND_RESOLUTION[choose("data set of a table", dataset, DATASETS, error=TabularError)]
        return cost.parameters(genotype, classes=classes)

    def macs(self, genotype: CellGenotype, *, dataset: str) -> float:
        """Return the multiply-accumulates of the published network for one image."""
        self._row(genotype)
        classes, resolution = _CLASSES_AND_RESOLUTION[choose("data set of a table", dataset, DATASETS, error=TabularError)]
        return float(cost.macs(genotype, classes=classes, resolution=resolution))

    def _row(self, genotype: CellGenotype) -> int:
        if not isinstance(genotype, CellGenotype):
            raise TabularError(f"{self.name} has no row for a {type(genotype).__name__}; expected a CellGenotype: see genotypes().")
        return index_of(genotype)


@functools.cache
def embedded() -> MeansTable:
    """Return the table inside the package. Reads the file at the first call, a few hundredths of a second."""
    with np.load(FILE) as file:
        accuracies, seconds, losses, evaluation = (file[name] for name in ("accuracies", "seconds", "losses", "evaluation_seconds"))
    return MeansTable(
        accuracies=dict(zip(TARGETS, accuracies / 10.0**ACCURACY_DECIMALS, strict=True)),
        epoch_seconds=dict(zip(TIMED, seconds / 10.0**SECONDS_DECIMALS, strict=True)),
        losses=dict(zip(LOSSES, losses, strict=True)),
        evaluation_seconds=evaluation / _EVALUATED_IMAGES,
    )


def _shown(seeds: object) -> str:
    return "one seed drawn by a generator" if isinstance(seeds, np.random.Generator) else repr(seeds)
