"""RSPS, random search with parameter sharing: the weights are trained on uniformly random cells, of which some are compared at the end.

References:
    Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019, arXiv:1902.07638, in the form of
    NAS-Bench-201's script (``RANDOM-NAS.py``). Its settings: see :mod:`jknas.search.weight_sharing.recipe`.

Deviations: those of :mod:`.darts_v1`. With NATS-Bench's recipe every cell draws its operations by itself, and a validation batch, from
which nothing is learned, moves the running averages; the operations of a node are drawn among those that give it an input, where the script
draws again until they do.
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
class Rsps(WeightSharing):
    """Random search with parameter sharing.

    Cost of an iteration: one pass, forwards and backwards, through one operation per edge; at the end of an epoch a forward pass of a batch
    for each of ``candidates`` cells.
    """

    name: ClassVar[str] = "rsps"
    recipes: ClassVar[Mapping[str, SharingRecipe]] = recipes(SharingRecipe(), small={"epochs": 25})

    @property
    def draws_per_cell(self) -> bool:
        """Whether every cell of the supernet draws its operations by itself."""
        return self.made.per_cell

    def initial(self, net: "Supernet", key: "Array") -> Any:
        """Return nothing to learn."""
        del net, key
        return ()

    def draw(self, net: "Supernet", shared: "Shared", key: "Array") -> Any:
        """Draw the code of the weight step; with a code for each cell, another one for the validation batch."""
        if not net.per_cell:
            return net.random_code(key)
        from jax.random import split  # noqa: PLC0415 - modules of methods import no JAX

        return tuple(map(net.network.draw_cells, split(key)))

    def iterate(self, net: "Supernet", shared: "Shared", pair: "Pair", rates: "Rates", drawn: Any) -> "tuple[Shared, Totals]":
        """Step the weights."""
        from jknas.search.weight_sharing import arrays  # noqa: PLC0415 - modules of methods import no JAX
        from jknas.search.weight_sharing.training import Totals  # noqa: PLC0415

        code, other = drawn if net.per_cell else (drawn, None)
        shared, first = arrays.weight_step(net, shared, pair.x, pair.y, lambda _: code, net.one_hot(code), rates.learning_rate)
        if other is None:
            return shared, Totals(first, None)
        found = net.forward(shared.params, shared.batch_stats, other, pair.x_valid, pair.y_valid)
        return shared._replace(batch_stats=found.batch_stats), Totals(first, arrays.Measured(found.loss, found.correct))

    def propose(self, net: "Supernet", shared: "Shared", key: "Array") -> np.ndarray:
        """Return uniformly random codes."""
        from jknas.search.weight_sharing.supernet import distinct_codes, generator  # noqa: PLC0415 - modules of methods import no JAX

        rng = generator(key)
        sizes, count = (net.operations,) * net.edges, net.recipe.candidates
        return distinct_codes(rng, sizes, count) if net.recipe.distinct else rng.integers(0, sizes, (count, net.edges), np.int32)

    def weights(self, shared: "Shared", proposed: np.ndarray | None) -> None:
        """Return None: no operation has a weight."""
        del shared, proposed
