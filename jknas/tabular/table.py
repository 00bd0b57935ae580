"""What a tabular benchmark answers: the accuracies, losses and times of architectures that somebody has trained already.

A data set is named after what was *trained* on, so that CIFAR-10 is two: ``"cifar10-valid"`` networks saw 25,000 images and were validated
on the other 25,000, ``"cifar10"`` networks saw all 50,000 and were only tested. The validation and test parts of the other two data sets
are halves of their published test or validation images.

Reference: Dong and Yang, "NAS-Bench-201", arXiv:2001.00326, section 2.2; Dong et al., "NATS-Bench", arXiv:2009.00437.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jknas.errors import TabularError, choose
from jknas.spaces.nasbench201.genotype import CellGenotype

DATASETS = ("cifar10-valid", "cifar10", "cifar100", "imagenet16-120")
"""What the networks of a table were trained on."""

EPOCHS = (12, 200)

Seeds = Literal["mean"] | int | np.random.Generator
"""``"mean"``: the mean over all seeds that were trained; a number: that seed; a generator: one of them, drawn with it."""


class Accuracy(NamedTuple):
    """The accuracy of one architecture.

    Attributes:
        mean: in percent, 0 to 100.
        sd: standard deviation over the seeds (n - 1 in the denominator), in percent; NaN where it is not known.
        n: how many seeds were averaged; 0 where that is not known.
    """

    mean: float
    sd: float
    n: int


class Target(NamedTuple):
    """Which accuracy is meant.

    Attributes:
        dataset: one of `DATASETS`.
        split: "validation" or "test".
        epochs: 12 or 200; two training runs, each with its learning rate annealed to zero.
    """

    dataset: str
    split: str
    epochs: int


class SearchProtocol(NamedTuple):
    """How a search is judged on a data set.

    Attributes:
        selects: the accuracy that the search may look at.
        reports: the accuracy that is reported for the architecture it ends with.
    """

    selects: Target
    reports: Target


PROTOCOLS: Mapping[str, SearchProtocol] = {
    "cifar10": SearchProtocol(Target("cifar10-valid", "validation", 12), Target("cifar10", "test", 200)),
    "cifar100": SearchProtocol(Target("cifar100", "validation", 12), Target("cifar100", "test", 200)),
    "imagenet16-120": SearchProtocol(Target("imagenet16-120", "validation", 12), Target("imagenet16-120", "test", 200)),
}
"""The usual protocol of each data set (arXiv:2001.00326, section 5): choose by validation after 12 epochs, report the test after 200."""


@runtime_checkable
class Table(Protocol):
    """A tabular benchmark. Every argument that changes a number is required, so that no caller takes a number for another.

    Every method raises `TabularError` for an architecture, a data set, a split, a number of epochs or a seed that the table does not hold;
    the message lists what it holds.
    """

    @property
    def name(self) -> str:
        """What results say they rest on."""

    @property
    def space(self) -> str:
        """Name of the search space."""

    def targets(self) -> tuple[Target, ...]:
        """Return every accuracy that the table holds."""

    def genotypes(self) -> tuple[CellGenotype, ...]:
        """Return the architectures, in the order of the published index."""

    def accuracy(self, genotype: CellGenotype, *, dataset: str, split: str, epochs: int, seeds: Seeds) -> Accuracy:
        """Return an accuracy after the last epoch, in percent."""

    def training_loss(self, genotype: CellGenotype, *, dataset: str, epochs: int, seeds: Seeds) -> float:
        """Return the mean cross-entropy over the last epoch of training."""

    def seconds(self, genotype: CellGenotype, *, dataset: str, epochs: int) -> float:
        """Return what training for this many epochs took on the benchmark's own machine."""

    def validation_seconds(self, genotype: CellGenotype, *, dataset: str) -> float:
        """Return what one pass over the validation images takes on the benchmark's own machine."""

    def parameters(self, genotype: CellGenotype, *, dataset: str) -> int:
        """Return the number of trainable parameters of the published network."""

    def macs(self, genotype: CellGenotype, *, dataset: str) -> float:
        """Return the multiplications of convolutions and classifier for one image (published as FLOPs)."""


def check_target(table: Table, dataset: str, split: str, epochs: int) -> Target:
    """Return a target that the table holds.

    Raises:
        TabularError: it does not hold it; the message lists what it holds.
    """
    choose("data set of a table", dataset, DATASETS, error=TabularError)
    target = Target(dataset, split, epochs)
    held = table.targets()
    if target in held:
        return target
    there = ", ".join(f"({one.dataset}, {one.split}, {one.epochs})" for one in held) or "nothing"
    why = ""
    if dataset == "cifar10" and split == "validation":
        why = " Networks trained on all of CIFAR-10 have no validation images left: those of 'cifar10-valid' have."
    raise TabularError(f"{table.name} holds no accuracy for ({dataset}, {split}, {epochs}); it holds {there}.{why}")
