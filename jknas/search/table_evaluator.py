"""Answers from a table to what a search step asks for."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from jknas.errors import SearchError
from jknas.search.scored import Scored
from jknas.search.table_problem import TableProblem
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.tabular import Target
from jknas.tabular.accounting import ACCOUNTINGS
from jknas.training import EpochRecord, Metrics

T = TypeVar("T")

_IMAGES = {
    ("cifar10-valid", "validation"): 25_000,
    ("cifar10", "test"): 10_000,
    ("cifar100", "validation"): 5_000,
    ("cifar100", "test"): 5_000,
    ("imagenet16-120", "validation"): 3_000,
    ("imagenet16-120", "test"): 3_000,
}
"""How many images an accuracy of the benchmark is a share of."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What a training would have ended in. Like a :class:`jknas.training.Training`, without what a table does not hold.

    Attributes:
        final: the validation split; its loss is NaN, for the table has none.
        run_seconds: what the evaluation costs by the problem's accounting.
    """

    final: Mapping[str, Metrics]
    run_seconds: float
    status: str = "ok"
    curves: tuple[EpochRecord, ...] = ()
    compile_seconds: float = 0.0


class TableEvaluator:
    """The evaluator of a table: see :class:`jknas.search.evaluator.Evaluator`, which trains."""

    def __init__(self, problem: TableProblem) -> None:
        self.problem = problem
        self._made: dict[str, Any] = {}

    def made(self, name: str, make: Callable[[], T]) -> T:
        """Return what ``make`` returned when it was first asked for under this name."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def score(self, genotype: CellGenotype) -> Scored:
        """Look a score up.

        Raises:
            SearchError: the problem has none.
        """
        scores = self.problem.scores
        if scores is None:
            raise SearchError("this method ranks architectures by a proxy, and the table holds no scores: pass the problem scores.")
        if genotype not in scores:
            raise SearchError(f"{genotype} is not among the {len(scores)} scored architectures: score it first.")
        return Scored(scores[genotype], False, 0.0)

    def train(self, genotype: CellGenotype) -> LookedUp:
        """Look up the accuracy by which a search chooses, and what it costs."""
        problem = self.problem
        seconds = ACCOUNTINGS[problem.accounting].seconds(problem.table, genotype, problem.dataset)
        return LookedUp({"validation": self._metrics(genotype, problem.protocol.selects, single=problem.seeds == "one")}, seconds)

    def test(self, genotype: CellGenotype) -> tuple[Metrics, float]:
        """Look up the accuracy that is reported, a mean over seeds; it costs nothing."""
        return self._metrics(genotype, self.problem.protocol.reports, single=False), 0.0

    def _metrics(self, genotype: CellGenotype, target: Target, *, single: bool) -> Metrics:
        # Drawn from the architecture, so that a step gives the same however often it is taken.
        seeds: Any = np.random.default_rng((self.problem.seed, *genotype.code)) if single else "mean"
        found = self.problem.table.accuracy(genotype, dataset=target.dataset, split=target.split, epochs=target.epochs, seeds=seeds)
        return Metrics(math.nan, found.mean / 100, _IMAGES[target.dataset, target.split])
