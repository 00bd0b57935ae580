"""BOHB: a tree-structured Parzen estimator that proposes architectures, inside the brackets of Hyperband.

The estimator splits the architectures seen so far into the good and the rest, fits a density over the six (in NAS-Bench-201) operations to
each, and proposes, of a few drawn from the density of the good, the one where the ratio of the two is largest. It is that of Optuna
(the extra ``bohb``), imported when the method is used.

Hyperband asks for the survivors of every rung again, with more epochs. The published comparison on NAS-Bench-201 ignores the epochs: every
evaluation is the same one. Its brackets then do one thing only: every fourth evaluation is spent on an architecture that is known already.
That is what ``brackets="repeat"`` does.

Reference: Falkner, Klein and Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale", ICML 2018, arXiv:1807.01774; its
use on NAS-Bench-201: Dong and Yang, arXiv:2001.00326, section 5. Optuna: Akiba et al., KDD 2019, arXiv:1907.10902.

Deviations from the paper: no rung trains for fewer epochs than another. The densities are Optuna's: mixtures with one component per
architecture and a uniform prior component, where the paper smooths each kernel with a bandwidth of its own (factor 3, at least 0.001 or, in
the comparison, 0.3); of n architectures the good ones are min(ceil(n / 10), 25), where the paper takes 15 %, at least as many as there are
edges and one; repeated architectures count as often as they were evaluated. From the released script: rungs are asked for one architecture
after the other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from jknas.errors import SearchError
from jknas.errors import choose as check_choice
from jknas.registry import optional
from jknas.search.method import Evaluator, SearchProblem, check_count, option
from jknas.search.sequential import Sequential, SequentialState, check_free_edges, evaluation_limit, generator
from jknas.search.state import State

BRACKETS = ("repeat", "none")


@dataclass(frozen=True, kw_only=True)
class BohbState(SequentialState):
    """Where Hyperband is.

    Attributes:
        bracket: number of the bracket.
        rung: number of its rung.
        done: places of the candidates that the rung has evaluated.
        again: places of those that it has still to evaluate again.
    """

    bracket: int = 0
    rung: int = 0
    done: tuple[int, ...] = ()
    again: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bohb(Sequential[BohbState]):
    """BOHB; the defaults are those of the comparison on NAS-Bench-201.

    Cost: ``evaluations`` trainings of the problem's recipe, and about 10 ms each for the estimator; one compilation.

    Attributes:
        brackets: "repeat": Hyperband's brackets, whose survivors are evaluated again, by the same recipe: for comparisons on a table.
            "none": every evaluation is that of a new proposal, as the estimator alone would have it: where networks are really trained.
        eta: the best 1/eta of a rung survive it.
        least: smallest budget of Hyperband; only its ratio to ``most`` matters, which says how many rungs there are.
        most: largest budget.
        proposals: draws from the density of the good among which the ratio decides.
        random_share: probability, 0 to 1, of a uniformly random architecture in place of a proposal (the paper: 1/3).
        evaluations: the most architectures to evaluate; None for no limit.

    Raises:
        SearchError: an impossible setting.
    """

    name: ClassVar[str] = "bohb"
    state: ClassVar[type[State]] = BohbState
    workers: ClassVar[str] = "train the random start and the survivors of a rung"

    brackets: str = option("repeat", "repeat or none", usually="repeat with --table, else none", when_training="none")
    eta: int = 3
    least: int = 12
    most: int = 200
    proposals: int = 4
    random_share: float = 0.0
    evaluations: int | None = evaluation_limit()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("way to use brackets", self.brackets, BRACKETS, error=SearchError)
        check_count("proposals", self.proposals)
        if self.eta < 2 or not 0 < self.least <= self.most:
            raise SearchError(
                f"eta is {self.eta}, least {self.least} and most {self.most}; expected eta of at least 2, and 0 < least <= most."
            )
        if not 0 <= self.random_share <= 1:
            raise SearchError(f"random_share is {self.random_share!r}; expected a number from 0 to 1.")

    @property
    def rungs(self) -> list[list[int]]:
        """How many architectures every rung of every bracket has."""
        return [[1]] if self.brackets == "none" else bracket_sizes(eta=self.eta, least=self.least, most=self.most)

    def init(self, problem: SearchProblem) -> BohbState:  # noqa: D102
        check_free_edges(problem, self.name, "models")
        _optuna()
        return BohbState(chosen=())

    def choose(self, evaluator: Evaluator, state: BohbState, rng: np.random.Generator) -> int | Any:
        """Return a survivor of the last rung, or a proposal."""
        if state.again:
            return state.again[0]
        space = evaluator.problem.space
        seed = int(rng.integers(2**32))
        if rng.random() < self.random_share:
            return space.sample(rng)
        model: _Model = evaluator.made("bohb", lambda: _Model(len(space.operations), space.num_edges))
        return space.from_code(model.propose(state, seed=seed, proposals=self.proposals))

    def coming(self, evaluator: Evaluator, state: BohbState) -> Sequence[Any]:
        """Return the survivors of the last rung that are left, or the proposals that are drawn before the densities are fitted."""
        if state.again:
            return [state.candidates[place].genotype for place in state.again]
        problem, done = evaluator.problem, len(state.chosen or ())
        until = _first_fit(problem.space.num_edges)
        if self.brackets == "repeat":
            until = min(until, done + self.rungs[state.bracket][state.rung] - len(state.done))
        return [self.choose(evaluator, state, generator(problem, place)) for place in range(done, until)]

    def learn(self, state: BohbState, place: int) -> BohbState:
        """Go on in the bracket: the next of the rung, the survivors of a full rung, or the next bracket."""
        done, sizes = (*state.done, place), self.rungs[state.bracket]
        if len(done) < sizes[state.rung]:
            return replace(state, done=done, again=state.again[1:])
        if state.rung + 1 == len(sizes):
            return replace(state, bracket=(state.bracket + 1) % len(self.rungs), rung=0, done=(), again=())
        best = sorted(done, key=lambda one: state.candidates[one].training.value, reverse=True)  # type: ignore[union-attr]
        return replace(state, rung=state.rung + 1, done=(), again=tuple(best[: sizes[state.rung + 1]]))


def bracket_sizes(*, eta: int, least: float, most: float) -> list[list[int]]:
    """Return how many architectures every rung of every bracket of Hyperband has, in the order in which they run.

    >>> bracket_sizes(eta=3, least=12, most=200)
    [[9, 3, 1], [3, 1], [3]]
    """
    count = 1 + math.floor(math.log(most / least) / math.log(eta) + 1e-9)
    first = [(count // rungs) * eta ** (rungs - 1) for rungs in range(count, 0, -1)]
    return [[max(1, size // eta**rung) for rung in range(rungs)] for size, rungs in zip(first, range(count, 0, -1), strict=True)]


class _Model:
    """An Optuna study that is kept from step to step; a new process makes it again from the state, to the same proposals."""

    def __init__(self, operations: int, edges: int) -> None:
        optuna = _optuna()
        choices = tuple(range(operations))
        self._distributions = {f"edge{edge}": optuna.distributions.CategoricalDistribution(choices) for edge in range(edges)}
        self._told: tuple[int, ...] = ()
        self._study: Any = None

    def propose(self, state: BohbState, *, seed: int, proposals: int) -> list[int]:
        """Return the code of an architecture to evaluate."""
        optuna = _optuna()
        evaluated = state.chosen or ()
        if self._study is None or evaluated[: len(self._told)] != self._told:
            self._study, self._told = _quiet_study(optuna), ()
        for place in evaluated[len(self._told) :]:
            candidate = state.candidates[place]
            assert candidate.training is not None
            params = dict(zip(self._distributions, candidate.genotype.code, strict=True))
            sound, accuracy = candidate.training.value
            told = accuracy if sound else 0.0  # diverged: no better than the worst
            self._study.add_trial(optuna.trial.create_trial(params=params, distributions=self._distributions, value=told))
        self._told = evaluated
        self._study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=_first_fit(len(self._distributions)),
            n_ei_candidates=proposals,
            multivariate=True,
            constant_liar=False,
            seed=seed,
        )
        asked = self._study.ask(self._distributions)
        return [asked.params[name] for name in self._distributions]


def _first_fit(edges: int) -> int:
    """Return after how many architectures densities are first fitted: the paper's N_min + 2, where N_min is one more than the edges."""
    return edges + 3


def _quiet_study(optuna: Any) -> Any:
    """Return an empty study, whose making Optuna would announce on standard error."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)


def _optuna() -> Any:
    return optional("optuna", "bohb needs Optuna, which is not installed: pip install 'jknas[bohb]'.", error=SearchError)
