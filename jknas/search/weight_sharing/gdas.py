"""GDAS: one operation per edge, drawn by the Gumbel-max trick, with the gradient of the tempered softmax.

For each edge with logits ``a``, Gumbel noise ``g`` and temperature ``t``, ``p = softmax((log softmax(a) + g) / t)``; the operation of the
largest entry runs, and the hard weights are ``one_hot(argmax p) - stop(p) + p``. Weights and logits step by turns, each with its own draw.

References:
    Dong and Yang, "Searching for A Robust Neural Architecture in Four GPU Hours", CVPR 2019, arXiv:1910.04465, Eqs. (3) and (4).
    Its settings: see :mod:`jknas.search.weight_sharing.recipe`.

Deviations: those of :mod:`.darts_v1`. The scripts draw again where a draw is not finite; here none is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jknas.errors import SearchError
from jknas.search.weight_sharing.method import WeightSharing
from jknas.search.weight_sharing.recipe import SharingRecipe, recipes

if TYPE_CHECKING:
    from jax import Array

    from jknas.search.weight_sharing.arrays import Shared
    from jknas.search.weight_sharing.supernet import Supernet
    from jknas.search.weight_sharing.training import Pair, Rates, Totals


_FEWEST = 2


@dataclass(frozen=True, kw_only=True)
class Gdas(WeightSharing):
    """GDAS.

    Cost of an iteration: two passes, forwards and backwards, through one operation per edge.
    """

    name: ClassVar[str] = "gdas"
    recipes: ClassVar[Mapping[str, SharingRecipe]] = {
        **recipes(SharingRecipe(), small={"epochs": 25}),
        "darts": SharingRecipe(weight_decay=3e-4),  # that of the GDAS paper for the DARTS space
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.made.epochs < _FEWEST:
            raise SearchError(
                f"epochs is {self.made.epochs}, and gdas lowers its temperature from the first epoch to the last: give {_FEWEST} or more."
            )

    def draw(self, net: "Supernet", shared: "Shared", key: "Array") -> "Array":
        """Draw the Gumbel noise of both steps, ``[2, edges, operations]``."""
        from jax.random import gumbel  # noqa: PLC0415 - modules of methods import no JAX

        return gumbel(key, (2, *shared.architecture.shape))

    def iterate(self, net: "Supernet", shared: "Shared", pair: "Pair", rates: "Rates", drawn: Any) -> "tuple[Shared, Totals]":
        """Step weights and logits."""
        from jknas.search.weight_sharing import arrays  # noqa: PLC0415 - modules of methods import no JAX
        from jknas.search.weight_sharing.training import Totals  # noqa: PLC0415

        def wire(noise: Any) -> Any:
            return lambda logits: hard_draw(logits, noise, rates.temperature)

        used = net.one_hot(wire(drawn[0])(shared.architecture).code)
        shared, first = arrays.weight_step(net, shared, pair.x, pair.y, wire(drawn[0]), used, rates.learning_rate)
        used = net.one_hot(wire(drawn[1])(shared.architecture).code)
        shared, second = arrays.architecture_step(net, shared, pair.x_valid, pair.y_valid, wire(drawn[1]))
        return shared._replace(sampled=shared.sampled | used), Totals(first, second)


def hard_draw(logits: Any, noise: Any, temperature: Any) -> Any:
    """Return the sampled code of logits and Gumbel noise ``[edges, operations]``."""
    import jax  # noqa: PLC0415 - modules of methods import no JAX
    import jax.numpy as jnp  # noqa: PLC0415

    from jknas.networks.wiring import SampledCode  # noqa: PLC0415

    soft = jax.nn.softmax((jax.nn.log_softmax(logits) + noise) / temperature)
    code = soft.argmax(-1).astype(jnp.int32)
    hard = jax.nn.one_hot(code, soft.shape[-1], dtype=soft.dtype)
    return SampledCode(code, hard - jax.lax.stop_gradient(soft) + soft)
