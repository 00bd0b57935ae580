"""The state of a search: frozen records, which a step replaces and :mod:`jknas.search.checkpoint` writes as JSON text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

Genotype = Annotated[Any, "genotype"]
"""A genotype of the searched space. In a checkpoint it is its text, which the space's ``parse`` reads back."""

UNSCORED = "unscored"


class Tested(NamedTuple):
    """The winner on the test split: accuracy (0..1), cross-entropy in nats (NaN from a table), number of images, seconds spent."""

    accuracy: float
    loss: float
    n: int
    seconds: float


@dataclass(frozen=True)
class Trained:
    """How an architecture's training ended, or what a table says of it.

    Attributes:
        status: "ok" or "diverged".
        validation_accuracy: after the last epoch, 0..1.
        validation_loss: cross-entropy in nats after the last epoch; NaN from a table.
        seconds: time of training; on a table the cost of the evaluation by the problem's accounting.
        compile_seconds: time of compilation.
        curves: one flat mapping of numbers per epoch (:meth:`jknas.training.EpochRecord.as_dict`); none from a table.
    """

    status: str
    validation_accuracy: float
    validation_loss: float
    seconds: float
    compile_seconds: float = 0.0
    curves: tuple[dict[str, Any], ...] = ()

    @property
    def value(self) -> tuple[bool, float]:
        """What trained candidates are compared by: validation accuracy; all that diverged come last."""
        return self.status == "ok", self.validation_accuracy


class Part(NamedTuple):
    """One of several scores of an architecture: the proxy, the seed, the score with the larger the better, and its status."""

    proxy: str
    seed: int
    value: float
    status: str


@dataclass(frozen=True)
class Candidate:
    """An architecture that a search has drawn.

    Attributes:
        genotype: the architecture.
        score: of the problem's proxy, or its value in the sample where that is ranked by several (:mod:`jknas.search.pooled`); None where
            there is none.
        status: of the score, one of :data:`jknas.scoring.record.STATUSES`, or "unscored".
        seconds: time of the score's computation.
        rank: 1 for the best score; None before the whole sample is scored.
        training: None before the architecture is trained.
        parts: the scores that are ranked together; none where there is one only.
        lacks: the proxies by which it is to be scored next.
    """

    genotype: Genotype
    score: float | None = None
    status: str = UNSCORED
    seconds: float | None = None
    rank: int | None = None
    training: Trained | None = None
    parts: tuple[Part, ...] = ()
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class State:
    """What the state of every method holds; a method that remembers more extends it.

    Every field is None, a bool, int, float, string, genotype, record, named tuple or a tuple of these. A field annotated ``Any`` holds
    what JSON has: numbers, strings, lists and mappings.

    Attributes:
        candidates: in the order drawn.
        chosen: places of the candidates to train, None before they are chosen. Methods that evaluate one architecture after the other
            (:mod:`jknas.search.sequential`) list those evaluated so far.
        winner: place of the best candidate so far, or None.
        test: the winner on the test split; None before the end.
        compile_seconds: time of compilation.
        score_seconds: time of scoring.
        train_seconds: time of training; on a table, the simulated time.
        test_seconds: time of testing.
    """

    candidates: tuple[Candidate, ...] = ()
    chosen: tuple[int, ...] | None = None
    winner: int | None = None
    test: Tested | None = None
    compile_seconds: float = 0.0
    score_seconds: float = 0.0
    train_seconds: float = 0.0
    test_seconds: float = 0.0


def order_by_score(candidates: Sequence[Candidate], sign: int) -> list[int]:
    """Return the places of the candidates from the best score to the worst.

    Scores of status "ok" come first. The others follow in the order of :data:`jknas.scoring.record.STATUSES`, whatever their numbers. Ties
    keep the order in which the architectures were drawn, which is uniformly random and favours none.

    Args:
        candidates: of one search.
        sign: 1 where a higher score is better, otherwise -1.
    """
    from jknas.scoring.record import STATUSES  # noqa: PLC0415 - its room imports JAX, which `jknas search --help` need not

    groups = {status: group for group, status in enumerate(STATUSES)} | {UNSCORED: 0}

    def position(place: int) -> tuple[int, float, int]:
        candidate = candidates[place]
        usable = candidate.status == "ok" and candidate.score is not None
        return groups[candidate.status], -sign * candidate.score if usable else 0.0, place  # type: ignore[operator]

    return sorted(range(len(candidates)), key=position)


def ranked(candidates: Sequence[Candidate], sign: int) -> tuple[Candidate, ...]:
    """Return the candidates, in their order, each with its rank by score."""
    ranks = {place: rank for rank, place in enumerate(order_by_score(candidates, sign), start=1)}
    return tuple(replace(candidate, rank=ranks[place]) for place, candidate in enumerate(candidates))


def best_trained(candidates: Sequence[Candidate], sign: int) -> int | None:
    """Return the place of the trained candidate with the highest final validation accuracy; None when none is trained.

    Equal accuracies go to the better score, then to the one drawn first. Diverged trainings come last, whatever their accuracy.
    """
    trained = [place for place in order_by_score(candidates, sign) if candidates[place].training is not None]
    return max(trained, key=lambda place: candidates[place].training.value, default=None)  # type: ignore[union-attr]
