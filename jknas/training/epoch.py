"""One epoch of training, and one evaluation, each as a single traceable function of arrays.

Nothing leaves the device inside: the data set is an argument (uint8), the order is drawn and the images augmented in the program, full
batches are steps of a ``lax.scan``, and the last, smaller batch is one more step behind it.
"""

import dataclasses
import functools
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree, UInt8

from jknas.networks.layers.initialisation import Scheme
from jknas.networks.layers.relu_conv_norm import at_least_float32
from jknas.training.augmentation import augment, cut_out, draw_centres, draw_words, normalise, shuffled
from jknas.training.lengths import grouped, lengths, widths
from jknas.training.recipe import AnyRecipe, Precision

_MORE_DRAWS = 2**32 - 1
"""Folded into an epoch's key for what not every recipe draws: the place in a draw of words that no word has."""


class TrainState(NamedTuple):
    """What training changes."""

    params: PyTree
    batch_stats: PyTree
    optimiser: PyTree


class Pixels(NamedTuple):
    """One split on the device, with its normalisation (:func:`~jknas.data.dataset.pixel_constants`)."""

    images: UInt8[Array, "n h w c"]
    labels: Int[Array, " n"]
    scale: Float[Array, " c"]
    shift: Float[Array, " c"]

    def for_training(self, rows: jax.Array, words: jax.Array, centres: jax.Array | None, settings: "EpochSettings") -> jax.Array:
        """Return images of the training split as the network reads them: augmented, normalised, cut out."""
        pixels = augment(self.images[rows], words[rows], crop_padding=settings.crop_padding, horizontal_flip=settings.horizontal_flip)
        x = self._inputs(pixels, settings.recipe.precision)
        return x if centres is None else cut_out(x, centres[rows], side=settings.recipe.cutout)

    def for_evaluation(self, rows: jax.Array, precision: Precision) -> jax.Array:
        """Return images as the network reads them, not augmented."""
        return self._inputs(self.images[rows], precision)

    def _inputs(self, images: jax.Array, precision: Precision) -> jax.Array:
        x = normalise(images, self.scale, self.shift)
        return x.astype(jnp.bfloat16) if precision == "bfloat16" else x


class Sequences(NamedTuple):
    """One split of token sequences on the device."""

    tokens: Int[Array, "n 3 t"]
    labels: Int[Array, " n"]

    def for_training(self, rows: jax.Array, words: jax.Array, centres: jax.Array | None, settings: "EpochSettings") -> jax.Array:
        """Return sequences of the training split; nothing is augmented."""
        del words, centres, settings
        return self.tokens[rows]

    def for_evaluation(self, rows: jax.Array, precision: Precision) -> jax.Array:
        """Return sequences as they are."""
        del precision
        return self.tokens[rows]


Split = Pixels | Sequences


class Rates(NamedTuple):
    """What a recipe's schedules say for one epoch; the learning rate may be that of every step."""

    learning_rate: Float[Array, ""] | Float[Array, " steps"]
    drop_path: Float[Array, ""]


class Totals(NamedTuple):
    """Mean loss and number of hits of a split.

    Attributes:
        loss: mean cross-entropy in nats, without auxiliary classifier and label smoothing.
        correct: images whose largest logit is their label's; none with a non-finite logit counts.
    """

    loss: Float[Array, ""]
    correct: Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class EpochSettings:
    """What is fixed in a compiled epoch; anything else is an argument.

    Attributes:
        network: the network.
        genotype: the cell of a static wiring; None for a wiring given as code.
        recipe: the recipe's step part.
        crop_padding: see :func:`~jknas.training.augmentation.augment`.
        horizontal_flip: likewise.
    """

    network: Any
    genotype: Hashable
    recipe: AnyRecipe
    crop_padding: int
    horizontal_flip: bool


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """What is fixed in a compiled evaluation; the fields are as in :class:`EpochSettings` and :class:`~jknas.training.recipe.Recipe`."""

    network: Any
    genotype: Hashable
    batch_size: int
    precision: Precision


def initial_state(key: jax.Array, *, settings: EpochSettings, scheme: Scheme) -> TrainState:
    """Draw parameters, with unit running averages and a zero momentum buffer."""
    variables = settings.network.init(key, settings.genotype, scheme=scheme)
    return TrainState(variables["params"], variables.get("batch_stats", {}), settings.recipe.optimiser(0.0).init(variables["params"]))


