"""What workers do ahead of a search: the search still takes one step after the other, and finds its next results computed.

A search that scores a sample, trains a list of architectures or measures the removals of a round knows what it will ask for next.
:class:`Ahead` has workers begin with it. Steps, their order and their results are those of a search without workers, times apart.
"""

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import jax

from jknas.data import Dataset
from jknas.networks.layers.initialisation import Scheme
from jknas.networks.network import Network
from jknas.search.state import Trained
from jknas.training import Training, train
from jknas.training.recipe import AnyRecipe

R = TypeVar("R")


class Ahead(Generic[R]):
    """Results that are on their way, of questions that will be asked in this order.

    Args:
        questions: architectures, or whatever else is asked.
        results: of each of them, in their order.
    """

    def __init__(self, questions: Iterable[Any], results: Iterator[R]) -> None:
        self.expected = deque(questions)
        self._results = results

    def take(self, question: Any) -> R | None:
        """Return the result of the next question; None of any other."""
        if not self.expected or self.expected[0] != question:
            return None
        found = next(self._results)
        self.expected.popleft()
        return found


def in_order(results: Iterator[tuple[int, R]]) -> Iterator[R]:
    """Yield the results of a pool in the order of the jobs."""
    waiting: dict[int, R] = {}
    wanted = 0
    for place, result in results:
        waiting[place] = result
        while wanted in waiting:
            yield waiting.pop(wanted)
            wanted += 1


class TrainingJob(NamedTuple):
    """One training: of which architecture, for how many epochs (None: as many as the recipe has), and the folder of its progress."""

    genotype: Any
    epochs: int | None
    folder: Path | None

    def __str__(self) -> str:
        return f"the training of {self.genotype}"


def distinct(jobs: Iterable[TrainingJob]) -> list[TrainingJob]:
    """Return the jobs up to the first one that came before: no two workers may write into one folder."""
    found: dict[TrainingJob, None] = {}
    for job in jobs:
        if job in found:
            break
        found[job] = None
    return list(found)


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Trainings that differ in the architecture alone; what workers are sent.

    Attributes:
        network: the network.
        dataset: its images.
        recipe: how it is trained.
        seed: of weights and order.
        scheme: initialisation.
    """

    network: Network
    dataset: Dataset
    recipe: AnyRecipe
    seed: int
    scheme: Scheme

    def train(self, genotype: Any, folder: Path | None, *, epochs: int | None = None, on_epoch: Any = None) -> Training:
        """Train an architecture; go on from its folder if that holds progress."""
        recipe = self.recipe if epochs is None else dataclasses.replace(self.recipe, epochs=epochs)
        return train(
            self.network,
            genotype,
            self.dataset,
            recipe=recipe,
            seed=self.seed,
            scheme=self.scheme,
            wiring="static" if recipe.drop_path else "code",
            checkpoint=folder,
            resume=folder is not None,
            on_epoch=on_epoch,
        )

    def __call__(self, job: TrainingJob) -> tuple[Trained, Any]:
        """Return how a training ended, and its variables unless they are in its folder, or those of a shorter training."""
        training = self.train(job.genotype, job.folder, epochs=job.epochs)
        return as_trained(training), jax.device_get(training.variables) if job.folder is None and job.epochs is None else None


def as_trained(training: Training) -> Trained:
    """Return what a search remembers of a training."""
    final = training.final["validation"]
    curves = tuple(epoch.as_dict() for epoch in training.curves)
    return Trained(training.status, final.accuracy, final.loss, training.run_seconds, training.compile_seconds, curves)
