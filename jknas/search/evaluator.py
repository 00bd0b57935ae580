"""The expensive things that a search step asks for: a score, a training, a test accuracy."""

import functools
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax

from jknas.networks.parameters import Variables
from jknas.scoring.scorer import Scorer, make_scorer, score_many
from jknas.search.problem import Problem
from jknas.search.scored import Scored
from jknas.search.table_evaluator import TableEvaluator
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.training import EpochRecord, Metrics, Training, evaluate, train

__all__ = ["AnyEvaluator", "Evaluator", "Scored"]

T = TypeVar("T")


class Evaluator:
    """The programs and trained variables of one problem in this process.

    Nothing here decides a result: whatever is forgotten (by a new process, for instance) is computed again to the same values.

    Args:
        problem: what is searched.
        folder: where trainings keep their progress, one folder a genotype; None keeps none.
        on_compile: called with "scoring" before the scoring program is compiled, which the first score that the store does not hold needs,
            and with "training" before the first training, whose program an earlier training of the process may have left.
        on_epoch: called after each epoch of training.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        folder: Path | None = None,
        on_compile: Callable[[str], None] | None = None,
        on_epoch: Callable[[CellGenotype, EpochRecord], None] | None = None,
    ) -> None:
        self.problem = problem
        self._folder = folder
        self._on_compile, self._on_epoch = on_compile, on_epoch
        self._scorer: Scorer | None = None
        self._trained = False
        self._variables: dict[CellGenotype, Variables] = {}
        self._made: dict[str, Any] = {}

    def made(self, name: str, make: Callable[[], T]) -> T:
        """Return what ``make`` returned when it was first asked for under this name: compiled programs of a method of its own."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def score(self, genotype: CellGenotype) -> Scored:
        """Score a genotype with the problem's proxy; the first call compiles."""
        problem = self.problem
        if self._scorer is None:
            self._scorer = make_scorer(
                problem.proxy,
                problem.dataset,
                problem.space,
                channels=problem.network.channels,
                cells=problem.network.cells,
                seed=problem.seed,
                scheme=problem.scheme,
                batch_size=problem.batch_size,
                settings=problem.settings,
                on_compile=functools.partial(self.announce, "scoring"),
            )
        compiled = self._scorer.compile_seconds
        ((record, fresh),) = score_many(self._scorer, (genotype,), store=problem.store)
        return Scored(record, fresh, self._scorer.compile_seconds - compiled)

    def train(self, genotype: CellGenotype) -> Training:
        """Train a genotype by the problem's recipe; one program serves all genotypes. A training that was begun goes on."""
        if not self._trained:
            self.announce("training")
        problem, on_epoch = self.problem, self._on_epoch
        training = train(
            problem.network,
            genotype,
            problem.dataset,
            recipe=problem.recipe,
            seed=problem.seed,
            scheme=problem.scheme,
            checkpoint=self._place(genotype),
            resume=self._folder is not None,
            on_epoch=None if on_epoch is None else lambda record: on_epoch(genotype, record),
        )
        self._trained = True
        self._variables[genotype] = jax.device_get(training.variables)
        return training

    def test(self, genotype: CellGenotype) -> tuple[Metrics, float]:
        """Return the test metrics of a trained genotype, and the seconds that this took, compilation included.

        Its variables come from memory, else from its folder, else from training it again.
        """
        start = time.perf_counter()
        variables: Any = self._variables.get(genotype)
        if variables is None:
            variables = self.train(genotype).variables
        problem = self.problem
        metrics = evaluate(problem.network, variables, genotype, problem.dataset, "test", precision=problem.recipe.precision)
        return metrics, time.perf_counter() - start

    def keep_only(self, genotype: CellGenotype | None) -> None:
        """Forget the trained variables of every other genotype, and its folder: weights and momenta of all operations take tens of MB."""
        self._variables = {kept: variables for kept, variables in self._variables.items() if kept == genotype}
        if self._folder is None or not self._folder.is_dir():
            return
        kept_place = None if genotype is None else self._place(genotype)
        for place in self._folder.iterdir():
            # Only what is named like a code was made here, should someone search into a folder that holds other things.
            named = place.name.isdecimal() and len(place.name) == self.problem.space.num_edges
            if named and place.is_dir() and place != kept_place:
                shutil.rmtree(place)

    def _place(self, genotype: CellGenotype) -> Path | None:
        return None if self._folder is None else self._folder / "".join(map(str, genotype.code))

    def announce(self, what: str) -> None:
        """Say that a program is about to be compiled."""
        if self._on_compile is not None:
            self._on_compile(what)


AnyEvaluator = Evaluator | TableEvaluator
"""What trains, and what looks up: see :mod:`jknas.search.table_problem`."""
