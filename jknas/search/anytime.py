"""Anytime curves: how good the incumbent of a search is, as a function of what the search has cost so far.

A search chooses by validation accuracy, and a reader wants the test accuracy: a curve has both. It is a step function: constant from one
evaluation to the next, and undefined (NaN) before the first one is paid for.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from jknas.errors import SearchError
from jknas.search.state import State


@dataclass(frozen=True, eq=False)
class Curve:
    """The incumbents of one search.

    Attributes:
        seconds: [n], what the search had cost after each evaluation, rising.
        validation: [n], validation accuracy of the best so far, 0..1, never falling.
        test: [n], reported test accuracy of that architecture, 0..1; may fall.
    """

    seconds: Float[np.ndarray, " n"]
    validation: Float[np.ndarray, " n"]
    test: Float[np.ndarray, " n"]

    def at(self, seconds: Float[np.ndarray, " m"]) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Return validation and test accuracy of the incumbent at these times; NaN before the first evaluation is done."""
        places = np.searchsorted(self.seconds, seconds, side="right") - 1
        known = places >= 0
        validation, test = (np.where(known, values[np.maximum(places, 0)], np.nan) for values in (self.validation, self.test))
        return validation, test


@dataclass(frozen=True, eq=False)
class Band:
    """The mean of many curves, and how sure it is.

    Attributes:
        seconds: [m] times.
        mean: [m], NaN where not every search has evaluated an architecture.
        low: [m] lower end of the confidence interval of the mean; NaN for a single search.
        high: [m] upper end.
        sd: [m] standard deviation over the searches (n - 1 in the denominator).
        n: number of searches.
        confidence: coverage of the interval.
    """

    seconds: Float[np.ndarray, " m"]
    mean: Float[np.ndarray, " m"]
    low: Float[np.ndarray, " m"]
    high: Float[np.ndarray, " m"]
    sd: Float[np.ndarray, " m"]
    n: int
    confidence: float


def curve_of(state: State, tested: Callable[[Any], float]) -> Curve:
    """Return the curve of a search that evaluates one architecture after the other (:mod:`jknas.search.sequential`).

    Args:
        state: its last state.
        tested: reported test accuracy, 0..1, of a genotype; asked for incumbents only.

    Raises:
        SearchError: a state without a single evaluation.
    """
    evaluated = [state.candidates[place] for place in state.chosen or ()]
    if not evaluated or evaluated[0].training is None:
        raise SearchError("the search has evaluated no architecture: there is no curve to draw.")
    rows, spent, best = [], 0.0, (False, -math.inf)
    for candidate in evaluated:
        assert candidate.training is not None
        spent += candidate.training.seconds
        if candidate.training.value > best:
            best, reported = candidate.training.value, tested(candidate.genotype)
        rows.append((spent, best[1], reported))
    return Curve(*np.asarray(rows, np.float64).T)


def band(curves: Sequence[Curve], seconds: Float[np.ndarray, " m"], *, split: str = "test", confidence: float = 0.95) -> Band:
    """Return the mean of curves at some times, with the confidence interval of the mean (Student's t).

    Args:
        curves: one per seed.
        seconds: [m] times.
        split: "test" or "validation".
        confidence: coverage, strictly between 0 and 1.

    Raises:
        SearchError: no curve, an unknown split, or a confidence out of range.
    """
    if not curves:
        raise SearchError("there is no curve to average: pass one or more.")
    if split not in ("validation", "test") or not 0 < confidence < 1:
        raise SearchError(f"split is {split!r} and confidence {confidence!r}; expected validation or test, and a number between 0 and 1.")
    grid = np.asarray(seconds, np.float64)
    values = np.stack([curve.at(grid)[split == "test"] for curve in curves])
    n, mean = len(curves), values.mean(axis=0)
    sd = values.std(axis=0, ddof=1) if n > 1 else np.full(grid.shape, np.nan)
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * sd / math.sqrt(n) if n > 1 else sd
    return Band(grid, mean, mean - half, mean + half, sd, n, confidence)
