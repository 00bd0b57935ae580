"""Score a trained cell on one split."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_args

import jax
import jax.numpy as jnp

from jknas.data import Dataset
from jknas.data.dataset import pixel_constants
from jknas.errors import TrainingError, choose
from jknas.networks.network import Network
from jknas.training.epoch import EvaluationSettings, Pixels, Sequences, Split, Totals, evaluate_split
from jknas.training.network import code_of, part_of
from jknas.training.plan import check_pair, check_splits
from jknas.training.recipe import Precision
from jknas.training.record import Metrics
from jknas.training.streaming import batches, plus
from jknas.xla.programs import PROGRAMS

EVALUATION_BATCH = 256
"""Images per step of :func:`evaluate`; the numbers depend on it by rounding only."""


def evaluate(
    network: Network,
    variables: Mapping[str, Any],
    genotype: Any,
    dataset: Dataset,
    split: str,
    *,
    precision: Precision = "float32",
) -> Metrics:
    """Score trained variables on one split, with running statistics and without augmentation.

    Compiles once for each cell, network and data shape.

    Args:
        network: the network's size.
        variables: of `Training`, or of all candidate operations.
        genotype: the cell, of the network's space.
        dataset: where the split is from.
        split: "train", "validation" or "test".
        precision: in what to compute; the recipe's repeats the numbers in its curves, up to rounding.

    Returns:
        Loss, accuracy and number of images.

    Raises:
        TrainingError: arguments that do not fit each other, or no such split.
    """
    check_pair(network, genotype, dataset)
    check_splits((split,))
    choose("precision", precision, get_args(Precision), error=TrainingError)
    if not isinstance(variables, Mapping) or not {"params", "batch_stats"} <= variables.keys():
        raise TrainingError('variables must be {"params": ..., "batch_stats": ...}, as Training.variables and network.init give them.')
    weights = jax.tree.map(jnp.asarray, part_of(network, variables, genotype))
    settings = EvaluationSettings(network, genotype, EVALUATION_BATCH, precision)

    def score(pixels: Split) -> Totals:
        arguments = (weights["params"], weights["batch_stats"], pixels, code_of(genotype))
        program, _ = PROGRAMS.compiled(evaluate_split, *arguments, fixed={"settings": settings})
        return program(*arguments)

    count = len(dataset.split(split)[1])
    return metrics(jax.device_get(score_parts(score, parts(dataset, split, EVALUATION_BATCH))), count)


def parts(dataset: Dataset, split: str, size: int) -> Iterator[Split]:
    """Yield a split in parts on the device: a whole one in memory, one of files in batches."""
    return batches(dataset, split, size) if dataset.streamed else iter((resident(dataset, split),))


def score_parts(score: Callable[[Split], Totals], found: Iterable[Split]) -> Totals:
    """Return the totals of a split from those of its parts."""
    return functools.reduce(plus, ((jax.block_until_ready(score(pixels)), len(pixels.labels)) for pixels in found))[0]


def resident(dataset: Dataset, split: str) -> Split:
    """Put a split on the device."""
    images, labels = dataset.split(split)
    if dataset.inputs == "tokens":
        return Sequences(jnp.asarray(images), jnp.asarray(labels))
    return Pixels(*map(jnp.asarray, (images, labels, *pixel_constants(dataset))))


def metrics(totals: Totals, count: int) -> Metrics:
    """Make the totals of ``count`` images, which have come to the host, a record."""
    return Metrics(float(totals.loss), int(totals.correct) / count, count)
