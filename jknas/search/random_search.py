"""Random search: train a random sample for a while, keep the best. The null model that a training-free search has to beat.

Reference: Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019, arXiv:1902.07638.
"""

import functools

import numpy as np

from jknas.search.method import Method, State
from jknas.search.phases import beginning, check_count, is_tested, train_or_test, training_progress
from jknas.search.problem import Problem


def random_search(*, topk: int = 20) -> Method:
    """Return random search.

    Cost: ``topk`` trainings of the problem's recipe; one compilation.

    Args:
        topk: architectures drawn uniformly, without replacement, and trained. Named as in `knas`: equal values are equal training budgets.
    """
    return Method(
        name="random",
        settings={"topk": topk},
        init=functools.partial(_init, topk=topk),
        step=train_or_test,
        progress=training_progress,
        finished=is_tested,
    )


def _init(problem: Problem, *, topk: int) -> State:
    check_count("topk", topk, most=problem.space.size, of=f"the space {problem.space.name} has {problem.space.size} architectures")
    drawn = beginning(problem, problem.space.sample(np.random.default_rng(problem.seed), topk, unique=True))
    return {**drawn, "chosen": list(range(topk))}
