"""REINFORCE: learn a distribution over the operations of each edge from the accuracies of the architectures drawn from it.

With the operation ``o_e`` of each edge ``e`` drawn from ``softmax(theta_e)``, the reward ``r`` and the baseline ``b``, Adam descends

    loss(theta) = - (r - b) * sum_e log softmax(theta_e)[o_e].

The baseline is the exponential moving average of the rewards, corrected for its start at zero and moved *before* it is subtracted, so that
the first architecture teaches nothing.

Reference: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", Machine Learning 8, 1992;
its settings are those of Dong and Yang, "NAS-Bench-201", arXiv:2001.00326, section 5.

Deviations from NAS-Bench-201's released script: the draw is one uniform number an edge, searched for in the cumulative probabilities; the
time that Python itself takes is not added to the simulated seconds.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jknas.errors import SearchError
from jknas.search.evaluator import AnyEvaluator
from jknas.search.method import Method, State
from jknas.search.problem import AnyProblem
from jknas.search.spending import Spending
from jknas.search.trials import no_trials, trial_method

_SPREAD = 1e-3  # standard deviation of the first logits


class _Adam(NamedTuple):
    """The optimiser of one learning rate for logits of one shape: its state before the first step, and its step, compiled."""

    begun: Any
    update: Callable[..., Any]


def reinforce(
    *,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    evaluations: int | None = 100,
    seconds: float | None = None,
    overflow: str = "keep",
) -> Method:
    """Return REINFORCE.

    Adam moves a logit by about the learning rate a step, whatever the scale of the rewards. With 0.01 the distribution is still broad after
    a hundred steps; with 0.5 it settles on an architecture within some ten. The result is the best that was drawn, not the mode.

    Cost: ``evaluations`` trainings of the problem's recipe, and a compilation of its own that takes a fraction of a second.

    Args:
        learning_rate: of Adam (0.9, 0.999). 0.01 is that of NATS-Bench's scripts; 0.5 is the one in the command that NAS-Bench-201
            documents (whose other script tries 0.01, 0.02, 0.1, 0.2 and 0.5).
        momentum: of the baseline's moving average.
        evaluations: the most architectures to evaluate; None for no limit.
        seconds: the most seconds of training; see :class:`~jknas.search.spending.Spending`.
        overflow: "keep" or "discard", likewise.
    """
    for name, value, most in (("learning_rate", learning_rate, float("inf")), ("momentum", momentum, 1.0)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < most:
            raise SearchError(f"{name} is {value!r}; expected a number above 0{' and below 1' if most == 1 else ''}.")
    names = ("learning_rate", "momentum", "evaluations", "seconds", "overflow")
    return trial_method(
        "reinforce",
        dict(zip(names, (learning_rate, momentum, evaluations, seconds, overflow), strict=True)),
        spending=Spending(evaluations=evaluations, seconds=seconds, overflow=overflow),
        init=functools.partial(_init, learning_rate=learning_rate),
        choose=_choose,
        learn=functools.partial(_learn, learning_rate=learning_rate, momentum=momentum),
    )


@functools.cache
def _adam(learning_rate: float, shape: tuple[int, int]) -> _Adam:
    optimiser = optax.adam(learning_rate)

    def loss(logits: jax.Array, drawn: jax.Array, advantage: jax.Array) -> jax.Array:
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), drawn[:, None], axis=1)
        return -advantage * chosen.sum()

    def update(logits: jax.Array, moments: Any, drawn: jax.Array, advantage: jax.Array) -> Any:
        with jax.numpy_dtype_promotion("standard"):  # optax raises its decay to the power of an integer count
            steps, moments = optimiser.update(jax.grad(loss)(logits, drawn, advantage), moments)
        return optax.apply_updates(logits, steps), moments

    return _Adam(jax.device_get(optimiser.init(jnp.zeros(shape))), jax.jit(update))


def _init(problem: AnyProblem, *, learning_rate: float) -> State:
    if len(problem.space.operations) ** problem.space.num_edges != problem.space.size:
        raise SearchError(f"reinforce draws every edge by itself, and {problem.space.name} does not allow all combinations: use evolution.")
    shape = (problem.space.num_edges, len(problem.space.operations))
    logits = np.asarray(_SPREAD * np.random.default_rng(problem.seed).standard_normal(shape), np.float32)
    moments = jax.tree.leaves(_adam(learning_rate, shape).begun)
    sampler = {"logits": logits.tolist(), "moments": [leaf.tolist() for leaf in moments], "rewards": 0.0, "weights": 0.0}
    return no_trials((), sampler)


def _choose(evaluator: AnyEvaluator, state: State, rng: np.random.Generator) -> Any:
    logits = np.asarray(state["sampler"]["logits"], np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True)).cumsum(axis=1)
    drawn = (rng.random((len(logits), 1)) * shares[:, -1:] >= shares).sum(axis=1)
    return evaluator.problem.space.from_code(drawn.tolist())


def _learn(evaluator: AnyEvaluator, state: State, place: int, *, learning_rate: float, momentum: float) -> dict[str, Any]:
    sampler, candidate = state["sampler"], state["candidates"][place]
    reward = 100 * candidate["training"]["validation_accuracy"]  # in percent
    rewards = momentum * sampler["rewards"] + (1 - momentum) * reward
    weights = momentum * sampler["weights"] + (1 - momentum)
    logits = np.asarray(sampler["logits"], np.float32)
    begun, update = _adam(learning_rate, logits.shape)
    kept = [np.asarray(value, leaf.dtype) for value, leaf in zip(sampler["moments"], jax.tree.leaves(begun), strict=True)]
    moments = jax.tree.unflatten(jax.tree.structure(begun), kept)
    drawn = np.asarray(evaluator.problem.space.parse(candidate["genotype"]).code, np.int32)
    logits, moments = jax.device_get(update(logits, moments, drawn, np.float32(reward - rewards / weights)))
    listed = [leaf.tolist() for leaf in jax.tree.leaves(moments)]
    return {"logits": logits.tolist(), "moments": listed, "rewards": rewards, "weights": weights}
