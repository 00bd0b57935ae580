"""RSPS, random search with parameter sharing: the weights are trained on uniformly random cells, of which some are compared at the end.

References:
    Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019, arXiv:1902.07638, in the form of
    NAS-Bench-201's script (``RANDOM-NAS.py``). Its settings: see :mod:`jknas.search.weight_sharing.recipe`.

Deviations: those of :mod:`.darts_v1`. With NATS-Bench's recipe every cell draws its operations by itself, those of a node among those that
give it an input, where the script draws again until they do.
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
        """Draw the code of the weight step, and where validation batches are run, another one for that."""
        from jax.random import split  # noqa: PLC0415 - modules of methods import no JAX

        draw_code = net.network.draw_cells if net.per_cell else net.random_code
        return tuple(map(draw_code, split(key))) if net.recipe.validation_pass else (draw_code(key), None)

    def iterate(self, net: "Supernet", shared: "Shared", pair: "Pair", rates: "Rates", drawn: Any) -> "tuple[Shared, Totals]":
        """Step the weights."""
        from jknas.search.weight_sharing import arrays  # noqa: PLC0415 - modules of methods import no JAX
        from jknas.search.weight_sharing.training import Totals  # noqa: PLC0415

        code, other = drawn
        shared, first = arrays.weight_step(net, shared, pair.x, pair.y, lambda _: code, net.one_hot(code), rates.learning_rate)
        shared, second = arrays.validation_pass(net, shared, pair.x_valid, pair.y_valid, other)
        return shared, Totals(first, second)

    def propose(self, net: "Supernet", shared: "Shared", key: "Array") -> np.ndarray:
        """Return uniformly random codes."""
        from jknas.search.weight_sharing.supernet import distinct_codes, generator  # noqa: PLC0415 - modules of methods import no JAX

        if net.nodes:  # so many that two are never the same
            from jax import random, vmap  # noqa: PLC0415

            return np.asarray(vmap(net.random_code)(random.split(key, net.recipe.candidates)))
        rng = generator(key)
        sizes, count = (net.operations,) * net.edges, net.recipe.candidates
        return distinct_codes(rng, sizes, count) if net.recipe.distinct else rng.integers(0, sizes, (count, net.edges), np.int32)

    def weights(self, shared: "Shared", proposed: np.ndarray | None) -> None:
        """Return None: no operation has a weight."""
        del shared, proposed
