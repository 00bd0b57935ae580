"""REINFORCE: learn a distribution over the operations of each edge from the accuracies of the architectures drawn from it.

With the operation ``o_e`` of each edge ``e`` drawn from ``softmax(theta_e)``, the reward ``r`` and the baseline ``b``, Adam descends

    loss(theta) = - (r - b) * sum_e log softmax(theta_e)[o_e].

The baseline is the exponential moving average of the rewards, corrected for its start at zero and moved *before* it is subtracted, so that
the first architecture teaches nothing.

Reference: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", Machine Learning 8, 1992;
its settings are those of Dong and Yang, "NAS-Bench-201", arXiv:2001.00326, section 5.

Deviations from NAS-Bench-201's released script: the draw is one uniform number per edge, searched for in the cumulative probabilities; the
time that Python itself takes is not added to the simulated seconds.
"""

import functools
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from jknas.errors import SearchError
from jknas.search.method import Evaluator, SearchProblem, option
from jknas.search.sequential import Sequential, SequentialState, check_free_edges, evaluation_limit
from jknas.search.state import State

_SPREAD = 1e-3  # standard deviation of the first logits


@dataclass(frozen=True, kw_only=True)
class ReinforceState(SequentialState):
    """What REINFORCE remembers.

    Attributes:
        logits: of the operations of each edge, [edge][operation].
        moments: the leaves of Adam's state.
        rewards: moving average of the rewards, which starts at zero.
        weights: moving average of one, by which ``rewards`` is divided to correct for that start.
    """

    logits: Any
    moments: Any
    rewards: float = 0.0
    weights: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Reinforce(Sequential[ReinforceState]):
    """REINFORCE.

    Adam moves a logit by about the learning rate per step, whatever the scale of the rewards. With 0.01 the distribution is still broad
    after a hundred steps; with 0.5 it settles on an architecture within about ten. The result is the best architecture drawn, not the mode.

    Cost: ``evaluations`` trainings of the problem's recipe, and a compilation of its own that takes a fraction of a second.

    Attributes:
        learning_rate: of Adam (0.9, 0.999). 0.01 is that of NATS-Bench's scripts; 0.5 is the one in the command that NAS-Bench-201
            documents (whose other script tries 0.01, 0.02, 0.1, 0.2 and 0.5).
        momentum: of the baseline's moving average.
        evaluations: the most architectures to evaluate; None for no limit.
    """

    name: ClassVar[str] = "reinforce"
    state: ClassVar[type[State]] = ReinforceState

    learning_rate: float = option(0.01, "learning rate of Adam", name="--controller-rate")
    momentum: float = 0.9
    evaluations: int | None = evaluation_limit()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, most in (("learning_rate", float("inf")), ("momentum", 1.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < most:
                raise SearchError(f"{name} is {value!r}; expected a number above 0{' and below 1' if most == 1 else ''}.")

    def init(self, problem: SearchProblem) -> ReinforceState:  # noqa: D102
        check_free_edges(problem, self.name, "draws")
        shape = (problem.space.num_edges, len(problem.space.operations))
        logits = np.asarray(_SPREAD * np.random.default_rng(problem.seed).standard_normal(shape), np.float32)
        return ReinforceState(chosen=(), logits=logits.tolist(), moments=_adam(self.learning_rate, shape).first)

    def choose(self, evaluator: Evaluator, state: ReinforceState, rng: np.random.Generator) -> Any:
        """Draw the operation of each edge."""
        logits = np.asarray(state.logits, np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True)).cumsum(axis=1)
        drawn = (rng.random((len(logits), 1)) * shares[:, -1:] >= shares).sum(axis=1)
        return evaluator.problem.space.from_code(drawn.tolist())

    def learn(self, state: ReinforceState, place: int) -> ReinforceState:
        """Return the state with baseline and logits moved by the accuracy of an architecture."""
        candidate = state.candidates[place]
        assert candidate.training is not None
        reward = 100 * candidate.training.validation_accuracy  # in percent
        rewards = self.momentum * state.rewards + (1 - self.momentum) * reward
        weights = self.momentum * state.weights + (1 - self.momentum)
        adam = _adam(self.learning_rate, np.shape(state.logits))
        logits, moments = adam.update(state.logits, state.moments, candidate.genotype.code, reward - rewards / weights)
        return replace(state, logits=logits, moments=moments, rewards=rewards, weights=weights)


class _Adam:
    """The optimiser of logits of one shape by one learning rate, its step compiled; state and logits are plain lists."""

    def __init__(self, learning_rate: float, shape: tuple[int, ...]) -> None:
        import jax  # noqa: PLC0415 - modules of methods import no JAX
        import jax.numpy as jnp  # noqa: PLC0415
        import optax  # noqa: PLC0415

        optimiser = optax.adam(learning_rate)

        def loss(logits: Any, drawn: Any, advantage: Any) -> Any:
            chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), drawn[:, None], axis=1)
            return -advantage * chosen.sum()

        def update(logits: Any, moments: Any, drawn: Any, advantage: Any) -> Any:
            with jax.numpy_dtype_promotion("standard"):  # optax raises its decay to the power of an integer count
                steps, moments = optimiser.update(jax.grad(loss)(logits, drawn, advantage), moments)
            return optax.apply_updates(logits, steps), jax.tree.leaves(moments)

        leaves, self._structure = jax.tree.flatten(jax.device_get(optimiser.init(jnp.zeros(shape))))
        self.first = [leaf.tolist() for leaf in leaves]
        self._types = [leaf.dtype for leaf in leaves]
        self._unflatten, self._update = jax.tree.unflatten, jax.jit(update)

    def update(self, logits: Any, moments: Any, drawn: Any, advantage: float) -> tuple[Any, Any]:
        """Return logits and moments after a step."""
        kept = self._unflatten(self._structure, [np.asarray(leaf, kind) for leaf, kind in zip(moments, self._types, strict=True)])
        moved, leaves = self._update(np.asarray(logits, np.float32), kept, np.asarray(drawn, np.int32), np.float32(advantage))
        return np.asarray(moved).tolist(), [np.asarray(leaf).tolist() for leaf in leaves]


_adam = functools.cache(_Adam)
