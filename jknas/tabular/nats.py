"""Read NATS-Bench's topology benchmark through its own package, ``nats-bench``: the accuracies of single seeds.

The package is an extra (``pip install 'jknas[nats]'``) and is imported when a table is made. The benchmark's files are pickles, which
can run code when they are read: read only those that come from the benchmark's authors.

Reference: Dong, Liu, Musial and Gabrys, "NATS-Bench: Benchmarking NAS Algorithms for Architecture Topology and Size", arXiv:2009.00437.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jknas.errors import TabularError, check_count, choose
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.tabular.table import DATASETS, EPOCHS, Accuracy, Seeds, Target, check_target

FOLDER = "NATS-tss-v1_0-3ffb9-simple"
_GET = f"the folder {FOLDER}, unpacked, or the file NATS-tss-v1_0-3ffb9.pickle.pbz2, which https://github.com/D-X-Y/NATS-Bench links to"
_PUBLISHED_NAMES = {name: name for name in DATASETS} | {"imagenet16-120": "ImageNet16-120"}
_TARGETS = tuple(
    Target(dataset, split, epochs)
    for dataset in DATASETS
    for split in ("validation", "test")
    for epochs in EPOCHS
    if (dataset, split) != ("cifar10", "validation")
)


@dataclass(frozen=True, eq=False)
class NatsTable:
    """The topology space of NATS-Bench, one seed or all. A `jknas.tabular.Table`, made by `nats_bench`.

    Attributes:
        api: what ``nats_bench.create`` returned.
        name: what results say they rest on.
    """

    api: Any
    name: str = "NATS-Bench (topology)"
    space: str = "nasbench201"
    _genotypes: list[CellGenotype] = field(default_factory=list, init=False)

    def targets(self) -> tuple[Target, ...]:
        """Return every accuracy that the table holds: those of the means, and the test of CIFAR-10 networks trained on one half."""
        return _TARGETS

    def genotypes(self) -> tuple[CellGenotype, ...]:
        """Return the architectures, in the order of the published index."""
        if not self._genotypes:
            self._genotypes.extend(CellGenotype.parse(self.api.arch(index)) for index in range(len(self.api)))
        return tuple(self._genotypes)

    def accuracy(self, genotype: CellGenotype, *, dataset: str, split: str, epochs: int, seeds: Seeds) -> Accuracy:
        """Return the accuracy of one seed, or mean and spread of all.

        Args:
            genotype: the architecture.
            dataset: what it was trained on.
            split: "validation" or "test".
            epochs: 12 or 200.
            seeds: "mean" of all seeds; a seed (777, 888 and 999 after 200 epochs); a generator that draws one of those that were trained.

        Raises:
            TabularError: an architecture, a combination or a seed that the benchmark does not hold.
        """
        check_target(self, dataset, split, epochs)
        quantity = "valid-accuracy" if split == "validation" else "test-accuracy"
        return self._over_seeds(quantity, genotype, dataset, epochs, seeds)

    def training_loss(self, genotype: CellGenotype, *, dataset: str, epochs: int, seeds: Seeds) -> float:
        """Return the mean cross-entropy over the last epoch of training, of one seed or as the mean of all; arguments as in `accuracy`."""
        _check(dataset, epochs)
        return self._over_seeds("train-loss", genotype, dataset, epochs, seeds).mean

    def seconds(self, genotype: CellGenotype, *, dataset: str, epochs: int) -> float:
        """Return what training for any number of epochs took on the benchmark's machine: epochs times one epoch of its records.

        Raises:
            TabularError: an unknown architecture or data set, or a number of epochs that is not positive.
        """
        choose("data set of a table", dataset, DATASETS, error=TabularError)
        check_count("epochs", epochs, error=TabularError)
        return epochs * self._over_seeds("train-per-time", genotype, dataset, 12, "mean").mean

    def validation_seconds(self, genotype: CellGenotype, *, dataset: str) -> float:
        """Return what one pass over the validation images takes on the benchmark's machine.

        Raises:
            TabularError: an unknown architecture, or a data set without validation images.
        """
        _check(dataset, 12)
        return self._over_seeds("valid-per-time", genotype, dataset, 12, "mean").mean

    def parameters(self, genotype: CellGenotype, *, dataset: str) -> int:
        """Return the number of trainable parameters of the published network (16 channels, 5 cells a stage)."""
        return round(1e6 * self._costs(genotype, dataset)["params"])

    def macs(self, genotype: CellGenotype, *, dataset: str) -> float:
        """Return the multiplications of the published network for one image."""
        return 1e6 * float(self._costs(genotype, dataset)["flops"])

    def _costs(self, genotype: CellGenotype, dataset: str) -> Mapping[str, float]:
        _check(dataset, 12)
        found: Mapping[str, float] = self.api.get_cost_info(self._index(genotype), _PUBLISHED_NAMES[dataset])
        return found

    def _over_seeds(self, quantity: str, genotype: CellGenotype, dataset: str, epochs: int, seeds: Seeds) -> Accuracy:
        index, name = self._index(genotype), _PUBLISHED_NAMES[dataset]
        try:
            trained = [int(seed) for seed in self.api.query_meta_info_by_index(index, str(epochs)).get_dataset_seeds(name)]
        except (KeyError, ValueError) as error:
            raise TabularError(f"{self.name} has no record of {genotype} on {dataset} after {epochs} epochs ({error}).") from error
        values = []
        for seed in _chosen(seeds, trained, f"{self.name}, {genotype}, {dataset} after {epochs} epochs"):
            # A number as is_random is that seed; the package's own draw would come from Python's global generator.
            found = self.api.get_more_info(index, name, hp=str(epochs), is_random=seed).get(quantity)
            if found is None:
                raise TabularError(f"{self.name} has no {quantity} of {genotype} on {dataset} after {epochs} epochs: leave it out.")
            values.append(float(found))
        return Accuracy(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan, len(values))

    def _index(self, genotype: CellGenotype) -> int:
        index = self.api.query_index_by_arch(str(genotype)) if isinstance(genotype, CellGenotype) else -1
        if index < 0:
            what = str(genotype) if isinstance(genotype, CellGenotype) else f"a {type(genotype).__name__} instead of a CellGenotype"
            raise TabularError(f"{self.name} has no record of {what}: see genotypes().")
        return int(index)


def nats_bench(path: str | os.PathLike[str]) -> NatsTable:
    """Open the benchmark's files. A folder is read as it is asked for; the one file is read whole and takes about 30 GB of memory.

    Args:
        path: the folder ``NATS-tss-v1_0-3ffb9-simple`` or the file ``NATS-tss-v1_0-3ffb9.pickle.pbz2``.

    Returns:
        A `jknas.tabular.Table`.

    Raises:
        TabularError: the package ``nats-bench`` is not installed, or the path does not exist.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise TabularError(f"{place}: no such folder or file; expected {_GET}. Download it, or correct the path.")
    try:
        from nats_bench import create  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise TabularError(f"the package nats-bench cannot be imported ({error}); install it with: pip install 'jknas[nats]'.") from error
    return NatsTable(create(str(place), "tss", fast_mode=place.is_dir(), verbose=False))


def _check(dataset: str, epochs: int) -> None:
    choose("data set of a table", dataset, DATASETS, error=TabularError)
    if epochs not in EPOCHS:
        raise TabularError(f"epochs is {epochs!r}; the networks were trained for {' or '.join(map(str, EPOCHS))}.")


def _chosen(seeds: Seeds, trained: list[int], of_what: str) -> list[int]:
    if isinstance(seeds, np.random.Generator):
        return [trained[int(seeds.integers(len(trained)))]]
    if isinstance(seeds, str) and seeds == "mean":
        return trained
    if isinstance(seeds, bool) or seeds not in trained:
        raise TabularError(f"{of_what}: no seed {seeds!r}; expected 'mean', a numpy Generator, or one of {', '.join(map(str, trained))}.")
    return [int(seeds)]
