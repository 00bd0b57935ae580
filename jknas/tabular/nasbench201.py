"""NAS-Bench-201's trained accuracies from two tables of means, ``nasbench201.csv.gz`` and ``nasbench201_first1000_loss_time.csv.gz``.

The first has a row for every architecture, with the columns ``arch_index`` (the published index), ``arch_str``, and any of

* ``{cifar10_valid,cifar100_valid,in16_valid}_acc_{12,200}ep``, validation accuracies in percent (cifar10_valid: trained on 25,000 images);
* ``{cifar10,cifar100,in16}_test_acc_{12,200}ep``, test accuracies in percent (cifar10: trained on 50,000 images);
* ``{cifar10,cifar100,in16}_train_time_per_epoch_s`` (cifar10: an epoch of 25,000 images), ``..._params`` and ``..._flops_M_formula``.

The second, which may be missing, has ``{cifar10,cifar100,in16}_{12,200}ep_train_loss`` and ``..._12ep_test_time_total_s`` of some of them.

**Deviations** from the benchmark itself: the accuracies are means over seeds, and neither the seeds nor their number are in the file (for
15 % of the cells the means of validation and of test cover different seeds); a training loss is that of one seed, drawn when the file was
made; MACs have six digits. For single seeds and their spread use `nats_bench`.
"""

import csv
import gzip
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jknas.data.files import FOLDER_VARIABLE, data_folder
from jknas.errors import TabularError, choose
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.spaces.nasbench201.index import published_order
from jknas.tabular.nats import FOLDER
from jknas.tabular.table import DATASETS, EPOCHS, Accuracy, Seeds, Target, check_target

__all__ = ["FILE", "LOSS_FILE", "MeansTable", "load"]

FILE = "nasbench201.csv.gz"
LOSS_FILE = "nasbench201_first1000_loss_time.csv.gz"

_COLUMN_NAMES = {"cifar10-valid": "cifar10", "cifar10": "cifar10", "cifar100": "cifar100", "imagenet16-120": "in16"}
_ACCURACIES: Mapping[Target, str] = {
    Target(dataset, split, epochs): f"{_COLUMN_NAMES[dataset]}_{'valid' if split == 'validation' else 'test'}_acc_{epochs}ep"
    for dataset in DATASETS
    for split in (("validation",) if dataset == "cifar10-valid" else ("test",) if dataset == "cifar10" else ("validation", "test"))
    for epochs in EPOCHS
}
# An epoch of "cifar10" passes over twice the images of the epoch whose time the file has.
_EPOCHS_TIMED = {"cifar10-valid": 1.0, "cifar10": 2.0, "cifar100": 1.0, "imagenet16-120": 1.0}
_TRAINED_ON = {"cifar10-valid": 25_000, "cifar10": 50_000, "cifar100": 50_000, "imagenet16-120": 151_700}
_VALIDATED_ON = {"cifar10-valid": 25_000, "cifar100": 5_000, "imagenet16-120": 3_000}
_TIMED_ON = {"cifar100": 5_000, "imagenet16-120": 3_000, "cifar10": 10_000}
# Seconds an image of evaluation over seconds an image of training: the median of the 1,000 cells of LOSS_FILE (5 % and 95 %: 0.30, 0.48).
_EVALUATION_SHARE = 0.348

Columns = Mapping[str, Float[np.ndarray, " n"]]


