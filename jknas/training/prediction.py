"""The classes that a trained network gives the examples of a split, and the F1 of a task of two classes."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jknas.data import Dataset
from jknas.errors import TrainingError
from jknas.training.epoch import Split
from jknas.training.evaluation import EVALUATION_BATCH, parts
from jknas.training.network import part_of
from jknas.training.plan import check_pair, check_splits
from jknas.xla.programs import PROGRAMS


def predict(network: Any, variables: Mapping[str, Any], genotype: Any, dataset: Dataset, split: str) -> Int[np.ndarray, " n"]:
    """Return the class of every example of a split, in evaluation mode, in the order of the split.

    Compiles once for each cell, network and data shape.

    Args:
        network: the network's size.
        variables: of `Training`, or of all candidate operations.
        genotype: the architecture, of the network's space.
        dataset: where the split is from.
        split: "train", "validation" or "test".

    Raises:
        TrainingError: arguments that do not fit each other, or no such split.
    """
    check_pair(network, genotype, dataset)
    check_splits((split,))
    weights = jax.tree.map(jnp.asarray, part_of(network, variables, genotype))
    found = []
    for part in parts(dataset, split, EVALUATION_BATCH):
        arguments = (weights["params"], weights["batch_stats"], part)
        program, _ = PROGRAMS.compiled(_classes, *arguments, fixed={"network": network, "genotype": genotype})
        found.append(np.asarray(program(*arguments)))
    return np.concatenate(found)


def _classes(params: Any, batch_stats: Any, part: Split, *, network: Any, genotype: Any) -> jax.Array:
    """Return the classes of a part of a split, a batch at a time; the last batch is filled up."""
    count = len(part.labels)
    size = min(EVALUATION_BATCH, count)
    rows = jnp.minimum(jnp.arange(-(-count // size) * size), count - 1).reshape(-1, size)
    apply = functools.partial(network.apply, statistics="running", batch_stats=batch_stats)
    logits = jax.lax.map(lambda place: apply(params, part.for_evaluation(place, "float32"), genotype), rows)
    return logits.argmax(-1).reshape(-1)[:count]


def f1_score(labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"]) -> float:
    """Return the F1 of class 1: twice its hits by the number of its examples and of its predictions; NaN where there is neither.

    Raises:
        TrainingError: other classes than 0 and 1.

    >>> f1_score(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
    0.5
    """
    if not {*np.unique(labels).tolist(), *np.unique(predicted).tolist()} <= {0, 1}:
        raise TrainingError("F1 is that of class 1 of two: the labels and predictions have other classes than 0 and 1.")
    total = int(labels.sum() + predicted.sum())
    return 2 * int((labels & predicted).sum()) / total if total else float("nan")
