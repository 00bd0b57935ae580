"""What a training run does, as an immutable value, and the recipes by name: published ones, and one for the digits.

References:
    Dong and Yang, "NAS-Bench-201", arXiv:2001.00326, section 2.2 and table 1.
    Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", arXiv:1806.09055, section 3.2 and appendix A.2, and the released
    code, github.com/quark0/darts (``cnn/train.py``).
    Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours" (TE-NAS), arXiv:2102.11535, and its code for training
    from scratch, github.com/chenwydj/DARTS_evaluation.
    Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 2.2 (warm-up).
"""

import dataclasses
from typing import Any, ClassVar, Literal, get_args

import optax

from jknas.errors import TrainingError, choose
from jknas.training.fine_tuning import FINE_TUNINGS, FineTuning, check_fields

Precision = Literal["float32", "bfloat16"]
"""``bfloat16``: convolutions, pooling and the classifier compute in bfloat16; parameters, batch normalisation and the loss stay float32."""


Schedule = Literal["cosine", "linear", "exponential"]
"""How the learning rate falls: to zero, or by the same share in every epoch."""

_DECAY = 0.97  # of DARTS on ImageNet


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Recipe:
    """Stochastic gradient descent with momentum, a schedule that steps once per epoch, and what DARTS regularises with.

    The loss of a batch is the mean of H(logits) + auxiliary_weight H(auxiliary logits). Without label smoothing s, H is the cross-entropy;
    with it, (1 - s) of the cross-entropy and s of the mean of -log p_k over all K classes, the true one included.

    The step for parameters p, buffer b and gradient g of the loss is, as in PyTorch,

        g <- g min(1, clip_norm / |g|)    over all parameters together, the auxiliary classifier's included
        g <- g + weight_decay p        b <- momentum b + g        p <- p - lr (g + momentum b)      (Nesterov; otherwise p - lr b)

    for *every* parameter, batch-normalisation scales and shifts and the classifier's bias included. In epoch e = 0 .. epochs - 1

        lr = learning_rate / 2 (1 + cos(pi e / epochs)),        drop path's probability = drop_path e / epochs;

    by the linear schedule lr = learning_rate (1 - e / epochs), by the exponential one learning_rate 0.97^e. In the first epochs, e <
    warmup, lr = learning_rate (e + 1) / warmup.

    Attributes:
        epochs: passes over the training split, E.
        batch_size: images per step; the last, smaller batch of an epoch is kept.
        learning_rate: the largest: of epoch 0, or of the end of a warm-up.
        momentum: 0 to below 1.
        nesterov: Nesterov's form of the momentum step.
        weight_decay: L2 coefficient that enters the gradient.
        precision: see :data:`Precision`. ``float32`` leaves products to the backend's default, which on a GPU may be TF32.
        clip_norm: largest Euclidean norm of the gradient; None does not clip.
        cutout: side in pixels, an even number, of the square that is cut out of each training image
            (:func:`~jknas.training.augmentation.cut_out`); 0 cuts nothing out.
        auxiliary_weight: of the auxiliary classifier's loss; 0 for networks without one, and above 0 for those with one.
        drop_path: probability that drop path grows towards, epoch by epoch, in networks that have it.
        label_smoothing: share s of the label that is spread over all classes.
        random_crop: whether training images are shifted by up to the data set's ``crop_padding`` pixels.
        resized_crop: whether training images are random parts of the files, resized, with jittered colours
            (:func:`~jknas.data.images.random_view`), in place of the shift; for images in a folder.
        schedule: see :data:`Schedule`.
        warmup: epochs in which the learning rate rises; a run of fewer epochs ends before it is reached.

    Raises:
        TrainingError: a value out of range or of the wrong type.

    Deviations:
        PyTorch divides by ``|g| + 1e-6`` in clipping, here by ``|g|``.
    """

    epochs: int = 12
    batch_size: int = 256
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    precision: Precision = "float32"
    clip_norm: float | None = None
    cutout: int = 0
    auxiliary_weight: float = 0.0
    drop_path: float = 0.0
    label_smoothing: float = 0.0
    random_crop: bool = True
    resized_crop: bool = False
    schedule: Schedule = "cosine"
    warmup: int = 0

    inputs: ClassVar[str] = "images"
    dropout: ClassVar[float] = 0.0
    group_by_length: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(
            self,
            above_zero=("learning_rate", "clip_norm"),
            below_one=("momentum", "drop_path", "label_smoothing"),
            not_negative=("weight_decay", "auxiliary_weight"),
            flags=("nesterov", "random_crop", "resized_crop"),
        )
        if not isinstance(self.cutout, int) or isinstance(self.cutout, bool) or self.cutout < 0 or self.cutout % 2:
            raise TrainingError(f"cutout is {self.cutout!r}; expected an even whole number of pixels, 0 or more.")
        choose("precision", self.precision, get_args(Precision), error=TrainingError)
        choose("schedule", self.schedule, get_args(Schedule), error=TrainingError)
        if not isinstance(self.warmup, int) or isinstance(self.warmup, bool) or self.warmup < 0:
            raise TrainingError(f"warmup is {self.warmup!r}; expected a whole number of epochs, 0 or more.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.as_dict().items())})"

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of epoch 0, 1, ..., constant within the epoch."""
        if epoch < self.warmup:
            return self.learning_rate * (epoch + 1) / self.warmup
        if self.schedule == "linear":
            return self.learning_rate * (1 - epoch / self.epochs)
        if self.schedule == "exponential":
            return self.learning_rate * _DECAY**epoch
        return float(optax.cosine_decay_schedule(self.learning_rate, self.epochs)(epoch))

    def learning_rates(self, epoch: int, steps: int) -> float:
        """Return the learning rate of all steps of epoch 0, 1, ...: :meth:`learning_rate_at`."""
        del steps
        return self.learning_rate_at(epoch)

    def drop_path_at(self, epoch: int) -> float:
        """Return the probability of drop path in epoch 0, 1, ...: 0 in the first one, and never quite ``drop_path``."""
        return self.drop_path * epoch / self.epochs

    def optimiser(self, learning_rate: Any) -> optax.GradientTransformation:
        """Return the optax transformation of one epoch; its state does not depend on the learning rate, which may be traced."""
        clipped = () if self.clip_norm is None else (optax.clip_by_global_norm(self.clip_norm),)
        return optax.chain(
            *clipped,
            optax.add_decayed_weights(self.weight_decay),
            optax.sgd(learning_rate, momentum=self.momentum, nesterov=self.nesterov),
        )

    def step_part(self) -> "Recipe":
        """Return the recipe with its schedule set to fixed values: recipes with equal step parts share compiled programs."""
        return dataclasses.replace(self, epochs=1, learning_rate=1.0, schedule="cosine", warmup=0)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data; what only some recipes regularise with, where it is in use.

        A recipe is written the same with and without knowledge of the regularisers that it does not use, so that it stays the recipe of
        the checkpoints and results that were stored under it.
        """
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if name in _ALWAYS or value != getattr(Recipe, name)}


