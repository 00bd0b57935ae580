"""Answer a search step by computing: score networks, train them, test the winner."""

import functools
import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax

from jknas.proxies import SizeProxy
from jknas.scoring.scorer import Scorer, make_scorer, score_together
from jknas.scoring.store import ScoreRecord
from jknas.search.ahead import Ahead, Trainer, TrainingJob, as_trained, distinct, in_order
from jknas.search.method import Evaluator, Scored
from jknas.search.pooled import is_pooled, status_of
from jknas.search.state import Part, Tested, Trained
from jknas.training import EpochRecord, Training, evaluate

J = TypeVar("J")
R = TypeVar("R")

_LONGEST_NAME = 70
"""Characters of the name of a training's folder; longer codes are replaced by as many digits of their SHA-256."""


class TrainingEvaluator(Evaluator):
    """The programs and trained variables of one problem in this process, and what its workers compute ahead.

    Args:
        problem: what is searched, a :class:`jknas.search.problem.Problem`.
        folder: where trainings keep their progress, one folder per genotype; None keeps none.
        on_compile: called with "scoring" before the scoring program is compiled, which the first score that the store does not hold needs,
            and with "training" before the first training, whose program an earlier training of the process may have left.
        on_epoch: called after each epoch of training.
    """

    def __init__(
        self,
        problem: Any,
        *,
        folder: Path | None = None,
        on_compile: Callable[[str], None] | None = None,
        on_epoch: Callable[[Any, EpochRecord], None] | None = None,
    ) -> None:
        super().__init__(problem)
        self._folder = folder
        self._on_compile, self._on_epoch = on_compile, on_epoch
        self._scorers: list[Scorer] = []
        self._trained = False
        self._variables: dict[Any, Any] = {}
        self._scores: Ahead[list[tuple[ScoreRecord, bool]]] | None = None
        self._trainings: Ahead[tuple[Trained, Any]] | None = None
        self._computing: Ahead[Any] | None = None

    def folder(self, name: str) -> Path | None:
        """Return a folder beside those of the trainings."""
        return None if self._folder is None else self._folder / name

    def announce(self, program: str) -> None:  # noqa: D102
        if self._on_compile is not None:
            self._on_compile(program)

    def expect_scores(self, genotypes: Sequence[Any], members: Sequence[str] | None = None) -> None:  # noqa: D102
        if self.problem.pool is None or (self._scores is not None and self._scores.expected):
            return
        scorers = self._scorers_of(members)
        records = score_together(scorers, genotypes, store=self.problem.store, pool=self.problem.pool)
        questions = [(genotype, members) for genotype in genotypes]
        self._scores = Ahead(questions, map(list, zip(*[records] * len(scorers), strict=True)))

    @property
    def looks_ahead(self) -> bool:  # noqa: D102
        return self.problem.pool is not None and not (self._trainings is not None and self._trainings.expected)

    def expect_trainings(self, genotypes: Sequence[Any], *, epochs: int | None = None) -> None:  # noqa: D102
        jobs = distinct(self._job(genotype, epochs) for genotype in genotypes)
        if not jobs:
            self._trainings = None
        elif self.looks_ahead:
            self._trainings = Ahead(jobs, in_order(self.problem.pool.each(self._trainer, jobs)))

    def compute(self, function: Callable[[J], R], jobs: Iterable[J]) -> R:  # noqa: D102
        if self.problem.pool is None:
            return super().compute(function, jobs)
        if self._computing is None or not self._computing.expected:
            jobs = list(jobs)
            self._computing = Ahead(jobs, in_order(self.problem.pool.each(function, jobs)))
        job = next(iter(jobs))
        found: R | None = self._computing.take(job)
        return function(job) if found is None else found

    def score(self, genotype: Any, members: Sequence[str] | None = None) -> Scored:
        """Score a genotype by all that ranks it, or by these members of it; the first call compiles."""
        scorers = self._scorers_of(members)
        compiled = sum(scorer.compile_seconds for scorer in scorers)
        found = None if self._scores is None else self._scores.take((genotype, members))
        found = found or list(score_together(scorers, (genotype,), store=self.problem.store))
        # Scores that one computation gave hold its time each.
        seconds = {scorer.measurement: record.seconds for scorer, (record, _) in zip(scorers, found, strict=True)}
        compiling = sum(scorer.compile_seconds for scorer in scorers) - compiled
        spent: dict[str, Any] = {"seconds": sum(seconds.values()), "fresh": any(fresh for _, fresh in found), "compile_seconds": compiling}
        if not is_pooled(self.problem):
            ((record, _),) = found
            return Scored(record.score, record.status, **spent)
        parts = tuple(
            Part(record.key.proxy, record.key.seed, record.score if scorer.proxy.higher_is_better else -record.score, record.status)
            for scorer, (record, _) in zip(scorers, found, strict=True)
        )
        return Scored(None, status_of(parts), **spent, parts=parts)

    def _scorers_of(self, members: Sequence[str] | None) -> list[Scorer]:
        self._scorers = self._scorers or self._made_scorers()
        return [scorer for scorer in self._scorers if members is None or scorer.proxy.name in members]

    def _made_scorers(self) -> list[Scorer]:
        problem = self.problem
        return [
            make_scorer(
                proxy,
                problem.dataset,
                problem.space,
                channels=problem.network.channels,
                cells=problem.network.cells,
                stem=getattr(problem.network, "stem", None) if problem.space.stems else None,
                weights=None if (weights := getattr(problem.network, "weights", None)) is None else weights.folder,
                seed=problem.seed + more,
                scheme=problem.scheme,
                batch_size=problem.batch_size,
                settings=problem.given_to(proxy),
                on_compile=functools.partial(self.announce, "scoring"),
            )
            for proxy in problem.members
            for more in range(1 if isinstance(proxy, SizeProxy) else problem.score_seeds)
        ]

    def train(self, genotype: Any, *, epochs: int | None = None) -> Trained:
        """Train a genotype by the problem's recipe, or by that recipe with another number of epochs. A training that was begun goes on.

        One program serves all genotypes and numbers of epochs, unless the recipe drops paths: then each genotype compiles its own. Only the
        variables of trainings by the recipe itself are kept.
        """
        found = None if self._trainings is None else self._trainings.take(self._job(genotype, epochs))
        if found is None:
            return as_trained(self._train(genotype, epochs))
        trained, variables = found
        if variables is not None:
            self._variables[genotype] = variables
        return trained

    @property
    def _trainer(self) -> Trainer:
        problem = self.problem
        return Trainer(network=problem.network, dataset=problem.dataset, recipe=problem.recipe, seed=problem.seed, scheme=problem.scheme)

    def _train(self, genotype: Any, epochs: int | None = None) -> Training:
        on_epoch, recipe = self._on_epoch, self.problem.recipe
        if recipe.drop_path or not self._trained:
            self.announce("training")
        training = self._trainer.train(
            genotype,
            self._place(genotype, epochs),
            epochs=epochs,
            on_epoch=None if on_epoch is None else lambda record: on_epoch(genotype, record),
        )
        self._trained = True
        if epochs in (None, recipe.epochs):
            self._variables[genotype] = jax.device_get(training.variables)
        return training

    def test(self, genotype: Any) -> Tested:
        """Return the test metrics of a trained genotype, with the seconds that this took, compilation included."""
        start = time.perf_counter()
        problem, variables = self.problem, self.variables(genotype)
        metrics = evaluate(problem.network, variables, genotype, problem.dataset, "test", precision=problem.recipe.precision)
        return Tested(metrics.accuracy, metrics.loss, metrics.n, time.perf_counter() - start)

    def variables(self, genotype: Any) -> Any:
        """Return ``{"params", "batch_stats"}`` of a trained genotype: from memory, else from its folder, else by training it again."""
        if genotype not in self._variables:
            self._train(genotype)
        return self._variables[genotype]

    def keep_only(self, genotype: Any) -> None:
        """Forget the trained variables of every other genotype, and its folder: weights and momenta of all operations take tens of MB."""
        self._variables = {kept: variables for kept, variables in self._variables.items() if kept == genotype}
        if self._folder is None or not self._folder.is_dir():
            return
        coming = () if self._trainings is None else self._trainings.expected
        kept_places = {None if genotype is None else self._place(genotype), *(job.folder for job in coming)}
        for place in self._folder.iterdir():
            # Only what is named like a code was made here, should someone search into a folder that holds other things.
            code, _, epochs = place.name.partition("-")
            length = min(self._digits * self.problem.space.num_edges, _LONGEST_NAME)
            named = code.isdecimal() and len(code) == length and (not epochs or epochs.isdecimal())
            if named and place.is_dir() and place not in kept_places:
                shutil.rmtree(place)

    @property
    def _digits(self) -> int:
        """How many digits the number of an operation has in the name of a folder."""
        return len(str(len(self.problem.space.operations) - 1))

    def _job(self, genotype: Any, epochs: int | None) -> TrainingJob:
        epochs = None if epochs == self.problem.recipe.epochs else epochs
        return TrainingJob(genotype, epochs, self._place(genotype, epochs))

    def _place(self, genotype: Any, epochs: int | None = None) -> Path | None:
        if self._folder is None:
            return None
        code = "".join(str(digit).zfill(self._digits) for digit in genotype.code)
        if len(code) > _LONGEST_NAME:  # than file systems allow
            code = str(int(hashlib.sha256(code.encode()).hexdigest(), 16))[:_LONGEST_NAME].zfill(_LONGEST_NAME)
        return self._folder / (code if epochs in (None, self.problem.recipe.epochs) else f"{code}-{epochs}")
