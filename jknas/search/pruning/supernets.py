"""The supernet that TE-NAS prunes: what its space plans, and what the space's two networks compute."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import SearchError
from jknas.networks.families import macro_of, require
from jknas.networks.network import initial_params
from jknas.spaces.pruning import PruningPlan
from jknas.spaces.space import Space

Mixture = Float[Array, "edges operations"]


@dataclass(frozen=True, kw_only=True)
class Supernet:
    """A supernet in two sizes: one for the tangent kernel, a thin one for the linear regions.

    Attributes:
        space: the search space.
        plan: what is pruned.
        batch: images of a kernel in the released code.
        init: ``init(key, scheme) -> params`` of the kernel's network.
        apply: ``apply(params, x, mixture, statistics) -> logits``.
        init_thin: ``init_thin(key, scheme) -> params`` of the thin network.
        activations: ``activations(params, patches, mixture)``, what :func:`jknas.kernels.linear_regions.count_patterns` takes.
    """

    space: Space[Any] = field(compare=False)
    plan: PruningPlan
    batch: int
    init: Callable[[PRNGKeyArray, Any], PyTree]
    apply: Callable[[PyTree, jax.Array, Mixture, Any], jax.Array]
    init_thin: Callable[[PRNGKeyArray, Any], PyTree]
    activations: Callable[[PyTree, jax.Array, Mixture], Any]


def supernet(space: Space[Any], *, classes: int, input_channels: int) -> Supernet:
    """Return the supernet of a search space.

    Args:
        space: the search space.
        classes: number of outputs.
        input_channels: channels of the images.

    Raises:
        SearchError: the space has no plan of pruning, or its network lacks one of TE-NAS's two.
    """
    if space.pruning is None:
        raise SearchError(f"tenas does not know how to prune the space {space.name!r}: give it a PruningPlan as Space.pruning.")
    macro = macro_of(space)(classes=classes, input_channels=input_channels)
    for capability in ("tenas", "thin"):
        require(macro, capability, "tenas", error=SearchError)
    network, thin = macro.tenas_network(), macro.thin_network()
    return Supernet(
        space=space,
        plan=space.pruning,
        batch=macro.tenas_batch,
        init=lambda key, scheme: initial_params(network, key, scheme),
        apply=lambda params, x, mixture, statistics: network.apply(params, x, mixture, statistics=statistics),
        init_thin=lambda key, scheme: thin.init(key, scheme=scheme),
        activations=thin.activations,
    )
