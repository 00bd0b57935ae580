"""Train one cell.

The seed alone decides the numbers: the weights come from ``fold_in(key(seed), 0)`` and the order and augmentation of epoch e from
``fold_in(fold_in(key(seed), 1), e)``. Neither depends on the cell, so candidates that are compared under one seed see the same images in
the same order, and start from the same weights wherever they share an operation on an edge.

Deviations: in the benchmark's released code the data order depends on the architecture, because weight initialisation and a dummy forward
pass consume the generator that later shuffles. Here it does not.
"""

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jknas.data import Dataset
from jknas.errors import TrainingError
from jknas.networks.layers.initialisation import Scheme
from jknas.networks.network import Network, with_pretrained
from jknas.training import epoch
from jknas.training.checkpoint import Checkpoints, Progress
from jknas.training.epoch import EpochSettings, EvaluationSettings, Rates, Split, Totals, TrainState
from jknas.training.evaluation import metrics, parts, resident, score_parts
from jknas.training.network import code_of, part_of
from jknas.training.plan import Plan, WiringKind, check_splits
from jknas.training.recipe import AnyRecipe
from jknas.training.record import EpochRecord, Training
from jknas.training.streaming import batches, plus
from jknas.xla.programs import PROGRAMS


def train(
    network: Network,
    genotype: Any,
    dataset: Dataset,
    *,
    recipe: AnyRecipe,
    seed: int,
    scheme: Scheme = "pytorch",
    wiring: WiringKind = "code",
    splits: Sequence[str] = ("validation",),
    checkpoint: str | Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_variables: Callable[[int, Mapping[str, Any]], None] | None = None,
) -> Training:
    """Train a cell's network on the training split.

    An epoch is one program that runs on the device from beginning to end; between epochs a handful of numbers come to the host. The images
    stay on the device as uint8. (Those in a folder do not: they come in batches, and a batch is one program; see
    :mod:`jknas.training.streaming`.) With ``wiring="code"`` one compilation serves every cell; it is repeated for another network, another
    recipe (but for epochs and learning rate), or data of other shapes or augmentation. With ``wiring="static"``, the one for DARTS
    genotypes, each genotype compiles, once for all its epochs. Batches of files compile twice, once for the smaller last one.

    Args:
        network: any network with ``train_apply``; one with an auxiliary classifier if the recipe gives it a weight.
        genotype: the cell, or pair of cells, of the network's space.
        dataset: its training split is trained on, augmented as it says.
        recipe: how; see :func:`~jknas.training.recipe.preset`. Sentence pairs need a
            :class:`~jknas.training.fine_tuning.FineTuning`, which starts from the network's pre-trained weights, if it has any.
        seed: 0 to 2^32 - 1. Weights, data order and augmentation follow from it alone.
        scheme: initialisation, see :mod:`jknas.networks.layers.initialisation`.
        wiring: see :data:`~jknas.training.plan.WiringKind`. Both give the same numbers up to rounding.
        splits: which splits are scored after each epoch, in evaluation mode; "train" may be among them.
        checkpoint: folder for the progress after each epoch, of this training run alone.
        resume: go on from the folder's progress, or begin when there is none. On the same machine and versions the result is bit for bit
            that of an uninterrupted run.
        on_epoch: called with each epoch's record, after its checkpoint was written.
        on_variables: called with the number of epochs trained and the variables of this genotype, ``{"params", "batch_stats"}``: with 0
            before the first epoch, after a resume, too, and then after each epoch that this call trains, before ``on_epoch``. Copy what is
            to be kept: the next epoch takes the arrays' memory. See :class:`~jknas.training.kernel_recorder.KernelRecorder`.

    Returns:
        Curves, variables and times. A loss that is not finite ends the training with the status ``diverged`` and is kept in the curves.

    Raises:
        TrainingError: arguments that do not fit each other.
        CheckpointError: a folder with another run's or damaged progress, or with any although ``resume`` is false.
    """
    plan = Plan(
        network=network,
        genotype=genotype,
        dataset=dataset,
        recipe=recipe,
        seed=seed,
        scheme=scheme,
        wiring=wiring,
        splits=check_splits(splits),
    )
    if checkpoint is None:
        if resume:
            raise TrainingError("resume=True needs checkpoint=..., the folder that holds the progress.")
        return _finish(_Run(plan), None, on_epoch, on_variables)
    with Checkpoints(checkpoint, plan.identity(), resume=resume) as checkpoints:
        return _finish(_Run(plan), checkpoints, on_epoch, on_variables)


class _Epoch(NamedTuple):
    """What an epoch gives; all but the state is on the host. The seconds do not count compilation."""

    state: TrainState
    totals: Totals
    scores: dict[str, Totals]
    seconds: float


