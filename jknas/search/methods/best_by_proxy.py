"""Best by proxy: score a random sample, take the best. The whole of a training-free search, with any proxy.

Reference: Mellor, Turner, Storkey and Crowley, "Neural Architecture Search without Training", ICML 2021, arXiv:2006.04647, Algorithm 1
("NASWOT", with the proxy naswot and 10, 100 or 1,000 samples).

Deviations: the sample is drawn without replacement, and ties of the score are ordered (see
:func:`jknas.search.candidates.order_by_score`).
"""

import functools

import numpy as np

from jknas.search.evaluator import AnyEvaluator
from jknas.search.method import Method, Progress, State
from jknas.search.phases import (
    beginning,
    best_places,
    check_count,
    is_ranked,
    is_tested,
    score_next,
    scoring_progress,
    train_or_test,
    training_progress,
)
from jknas.search.problem import AnyProblem


def best_by_proxy(*, samples: int = 100, train: bool = False) -> Method:
    """Return the search for the best score.

    Cost: ``samples`` proxy scores, and one training of the problem's recipe if ``train``.

    Args:
        samples: architectures drawn uniformly, without replacement, and scored.
        train: train the best one by the problem's recipe, and test it.
    """
    return Method(
        name="best_by_proxy",
        settings={"samples": samples, "train": train},
        init=functools.partial(_init, samples=samples),
        step=functools.partial(_step, train=train),
        progress=_progress,
        finished=functools.partial(_finished, train=train),
    )


def _init(problem: AnyProblem, *, samples: int) -> State:
    check_count("samples", samples, most=problem.space.size, of=f"the space {problem.space.name} has {problem.space.size} architectures")
    return beginning(problem.space.sample(np.random.default_rng(problem.seed), samples, unique=True))


def _step(evaluator: AnyEvaluator, state: State, *, train: bool) -> State:
    if state["chosen"] is not None:
        return train_or_test(evaluator, state)
    state = score_next(evaluator, state)
    if not is_ranked(state):
        return state
    best = best_places(state, 1)
    return {**state, "winner": best[0], "chosen": best if train else []}


def _progress(state: State) -> Progress:
    return training_progress(state) if state["chosen"] else scoring_progress(state)


def _finished(state: State, *, train: bool) -> bool:
    return is_tested(state) if train else state["chosen"] is not None
