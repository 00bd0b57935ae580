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

from jknas.search import candidates as c
from jknas.search.evaluator import Evaluator
from jknas.search.method import Method, Progress, State
from jknas.search.phases import beginning, check_count, is_tested, train_or_test, training_progress
from jknas.search.problem import Problem

_SCORING_STEPS = 200
"""At most about this many steps score, however large the sample: each step writes the whole state."""


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


def _init(problem: Problem, *, samples: int, topk: int) -> State:
    check_count("samples", samples, most=problem.space.size, of=f"the space {problem.space.name} has {problem.space.size} architectures")
    check_count("topk", topk, most=samples, of=f"only {samples} architectures are sampled")
    return beginning(problem, problem.space.sample(np.random.default_rng(problem.seed), samples, unique=True))


def _step(evaluator: Evaluator, state: State, *, topk: int) -> State:
    return _score(evaluator, state, topk) if state["chosen"] is None else train_or_test(evaluator, state)


def _score(evaluator: Evaluator, state: State, topk: int) -> State:
    listed, sign = list(state["candidates"]), evaluator.problem.sign
    places = [place for place, candidate in enumerate(listed) if candidate["status"] == "unscored"]
    scoring = compiling = 0.0
    for place in places[: -(-len(listed) // _SCORING_STEPS)]:
        found = evaluator.score(evaluator.problem.space.parse(listed[place]["genotype"]))
        listed[place] = c.scored(listed[place], found.record)
        scoring += found.record.seconds if found.fresh else 0.0
        compiling += found.compile_seconds
    times = {"score_seconds": state["score_seconds"] + scoring, "compile_seconds": state["compile_seconds"] + compiling}
    if any(candidate["status"] == "unscored" for candidate in listed):
        return {**state, "candidates": listed, **times}
    return {**state, "candidates": c.ranked(listed, sign), "chosen": c.order_by_score(listed, sign)[:topk], **times}


def _progress(state: State) -> Progress:
    if state["chosen"] is not None:
        return training_progress(state)
    scored = sum(candidate["status"] != "unscored" for candidate in state["candidates"])
    return Progress("score", scored, len(state["candidates"]))
