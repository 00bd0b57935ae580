"""BOHB: a tree-structured Parzen estimator that proposes architectures, inside the brackets of Hyperband.

The estimator splits the architectures seen so far into the good and the rest, fits a density over the six (in NAS-Bench-201) operations to
each, and proposes, of a few drawn from the density of the good, the one where the ratio of the two is largest. It is that of Optuna
(the extra ``bohb``), imported when the method is used.

Hyperband asks for the survivors of every rung again, with more epochs. The published comparison on NAS-Bench-201 ignores the epochs: every
evaluation is the same one. Its brackets then do one thing only: every fourth evaluation is spent on an architecture that is known already.
That is what ``brackets="repeat"`` does.

Reference: Falkner, Klein and Hutter, "BOHB: Robust and Efficient Hyperparameter Optimization at Scale", ICML 2018, arXiv:1807.01774; its
use on NAS-Bench-201: Dong and Yang, arXiv:2001.00326, section 5. Optuna: Akiba et al., KDD 2019, arXiv:1907.10902.

Deviations from the paper: no rung trains for fewer epochs than another. The densities are Optuna's: mixtures with one component an
architecture and a uniform prior component, where the paper smooths each kernel with a bandwidth of its own (factor 3, at least 0.001 or, in
the comparison, 0.3); of n architectures the good ones are min(ceil(n / 10), 25), where the paper takes 15 %, at least as many as there are
edges and one; repeated architectures count as often as they were evaluated. From the released script: rungs are asked for one architecture
after the other.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jknas.errors import SearchError
from jknas.errors import choose as check_choice
from jknas.search.evaluator import AnyEvaluator
from jknas.search.method import Method, State
from jknas.search.phases import check_count
from jknas.search.problem import AnyProblem
from jknas.search.spending import Spending
from jknas.search.trials import no_trials, trial_method, value

BRACKETS = ("repeat", "none")


def bohb(
    *,
    brackets: str = "repeat",
    eta: int = 3,
    least: int = 12,
    most: int = 200,
    proposals: int = 4,
    random_share: float = 0.0,
    evaluations: int | None = 100,
    seconds: float | None = None,
    overflow: str = "keep",
) -> Method:
    """Return BOHB; the defaults are those of the comparison on NAS-Bench-201.

    Cost: ``evaluations`` trainings of the problem's recipe, and some 10 ms each for the estimator; one compilation.

    Args:
        brackets: "repeat": Hyperband's brackets, whose survivors are evaluated again, by the same recipe: for comparisons on a table.
            "none": every evaluation is that of a new proposal, as the estimator alone would have it: where networks are really trained.
        eta: the best 1/eta of a rung survive it.
        least: smallest budget of Hyperband; only its ratio to ``most`` matters, which says how many rungs there are.
        most: largest budget.
        proposals: draws from the density of the good among which the ratio decides.
        random_share: probability, 0 to 1, of a uniformly random architecture in place of a proposal (the paper: 1/3).
        evaluations: the most architectures to evaluate; None for no limit.
        seconds: the most seconds of training; see :class:`~jknas.search.spending.Spending`.
        overflow: "keep" or "discard", likewise.

    Raises:
        SearchError: an impossible setting.
    """
    check_choice("way to use brackets", brackets, BRACKETS, error=SearchError)
    check_count("proposals", proposals)
    if eta < 2 or not 0 < least <= most:
        raise SearchError(f"eta is {eta}, least {least} and most {most}; expected eta of at least 2, and 0 < least <= most.")
    if not 0 <= random_share <= 1:
        raise SearchError(f"random_share is {random_share!r}; expected a number from 0 to 1.")
    names = ("brackets", "eta", "least", "most", "proposals", "random_share", "evaluations", "seconds", "overflow")
    settings = (brackets, eta, least, most, proposals, random_share, evaluations, seconds, overflow)
    rungs = [[1]] if brackets == "none" else bracket_sizes(eta=eta, least=least, most=most)
    return trial_method(
        "bohb",
        dict(zip(names, settings, strict=True)),
        spending=Spending(evaluations=evaluations, seconds=seconds, overflow=overflow),
        init=_init,
        choose=functools.partial(_choose, rungs=rungs, proposals=proposals, random_share=random_share),
        learn=functools.partial(_learn, rungs=rungs),
    )


def bracket_sizes(*, eta: int, least: float, most: float) -> list[list[int]]:
    """Return how many architectures every rung of every bracket of Hyperband has, in the order in which they run.

    >>> bracket_sizes(eta=3, least=12, most=200)
    [[9, 3, 1], [3, 1], [3]]
    """
    count = 1 + math.floor(math.log(most / least) / math.log(eta) + 1e-9)
    first = [(count // rungs) * eta ** (rungs - 1) for rungs in range(count, 0, -1)]
    return [[max(1, size // eta**rung) for rung in range(rungs)] for size, rungs in zip(first, range(count, 0, -1), strict=True)]


def _init(problem: AnyProblem) -> State:
    if len(problem.space.operations) ** problem.space.num_edges != problem.space.size:
        raise SearchError(f"bohb models every edge by itself, and {problem.space.name} does not allow all combinations: use evolution.")
    _optuna()
    return no_trials((), {"bracket": 0, "rung": 0, "done": [], "again": []})


def _choose(
    evaluator: AnyEvaluator, state: State, rng: np.random.Generator, *, rungs: list[list[int]], proposals: int, random_share: float
) -> Any:
    del rungs
    if state["sampler"]["again"]:
        return state["sampler"]["again"][0]
    space = evaluator.problem.space
    seed = int(rng.integers(2**32))
    if rng.random() < random_share:
        return space.sample(rng)
    model: _Model = evaluator.made("bohb", lambda: _Model(len(space.operations), space.num_edges))
    return space.from_code(model.propose(space, state, seed=seed, proposals=proposals))


def _learn(evaluator: AnyEvaluator, state: State, place: int, *, rungs: list[list[int]]) -> dict[str, Any]:
    """Go on in the bracket: the next of the rung, the survivors of a full rung, or the next bracket."""
    del evaluator
    sampler: Mapping[str, Any] = state["sampler"]
    done, sizes = [*sampler["done"], place], rungs[sampler["bracket"]]
    if len(done) < sizes[sampler["rung"]]:
        return {**sampler, "done": done, "again": sampler["again"][1:]}
    if sampler["rung"] + 1 == len(sizes):
        return {"bracket": (sampler["bracket"] + 1) % len(rungs), "rung": 0, "done": [], "again": []}
    best = sorted(done, key=lambda one: value(state["candidates"][one]), reverse=True)
    return {**sampler, "rung": sampler["rung"] + 1, "done": [], "again": best[: sizes[sampler["rung"] + 1]]}


class _Model:
    """An Optuna study that is kept from step to step; without it, it is made again from the state, to the same proposals."""

    def __init__(self, operations: int, edges: int) -> None:
        optuna = _optuna()
        choices = tuple(range(operations))
        self._distributions = {f"edge{edge}": optuna.distributions.CategoricalDistribution(choices) for edge in range(edges)}
        self._told: list[int] = []
        self._study: Any = None

    def propose(self, space: Any, state: State, *, seed: int, proposals: int) -> list[int]:
        """Return the code of an architecture to evaluate."""
        optuna = _optuna()
        evaluated = state["chosen"]
        if self._study is None or evaluated[: len(self._told)] != self._told:
            self._study, self._told = _quiet_study(optuna), []
        for place in evaluated[len(self._told) :]:
            candidate = state["candidates"][place]
            code = space.parse(candidate["genotype"]).code
            params = dict(zip(self._distributions, code, strict=True))
            accuracy = value(candidate)[1] if value(candidate)[0] else 0.0  # diverged: no better than the worst
            self._study.add_trial(optuna.trial.create_trial(params=params, distributions=self._distributions, value=accuracy))
        self._told = list(evaluated)
        start = space.num_edges + 2  # the paper's: as many points as each of its two densities needs
        self._study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=start, n_ei_candidates=proposals, multivariate=True, constant_liar=False, seed=seed
        )
        asked = self._study.ask(self._distributions)
        return [asked.params[name] for name in self._distributions]


def _quiet_study(optuna: Any) -> Any:
    """Return an empty study, whose making Optuna would announce on standard error."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)


def _optuna() -> Any:
    """Return Optuna.

    Raises:
        SearchError: it is not installed.
    """
    try:
        import optuna  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SearchError("bohb needs Optuna, which is not installed: pip install 'jknas[bohb]'.") from error
    return optuna
