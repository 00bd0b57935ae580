"""One epoch of a search by weight sharing as a single program, the comparison of cells that follows it, and what is kept between epochs.

The images stay on the device as bytes. An iteration takes a batch of training images, in the order of the epoch, and as many validation
images, each drawn with replacement; both are augmented. Everything is drawn from the seed and the number of the epoch alone.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jknas.search.method import Evaluator
from jknas.search.weight_sharing.arrays import Measured, Shared
from jknas.search.weight_sharing.kept import read_arrays, write_arrays
from jknas.search.weight_sharing.state import EpochFound
from jknas.search.weight_sharing.supernet import Supernet, cross_entropy, derive, generator, supernet_of
from jknas.training.augmentation import augment, draw_words, normalise, shuffled
from jknas.training.epoch import Pixels
from jknas.training.evaluation import resident
from jknas.xla.programs import PROGRAMS


class Pair(NamedTuple):
    """A batch of training images and one of validation images, normalised, with their labels."""

    x: Float[Array, "n h w c"]
    y: Int[Array, " n"]
    x_valid: Float[Array, "n h w c"]
    y_valid: Int[Array, " n"]


class Rates(NamedTuple):
    """What the schedules say for one epoch."""

    learning_rate: Float[Array, ""]
    temperature: Float[Array, ""]


class Totals(NamedTuple):
    """What the two steps of an iteration measured; None where there is no architecture step."""

    weights: Measured
    architecture: Measured | None


@dataclass(frozen=True)
class Settings:
    """What is fixed in the compiled programs.

    Attributes:
        method: a :class:`~jknas.search.weight_sharing.method.WeightSharing`, whose iterations run.
        net: the supernet.
        crop_padding: see :func:`~jknas.training.augmentation.augment`.
        horizontal_flip: likewise.
    """

    method: Any
    net: Supernet
    crop_padding: int
    horizontal_flip: bool

    def images(self, pixels: Pixels, rows: Array, words: Array) -> Array:
        """Return augmented images of some rows, normalised."""
        cut = augment(pixels.images[rows], words, crop_padding=self.crop_padding, horizontal_flip=self.horizontal_flip)
        return normalise(cut, pixels.scale, pixels.shift)


def run_epoch(shared: Shared, train: Pixels, valid: Pixels, rates: Rates, key: Array, *, settings: Settings) -> tuple[Shared, Totals]:
    """Run the iterations of one epoch; return what was learned, and the mean losses and shares of right images."""
    count, size = len(train.labels), settings.net.recipe.batch_size
    first, second, third, draws = jax.random.split(key, 4)
    words, partner_words = draw_words(first, count), draw_words(second, count)
    partners = jax.random.randint(third, (count,), 0, len(valid.labels))
    order = shuffled(words)

    def iteration(shared: Shared, part: tuple[Array, Array]) -> tuple[Shared, Totals]:
        rows, number = part
        other = partners[rows]
        pair = Pair(
            settings.images(train, rows, words[rows]),
            train.labels[rows],
            settings.images(valid, other, partner_words[rows]),
            valid.labels[other],
        )
        drawn = settings.method.draw(settings.net, shared, jax.random.fold_in(draws, number))
        shared, totals = settings.method.iterate(settings.net, shared, pair, rates, drawn)
        return shared, jax.tree.map(lambda value: value * (len(rows) if value.dtype == shared.baseline.dtype else 1), totals)

    steps, rest = divmod(count, size)
    sums: list[Any] = []
    if steps:
        shared, each = jax.lax.scan(iteration, shared, (order[: steps * size].reshape(steps, size), jnp.arange(steps)))
        sums.append(jax.tree.map(lambda parts: parts.sum(), each))
    if rest:
        shared, last = iteration(shared, (order[steps * size :], jnp.asarray(steps)))
        sums.append(last)
    total = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]) / count, *sums)
    return shared, total


def first_shared(key: Array, *, settings: Settings, scheme: Any) -> Shared:
    """Draw weights and architecture."""
    method, net = settings.method, settings.net
    variables = net.network.init(jax.random.fold_in(key, 0), scheme=scheme)
    architecture = method.initial(net, jax.random.fold_in(key, 1))
    nothing = functools.partial(jax.tree.map, jnp.zeros_like)
    return Shared(
        variables["params"],
        variables["batch_stats"],
        nothing(variables["params"]),
        jnp.zeros(net.sampled_shape, bool),
        architecture,
        net.architecture_optimiser.init(architecture),
        nothing(architecture),
        -jnp.ones(()),
    )


def accuracy(  # noqa: PLR0917
    shared: Shared, pixels: Pixels, code: Int[Array, " edges"], places: Int[Array, " n"], key: Array, settings: Settings
) -> Float[Array, ""]:
    """Return the accuracy, 0..1, of a cell with the supernet's weights on some images, in evaluation mode."""
    net, labels = settings.net, pixels.labels[places]
    if net.recipe.augmented:
        x = settings.images(pixels, places, draw_words(key, len(places)))
    else:
        x = normalise(pixels.images[places], pixels.scale, pixels.shift)
    logits = net.network.apply(shared.params, x, code, statistics="running", batch_stats=shared.batch_stats)
    return cross_entropy(logits, labels)[1].astype(shared.baseline.dtype) / len(places)


