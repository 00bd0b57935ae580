"""Evolution from a head start: the first population is the best of a sample by a proxy that needs no training.

Reference: Abdelfattah, Mehrotra, Dudziak and Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, arXiv:2101.08134, section 4
(warm-up of aging evolution, 3,000 proxy scores); the evolution is :mod:`jknas.search.methods.evolution`.

Deviations from the paper: population and tournament are those that NAS-Bench-201 publishes, and the proxy is the problem's (the paper's is
a vote of synflow, jacob_cov and snip, with one population for each of its spaces). Which member of the first population is the oldest is
not said there; here the best by proxy is evaluated first, and is the first to die.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from jknas.search.method import Completion, Evaluator, SearchProblem, check_count, option
from jknas.search.methods.evolution import Evolution
from jknas.search.sequential import SequentialState
from jknas.search.steps import best_places, draw_sample, is_ranked, score_next, scoring_progress


@dataclass(frozen=True, kw_only=True)
class ProxyEvolution(Evolution):
    """Evolution whose first population a proxy has chosen.

    Cost: ``samples`` proxy scores and ``evaluations`` trainings of the problem's recipe; two compilations.

    Attributes:
        samples: architectures drawn uniformly, without replacement, and scored; the ``population`` best are evaluated first.
    """

    name: ClassVar[str] = "proxy_evolution"
    proxy: ClassVar[str] = "ranks"
    workers: ClassVar[str] = "score the sample and train the first population"

    samples: int = option(3000, "architectures to sample and score")

    def __post_init__(self) -> None:
        check_count("samples", self.samples)
        super().__post_init__()
        check_count("population", self.population, most=self.samples, of=f"only {self.samples} architectures are sampled")

    def init(self, problem: SearchProblem) -> SequentialState:  # noqa: D102
        return replace(super().init(problem), candidates=draw_sample(problem, self.samples))

    def step(self, evaluator: Evaluator, state: SequentialState) -> SequentialState:  # noqa: D102
        return super().step(evaluator, state) if is_ranked(state) else score_next(evaluator, state)

    def choose(self, evaluator: Evaluator, state: SequentialState, rng: np.random.Generator) -> int | Any:
        """Return the next best of the sample, and once the population is full what evolution chooses."""
        done = len(state.chosen or ())
        return best_places(state, self.population)[done] if done < self.population else super().choose(evaluator, state, rng)

    def coming(self, evaluator: Evaluator, state: SequentialState) -> Sequence[Any]:
        """Return what the first population lacks."""
        del evaluator
        return [state.candidates[place].genotype for place in best_places(state, self.population)[len(state.chosen or ()) :]]

    def progress(self, state: SequentialState) -> Completion:  # noqa: D102
        return super().progress(state) if is_ranked(state) else scoring_progress(state)
