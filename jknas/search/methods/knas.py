"""KNAS: score a random sample by the mean of the Gram matrix, train the best few for a while, keep the best of these.

Reference: Xu et al., "KNAS: Green Neural Architecture Search", ICML 2021, arXiv:2111.13293, Algorithm 1.

Deviations from the paper: the sample is drawn without replacement, and ties of the score are ordered
(:func:`jknas.search.state.order_by_score`). What ranks is a choice: "mgm" is Eq. (15) with the gradient of the loss, as in the released
code; ``jknas search`` ranks by the aggregate "consensus" unless another is named. From the released scripts: candidates are chosen by
validation accuracy on every data set, where the scripts take the training loss on CIFAR-100 and ImageNet16-120; and the curves are those of
a schedule of ``recipe.epochs`` epochs, where the scripts look up the 21st epoch of a 200-epoch run, whose learning rate is still near its
maximum.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from jknas.search.method import Completion, Evaluator, SearchMethod, SearchProblem, check_count, option
from jknas.search.state import State
from jknas.search.steps import best_places, draw_sample, is_ranked, score_next, scoring_progress, train_or_test, training_progress


@dataclass(frozen=True, kw_only=True)
class Knas(SearchMethod[State]):
    """Algorithm 1 of KNAS.

    Cost: ``samples`` proxy scores and ``topk`` trainings of the problem's recipe; two compilations, whatever the numbers.

    Attributes:
        samples: architectures drawn uniformly, without replacement, s. Dead cells are drawn too, and rank last.
        topk: how many of the best are trained, k (20 and 40 in the paper).
    """

    name: ClassVar[str] = "knas"
    proxy: ClassVar[str] = "ranks"
    workers: ClassVar[str] = "score the sample and train the best"

    samples: int = option(100, "architectures to sample and score")
    topk: int = option(20, "candidates to train")

    def init(self, problem: SearchProblem) -> State:  # noqa: D102
        candidates = draw_sample(problem, self.samples)
        check_count("topk", self.topk, most=self.samples, of=f"only {self.samples} architectures are sampled")
        return State(candidates=candidates)

    def step(self, evaluator: Evaluator, state: State) -> State:  # noqa: D102
        if state.chosen is not None:
            return train_or_test(evaluator, state)
        state = score_next(evaluator, state)
        return replace(state, chosen=best_places(state, self.topk)) if is_ranked(state) else state

    def progress(self, state: State) -> Completion:  # noqa: D102
        return scoring_progress(state) if state.chosen is None else training_progress(state)