class _Run:
    """The arrays and programs of one training run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.compile_seconds = 0.0
        recipe, data = plan.recipe, plan.dataset
        padding = data.crop_padding if recipe.random_crop and not recipe.resized_crop else 0
        self._training = EpochSettings(plan.network, plan.chosen, recipe.step_part(), padding, data.horizontal_flip)
        self._scoring = EvaluationSettings(plan.network, plan.chosen, recipe.batch_size, recipe.precision)
        self._pixels = {} if data.streamed else {split: resident(data, split) for split in dict.fromkeys(("train", *plan.splits))}
        self._counts = {split: len(data.split(split)[1]) for split in ("train", *plan.splits)}
        self._code = code_of(plan.genotype)
        self._weights_key, self._epochs_key = (jax.random.fold_in(jax.random.key(plan.seed), stream) for stream in (0, 1))

    def _program(self, function: Callable[..., Any], *arguments: Any, donate: tuple[int, ...] = (), **fixed: Any) -> Callable[..., Any]:
        program, seconds = PROGRAMS.compiled(function, *arguments, fixed=fixed, donate=donate)
        self.compile_seconds += seconds
        return program

    def start(self) -> TrainState:
        """Draw the state before the first epoch."""
        draw = self._program(epoch.initial_state, self._weights_key, settings=self._training, scheme=self.plan.scheme)
        state = draw(self._weights_key)
        return state._replace(params=with_pretrained(self.plan.network, state.params))

    def variables(self, state: TrainState) -> dict[str, Any]:
        """Return what the genotype uses of a state."""
        return part_of(self.plan.network, {"params": state.params, "batch_stats": state.batch_stats}, self.plan.genotype)

    def epoch(self, state: TrainState, number: int) -> tuple[TrainState, EpochRecord]:
        """Train and score one epoch; ``state`` is used up."""
        steps = -(-self._counts["train"] // self.plan.recipe.batch_size)
        rate = np.asarray(self.plan.recipe.learning_rates(number, steps))
        key = jax.random.fold_in(self._epochs_key, number)
        rates = Rates(*(jnp.asarray(value, jnp.float32) for value in (rate, self.plan.recipe.drop_path_at(number))))
        run = self._streamed if self.plan.dataset.streamed else self._whole
        state, totals, scores, seconds = run(state, rates, key)
        trained = metrics(totals, self._counts["train"])
        evaluated = {split: metrics(scores[split], self._counts[split]) for split in self.plan.splits}
        return state, EpochRecord(number, float(rate.flat[0]), trained.loss, trained.accuracy, evaluated, seconds)

    def _advance(self, *arguments: Any) -> Callable[..., tuple[TrainState, Totals]]:
        return self._program(epoch.train_epoch, *arguments, donate=(0,), settings=self._training)

    def _score(self, *arguments: Any) -> Callable[..., Totals]:
        return self._program(epoch.evaluate_split, *arguments, settings=self._scoring)

    def _whole(self, state: TrainState, rates: Rates, key: jax.Array) -> _Epoch:
        """Run an epoch on the images on the device."""
        arguments = (state, self._pixels["train"], self._code, rates, key)
        advance = self._advance(*arguments)
        scorers = {split: self._score(state.params, state.batch_stats, self._pixels[split], self._code) for split in self.plan.splits}
        start = time.perf_counter()
        state, totals = advance(*arguments)
        scores = {split: score(state.params, state.batch_stats, self._pixels[split], self._code) for split, score in scorers.items()}
        totals, scores = jax.device_get((totals, scores))
        return _Epoch(state, totals, scores, time.perf_counter() - start)

    def _streamed(self, state: TrainState, rates: Rates, key: jax.Array) -> _Epoch:
        """Run an epoch on files: each batch is an epoch of one step, whose key follows from the epoch's and the batch's number."""
        compiled, start = self.compile_seconds, time.perf_counter()
        plan, size = self.plan, self.plan.recipe.batch_size
        found: list[tuple[Totals, int]] = []
        for number, pixels in enumerate(batches(plan.dataset, "train", size, key=key, resized_crop=plan.recipe.resized_crop)):
            # At most one step is waiting: the device would otherwise be given batches faster than it uses them up.
            jax.block_until_ready(found[-1:])
            arguments = (state, pixels, self._code, rates, jax.random.fold_in(key, number))
            state, totals = self._advance(*arguments)(*arguments)
            found.append((totals, len(pixels.labels)))

        def score(pixels: Split) -> Totals:
            arguments = (state.params, state.batch_stats, pixels, self._code)
            return self._score(*arguments)(*arguments)

        jax.block_until_ready(state)  # steps must not hide behind a compilation, whose time is subtracted
        scores = {split: score_parts(score, parts(plan.dataset, split, size)) for split in plan.splits}
        totals, scores = jax.device_get((functools.reduce(plus, found)[0], scores))
        return _Epoch(state, totals, scores, time.perf_counter() - start - (self.compile_seconds - compiled))


def _finish(
    run: _Run,
    checkpoints: Checkpoints | None,
    on_epoch: Callable[[EpochRecord], None] | None,
    on_variables: Callable[[int, Mapping[str, Any]], None] | None,
) -> Training:
    """Run the epochs that are left."""
    plan, state = run.plan, run.start()
    if on_variables is not None:
        on_variables(0, run.variables(state))
    restored = None if checkpoints is None else checkpoints.restore(state)
    progress = restored or Progress(state, (), "ok")
    while progress.status == "ok" and len(progress.curves) < plan.recipe.epochs:
        state, record = run.epoch(progress.state, len(progress.curves))
        losses = (record.train_loss, *(split.loss for split in record.splits.values()))
        progress = Progress(state, (*progress.curves, record), "ok" if all(map(math.isfinite, losses)) else "diverged")
        if checkpoints is not None:
            checkpoints.save(progress)
        if on_variables is not None:
            on_variables(len(progress.curves), run.variables(state))
        if on_epoch is not None:
            on_epoch(record)
    variables = run.variables(progress.state)
    return Training(plan.genotype, plan.recipe, plan.seed, progress.status, progress.curves, variables, run.compile_seconds)
