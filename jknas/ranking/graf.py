"""GRAF: accuracies predicted from what a cell's graph looks like, by a forest that has seen some trained cells.

Supervised: every prediction rests on n trained architectures, and says so. Give that n wherever it is compared with scores that need no
training, and judge it on other architectures than those n.

The features of a NAS-Bench-201 cell are numbers about its graph: how often each operation occurs; the shortest path from input to output
over edges whose operation is in a set, for all 31 sets but the empty one; the longest such path; and how many edges of the set leave the
input, enter the output, and leave and enter a node on average. An edge "none" is an edge like any other, unless the set leaves it out. A
path has as many steps as edges; where there is none, the shortest counts 5 and the longest -1.

Reference: Kadlecova, Lukasik, Pilat, Vidnerova, Safari, Neruda and Hutter, "Surprisingly Strong Performance Prediction with Neural Graph
Features", ICML 2024, arXiv:2404.16551.

Deviations: none in the features, whose order is this file's (a set of operations is named by its members, where the paper names the sets of
the shortest paths by those left out). The mean degrees out and in are equal, and both kept. The paper's forest sees validation accuracies;
here they are what the caller gives.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Real

from jknas.errors import MetricError, check_count
from jknas.registry import optional
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype

_INPUT, _OUTPUT = 0, 3
_NODES = 4
_NO_SHORTEST, _NO_LONGEST = 5, -1

SETS: tuple[tuple[int, ...], ...] = tuple(
    chosen for size in range(1, len(OPERATIONS) + 1) for chosen in itertools.combinations(range(len(OPERATIONS)), size)
)
"""The sets of operations, as digits."""

_KINDS = ("shortest", "longest", "from_input", "into_output", "mean_out", "mean_in")

COLUMNS: tuple[str, ...] = (
    *(f"count {name}" for name in OPERATIONS),
    *(f"{kind} {'+'.join(OPERATIONS[digit] for digit in chosen)}" for kind in _KINDS for chosen in SETS),
)
"""The names of the features."""


class Predicted(NamedTuple):
    """Predicted accuracies, in the unit of those that the forest saw, and how many trained architectures they rest on."""

    accuracies: Float[np.ndarray, " m"]
    n: int


@dataclass(frozen=True)
class Forest:
    """A fitted random forest.

    Attributes:
        n: how many trained architectures it has seen.
        columns: how many features it expects.
        model: scikit-learn's regressor.
    """

    n: int
    columns: int
    model: Any = field(repr=False)


def graf_features(genotypes: Sequence[CellGenotype]) -> Float[np.ndarray, "n 191"]:
    """Return the features of cells, one row for each, by the columns of :data:`COLUMNS`.

    Cost: about 0.1 s for all 15,625 cells.

    Raises:
        MetricError: something else than a NAS-Bench-201 cell.

    >>> cell = CellGenotype(("none",) * 6)
    >>> dict(zip(COLUMNS, graf_features([cell])[0]))["longest none"]
    np.float64(3.0)
    """
    for genotype in genotypes:
        if not isinstance(genotype, CellGenotype):
            raise MetricError(f"graf_features got a {type(genotype).__name__}; its features are those of NAS-Bench-201: pass CellGenotype.")
    codes = np.asarray([genotype.code for genotype in genotypes], np.int64).reshape(-1, len(EDGES))
    counts = np.stack([(codes == digit).sum(axis=1) for digit in range(len(OPERATIONS))], axis=1)
    member = np.array([[digit in chosen for digit in range(len(OPERATIONS))] for chosen in SETS])
    held = member[:, codes]  # [sets, n, edges]
    shortest, longest = _paths(held, np.minimum, _NO_SHORTEST), _paths(held, np.maximum, _NO_LONGEST)
    from_input = held[:, :, [source == _INPUT for _, source in EDGES]].sum(axis=2)
    into_output = held[:, :, [node == _OUTPUT for node, _ in EDGES]].sum(axis=2)
    mean = held.sum(axis=2) / _NODES
    return np.concatenate(
        [counts, *(np.asarray(part, np.float64).T for part in (shortest, longest, from_input, into_output, mean, mean))], 1
    )


def fit_forest(features: Real[np.ndarray, "n d"], accuracies: Real[np.ndarray, " m"], *, seed: int, trees: int = 100) -> Forest:
    """Fit a random forest to trained architectures; its settings are scikit-learn's.

    Args:
        features: those of :func:`graf_features`, perhaps with more columns, as scores; NaN is a missing value.
        accuracies: of the same architectures, finite, in any unit.
        seed: of the bootstrap and the order of features; the same seed gives the same forest.
        trees: how many.

    Raises:
        MetricError: no architecture, lengths that differ, accuracies that are not finite, features that single precision cannot hold, or
            scikit-learn is not installed.
    """
    message = "the forest of GRAF needs scikit-learn, which is not installed: pip install 'jknas[graf]'."
    sklearn = optional("sklearn.ensemble", message, error=MetricError)
    check_count("trees", trees, error=MetricError)
    if not len(features) or len(features) != len(accuracies):
        raise MetricError(f"fit_forest: {len(features)} rows of features and {len(accuracies)} accuracies; expected as many, one or more.")
    if not np.isfinite(accuracies).all():
        raise MetricError("fit_forest: an accuracy is not finite: leave architectures out whose training failed.")
    _check_range(features, "fit_forest")
    model = sklearn.ensemble.RandomForestRegressor(n_estimators=trees, random_state=seed)
    return Forest(len(features), features.shape[1], model.fit(features, accuracies))


def predicted(forest: Forest, features: Real[np.ndarray, "m d"]) -> Predicted:
    """Return the accuracies that a forest predicts for architectures that it has not seen, with the number of those that it has.

    Args:
        forest: from :func:`fit_forest`.
        features: the same columns.

    Raises:
        MetricError: another number of columns, or features that single precision cannot hold.
    """
    if features.shape[1] != forest.columns:
        raise MetricError(
            f"predicted: {features.shape[1]} columns of features, and the forest was fitted to {forest.columns}: give the same."
        )
    _check_range(features, "predicted")
    found = forest.model.predict(features) if len(features) else np.zeros(0)
    return Predicted(np.asarray(found, np.float64), forest.n)


def _paths(held: np.ndarray, better: np.ufunc, none: int) -> np.ndarray:
    """Return the best path length from input to output over the edges that are held; ``none`` where there is no path."""
    lengths = [np.full(held.shape[:2], 0 if node == _INPUT else none) for node in range(_NODES)]
    for edge, (node, source) in enumerate(EDGES):  # the edges into a node come before those that leave it
        there = held[:, :, edge] & (lengths[source] != none)
        lengths[node] = better(lengths[node], np.where(there, lengths[source] + 1, none))
    return lengths[_OUTPUT]


def _check_range(features: np.ndarray, of: str) -> None:
    if (np.abs(features) > np.finfo(np.float32).max).any():
        raise MetricError(f"{of}: a feature is infinite or beyond single precision, in which forests split: pass the ranks of such scores.")
