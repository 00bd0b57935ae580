"""Random search: train a random sample for a while, keep the best. The null model that every other search has to beat.

Reference: Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019, arXiv:1902.07638.

Deviations from the released scripts of NAS-Bench-201: the sample is drawn without replacement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jknas.search.method import Evaluator, SearchProblem, option
from jknas.search.sequential import Sequential, SequentialState
from jknas.search.steps import draw_sample

_MOST = 1000  # architectures to draw where seconds alone are the limit


@dataclass(frozen=True, kw_only=True)
class RandomSearch(Sequential[SequentialState]):
    """Random search.

    Cost: ``topk`` trainings of the problem's recipe; one compilation.

    Attributes:
        topk: architectures drawn uniformly, without replacement, and trained; with ``seconds`` no more than there are. Named as in KNAS:
            equal values are equal training budgets.
    """

    name: ClassVar[str] = "random"
    limited_by: ClassVar[str] = "topk"
    workers: ClassVar[str] = "train the sample"

    topk: int = option(20, "candidates to train", also="--max-evaluations", when_timed=_MOST)

    def init(self, problem: SearchProblem) -> SequentialState:  # noqa: D102
        count = self.topk if self.seconds is None else min(self.topk, problem.space.size)
        return SequentialState(candidates=draw_sample(problem, count, "topk"), chosen=())

    def is_over(self, state: SequentialState) -> bool:
        """Return whether the seconds are spent, or all of the sample is evaluated."""
        return super().is_over(state) or len(state.chosen or ()) == len(state.candidates)

    def choose(self, evaluator: Evaluator, state: SequentialState, rng: np.random.Generator) -> int:  # noqa: D102
        del evaluator, rng
        return len(state.chosen or ())

    def coming(self, evaluator: Evaluator, state: SequentialState) -> Sequence[Any]:
        """Return what of the sample is not trained."""
        del evaluator
        return [candidate.genotype for candidate in state.candidates[len(state.chosen or ()) :]]
