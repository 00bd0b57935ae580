"""What an evaluation is said to cost: two conventions, which must not be mixed in one table.

Searches on a tabular benchmark train nothing; a search time is a sum of numbers that stand for the training that was not done. Papers add
up different numbers, a factor of 10 and more apart.

>>> list(ACCOUNTINGS)
['twelve-epochs', 'full-training']
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jknas.errors import TabularError, choose
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.tabular.table import PROTOCOLS, Table

Seconds = Callable[[Table, CellGenotype, str], float]
"""``seconds(table, genotype, dataset)``; the data set is one of `PROTOCOLS`."""

RungSeconds = Callable[[Table, CellGenotype, str, int], float]
"""``seconds(table, genotype, dataset, epochs)``."""

FULL_TRAINING_SECONDS: Mapping[str, float] = {"cifar10": 2160.0, "cifar100": 4600.0, "imagenet16-120": 10_000.0}
"""KNAS's times of one training for 200 epochs, whatever the architecture (one V100)."""

_SHORT, _WHOLE = 20, 200  # epochs of a candidate's and of a whole training in KNAS


@dataclass(frozen=True)
class Accounting:
    """A convention of search time.

    Attributes:
        name: what results say they count in.
        seconds: of one evaluation of a multi-trial search: what it takes to learn the accuracy by which the search selects.
        candidate_seconds: of one candidate of KNAS's second stage, trained for 20 of 200 epochs and validated.
        rung_seconds: of one candidate of a successive halving, trained for some number of epochs and validated.
        summary: one line.
        reference: where the convention comes from.
    """

    name: str
    seconds: Seconds
    candidate_seconds: Seconds
    rung_seconds: RungSeconds
    summary: str
    reference: str


def _measured(table: Table, genotype: CellGenotype, dataset: str, epochs: int | None = None) -> float:
    """Return the table's own time of training, by default for the epochs after which a search selects, and of one validation."""
    selects = PROTOCOLS[_known(dataset)].selects
    training = table.seconds(genotype, dataset=selects.dataset, epochs=epochs or selects.epochs)
    return training + table.validation_seconds(genotype, dataset=selects.dataset)


def _fixed(_table: Table, _genotype: CellGenotype, dataset: str, *, share: float = 1.0) -> float:
    """Return a share of KNAS's time of one training, whatever the architecture."""
    return share * FULL_TRAINING_SECONDS[_known(dataset)]


def _share(table: Table, genotype: CellGenotype, dataset: str, epochs: int) -> float:
    """Return the share of KNAS's time of one training that this many of its epochs are."""
    return _fixed(table, genotype, dataset, share=epochs / _WHOLE)


def _known(dataset: str) -> str:
    return choose("data set of a search", dataset, tuple(PROTOCOLS), error=TabularError)


ACCOUNTINGS: Mapping[str, Accounting] = {
    one.name: one
    for one in (
        Accounting(
            "twelve-epochs",
            _measured,
            functools.partial(_measured, epochs=_SHORT),
            _measured,
            "the table's own time of 12 epochs of training and one pass over the validation images",
            "Dong and Yang, NAS-Bench-201, arXiv:2001.00326, section 5 (budget 12,000 s); NATS-Bench, arXiv:2009.00437",
        ),
        Accounting(
            "full-training",
            _fixed,
            functools.partial(_fixed, share=_SHORT / _WHOLE),
            _share,
            "one fixed time of 200 epochs an architecture: 2,160, 4,600 or 10,000 s; a tenth of it for a candidate of KNAS",
            "Xu et al., KNAS, ICML 2021, arXiv:2111.13293, table 1 (216K s = 100 architectures; k = 20 is 4.3K s)",
        ),
    )
}
"""The conventions by name."""
