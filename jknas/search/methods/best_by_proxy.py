"""Best by proxy: score a random sample and take the best, the plainest training-free search, with any proxy.

Reference: Mellor, Turner, Storkey and Crowley, "Neural Architecture Search without Training", ICML 2021, arXiv:2006.04647, Algorithm 1
("NASWOT", with the proxy naswot and 10, 100 or 1,000 samples).

Deviations: the sample is drawn without replacement, and ties of the score are ordered (:func:`jknas.search.state.order_by_score`).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from jknas.search.method import Completion, Evaluator, SearchMethod, SearchProblem, option
from jknas.search.state import State
from jknas.search.steps import best_places, draw_sample, is_ranked, score_next, scoring_progress, train_or_test, training_progress


@dataclass(frozen=True, kw_only=True)
class BestByProxy(SearchMethod[State]):
    """The search for the best score.

    Cost: ``samples`` proxy scores, and one training of the problem's recipe if ``train``.

    Attributes:
        samples: architectures drawn uniformly, without replacement, and scored.
        train: train the best one by the problem's recipe, and test it.
    """

    name: ClassVar[str] = "best_by_proxy"
    proxy: ClassVar[str] = "ranks"
    workers: ClassVar[str] = "score the sample"

    samples: int = option(100, "architectures to sample and score")
    train: bool = False

    def init(self, problem: SearchProblem) -> State:  # noqa: D102
        return State(candidates=draw_sample(problem, self.samples))

    def step(self, evaluator: Evaluator, state: State) -> State:  # noqa: D102
        if state.chosen is not None:
            return train_or_test(evaluator, state)
        state = score_next(evaluator, state)
        if not is_ranked(state):
            return state
        best = best_places(state, 1)
        return replace(state, winner=best[0], chosen=best if self.train else ())

    def progress(self, state: State) -> Completion:  # noqa: D102
        return training_progress(state) if state.chosen else scoring_progress(state)

    def finished(self, state: State) -> bool:  # noqa: D102
        return state.test is not None if self.train else state.chosen is not None
