"""Fine-tuning of pre-trained encoders: AdamW, dropout, and a learning rate that changes at every step.

References:
    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv:1711.05101.
    Devlin, Chang, Lee and Toutanova, "BERT", arXiv:1810.04805, section 4 (fine-tuning on GLUE).
    The defaults of the library that KNAS used, github.com/huggingface/transformers 4.2 to 4.6 (``Trainer``, ``run_glue.py``).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import numpy as np
import optax

from jknas.errors import TrainingError, check_count


@dataclasses.dataclass(frozen=True, kw_only=True)
class FineTuning:
    """AdamW on all parameters, with linear warm-up and decay, clipping and dropout.

    With S steps in all, W = warmup S of them (rounded up) and steps t = 0 .. S - 1, the learning rate is learning_rate t / W in the
    warm-up, t < W, and learning_rate (S - t) / (S - W) behind it. The loss is the mean cross-entropy of a batch.

    Attributes:
        epochs: passes over the training split.
        batch_size: sequences per step; the last, smaller batch of an epoch is kept.
        learning_rate: the largest.
        warmup: share of the steps in which the learning rate rises, below 1.
        weight_decay: of AdamW; it is multiplied by the learning rate, and does not enter the gradient.
        dropout: probability of dropout, everywhere the encoder has it.
        clip_norm: largest Euclidean norm of the gradient; None does not clip.
        b1: decay of the first moments.
        b2: decay of the second moments.
        epsilon: added to the root of the second moments.
        group_by_length: make batches of sequences of about the same length (within random chunks of 50 batches, in random order), and
            compute each as far as its longest reaches. With mostly padding this saves a third of the time. Without it a batch is random.

    Raises:
        TrainingError: a value out of range or of the wrong type.
    """

    epochs: int = 3
    batch_size: int = 8
    learning_rate: float = 5e-5
    warmup: float = 0.0
    weight_decay: float = 0.0
    dropout: float = 0.1
    clip_norm: float | None = 1.0
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    group_by_length: bool = False

    inputs: ClassVar[str] = "tokens"
    precision: ClassVar[Any] = "float32"
    drop_path: ClassVar[float] = 0.0
    cutout: ClassVar[int] = 0
    auxiliary_weight: ClassVar[float] = 0.0
    label_smoothing: ClassVar[float] = 0.0
    random_crop: ClassVar[bool] = False
    resized_crop: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(
            self,
            above_zero=("learning_rate", "epsilon", "clip_norm"),
            below_one=("warmup", "dropout", "b1", "b2"),
            not_negative=("weight_decay",),
            flags=("group_by_length",),
        )

    def learning_rates(self, epoch: int, steps: int) -> np.ndarray:
        """Return the learning rate of every step of epoch 0, 1, ..., float32 ``[steps]``.

        Args:
            epoch: its number.
            steps: of one epoch.
        """
        total = self.epochs * steps
        warming = math.ceil(self.warmup * total)
        step = np.arange(epoch * steps, (epoch + 1) * steps)
        rising, falling = step / max(warming, 1), (total - step) / max(total - warming, 1)
        return (self.learning_rate * np.where(step < warming, rising, falling)).astype(np.float32)

    def drop_path_at(self, epoch: int) -> float:
        """Return 0: no path is dropped."""
        del epoch
        return 0.0

    def optimiser(self, learning_rate: Any) -> optax.GradientTransformation:
        """Return the optax transformation of one step; its state does not depend on the learning rate, which may be traced."""
        clipped = () if self.clip_norm is None else (optax.clip_by_global_norm(self.clip_norm),)
        adam = optax.adamw(learning_rate, b1=self.b1, b2=self.b2, eps=self.epsilon, weight_decay=self.weight_decay)
        chain = optax.chain(*clipped, adam)

        def update(gradient: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            with jax.numpy_dtype_promotion("standard"):  # optax raises a float to the integer number of steps
                return chain.update(gradient, state, params)

        return optax.GradientTransformation(chain.init, update)

    def step_part(self) -> "FineTuning":
        """Return the recipe with its schedule set to fixed values: recipes with equal step parts share compiled programs."""
        return dataclasses.replace(self, epochs=1, learning_rate=1.0, warmup=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return dataclasses.asdict(self)


def check_fields(
    recipe: Any, *, above_zero: Sequence[str], below_one: Sequence[str], not_negative: Sequence[str], flags: Sequence[str]
) -> None:
    """Check the fields of a recipe by their names, and make numbers floats: 1 and 1.0 must not be compiled, or stored, as two recipes.

    Raises:
        TrainingError: a field is out of range, or of another type.
    """
    for name in ("epochs", "batch_size"):
        check_count(name, getattr(recipe, name), error=TrainingError)
    for names, span, low, high in (
        (above_zero, "a finite number above 0", math.ulp(0.0), math.inf),
        (below_one, "0 or more and below 1", 0.0, 1.0),
        (not_negative, "a finite number, 0 or more", 0.0, math.inf),
    ):
        for name in names:
            given = getattr(recipe, name)
            if name == "clip_norm" and given is None:
                continue
            if isinstance(given, bool) or not isinstance(given, int | float):
                raise TrainingError(f"{name} is {given!r} of type {type(given).__name__}; expected a number.")
            value = float(given)
            if not low <= value < high:
                raise TrainingError(f"{name} is {value}; expected {span}{' or None' if name == 'clip_norm' else ''}.")
            object.__setattr__(recipe, name, value)
    for name in flags:
        if not isinstance(getattr(recipe, name), bool):
            raise TrainingError(f"{name} is {getattr(recipe, name)!r}; expected True or False.")


_FAIRSEQ = FineTuning(epochs=10, batch_size=16, learning_rate=1e-5, warmup=0.06, weight_decay=0.1, clip_norm=None, b2=0.98, epsilon=1e-6)

FINE_TUNINGS = {
    "glue": FineTuning(batch_size=16),
    "knas-mrpc": FineTuning(batch_size=4, learning_rate=3e-5),
    "knas-rte": FineTuning(batch_size=4, learning_rate=2e-5),
    "fairseq-mrpc": _FAIRSEQ,
    "fairseq-rte": dataclasses.replace(_FAIRSEQ, learning_rate=2e-5),
}
"""The recipes by name: the library's defaults with a larger batch; KNAS's on its two tasks (arXiv:2111.13293, section 8; it does not say
whether its batch of 4 is that of one of its eight devices); and that of RoBERTa's authors on the same tasks."""
