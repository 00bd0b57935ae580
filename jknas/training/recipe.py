"""What a training run does, as an immutable value, and the published recipes by name.

Reference: Dong and Yang, "NAS-Bench-201", arXiv:2001.00326, section 2.2 and table 1.
"""

import dataclasses
import math
from typing import Any, Literal, get_args

import optax

from jknas.training.errors import TrainingError

__all__ = ["PRESETS", "Precision", "Recipe", "preset"]

Precision = Literal["float32", "bfloat16"]
"""``bfloat16``: convolutions, pooling and the classifier compute in bfloat16; parameters, batch normalisation and the loss stay float32."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Stochastic gradient descent with momentum, and a cosine schedule that is stepped once an epoch.

    The step for parameters p, buffer b and gradient g of the mean cross-entropy is, as in PyTorch,

        g <- g + weight_decay p        b <- momentum b + g        p <- p - lr (g + momentum b)      (Nesterov; otherwise p - lr b)

    for *every* parameter, batch-normalisation scales and shifts and the classifier's bias included. In epoch e = 0 .. epochs - 1

        lr = learning_rate / 2 (1 + cos(pi e / epochs)).

    Attributes:
        epochs: passes over the training split, E.
        batch_size: images a step; the last, smaller batch of an epoch is kept.
        learning_rate: of epoch 0.
        momentum: 0 to below 1.
        nesterov: Nesterov's form of the momentum step.
        weight_decay: L2 coefficient that enters the gradient.
        precision: see :data:`Precision`. ``float32`` leaves products to the backend's default, which on a GPU may be TF32.

    Raises:
        TrainingError: a value out of range or of the wrong type.
    """

    epochs: int = 12
    batch_size: int = 256
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            _check_count(name, getattr(self, name))
        for name, low, high in (("learning_rate", 0.0, math.inf), ("momentum", 0.0, 1.0), ("weight_decay", 0.0, math.inf)):
            value = _number(name, getattr(self, name))
            if not low <= value < high or (name == "learning_rate" and value == 0):
                span = {"learning_rate": "a finite number above 0", "momentum": "0 or more and below 1"}.get(
                    name, "a finite number, 0 or more"
                )
                raise TrainingError(f"{name} is {value}; expected {span}.")
            # One spelling for one recipe: 1 and 1.0 must not compile, or be stored, as two.
            object.__setattr__(self, name, value)
        if not isinstance(self.nesterov, bool):
            raise TrainingError(f"nesterov is {self.nesterov!r}; expected True or False.")
        if self.precision not in get_args(Precision):
            raise TrainingError(f"precision is {self.precision!r}; choose one of {', '.join(map(repr, get_args(Precision)))}.")

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of epoch 0, 1, ..., constant within the epoch."""
        return float(optax.cosine_decay_schedule(self.learning_rate, self.epochs)(epoch))

    def optimiser(self, learning_rate: Any) -> optax.GradientTransformation:
        """Return the optax transformation of one epoch; its state does not depend on the learning rate, which may be traced."""
        return optax.chain(
            optax.add_decayed_weights(self.weight_decay),
            optax.sgd(learning_rate, momentum=self.momentum, nesterov=self.nesterov),
        )

    def step_part(self) -> "Recipe":
        """Return the recipe with its schedule set to fixed values: recipes with equal step parts share compiled programs."""
        return dataclasses.replace(self, epochs=1, learning_rate=1.0)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return dataclasses.asdict(self)


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TrainingError(f"{name} is {value!r}; expected a whole number, 1 or more.")


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TrainingError(f"{name} is {value!r} of type {type(value).__name__}; expected a number.")
    return float(value)


PRESETS: dict[str, Recipe] = {
    "nasbench201-12": Recipe(epochs=12),
    "nasbench201-200": Recipe(epochs=200),
}
"""The two recipes that the published benchmark was trained with. The 12-epoch one anneals to zero by itself: it is not the beginning of the
200-epoch one."""


def preset(name: str) -> Recipe:
    """Return the published recipe of that name; change it with ``dataclasses.replace``.

    Raises:
        TrainingError: there is none of that name.
    """
    if name not in PRESETS:
        raise TrainingError(f"recipe {name!r} is not known; choose one of {', '.join(PRESETS)}, or build a Recipe.")
    return PRESETS[name]