def score_codes(
    shared: Shared, pixels: Pixels, codes: Int[Array, "m edges"], rows: Int[Array, "m n"], key: Array, *, settings: Settings
) -> Float[Array, " m"]:
    """Return the accuracy of each cell on its own batch, 0..1."""

    def score(_: None, one: tuple[Array, Array, Array]) -> tuple[None, Array]:
        code, places, number = one
        return None, accuracy(shared, pixels, code, places, jax.random.fold_in(key, number), settings)

    return jax.lax.scan(score, None, (codes, rows, jnp.arange(len(codes))))[1]


def candidate_rows(rng: np.random.Generator, images: int, size: int, count: int) -> list[np.ndarray]:
    """Return the validation images of each of ``count`` cells: batches of a shuffled split, shuffled again when it is used up.

    The last batch of a split may be smaller.
    """
    batches: list[np.ndarray] = []
    while len(batches) < count:
        order = rng.permutation(images).astype(np.int32)
        batches.extend(order[start : start + size] for start in range(0, images, size))
    return batches[:count]


class SharingRun:
    """The arrays and programs of one search in this process.

    Args:
        method: the search, a :class:`~jknas.search.weight_sharing.method.WeightSharing`.
        evaluator: of its problem, which says where arrays are kept.
        finished: epochs that an earlier process has finished; what it kept is read, or computed again.
    """

    def __init__(self, method: Any, evaluator: Evaluator, *, finished: int) -> None:
        problem = evaluator.problem
        self.method, self._problem, self._announce = method, problem, evaluator.announce
        self.net = supernet_of(problem, method.made, per_cell=method.draws_per_cell)
        data = problem.dataset
        padding = data.crop_padding if problem.recipe.random_crop else 0
        self.settings = Settings(method, self.net, padding, data.horizontal_flip)
        self.train, self.valid = resident(data, "train"), resident(data, "validation")
        self.compile_seconds = 0.0
        self._folder = evaluator.folder("supernet")
        self._key = jax.random.key(problem.seed)
        first = self.program("drawing", first_shared, self._key, settings=self.settings, scheme=problem.scheme)
        self.shared: Shared = first(self._key)
        if finished and (kept := read_arrays(self._folder, finished, self.shared)) is not None:
            self.shared = kept
        else:
            for epoch in range(finished):
                self.epoch(epoch)

    def program(self, name: str, function: Any, *arguments: Any, donate: tuple[int, ...] = (), **fixed: Any) -> Any:
        """Return a compiled program."""
        announce = functools.partial(self._announce, f"supernet {name}")
        program, seconds = PROGRAMS.compiled(function, *arguments, fixed=fixed, donate=donate, on_compile=announce)
        self.compile_seconds += seconds
        return program

    def epoch(self, number: int) -> EpochFound:
        """Train for one epoch, derive a cell, and keep what was learned."""
        recipe, dtype = self.net.recipe, jnp.result_type(float)
        key = jax.random.fold_in(jax.random.fold_in(self._key, 1), number)
        training, ending, comparing = jax.random.split(key, 3)
        rates = Rates(*(jnp.asarray(at(number), dtype) for at in (recipe.learning_rate_at, recipe.temperature_at)))
        arguments = (self.shared, self.train, self.valid, rates, training)
        trained = self.program("training", run_epoch, *arguments, donate=(0,), settings=self.settings)
        self.shared, totals = trained(*arguments)
        self.shared = self.method.finish_epoch(self.net, self.shared, self, ending)
        proposed = self.method.propose(self.net, self.shared, comparing)
        weights = self.method.weights(self.shared, proposed)
        if proposed is None:
            cell, accuracy = derive(self._problem.space, np.asarray(weights)), None
        else:
            cell, accuracy = self._best(proposed, comparing)
        totals = jax.device_get(totals)
        write_arrays(self._folder, number + 1, self.shared)
        second = totals.architecture
        return EpochFound(
            cell,
            recipe.learning_rate_at(number),
            float(totals.weights.loss),
            float(totals.weights.correct),
            None if second is None else float(second.loss),
            None if second is None else float(second.correct),
            accuracy,
            None if weights is None else np.asarray(weights).tolist(),
            0.0,
        )

    def _best(self, codes: np.ndarray, key: Array) -> tuple[Any, float]:
        """Return the cell with the highest accuracy on its batch, the first of equal ones, and that accuracy."""
        batches = candidate_rows(generator(key), len(self.valid.labels), self.net.recipe.candidate_batch, len(codes))
        found = np.zeros(len(codes))
        for size in sorted({len(batch) for batch in batches}, reverse=True):
            places = [place for place, batch in enumerate(batches) if len(batch) == size]
            arguments = (
                self.shared,
                self.valid,
                jnp.asarray(codes[places]),
                jnp.asarray(np.stack([batches[place] for place in places])),
                jax.random.fold_in(key, size),
            )
            program = self.program("comparing", score_codes, *arguments, settings=self.settings)
            found[places] = np.asarray(program(*arguments))
        best = int(found.argmax())
        return self._problem.space.from_code(codes[best].tolist()), float(found[best])
