"""Random search: train a random sample for a while, keep the best. The null model that a training-free search has to beat.

Reference: Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019, arXiv:1902.07638.
"""

import functools

import numpy as np

from jknas.search.evaluator import Evaluator
from jknas.search.method import Method, Progress, State
from jknas.search.phases import beginning, check_count, test_winner, train_next, trainings_done
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
        step=_step,
        progress=_progress,
        finished=lambda state: state["test"] is not None,
    )


def _init(problem: Problem, *, topk: int) -> State:
    check_count("topk", topk, most=problem.space.size, of=f"the space {problem.space.name} has {problem.space.size} architectures")
    drawn = beginning(problem, problem.space.sample(np.random.default_rng(problem.seed), topk, unique=True))
    return {**drawn, "chosen": list(range(topk))}


def _step(evaluator: Evaluator, state: State) -> State:
    return train_next(evaluator, state) if trainings_done(state) < len(state["chosen"]) else test_winner(evaluator, state)


def _progress(state: State) -> Progress:
    trained, total = trainings_done(state), len(state["chosen"])
    return Progress("train" if trained < total else "test", trained, total)
