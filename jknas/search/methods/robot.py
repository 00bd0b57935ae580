"""RoBoT: learn from a few short trainings how to mix scores that need none, then train what the best mixture ranks first.

Every score is scaled to [0, 1] over the pool. A mixture is their sum with weights in [-1, 1]; an architecture's query is its training by
the problem's recipe (on a table: its accuracy after 12 epochs). Bayesian optimisation proposes T weights one after the other and sees the
accuracy of the architecture that each ranks first; an architecture that came up before is not trained again. The queries that are left go
down the ranking of the best weights. So there are T queries, however many mixtures agreed on one architecture.

The optimiser is that of the package bayesian-optimization (the extra ``robot``), imported when the method is used: a Gaussian process with
a Matern kernel (nu = 5/2), whose upper confidence bound (kappa = 2.576) is maximised; the first weights are drawn uniformly.

Reference: He, Shu, Dai and Low, "Robustifying and Boosting Training-Free Neural Architecture Search", ICLR 2024, arXiv:2403.07591, and its
released code, https://github.com/hzf1174/RoBoT. Optimiser: Nogueira, https://github.com/bayesian-optimization/BayesianOptimization.

Deviations from the paper: the weights are proposed by an upper confidence bound, as in the released code, and not by information-directed
sampling. From the released code: the pool is what the problem has scores of; ties of a mixture go to the architecture that is listed first
there (as in the code, where that is the published order); scores that are all equal contribute 0, where the code divides by zero; the
search chooses by the accuracy of its own data set, where the code asks for that of CIFAR-10, whatever is reported (search on CIFAR-10 and
look the winner up for the others).
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float

from jknas.errors import SearchError
from jknas.errors import choose as check_choice
from jknas.registry import optional
from jknas.search.measured import Measured
from jknas.search.method import Evaluator, SearchProblem, check_count, option
from jknas.search.sequential import Sequential, SequentialState
from jknas.search.state import State

PUBLISHED = ("grad_norm", "snip", "grasp", "fisher", "synflow", "jacob_cov")

_KAPPA = 2.576
_SEEDS = 2**32
_TRIAL = 1  # what sets the stream of random numbers of the proposals apart


class Trial(NamedTuple):
    """Weights that were proposed, and the place of the candidate that they rank first."""

    weights: tuple[float, ...]
    place: int


@dataclass(frozen=True, kw_only=True)
class RobotState(SequentialState):
    """What the optimiser has seen.

    Attributes:
        trials: proposed weights, in order, with what they rank first.
        proposal: weights whose first architecture is trained next; None once all are proposed.
    """

    trials: tuple[Trial, ...] = ()
    proposal: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Robot(Sequential[RobotState]):
    """RoBoT.

    Cost: ``queries`` trainings of the problem's recipe, and about 0.2 s for each proposal; the scores are made before. One compilation.

    Attributes:
        queries: architectures to train, each a different one, and weights to propose, T.
        members: names of the proxies to mix, separated by commas; None for the six published ones where all are measured, else for all that
            are.

    Raises:
        SearchError: an impossible setting.
    """

    name: ClassVar[str] = "robot"
    proxy: ClassVar[str] = "mixes"
    state: ClassVar[type[State]] = RobotState
    limited_by: ClassVar[str] = "queries"
    workers: ClassVar[str] = "train what the best weights rank first, once all weights are proposed"

    queries: int = option(20, "architectures to train or look up, each a different one")
    members: str | None = option(
        None, "proxies to mix, separated by commas", usually=f"{', '.join(PUBLISHED)} where all of them are measured, else all that are"
    )

    def __post_init__(self) -> None:
        check_count("queries", self.queries)
        super().__post_init__()

    def init(self, problem: SearchProblem) -> RobotState:  # noqa: D102
        mixture = self._mixture(problem)
        size = len(mixture.genotypes)
        check_count("queries", self.queries, most=size, of=f"the scores are those of {size} architectures")
        _bayes_opt()
        return RobotState(chosen=())

    def step(self, evaluator: Evaluator, state: RobotState) -> RobotState:
        """Propose weights until they rank an architecture first that was not trained before, and train it."""
        return super().step(evaluator, state if self.is_over(state) else self._proposed(evaluator, state))

    def choose(self, evaluator: Evaluator, state: RobotState, rng: np.random.Generator) -> int | Any:
        """Return the architecture that the proposal ranks first; without a proposal the first new one by the best weights."""
        del rng
        weights = best_weights(state) if state.proposal is None else state.proposal
        return self._kept(evaluator).first(weights, known={one.genotype for one in state.candidates})

    def coming(self, evaluator: Evaluator, state: RobotState) -> Sequence[Any]:
        """Return the queries that are left once all weights are proposed; each proposal depends on those before it."""
        if state.proposal is not None:
            return ()
        ranked = self._kept(evaluator).ranked(best_weights(state), known={one.genotype for one in state.candidates})
        return list(itertools.islice(ranked, self.queries - len(state.chosen or ())))

    def learn(self, state: RobotState, place: int) -> RobotState:
        """Count the proposal among the trials."""
        if state.proposal is None:
            return state
        return replace(state, trials=(*state.trials, Trial(state.proposal, place)), proposal=None)

    def report(self, problem: SearchProblem, state: RobotState) -> dict[str, Any]:
        """Return the proxies, the trials with their weights, and the best weights."""
        trials = [{"weights": list(one.weights), "genotype": str(state.candidates[one.place].genotype)} for one in state.trials]
        best = list(best_weights(state)) if state.trials else None
        return {"mixture": {"proxies": list(self._names(problem)), "weights": best, "trials": trials}}

    def _proposed(self, evaluator: Evaluator, state: RobotState) -> RobotState:
        mixture = self._kept(evaluator)
        places = {one.genotype: place for place, one in enumerate(state.candidates)}
        while len(state.trials) < self.queries:
            weights = _propose(state, mixture.names, evaluator.problem.seed)
            place = places.get(mixture.first(weights))
            if place is None:
                return replace(state, proposal=weights)
            state = replace(state, trials=(*state.trials, Trial(weights, place)))
        return replace(state, proposal=None)

    def _kept(self, evaluator: Evaluator) -> "Mixture":
        kept: Mixture = evaluator.made("robot", lambda: self._mixture(evaluator.problem))
        return kept

    def _mixture(self, problem: SearchProblem) -> "Mixture":
        names = self._names(problem)
        assert problem.measured is not None
        return Mixture(problem.measured, names)

    def _names(self, problem: SearchProblem) -> tuple[str, ...]:
        measured = problem.measured
        if measured is None:
            raise SearchError(
                "robot mixes the scores of several proxies, and the problem has none: search with --table, and name them with --scores or "
                "--db; in Python pass measured={proxy: {genotype: score}}, the scores of one pool, larger better, and NaN where a score's "
                "status is not 'ok'."
            )
        if self.members is None:
            return PUBLISHED if measured.keys() >= set(PUBLISHED) else tuple(sorted(measured))
        names = tuple(name.strip() for name in self.members.split(","))
        for name in names:
            check_choice("measured proxy", name, tuple(sorted(measured)), error=SearchError)
        if len(set(names)) < len(names):
            raise SearchError(f"members is {self.members!r}; expected each proxy once.")
        return names


class Mixture:
    """Scores of a pool, scaled to be mixed.

    Args:
        measured: by proxy and genotype, every proxy on the same genotypes.
        names: of the proxies to mix.

    Attributes:
        names: of the proxies.
        genotypes: the pool, in the order of the first proxy of ``measured``.
        scaled: [proxies, n], in [0, 1]; 0 where a score is NaN.
    """

    def __init__(self, measured: Measured, names: tuple[str, ...]) -> None:
        self.names = names
        self.genotypes = tuple(next(iter(measured.values())))
        listed = [[measured[name][genotype] for genotype in self.genotypes] for name in names]
        self.scaled: Float[np.ndarray, "proxies n"] = np.stack([scaled(np.asarray(scores, np.float64)) for scores in listed])

    def first(self, weights: tuple[float, ...], known: set[Any] | frozenset[Any] = frozenset()) -> Any:
        """Return the first genotype by these weights that is not known; of equals the one listed first."""
        if not known:
            return self.genotypes[int(np.argmax(np.asarray(weights) @ self.scaled))]
        return next(self.ranked(weights, known))

    def ranked(self, weights: tuple[float, ...], known: set[Any] | frozenset[Any]) -> Iterator[Any]:
        """Yield the genotypes that are not known, the first by these weights first; of equals the one listed first."""
        order = np.argsort(-(np.asarray(weights) @ self.scaled), kind="stable")
        return (self.genotypes[place] for place in order if self.genotypes[place] not in known)


def scaled(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return scores moved and stretched to [0, 1]; NaN becomes 0, as do scores that are all equal.

    >>> scaled(np.array([3.0, np.nan, 5.0, 4.0]))
    array([0. , 0. , 1. , 0.5])
    """
    known = scores[~np.isnan(scores)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    if not high > low:
        return np.zeros_like(scores)
    return np.where(np.isnan(scores), 0.0, (scores - low) / (high - low))


def best_weights(state: RobotState) -> tuple[float, ...]:
    """Return the weights whose first architecture has the highest accuracy; of equals those that were proposed last."""
    return max(reversed(state.trials), key=lambda one: _accuracy(state, one)).weights


def _accuracy(state: RobotState, trial: Trial) -> float:
    training = state.candidates[trial.place].training
    assert training is not None
    sound, accuracy = training.value
    return accuracy if sound else 0.0  # diverged: no better than the worst


def _propose(state: RobotState, names: tuple[str, ...], seed: int) -> tuple[float, ...]:
    """Return the next weights. The optimiser is made again from the state, so that a resumed search proposes the same."""
    bayes_opt = _bayes_opt()
    drawn = int(np.random.default_rng((seed, _TRIAL, len(state.trials))).integers(_SEEDS))
    optimiser = bayes_opt.BayesianOptimization(
        f=None,
        pbounds=dict.fromkeys(names, (-1.0, 1.0)),
        acquisition_function=bayes_opt.acquisition.UpperConfidenceBound(kappa=_KAPPA),
        random_state=drawn,
        verbose=0,
    )
    seen = {trial.weights: _accuracy(state, trial) for trial in state.trials}  # of weights that come again one
    for weights, accuracy in seen.items():
        optimiser.register(params=dict(zip(names, weights, strict=True)), target=accuracy)
    proposed = optimiser.suggest()
    return tuple(float(proposed[name]) for name in names)


def _bayes_opt() -> Any:
    message = "robot needs bayesian-optimization, which is not installed: pip install 'jknas[robot]'."
    return optional("bayes_opt", message, error=SearchError)
