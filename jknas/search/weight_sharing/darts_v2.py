"""DARTS, second order: the logits step by the validation loss of weights that have taken one more step themselves.

With momentum buffer ``m``, the unrolled weights are ``w' = w - lr (0.9 m + grad L_train(w) + decay w)``, and the logits' gradient is

    grad_a L_valid(w') - lr grad_a (v . grad_w L_train(w)),        v = grad_w' L_valid(w').

The last term is a central difference, ``(grad_a L_train(w + R v) - grad_a L_train(w - R v)) / (2 R)`` with ``R = 0.01 / |v|``, or exact.
The published difference is not close to its limit: between its two points ReLUs switch, and on a freshly drawn supernet what they add is
larger than the whole gradient. With R = 1e-6 / |v|, in float64, both agree to eleven digits.

References:
    Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, arXiv:1806.09055, Eqs. (6) to (8).
    Its settings: see :mod:`jknas.search.weight_sharing.recipe`.

Deviations: those of :mod:`.darts_v1`. The exact gradient (``unrolled="exact"``) differentiates the unrolled step; its running averages are
moved by one pass over the training batch instead of three.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jknas.errors import SearchError, choose
from jknas.search.method import option
from jknas.search.weight_sharing.darts_v1 import OWN_SPACE, PUBLISHED, DartsV1
from jknas.search.weight_sharing.recipe import SharingRecipe, recipes

if TYPE_CHECKING:
    from jknas.search.weight_sharing.arrays import Measured, Shared
    from jknas.search.weight_sharing.supernet import Supernet
    from jknas.search.weight_sharing.training import Pair, Rates

UNROLLED = ("finite-difference", "exact")
_RADIUS = 0.01


@dataclass(frozen=True, kw_only=True)
class DartsV2(DartsV1):
    """Second-order DARTS.

    Cost of an iteration: five passes, forwards and backwards, through all operations of all edges; three and a second derivative with the
    exact gradient.

    Attributes:
        unrolled: how the gradient through the unrolled step is computed.
    """

    name: ClassVar[str] = "darts-v2"
    recipes: ClassVar[Mapping[str, SharingRecipe]] = {
        **recipes(dataclasses.replace(PUBLISHED, order="architecture"), small={"epochs": 25}),
        "darts": OWN_SPACE,
    }

    unrolled: str = option("finite-difference", "gradient through the unrolled step: finite-difference or exact")

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("gradient of the unrolled step", self.unrolled, UNROLLED, error=SearchError)

    def step_logits(self, net: "Supernet", shared: "Shared", pair: "Pair", rates: "Rates") -> "tuple[Shared, Measured]":
        """Step the logits by the validation loss of the unrolled weights."""
        from jknas.search.weight_sharing.arrays import adam_step  # noqa: PLC0415 - modules of methods import no JAX

        gradient_of = exact if self.unrolled == "exact" else finite_difference
        gradient, averages, measured = gradient_of(net, shared, pair, rates.learning_rate)
        return adam_step(net, shared._replace(batch_stats=averages), gradient), measured


def unroll(net: "Supernet", shared: "Shared", gradient: Any, learning_rate: Any) -> Any:
    """Return the weights after a step of SGD without Nesterov's correction and without clipping."""
    import jax  # noqa: PLC0415 - modules of methods import no JAX

    recipe = net.recipe

    def stepped(weight: Any, momentum: Any, slope: Any) -> Any:
        return weight - learning_rate * (recipe.momentum * momentum + slope + recipe.weight_decay * weight)

    return jax.tree.map(stepped, shared.params, shared.momentum, gradient)


def finite_difference(net: "Supernet", shared: "Shared", pair: "Pair", learning_rate: Any) -> "tuple[Any, Any, Measured]":
    """Return the gradient of the logits, the running averages, and what the unrolled weights reach on the validation batch."""
    import jax  # noqa: PLC0415 - modules of methods import no JAX
    import jax.numpy as jnp  # noqa: PLC0415
    import optax  # noqa: PLC0415

    from jknas.search.weight_sharing.arrays import Measured  # noqa: PLC0415

    def loss(params: Any, logits: Any, averages: Any, x: Any, y: Any) -> Any:
        found = net.forward(params, averages, jax.nn.softmax(logits), x, y)
        return found.loss, found

    training = (pair.x, pair.y)
    gradient, found = jax.grad(loss, has_aux=True)(shared.params, shared.architecture, shared.batch_stats, *training)
    ahead = unroll(net, shared, gradient, learning_rate)
    validation = (shared.architecture, found.batch_stats, pair.x_valid, pair.y_valid)
    (along, direct), reached = jax.grad(loss, (0, 1), has_aux=True)(ahead, *validation)
    radius = _RADIUS / optax.tree.norm(along)
    sides, averages = [], found.batch_stats
    for sign in (1, -1):
        moved = jax.tree.map(lambda weight, direction, sign=sign: weight + sign * radius * direction, shared.params, along)
        side, found = jax.grad(loss, 1, has_aux=True)(moved, shared.architecture, averages, *training)
        sides.append(side)
        averages = found.batch_stats
    implicit = (sides[0] - sides[1]) / (2 * radius)
    return direct - jnp.asarray(learning_rate) * implicit, averages, Measured(reached.loss, reached.correct)


def exact(net: "Supernet", shared: "Shared", pair: "Pair", learning_rate: Any) -> "tuple[Any, Any, Measured]":
    """Return what :func:`finite_difference` does, the gradient by differentiating the unrolled step."""
    import jax  # noqa: PLC0415 - modules of methods import no JAX

    from jknas.search.weight_sharing.arrays import Measured  # noqa: PLC0415

    def loss(params: Any, logits: Any, averages: Any, x: Any, y: Any) -> Any:
        found = net.forward(params, averages, jax.nn.softmax(logits), x, y)
        return found.loss, found

    def ahead(logits: Any) -> Any:
        gradient, found = jax.grad(loss, has_aux=True)(shared.params, logits, shared.batch_stats, pair.x, pair.y)
        reached, second = loss(unroll(net, shared, gradient, learning_rate), logits, found.batch_stats, pair.x_valid, pair.y_valid)
        return reached, (second, found.batch_stats)

    (_, (reached, averages)), gradient = jax.value_and_grad(ahead, has_aux=True)(shared.architecture)
    return gradient, averages, Measured(reached.loss, reached.correct)
