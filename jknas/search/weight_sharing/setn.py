"""SETN: the weights are trained on uniformly random cells, the logits on the mixture of all operations; the most probable cells compete.

References:
    Dong and Yang, "One-Shot Neural Architecture Search via Self-Evaluated Template Network", ICCV 2019, arXiv:1910.05733, in the form of
    NAS-Bench-201's script. Its settings: see :mod:`jknas.search.weight_sharing.recipe`.

Deviations: those of :mod:`.darts_v1`. On the DARTS space a cell's probability is that of its operations and of "none" on its absent edges.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jknas.search.weight_sharing.method import WeightSharing
from jknas.search.weight_sharing.recipe import SharingRecipe, recipes

if TYPE_CHECKING:
    from jax import Array

    from jknas.search.weight_sharing.arrays import Shared
    from jknas.search.weight_sharing.supernet import Supernet
    from jknas.search.weight_sharing.training import Pair, Rates, Totals


@dataclass(frozen=True, kw_only=True)
class Setn(WeightSharing):
    """SETN.

    Cost of an iteration: a pass, forwards and backwards, through one operation per edge, and one through all; at the end of an epoch a
    forward pass of a batch for each of ``candidates`` cells.
    """

    name: ClassVar[str] = "setn"
    recipes: ClassVar[Mapping[str, SharingRecipe]] = recipes(SharingRecipe(clip_norm=None), small={"epochs": 25})

    def draw(self, net: "Supernet", shared: "Shared", key: "Array") -> "Array":
        """Draw the code of the weight step."""
        return net.random_code(key)

    def iterate(self, net: "Supernet", shared: "Shared", pair: "Pair", rates: "Rates", drawn: Any) -> "tuple[Shared, Totals]":
        """Step weights and logits."""
        from jax.nn import softmax  # noqa: PLC0415 - modules of methods import no JAX

        from jknas.search.weight_sharing import arrays  # noqa: PLC0415
        from jknas.search.weight_sharing.training import Totals  # noqa: PLC0415

        used = net.one_hot(drawn)
        shared, first = arrays.weight_step(net, shared, pair.x, pair.y, lambda _: drawn, used, rates.learning_rate)
        shared, second = arrays.architecture_step(net, shared, pair.x_valid, pair.y_valid, softmax)
        # The mixture gives every operation a gradient.
        return shared._replace(sampled=net.everything), Totals(first, second)

    def propose(self, net: "Supernet", shared: "Shared", key: "Array") -> np.ndarray:
        """Return the most probable codes."""
        from jax.nn import log_softmax  # noqa: PLC0415 - modules of methods import no JAX

        from jknas.search.weight_sharing.supernet import most_probable  # noqa: PLC0415

        return most_probable(net.choices(), np.asarray(log_softmax(shared.architecture), float), net.recipe.candidates)[0]
