"""DARTS, first order: weights and a softmax over all operations are trained by turns.

Every edge is the sum of all operations, weighted by the softmax of its logits. The weights step on a training batch, then the logits on a
validation batch, with the weights as they are. The cell takes the largest logit of each edge, which in NAS-Bench-201 may be that of
``none``.

References:
    Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, arXiv:1806.09055, Algorithm 1 with xi = 0.
    Its settings: see :mod:`jknas.search.weight_sharing.recipe`.

Deviations from NAS-Bench-201's script: the convolutions of the cells have no bias, as when its table was made (batch normalisation takes a
bias out again). From the DARTS paper's code, with the recipe ``darts``: normalisations of the cells have scales and shifts, pools have no
normalisation, validation batches are drawn with replacement, and the splits are those of the data set.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from jknas.search.weight_sharing.method import WeightSharing
from jknas.search.weight_sharing.recipe import SharingRecipe, recipes

if TYPE_CHECKING:
    from jknas.search.weight_sharing.arrays import Measured, Shared
    from jknas.search.weight_sharing.supernet import Supernet
    from jknas.search.weight_sharing.training import Pair, Rates, Totals

PUBLISHED = SharingRecipe(epochs=50)
OWN_SPACE = dataclasses.replace(PUBLISHED, order="architecture", weight_decay=3e-4, nesterov=False, clip_architecture=False)
"""The settings of the DARTS paper for its own space."""


@dataclass(frozen=True, kw_only=True)
class DartsV1(WeightSharing):
    """First-order DARTS.

    Cost of an iteration: two passes, forwards and backwards, through all operations of all edges.
    """

    name: ClassVar[str] = "darts-v1"
    recipes: ClassVar[Mapping[str, SharingRecipe]] = {
        **recipes(PUBLISHED, small={"epochs": 25}),
        "darts": OWN_SPACE,
    }

    def iterate(self, net: "Supernet", shared: "Shared", pair: "Pair", rates: "Rates", drawn: Any) -> "tuple[Shared, Totals]":
        """Step weights and logits."""
        from jax.nn import softmax  # noqa: PLC0415 - modules of methods import no JAX

        from jknas.search.weight_sharing.arrays import weight_step  # noqa: PLC0415
        from jknas.search.weight_sharing.training import Totals  # noqa: PLC0415

        del drawn

        def step_weights(shared: "Shared") -> "tuple[Shared, Measured]":
            return weight_step(net, shared, pair.x, pair.y, softmax, net.everything, rates.learning_rate)

        if net.recipe.order == "weights":
            shared, first = step_weights(shared)
            shared, second = self.step_logits(net, shared, pair, rates)
        else:
            shared, second = self.step_logits(net, shared, pair, rates)
            shared, first = step_weights(shared)
        return shared, Totals(first, second)

    def step_logits(self, net: "Supernet", shared: "Shared", pair: "Pair", rates: "Rates") -> "tuple[Shared, Measured]":
        """Step the logits on the validation batch."""
        from jax.nn import softmax  # noqa: PLC0415 - modules of methods import no JAX

        from jknas.search.weight_sharing.arrays import architecture_step  # noqa: PLC0415

        del rates
        return architecture_step(net, shared, pair.x_valid, pair.y_valid, softmax)
