"""The state of a search by weight sharing: what every epoch of the supernet gave."""

from dataclasses import dataclass
from typing import Any

from jknas.search.state import Genotype, State


@dataclass(frozen=True)
class EpochFound:
    """What an epoch of a supernet gave.

    Attributes:
        cell: derived after it.
        learning_rate: of the weights.
        loss: mean cross-entropy in nats of the weight steps.
        accuracy: of the weight steps, 0..1.
        architecture_loss: likewise of the architecture steps; None where there are none.
        architecture_accuracy: likewise.
        candidate_accuracy: of the cell with the supernet's weights on its batch of validation images; None where cells are not compared.
        weights: of the operations by edge, which the cell was derived from; none of RSPS, which has no such weights.
        seconds: without compilation.
    """

    cell: Genotype
    learning_rate: float
    loss: float
    accuracy: float
    architecture_loss: float | None
    architecture_accuracy: float | None
    candidate_accuracy: float | None
    weights: Any
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SharingState(State):
    """The state of a search by weight sharing.

    Attributes:
        epochs: the finished ones; the candidates are their cells, each once.
    """

    epochs: tuple[EpochFound, ...] = ()