_ALWAYS = ("epochs", "batch_size", "learning_rate", "momentum", "nesterov", "weight_decay", "precision")
"""The fields that are written always. A changed default of another field would change the keys of stored results."""

_DARTS = Recipe(
    epochs=600,
    batch_size=96,
    learning_rate=0.025,
    nesterov=False,
    weight_decay=3e-4,
    clip_norm=5.0,
    cutout=16,
    auxiliary_weight=0.4,
    drop_path=0.2,
)

_IMAGENET = Recipe(
    epochs=250,
    batch_size=128,
    learning_rate=0.1,
    nesterov=False,
    weight_decay=3e-5,
    clip_norm=5.0,
    auxiliary_weight=0.4,
    label_smoothing=0.1,
    random_crop=False,
    resized_crop=True,
    schedule="exponential",
)

AnyRecipe = Recipe | FineTuning
"""How images are trained on, or sentence pairs."""

PRESETS: dict[str, AnyRecipe] = {
    "nasbench201-12": Recipe(epochs=12),
    "nasbench201-200": Recipe(epochs=200),
    "darts": _DARTS,
    "darts-imagenet": _IMAGENET,
    "tenas": dataclasses.replace(_DARTS, epochs=800, drop_path=0.3),
    "tenas-imagenet": dataclasses.replace(_IMAGENET, batch_size=768, learning_rate=0.5, schedule="linear", warmup=5),
    "digits": Recipe(epochs=12, batch_size=25, learning_rate=0.02, random_crop=False),
    **FINE_TUNINGS,
}
"""The recipes by name: the two of the NAS-Bench-201 benchmark, of which the 12-epoch one anneals to zero by itself and is not the
beginning of the 200-epoch one; those by which DARTS and TE-NAS train the cells that they found, from scratch on all training images of
CIFAR-10 (``--data cifar10-full``); both on ImageNet (48 channels, 14 cells, ImageNet stem), TE-NAS's with a linear schedule, where the
released code runs its cosine behind the same five epochs of warm-up, and with the auxiliary classifier, which the released command leaves
out; and one for the embedded digits. The last has small batches, because 1,000 digits would give 4 steps per epoch instead of 40, a smaller
learning rate, and no crops, with which 12 epochs are too few."""


def preset(name: str) -> Any:
    """Return the recipe of that name, an :data:`AnyRecipe`; change it with ``dataclasses.replace``.

    Raises:
        TrainingError: there is none of that name.
    """
    return PRESETS[choose("recipe", name, tuple(PRESETS), error=TrainingError)]