@dataclass(frozen=True, eq=False)
class MeansTable:
    """NAS-Bench-201 as a table of means over seeds; see the module. A `jknas.tabular.Table`, made by `load`.

    Attributes:
        name: what results say they rest on.
        source: the file.
    """

    name: str
    source: str
    _genotypes: tuple[CellGenotype, ...]
    _columns: Columns
    _few: Columns = field(default_factory=dict)  # of the file of losses, NaN where that has no row
    space: str = "nasbench201"
    _rows: Mapping[CellGenotype, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", {genotype: row for row, genotype in enumerate(self._genotypes)})

    @property
    def datasets(self) -> tuple[str, ...]:
        """What the networks were trained on."""
        return tuple(dict.fromkeys(target.dataset for target in self.targets()))

    def targets(self) -> tuple[Target, ...]:
        """Return every accuracy that the table holds."""
        return tuple(target for target, column in _ACCURACIES.items() if column in self._columns)

    def genotypes(self) -> tuple[CellGenotype, ...]:
        """Return the architectures, in the order of the published index."""
        return self._genotypes

    def accuracy(self, genotype: CellGenotype, *, dataset: str, split: str, epochs: int, seeds: Seeds) -> Accuracy:
        """Return the mean accuracy over seeds; its spread and their number are not known.

        Args:
            genotype: the architecture.
            dataset: what it was trained on.
            split: "validation" or "test".
            epochs: 12 or 200.
            seeds: "mean", the only one that the file holds.

        Raises:
            TabularError: an architecture or a combination that the file does not hold, or single seeds.
        """
        target = check_target(self, dataset, split, epochs)
        if seeds != "mean":
            raise TabularError(
                f"{self.name} holds means over seeds, not the seed {_shown(seeds)}: pass seeds='mean', or read the benchmark's own file "
                "with jknas.tabular.nats_bench(path)."
            )
        return Accuracy(self._number(self._columns, _ACCURACIES[target], genotype), math.nan, 0)

    def training_loss(self, genotype: CellGenotype, *, dataset: str, epochs: int, seeds: Seeds) -> float:
        """Return the training loss of one seed. The file has one draw of it: every call returns the same.

        Args:
            genotype: the architecture, one of the first 1,000.
            dataset: what it was trained on; "cifar10-valid" is not there.
            epochs: 12 or 200.
            seeds: a NumPy generator, for "one seed at random" is what the file holds.

        Raises:
            TabularError: an architecture or a combination without a training loss, a mean or a given seed.
        """
        choose("data set of a table", dataset, DATASETS, error=TabularError)
        column = f"{_COLUMN_NAMES[dataset]}_{epochs}ep_train_loss"
        if column not in self._few or dataset == "cifar10-valid":
            held = [f"({name}, {e})" for name in DATASETS[1:] for e in EPOCHS if f"{_COLUMN_NAMES[name]}_{e}ep_train_loss" in self._few]
            raise TabularError(
                f"{self.name} holds no training loss for ({dataset}, {epochs} epochs); it holds {', '.join(held) or 'none'}. They are "
                f"read from {LOSS_FILE} beside {FILE}."
            )
        if not isinstance(seeds, np.random.Generator):
            raise TabularError(
                f"{self.name} holds the training loss of one seed drawn at random, not {_shown(seeds)}: pass a numpy Generator as seeds, "
                "or read the benchmark's own file with jknas.tabular.nats_bench(path)."
            )
        return self._number(self._few, column, genotype)

    def seconds(self, genotype: CellGenotype, *, dataset: str, epochs: int) -> float:
        """Return what training for any number of epochs took on the benchmark's machine: epochs times one measured epoch.

        Raises:
            TabularError: an unknown architecture or data set, or a number of epochs that is not positive.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise TabularError(f"epochs is {epochs!r}; expected a whole number of at least 1.")
        return epochs * _EPOCHS_TIMED[self._dataset(dataset)] * self._of(dataset, "train_time_per_epoch_s", genotype)

    def validation_seconds(self, genotype: CellGenotype, *, dataset: str) -> float:
        """Return what one pass over the validation images takes on the benchmark's machine.

        Where the file of losses has the measured time of evaluation, it is that, rescaled by images. Elsewhere it is estimated as 0.348 of
        the training time an image, the median of the cells where both are known.

        Raises:
            TabularError: an unknown architecture, or a data set without validation images.
        """
        images = _VALIDATED_ON.get(self._dataset(dataset))
        if images is None:
            raise TabularError(f"{dataset} has no validation images; expected one of {', '.join(_VALIDATED_ON)}.")
        measured = next((name for name in _TIMED_ON if f"{_COLUMN_NAMES[name]}_12ep_test_time_total_s" in self._few), None)
        if measured is not None:
            found = self._few[f"{_COLUMN_NAMES[measured]}_12ep_test_time_total_s"][self._row(genotype)] / (12 * _TIMED_ON[measured])
            if not math.isnan(found):
                return float(found * images)
        return self.seconds(genotype, dataset=dataset, epochs=1) / _TRAINED_ON[dataset] * _EVALUATION_SHARE * images

    def parameters(self, genotype: CellGenotype, *, dataset: str) -> int:
        """Return the number of trainable parameters of the published network (16 channels, 5 cells a stage)."""
        return round(self._of(dataset, "params", genotype))

    def macs(self, genotype: CellGenotype, *, dataset: str) -> float:
        """Return the multiplications of the published network for one image, to six digits."""
        return 1e6 * self._of(dataset, "flops_M_formula", genotype)

    def _of(self, dataset: str, quantity: str, genotype: CellGenotype) -> float:
        return self._number(self._columns, f"{_COLUMN_NAMES[self._dataset(dataset)]}_{quantity}", genotype)

    def _dataset(self, dataset: str) -> str:
        return choose("data set of a table", dataset, DATASETS, error=TabularError)

    def _number(self, columns: Columns, column: str, genotype: CellGenotype) -> float:
        row = self._row(genotype)
        if column not in columns:
            raise TabularError(f"{self.name} has no column {column}: use the complete {FILE}.")
        found = float(columns[column][row])
        if math.isnan(found):
            raise TabularError(f"{self.name} has no value of {column} for {genotype}: leave the cell out, or use a file that has it.")
        return found

    def _row(self, genotype: CellGenotype) -> int:
        row = self._rows.get(genotype) if isinstance(genotype, CellGenotype) else None
        if row is None:
            what = str(genotype) if isinstance(genotype, CellGenotype) else f"a {type(genotype).__name__} instead of a CellGenotype"
            raise TabularError(f"{self.name} has no row for {what}; it holds {len(self._rows):,} cells of NAS-Bench-201: see genotypes().")
        return row


def load(folder: str | os.PathLike[str] | None = None) -> MeansTable:
    """Read the table of means from a folder. About half a second for the whole space.

    Args:
        folder: holds ``nasbench201.csv.gz`` and, if training losses are wanted, ``nasbench201_first1000_loss_time.csv.gz``; the environment
            variable JKNAS_DATA by default.

    Returns:
        A `jknas.tabular.Table`.

    Raises:
        TabularError: no folder, no such file, or a file that is damaged or is another one.
    """
    place = data_folder(folder)
    if place is None:
        raise TabularError(
            f"no folder of data was given: set the environment variable {FOLDER_VARIABLE} to the folder that holds {FILE}, or pass folder."
        )
    main = place / FILE
    if not main.is_file():
        raise TabularError(
            f"{main}: no such file; expected the table of NAS-Bench-201 in that folder, or NATS-Bench's folder {FOLDER}: "
            "put one of them there, or name another folder."
        )
    places, columns = _read(main)
    cells = published_order()
    few: dict[str, np.ndarray] = {}
    if (place / LOSS_FILE).is_file():
        lossy, numbers = _read(place / LOSS_FILE)
        row_of = {index: row for row, index in enumerate(places)}
        rows = [(row_of[index], row) for row, index in enumerate(lossy) if index in row_of]
        for name, values in numbers.items():
            few[name] = np.full(len(places), np.nan)
            few[name][[to for to, _ in rows]] = values[[at for _, at in rows]]
    return MeansTable("NAS-Bench-201 (means over seeds)", str(main), tuple(cells[index] for index in places), columns, few)


def _read(path: Path) -> tuple[list[int], dict[str, np.ndarray]]:
    """Return the published indices of the rows, ascending, and the columns of numbers in that order."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        if len(set(header)) < len(header) or not {"arch_index", "arch_str"} <= set(header):
            raise TabularError(f"{path}: the columns are {', '.join(header)[:200]}; expected arch_index, arch_str and others, each once.")
        table = np.array(rows, dtype=object).reshape(len(rows), len(header))
        numbers = {
            name: np.where(column == "", "nan", column).astype(np.float64)
            for name, column in zip(header, table.T, strict=True)
            if name != "arch_str"
        }
    except (OSError, EOFError, zlib.error, csv.Error, ValueError) as error:
        if isinstance(error, TabularError):
            raise
        raise TabularError(f"{path}: cannot be read as a gzipped table of numbers ({error}); get the file again.") from error
    return _in_order(path, table[:, header.index("arch_str")], numbers)


def _in_order(path: Path, strings: np.ndarray, numbers: dict[str, np.ndarray]) -> tuple[list[int], dict[str, np.ndarray]]:
    cells = published_order()
    indices = numbers.pop("arch_index")
    for row, (index, string) in enumerate(zip(indices, strings, strict=True), start=2):
        if not (index.is_integer() and 0 <= index < len(cells)) or str(cells[int(index)]) != string:
            raise TabularError(
                f"{path}, row {row}: {string[:100]!r} with arch_index {index:g} is no cell under its published index; expected the order "
                "of jknas.spaces.nasbench201.index: get the file again."
            )
    if np.unique(indices).size < indices.size:
        raise TabularError(f"{path}: an architecture stands in two rows; expected one row an architecture: get the file again.")
    order = np.argsort(indices)
    return [int(index) for index in indices[order]], {name: column[order] for name, column in numbers.items()}


def _shown(seeds: object) -> str:
    return "one seed drawn by a generator" if isinstance(seeds, np.random.Generator) else repr(seeds)
