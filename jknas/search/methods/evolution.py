"""Regularised evolution: mutate the best of a few, and let the oldest die, however good it is.

Reference: Real, Aggarwal, Huang and Le, "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, arXiv:1802.01548,
Algorithm 1; population and tournament are those of Dong and Yang, "NAS-Bench-201", arXiv:2001.00326, section 5 ("REA").

Deviations from the paper: population 10 and tournament 3 instead of 100 and 25; the only mutation is another operation on an edge (the
paper's cells have other edges, too). From NAS-Bench-201's released script: an architecture that is met again is looked up, or trained,
again, as there, but on a table of single seeds to the same seed; and the time that Python itself takes is not added to the simulated
seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jknas.errors import SearchError
from jknas.errors import choose as check_choice
from jknas.search.method import Evaluator, SearchProblem, check_count, option
from jknas.search.sequential import Sequential, SequentialState, evaluation_limit, generator


@dataclass(frozen=True, kw_only=True)
class Evolution(Sequential[SequentialState]):
    """Regularised evolution.

    The first ``population`` architectures are random. Then, again and again, ``tournament`` are drawn from the population, with
    replacement, and the best of them is mutated; the child is evaluated and takes the place of the oldest. So the population is always the
    last that were evaluated. The result is the best of all that were.

    Cost: ``evaluations`` trainings of the problem's recipe; one compilation.

    Attributes:
        population: architectures that can be parents, P.
        tournament: architectures that are drawn to find a parent, S; the same one may be drawn twice.
        mutation: how the change is drawn, a rule of the space's ``mutate``; None for its first. That is "node" for NAS-Bench-201, the
            published one: one of the nodes, then one of its incoming edges.
        evaluations: the most architectures to evaluate; None for no limit.
    """

    name: ClassVar[str] = "evolution"
    workers: ClassVar[str] = "train the first population"

    population: int = option(10, "architectures that can be parents")
    tournament: int = option(3, "architectures drawn to find a parent")
    mutation: str | None = option(None, "how the change of a child is drawn", usually="as published")
    evaluations: int | None = evaluation_limit()

    def __post_init__(self) -> None:
        check_count("population", self.population)
        check_count("tournament", self.tournament)
        super().__post_init__()

    def init(self, problem: SearchProblem) -> SequentialState:  # noqa: D102
        if self.mutation is not None:
            check_choice(f"mutation rule of {problem.space.name}", self.mutation, problem.space.mutation_rules, error=SearchError)
        return super().init(problem)

    def choose(self, evaluator: Evaluator, state: SequentialState, rng: np.random.Generator) -> int | Any:
        """Return a random architecture, or a mutation of the best of a tournament in the population (of equals, the first drawn)."""
        space, evaluated = evaluator.problem.space, state.chosen or ()
        if len(evaluated) < self.population:
            return space.sample(rng)
        living = evaluated[-self.population :]
        drawn = [state.candidates[living[place]] for place in rng.integers(len(living), size=self.tournament)]
        parent = max(drawn, key=lambda candidate: candidate.training.value)
        return space.mutate(parent.genotype, rng, rule=self.mutation or space.mutation_rules[0])

    def coming(self, evaluator: Evaluator, state: SequentialState) -> Sequence[Any]:
        """Return what the first population lacks; every child depends on those before it."""
        problem = evaluator.problem
        return [problem.space.sample(generator(problem, place)) for place in range(len(state.chosen or ()), self.population)]
