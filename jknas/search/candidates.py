"""Candidates as plain data: made, ranked by score, trained, chosen.

A candidate is a mapping:

``genotype``, ``canonical``
    architecture strings.
``score``, ``status``, ``seconds``
    from the proxy, see :class:`jknas.store.ScoreRecord`; the status "unscored", and None for the others, where no proxy was asked.
``rank``
    1 for the best score, None before all are scored.
``training``
    None, or what `trained` makes of a training.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jknas.search.problem import Problem
from jknas.store import STATUSES, ScoreRecord
from jknas.training import Training

Candidate = Mapping[str, Any]

_LAST = {"unscored": 0, **{status: place for place, status in enumerate(STATUSES)}}


def drawn(problem: Problem, genotype: Any) -> dict[str, Any]:
    """Return a candidate that is nothing but a genotype yet."""
    canonical = str(problem.space.canonical(genotype))
    return {
        "genotype": str(genotype),
        "canonical": canonical,
        "score": None,
        "status": "unscored",
        "seconds": None,
        "rank": None,
        "training": None,
    }


def scored(candidate: Candidate, record: ScoreRecord) -> dict[str, Any]:
    """Return the candidate with its score."""
    return {**candidate, "score": record.score, "status": record.status, "seconds": record.seconds}


def order_by_score(candidates: Sequence[Candidate], sign: int) -> list[int]:
    """Return the places of the candidates from the best score to the worst.

    The scores of status "ok" come first. Then, whatever their numbers, the others in the order of `jknas.store.STATUSES`. Ties keep the
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


def trained(candidate: Candidate, training: Training) -> dict[str, Any]:
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
