"""A search problem at the smallest size, and an evaluator that makes up its numbers in no time."""

import functools
import hashlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from jknas import spaces
from jknas.data import Dataset, load
from jknas.networks.nasbench201.network import CellNetwork
from jknas.search import Problem, method
from jknas.search.method import Scored
from jknas.search.state import Tested, Trained
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.training import EpochRecord, Metrics, Recipe, Training

SPACE = spaces.get("nasbench201")
RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
DEAD = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@functools.cache
def tiny_digits() -> Dataset:
    return load("digits", resolution=8, limit=(40, 20))


def problem(**changes: Any) -> Problem:
    recipe = Recipe(epochs=2, batch_size=16, learning_rate=0.05)
    fields = {"space": SPACE, "dataset": tiny_digits(), "network": CellNetwork(4, 1), "recipe": recipe, "seed": 0, "batch_size": 4}
    return Problem(**(fields | {"measured": measured()} | changes))


@functools.cache
def measured() -> dict[str, dict[CellGenotype, float]]:
    """Made-up scores of two proxies, one of them with a gap."""
    pool = SPACE.sample(np.random.default_rng(2), 12, unique=True)
    scores = {name: {genotype: number(name + str(genotype)) for genotype in pool} for name in ("one", "two")}
    scores["two"][pool[0]] = float("nan")
    return scores


def number(text: str) -> float:
    """A number in 0..1 that follows from a text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8


class Evaluator(method.Evaluator):
    """Scores and accuracies made up from the genotype; counts what it was asked."""

    scores: ClassVar[dict[str, tuple[float, str]]] = {}
    accuracies: ClassVar[dict[str, float]] = {}
    diverging: tuple[str, ...] = ()
    asked: ClassVar[list[tuple[str, str]]] = []
    fail_at: int | None = None

    def __init__(self, problem: Problem, *, folder: Any = None, on_compile: Any = None, on_epoch: Any = None) -> None:
        del on_compile, on_epoch
        super().__init__(problem)
        self.folder = folder

    def _ask(self, what: str, genotype: CellGenotype) -> None:
        if Evaluator.fail_at is not None and len(Evaluator.asked) >= Evaluator.fail_at:
            raise KeyboardInterrupt
        Evaluator.asked.append((what, str(genotype)))

    def score(self, genotype: CellGenotype, members: Sequence[str] | None = None) -> Scored:
        self._ask("score", genotype)
        text = str(genotype)
        plain = (number(text), "dead" if SPACE.is_dead(genotype) else "ok")
        score, status = Evaluator.scores.get(text, plain)
        return Scored(score, status, 0.5, True, 0.25)

    def train(self, genotype: CellGenotype, *, epochs: int | None = None) -> Trained:
        self._ask("train" if epochs is None else f"train {epochs}", genotype)
        made = training(genotype, self.problem.recipe, self.problem.seed)
        final = made.final["validation"]
        curves = tuple(epoch.as_dict() for epoch in made.curves)
        return Trained(made.status, final.accuracy, final.loss, made.run_seconds, made.compile_seconds, curves)

    def test(self, genotype: CellGenotype) -> Tested:
        self._ask("test", genotype)
        return Tested(number("test" + str(genotype)), 1.0, 20, 0.5)


def training(genotype: CellGenotype, recipe: Recipe, seed: int) -> Training:
    """What `jknas.training.train` would return, made up."""
    text = str(genotype)
    accuracy = Evaluator.accuracies.get(text, number("accuracy" + text))
    status = "diverged" if text in Evaluator.diverging else "ok"
    loss = float("nan") if status == "diverged" else 1.0
    curve = EpochRecord(0, 0.1, loss, accuracy, {"validation": Metrics(loss, accuracy, 20)}, 0.125)
    return Training(genotype, recipe, seed, status, (curve,), {"params": {}, "batch_stats": {}}, 0.5)
