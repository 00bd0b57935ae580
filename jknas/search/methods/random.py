"""Random search: train a random sample for a while, keep the best. The null model that every other search has to beat.

Reference: Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019, arXiv:1902.07638.

Deviations from the released scripts of NAS-Bench-201: the sample is drawn without replacement.
"""

import functools
from typing import Any

import numpy as np

from jknas.search.method import Method, State
from jknas.search.phases import check_count
from jknas.search.problem import AnyProblem
from jknas.search.spending import Spending
from jknas.search.trials import no_trials, trial_method


def random_search(*, topk: int = 20, seconds: float | None = None, overflow: str = "keep") -> Method:
    """Return random search.

    Cost: ``topk`` trainings of the problem's recipe; one compilation.

    Args:
        topk: architectures drawn uniformly, without replacement, and trained. Named as in `knas`: equal values are equal training budgets.
        seconds: train fewer when so many seconds of training are spent; see :class:`~jknas.search.spending.Spending`.
        overflow: "keep" or "discard", likewise.
    """
    check_count("topk", topk)
    return trial_method(
        "random",
        {"topk": topk, "seconds": seconds, "overflow": overflow},
        spending=Spending(evaluations=topk, seconds=seconds, overflow=overflow),
        init=functools.partial(_init, topk=topk),
        choose=_choose,
    )


def _init(problem: AnyProblem, *, topk: int) -> State:
    check_count("topk", topk, most=problem.space.size, of=f"the space {problem.space.name} has {problem.space.size} architectures")
    return no_trials(problem.space.sample(np.random.default_rng(problem.seed), topk, unique=True))


def _choose(evaluator: Any, state: State, rng: np.random.Generator) -> int:
    del evaluator, rng
    return len(state["chosen"])
