"""MF-NAS: score many architectures without training, then halve the best few by trainings that get longer.

The architectures to score are a random sample, as the released settings for NAS-Bench-201 have it, or those that a local search by the
score visits (:mod:`jknas.search.local`), as the title has it.

The published rungs are 12, 25, 50, 100 and 200 epochs: of 32 candidates 16, 8, 4 and 2 survive, and the better of the last two by
validation accuracy wins.

Where networks are trained, the problem's recipe is the last rung, and the others are the same shares of its epochs, rounded; rungs that
come out equal are one. A table answers the rungs that it holds: NAS-Bench-201's means have 12 and 200 epochs, so that the 32 candidates are
looked up after 12 epochs, and the best two of these after 200.

Reference: Phan and Luong, "Efficient Multi-Fidelity Neural Architecture Search with Zero-Cost Proxy-Guided Local Search" (MF-NAS), GECCO
2024, and its released code, https://github.com/ELO-Lab/MF-NAS. Which of the two its results rest on is not said there. A sample of 2,000 of
15,625 cells holds a given cell once in eight times: results without any spread are not those of random samples.

Deviations: the winner is the best of the last rung by validation accuracy, where the released code takes the best of these two by *test*
accuracy. A random sample is drawn without replacement, and ties are ordered, of scores by :func:`jknas.search.state.order_by_score`, of
accuracies by score. Every rung is a training of its own from the first epoch, whose learning rate falls to zero, and is paid for in full;
the published rungs are epochs of one training of 200, of which a rung costs only what it adds (1,192 epochs for 32 candidates; 784 here on
a table with the rungs 12 and 200, 1,984 with all five). There is no limit on seconds. On a table the search sees validation accuracies
after 200 epochs, which searches under the usual protocol (:data:`jknas.tabular.PROTOCOLS`) do not; they are in its cost.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from jknas.errors import SearchError
from jknas.errors import choose as check_choice
from jknas.search.local import LocalState, climb
from jknas.search.method import Completion, Evaluator, SearchMethod, SearchProblem, check_count, option
from jknas.search.pooled import is_pooled
from jknas.search.state import State, Trained
from jknas.search.steps import best_places, draw_sample, is_ranked, score_next, scoring_progress, test_winner, with_training

RUNGS = (12, 25, 50, 100, 200)
"""Epochs of the published rungs."""

EXPLORE = ("random", "local")


class Rung(NamedTuple):
    """One rung: for how many epochs, the places of its candidates, and how the trainings that are finished ended."""

    epochs: int
    places: tuple[int, ...]
    trainings: tuple[Trained, ...]


@dataclass(frozen=True, kw_only=True)
class MfNasState(LocalState):
    """The rungs begun so far, the last one perhaps in progress. A candidate's own training is its longest."""

    rungs: tuple[Rung, ...] = ()
    sizes: tuple[int, ...] = ()
    epochs: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MfNas(SearchMethod[MfNasState]):
    """MF-NAS.

    Cost: ``samples`` proxy scores, and on rung r of the published ones ``topk`` / 2^r trainings; two compilations.

    Attributes:
        samples: architectures to score (of a local search those to visit). Dead cells are drawn too, and rank last.
        explore: "random": draw them uniformly, without replacement. "local": climb by the score; every architecture of the space needs one.
        topk: how many of the best the first rung trains; every further published rung trains half as many.
    """

    name: ClassVar[str] = "mf_nas"
    state: ClassVar[type[State]] = MfNasState
    proxy: ClassVar[str] = "ranks"
    workers: ClassVar[str] = "score a random sample and train each rung"

    samples: int = option(2000, "architectures to sample and score")
    topk: int = option(32, "candidates to train")
    explore: str = option("random", "random or local: sample, or climb by the score")

    def __post_init__(self) -> None:
        check_choice("way to explore", self.explore, EXPLORE, error=SearchError)

    def init(self, problem: SearchProblem) -> MfNasState:  # noqa: D102
        if self.explore == "local" and is_pooled(problem):
            raise SearchError(
                "explore=local climbs by a score of one architecture, and several scores only rank a whole sample: name one proxy and one "
                "seed (--proxy synflow), or explore=random."
            )
        candidates = draw_sample(problem, self.samples)
        check_count("topk", self.topk, most=self.samples, of=f"only {self.samples} architectures are sampled")
        plan: dict[int, int] = {}
        for place, epochs in enumerate(problem.rungs(RUNGS)):
            if epochs is not None:
                plan.setdefault(epochs, math.ceil(self.topk / 2**place))
        if not plan:
            raise SearchError(f"mf_nas halves by accuracies after {', '.join(map(str, RUNGS))} epochs, and the table holds none of them.")
        return MfNasState(
            candidates=candidates if self.explore == "random" else (), epochs=tuple(plan), sizes=(self.topk, *tuple(plan.values())[1:])
        )

    def step(self, evaluator: Evaluator, state: MfNasState) -> MfNasState:  # noqa: D102
        if not state.rungs:
            if self.explore == "local":
                state = climb(evaluator, state, visits=self.samples, least=self.topk)
            else:
                state = score_next(evaluator, state)
            return self._begun(state, best_places(state, self.topk)) if is_ranked(state) else state
        rung = state.rungs[-1]
        if len(rung.trainings) == len(rung.places):
            return test_winner(evaluator, state)
        places = rung.places[len(rung.trainings) :]
        coming, place = [state.candidates[one].genotype for one in places], places[0]
        evaluator.expect_trainings(coming, epochs=rung.epochs)
        training = evaluator.train(coming[0], epochs=rung.epochs)
        rung = rung._replace(trainings=(*rung.trainings, training))
        best = ordered(state, rung)
        state = replace(with_training(state, place, training), rungs=(*state.rungs[:-1], rung), winner=best[0])
        full = len(rung.trainings) == len(rung.places)
        return self._begun(state, best) if full and len(state.rungs) < len(state.sizes) else state

    def progress(self, state: MfNasState) -> Completion:  # noqa: D102
        if not state.rungs:
            return (
                scoring_progress(state) if self.explore == "random" else Completion("score", min(state.visits, self.samples), self.samples)
            )
        trained, total = sum(len(rung.trainings) for rung in state.rungs), sum(state.sizes)
        return Completion("train" if trained < total else "test", trained, total)

    def report(self, problem: SearchProblem, state: MfNasState) -> dict[str, Any]:
        """Return what every rung trained, for how long, and how well."""
        del problem
        return {"rungs": [{"epochs": rung.epochs, "trained": _trained(state, rung)} for rung in state.rungs]}

    def _begun(self, state: MfNasState, places: tuple[int, ...]) -> MfNasState:
        """Return the state with the next rung, of the first of these places."""
        number = len(state.rungs)
        rung = Rung(state.epochs[number], places[: state.sizes[number]], ())
        return replace(state, rungs=(*state.rungs, rung), chosen=rung.places if state.chosen is None else state.chosen)


def ordered(state: State, rung: Rung) -> tuple[int, ...]:
    """Return the places whose trainings are finished, best first; of equal accuracies the better score."""

    def key(entry: tuple[int, Trained]) -> tuple[bool, float, int]:
        place, training = entry
        sound, accuracy = training.value
        rank = state.candidates[place].rank
        assert rank is not None
        return not sound, -accuracy, rank

    finished = zip(rung.places, rung.trainings, strict=False)
    return tuple(place for place, _ in sorted(finished, key=key))


def _trained(state: State, rung: Rung) -> list[dict[str, Any]]:
    return [
        {
            "genotype": str(state.candidates[place].genotype),
            "validation_accuracy": training.validation_accuracy,
            "status": training.status,
            "seconds": training.seconds,
        }
        for place, training in zip(rung.places, rung.trainings, strict=False)
    ]