def train_epoch(
    state: TrainState,
    pixels: Split,
    code: Int[Array, " edges"],
    rates: Rates,
    key: jax.Array,
    *,
    settings: EpochSettings,
) -> tuple[TrainState, Totals]:
    """Run one epoch: shuffle, augment, step; a step is what :class:`~jknas.training.recipe.Recipe` says.

    Args:
        state: from the epoch before.
        pixels: the training split.
        code: the genotype's integers; read only when ``settings.genotype`` is None.
        rates: of this epoch.
        key: of this epoch.
        settings: what is fixed.

    Returns:
        The new state, and the totals over the epoch in training mode: each batch is scored with the parameters it was about to change.
    """
    recipe, count = settings.recipe, len(pixels.labels)
    size = recipe.batch_size
    words = draw_words(key, count)
    order = shuffled(words)
    wiring = code if settings.genotype is None else settings.genotype
    cutout_key, drop_key = jax.random.split(jax.random.fold_in(key, _MORE_DRAWS))
    centres = draw_centres(cutout_key, pixels.images) if recipe.cutout and isinstance(pixels, Pixels) else None
    choice: tuple[int, ...] = ()
    if recipe.group_by_length and isinstance(pixels, Sequences):
        choice, sizes = widths(pixels.tokens.shape[-1]), lengths(pixels.tokens)
        order = grouped(order, sizes, words[:, 1], batch_size=size)

    def step(state: TrainState, part: tuple[jax.Array, jax.Array]) -> tuple[TrainState, Totals]:
        if not choice:
            return advance(state, *part)
        # A batch is computed as far as its longest sequence reaches: what is cut off is padding.
        enough = jnp.searchsorted(jnp.asarray(choice, jnp.int32), sizes[part[0]].max())
        return jax.lax.switch(enough, [functools.partial(advance, width=width) for width in choice], state, *part)

    def advance(state: TrainState, rows: jax.Array, number: jax.Array, *, width: int | None = None) -> tuple[TrainState, Totals]:
        x, labels = pixels.for_training(rows, words, centres, settings), pixels.labels[rows]
        x = x if width is None else x[..., :width]
        draws = recipe.drop_path or recipe.dropout or getattr(settings.network, "has_draws", False)
        dropped: dict[str, Any] = {"key": jax.random.fold_in(drop_key, number)} if draws else {}
        dropped |= {"drop_path": rates.drop_path} if recipe.drop_path else {}
        dropped |= {"dropout": recipe.dropout} if recipe.dropout else {}

        def objective(params: PyTree) -> tuple[jax.Array, tuple[jax.Array, jax.Array, PyTree]]:
            logits, side, batch_stats = settings.network.train_apply(params, state.batch_stats, x, wiring, **dropped)
            losses, correct = losses_and_hits(logits, labels)
            loss = losses.mean()
            total = _smoothed(loss, logits, recipe.label_smoothing)
            if side is not None:
                total += recipe.auxiliary_weight * _smoothed(losses_and_hits(side, labels)[0].mean(), side, recipe.label_smoothing)
            return total, (loss, correct.sum(), batch_stats)

        (_, (loss, correct, batch_stats)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
        rate = rates.learning_rate if rates.learning_rate.ndim == 0 else rates.learning_rate[number]
        updates, buffer = recipe.optimiser(rate).update(gradient, state.optimiser, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(params, batch_stats, buffer), Totals(loss * len(rows), correct)

    steps = count // size
    sums = Totals(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))
    if steps:
        state, each = jax.lax.scan(step, state, (order[: steps * size].reshape(steps, size), jnp.arange(steps)))
        sums = jax.tree.map(lambda total, parts: total + parts.sum().astype(total.dtype), sums, each)
    if count % size:
        state, last = step(state, (order[steps * size :], jnp.asarray(steps)))
        sums = jax.tree.map(lambda total, part: total + part.astype(total.dtype), sums, last)
    return state, Totals(sums.loss / count, sums.correct)


def evaluate_split(
    params: PyTree,
    batch_stats: PyTree,
    pixels: Split,
    code: Int[Array, " edges"],
    *,
    settings: EvaluationSettings,
) -> Totals:
    """Score a split with running statistics, without augmentation; the last batch is filled up and the filling does not count."""
    count = len(pixels.labels)
    size = min(settings.batch_size, count)
    steps = -(-count // size)
    wiring = code if settings.genotype is None else settings.genotype

    def score(carry: None, place: jax.Array) -> tuple[None, Totals]:
        rows = jnp.minimum(place, count - 1)
        x = pixels.for_evaluation(rows, settings.precision)
        logits = settings.network.apply(params, x, wiring, statistics="running", batch_stats=batch_stats)
        losses, correct = losses_and_hits(logits, pixels.labels[rows])
        counts = place < count
        return carry, Totals(jnp.where(counts, losses, 0).sum(), (correct & counts).sum())

    _, each = jax.lax.scan(score, None, jnp.arange(steps * size).reshape(steps, size))
    return Totals(each.loss.sum() / count, each.correct.sum())


def _smoothed(loss: jax.Array, logits: jax.Array, smoothing: float) -> jax.Array:
    """Return a mean cross-entropy with the share ``smoothing`` of the labels spread over all classes."""
    if not smoothing:
        return loss
    return (1 - smoothing) * loss - smoothing * jax.nn.log_softmax(at_least_float32(logits)).mean()


def losses_and_hits(logits: Float[Array, "n k"], labels: Int[Array, " n"]) -> tuple[Float[Array, " n"], Bool[Array, " n"]]:
    """Return the cross-entropy of each example, in nats, and whether its largest logit is its label's."""
    logits = at_least_float32(logits)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    # The largest of non-finite logits is by convention the first class: that must not count as a hit.
    return losses, (logits.argmax(-1).astype(labels.dtype) == labels) & jnp.isfinite(logits).all(-1)
