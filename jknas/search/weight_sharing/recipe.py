"""How a supernet and its architecture are trained: the published settings of every weight-sharing method, and small ones for a CPU.

References:
    Dong and Yang, "NAS-Bench-201", ICLR 2020, arXiv:2001.00326, section 5 and its released scripts (``exps/NAS-Bench-201-algos`` of
    github.com/D-X-Y/AutoDL-Projects): the recipes ``published``.
    Dong, Liu, Musial and Gabrys, "NATS-Bench", arXiv:2009.00437, and its released script (``exps/NATS-algos/search-cell.py``): ``nats``.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jknas.errors import SearchError, check_count, choose

ORDERS = ("weights", "architecture")
UNSAMPLED = ("drift", "skip")


@dataclass(frozen=True, kw_only=True)
class SharingRecipe:
    """Settings of a search by weight sharing.

    The weights are trained by SGD on the training split, the architecture by Adam on the validation split; both decays are added to the
    gradient. The learning rate of the weights in epoch e = 0, 1, ... is, within the whole epoch,

        last + (first - last) (1 + cos(pi e / period)) / 2.

    Attributes:
        epochs: passes over the training split, E.
        batch_size: images of a weight step, and of an architecture step; the last, smaller batch of an epoch is kept.
        learning_rate: of the weights in epoch 0.
        last_learning_rate: towards which it falls.
        period: epochs in which it falls; it rises again in as many. None: all epochs.
        momentum: of SGD.
        nesterov: whether in Nesterov's form.
        weight_decay: of all weights, normalisations and biases included.
        clip_norm: largest norm of the gradient; None does not clip.
        clip_architecture: whether the norm includes the architecture's gradient, this step's and the one that its last step left.
        unsampled: what happens to an operation that was sampled before and is not now: "drift" (momentum and decay go on, as with PyTorch
            before 2.0, by which the published numbers were made) or "skip" (it stays as it is, as with PyTorch since then).
        architecture_rate: learning rate of the architecture.
        architecture_betas: of its Adam.
        architecture_epsilon: likewise, added to the root of the second moment after bias correction.
        architecture_decay: its weight decay.
        order: what DARTS steps first in an iteration, the "weights" or the "architecture".
        first_temperature: of GDAS in epoch 0.
        last_temperature: of GDAS in the last epoch; between them it falls linearly.
        per_cell: whether RSPS draws the operations of every cell by itself, again where a node has no input.
        validation_pass: whether RSPS and ENAS run validation batches in training mode, which moves the running averages alone.
        candidates: architectures that SETN, RSPS and ENAS compare at the end of an epoch, each on one batch of validation images.
        candidate_batch: images of such a batch.
        augmented: whether these images are augmented.
        distinct: whether the candidates of RSPS are drawn without replacement.
        last_as_cells: whether the last normalisation is without scales and averages, as those in the cells are.
        controller_steps: steps of ENAS's controller at the end of an epoch.
        controller_samples: architectures that a step averages over.
        controller_clip: largest norm of its gradient; 0 does not clip.
        entropy_weight: of the entropy in the reward.
        baseline_decay: share of the reward's baseline that stays.
        mean_baseline: whether the next epoch's baseline is the mean of this one's, in place of the last one.

    Raises:
        SearchError: a value out of range or of the wrong type.
    """

    epochs: int = 250
    batch_size: int = 64
    learning_rate: float = 0.025
    last_learning_rate: float = 0.001
    period: int | None = None
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    clip_norm: float | None = 5.0
    clip_architecture: bool = True
    unsampled: str = "drift"
    architecture_rate: float = 3e-4
    architecture_betas: tuple[float, float] = (0.5, 0.999)
    architecture_epsilon: float = 1e-8
    architecture_decay: float = 1e-3
    order: str = "weights"
    first_temperature: float = 10.0
    last_temperature: float = 0.1
    per_cell: bool = False
    validation_pass: bool = False
    candidates: int = 100
    candidate_batch: int = 512
    augmented: bool = False
    distinct: bool = False
    last_as_cells: bool = False
    controller_steps: int = 50
    controller_samples: int = 20
    controller_clip: float = 5.0
    entropy_weight: float = 1e-4
    baseline_decay: float = 0.99
    mean_baseline: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "candidates", "candidate_batch", "controller_steps", "controller_samples"):
            check_count(name, getattr(self, name), error=SearchError)
        if self.period is not None:
            check_count("period", self.period, error=SearchError)
        choose("order of DARTS's steps", self.order, ORDERS, error=SearchError)
        choose("treatment of unsampled operations", self.unsampled, UNSAMPLED, error=SearchError)
        for name in ("learning_rate", "last_learning_rate", "architecture_rate", "first_temperature", "last_temperature"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise SearchError(f"{name} is {value!r}; expected a finite number above 0.")
        if self.last_learning_rate > self.learning_rate or self.last_temperature > self.first_temperature:
            raise SearchError(
                f"the learning rate goes from {self.learning_rate} to {self.last_learning_rate} and the temperature from "
                f"{self.first_temperature} to {self.last_temperature}; neither may rise."
            )

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of the weights in epoch 0, 1, ..."""
        share = (1 + math.cos(math.pi * epoch / (self.period or self.epochs))) / 2
        return self.last_learning_rate + (self.learning_rate - self.last_learning_rate) * share

    def temperature_at(self, epoch: int) -> float:
        """Return GDAS's temperature in epoch 0, 1, ..., E - 1; of a single epoch it is the first one."""
        return self.first_temperature - (self.first_temperature - self.last_temperature) * epoch / max(self.epochs - 1, 1)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return {**dataclasses.asdict(self), "architecture_betas": list(self.architecture_betas)}


_NATS = SharingRecipe(
    epochs=200, clip_norm=None, last_as_cells=True, per_cell=True, validation_pass=True, distinct=True, mean_baseline=True
)
_SMALL: Mapping[str, Any] = {"batch_size": 32, "architecture_rate": 3e-3, "candidates": 25, "candidate_batch": 256}


def recipes(published: SharingRecipe, *, nats: Mapping[str, Any] | None = None, small: Mapping[str, Any]) -> dict[str, SharingRecipe]:
    """Return a method's recipes by name.

    Args:
        published: that of NAS-Bench-201.
        nats: what its recipe of NATS-Bench has besides what all methods have there.
        small: what its recipe for two CPU cores has besides what all methods have there: fewer epochs, smaller batches, and a learning
            rate of the architecture of 3e-3, for logits ten times the published one, as there are fewer steps.
    """
    return {
        "published": published,
        "nats": dataclasses.replace(_NATS, **(nats or {})),
        "small": dataclasses.replace(published, **{**_SMALL, **small}),
    }
