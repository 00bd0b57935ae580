"""KNAS: score a random sample by the mean of the Gram matrix, train the best few for a while, keep the best of these.

Reference: Xu et al., "KNAS: Green Neural Architecture Search", ICML 2021, arXiv:2111.13293, Algorithm 1.

Deviations from the paper: the sample is drawn without replacement, and ties of the score are ordered (see
:func:`jknas.search.candidates.order_by_score`). The proxy is a choice; "mgm" is Eq. (15) with the gradient of the loss, as in the released
code. From the released scripts: candidates are chosen by validation accuracy on every data set, where the scripts take the training loss on
CIFAR-100 and ImageNet16-120; and the curves are those of a schedule of ``recipe.epochs`` epochs, where the scripts look up the 21st epoch
of a 200-epoch run, whose learning rate is still near its maximum.
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


def knas(*, samples: int = 100, topk: int = 20) -> Method:
    """Return Algorithm 1 of KNAS.

    Cost: ``samples`` proxy scores and ``topk`` trainings of the problem's recipe; two compilations, whatever the numbers.

    Args:
        samples: architectures drawn uniformly, without replacement, s; dead cells are drawn too, and rank last.
        topk: how many of the best are trained, k (20 and 40 in the paper).
    """
    return Method(
        name="knas",
        settings={"samples": samples, "topk": topk},
        init=functools.partial(_init, samples=samples, topk=topk),
        step=functools.partial(_step, topk=topk),
        progress=_progress,
        finished=is_tested,
    )


def _init(problem: AnyProblem, *, samples: int, topk: int) -> State:
    check_count("samples", samples, most=problem.space.size, of=f"the space {problem.space.name} has {problem.space.size} architectures")
    check_count("topk", topk, most=samples, of=f"only {samples} architectures are sampled")
    return beginning(problem.space.sample(np.random.default_rng(problem.seed), samples, unique=True))


def _step(evaluator: AnyEvaluator, state: State, *, topk: int) -> State:
    if state["chosen"] is not None:
        return train_or_test(evaluator, state)
    state = score_next(evaluator, state)
    return {**state, "chosen": best_places(state, topk)} if is_ranked(state) else state


def _progress(state: State) -> Progress:
    return scoring_progress(state) if state["chosen"] is None else training_progress(state)
