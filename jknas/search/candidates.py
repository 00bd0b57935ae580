"""Candidates as plain data: made, ranked by score, trained, chosen.

A candidate is a mapping:

``genotype``
    architecture string.
``score``, ``status``, ``seconds``
    from the proxy, see :class:`jknas.scoring.store.ScoreRecord`; the status "unscored", and None for the others, where no proxy was asked.
``rank``
    1 for the best score, None before all are scored.
``training``
    None, or what `trained` makes of a training.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jknas.scoring.store import STATUSES, ScoreRecord
from jknas.training import EpochRecord, Metrics

Candidate = Mapping[str, Any]


class Trained(Protocol):
    """What a :class:`jknas.training.Training` and a row of a table (:class:`jknas.search.table_evaluator.LookedUp`) have in common."""

    @property
    def status(self) -> str:
        """The status, "ok" or "diverged"."""
        ...

    @property
    def final(self) -> Mapping[str, Metrics]:
        """The evaluated splits after the last epoch."""
        ...

    @property
    def curves(self) -> tuple[EpochRecord, ...]:
        """One record an epoch; none from a table."""
        ...

    @property
    def compile_seconds(self) -> float:
        """Seconds of compilation."""
        ...

    @property
    def run_seconds(self) -> float:
        """Seconds of training."""
        ...


_LAST = {"unscored": 0, **{status: place for place, status in enumerate(STATUSES)}}


def drawn(genotype: Any) -> dict[str, Any]:
    """Return a candidate that is nothing but a genotype yet."""
    return {"genotype": str(genotype), "score": None, "status": "unscored", "seconds": None, "rank": None, "training": None}


def scored(candidate: Candidate, record: ScoreRecord) -> dict[str, Any]:
    """Return the candidate with its score."""
    return {**candidate, "score": record.score, "status": record.status, "seconds": record.seconds}


def order_by_score(candidates: Sequence[Candidate], sign: int) -> list[int]:
    """Return the places of the candidates from the best score to the worst.

    The scores of status "ok" come first. Then, whatever their numbers, the others in the order of `jknas.scoring.store.STATUSES`. Ties
    keep the
    order in which the architectures were drawn, which is uniformly random and so favours none.
    """

    def position(place: int) -> tuple[int, float, int]:
        candidate = candidates[place]
        group = _LAST[candidate["status"]]
        return group, -sign * candidate["score"] if candidate["status"] == "ok" else 0.0, place

    return sorted(range(len(candidates)), key=position)


def ranked(candidates: Sequence[Candidate], sign: int) -> list[dict[str, Any]]:
    """Return the candidates, in their order, each with its rank."""
    ranks = {place: rank for rank, place in enumerate(order_by_score(candidates, sign), start=1)}
    return [{**candidate, "rank": ranks[place]} for place, candidate in enumerate(candidates)]


def trained(candidate: Candidate, training: Trained) -> dict[str, Any]:
    """Return the candidate with its training: status, validation accuracy after the last epoch, curves and seconds."""
    final = training.final["validation"]
    record = {
        "status": training.status,
        "validation_accuracy": final.accuracy,
        "validation_loss": final.loss,
        "curves": [epoch.as_dict() for epoch in training.curves],
        "compile_seconds": training.compile_seconds,
        "seconds": training.run_seconds,
    }
    return {**candidate, "training": record}


def best_trained(candidates: Sequence[Candidate], sign: int) -> int | None:
    """Return the place of the trained candidate with the highest final validation accuracy, None when none is trained.

    Equal accuracies: the better score, then the one drawn first. Diverged trainings come last, whatever their accuracy.
    """
    places = [place for place, candidate in enumerate(candidates) if candidate["training"] is not None]
    if not places:
        return None
    by_score = {place: rank for rank, place in enumerate(order_by_score(candidates, sign))}

    def position(place: int) -> tuple[bool, float, int]:
        training = candidates[place]["training"]
        return training["status"] != "ok", -training["validation_accuracy"], by_score[place]

    return min(places, key=position)


def replaced(candidates: Sequence[Candidate], place: int, candidate: Candidate) -> list[Candidate]:
    """Return the list with one candidate replaced."""
    return [*candidates[:place], candidate, *candidates[place + 1 :]]
