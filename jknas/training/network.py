"""What training asks of a network, in addition to what scoring asks."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import TrainingError
from jknas.networks.families import require
from jknas.networks.layers.initialisation import Scheme
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network

__all__ = [
    "TrainableNetwork",
    "can_have_auxiliary",
    "code_of",
    "genotypes_of",
    "has_auxiliary",
    "part_of",
    "trainable",
    "with_auxiliary",
]


@runtime_checkable
class TrainableNetwork(Network, Protocol):
    """A network that can be trained. Only the methods are required.

    A network may also have ``genotypes`` (the type of its genotypes), ``restrict(tree, genotype)`` (the part of all candidates' arrays that
    a genotype uses), ``has_drop_path`` (whether :meth:`train_apply` drops paths) and ``auxiliary`` (whether it returns the logits of an
    auxiliary classifier).
    """

    def init(self, key: jax.Array, genotype: Any = None, *, scheme: Scheme = "pytorch") -> dict[str, Any]:
        """Draw ``{"params", "batch_stats"}`` of one genotype, or of every candidate operation."""
        ...

    def apply(  # noqa: D102 - as the network's
        self,
        params: PyTree,
        x: Float[Array, "n h w c"],
        wiring: Any,
        *,
        statistics: Statistics = "example",
        batch_stats: PyTree | None = None,
    ) -> Float[Array, "n k"]: ...

    def train_apply(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: Float[Array, "n h w c"],
        wiring: Any,
        *,
        key: jax.Array | None = None,
        drop_path: Any = 0.0,
    ) -> tuple[Float[Array, "n k"], Float[Array, "n k"] | None, PyTree]:
        """Return the logits in training mode, those of the auxiliary classifier (None without one), and the moved running averages."""
        ...


def trainable(network: Network) -> TrainableNetwork:
    """Return the network, or raise TrainingError when it is made for scores alone."""
    require(network, "trainable", "training", error=TrainingError)
    return cast(TrainableNetwork, network)


def genotypes_of(network: Network) -> type:
    """Return the type of a network's genotypes; ``object`` where it does not say."""
    return getattr(network, "genotypes", object)


def has_auxiliary(network: Network) -> bool:
    """Return whether a network trains an auxiliary classifier."""
    return getattr(network, "auxiliary", False)


def part_of(network: Network, variables: Mapping[str, Any], genotype: Any) -> dict[str, PyTree]:
    """Return the parameters and running averages that a genotype uses; all of them where a network has no ``restrict``."""
    trees = {name: variables.get(name, {}) for name in ("params", "batch_stats")}
    return {name: network.restrict(tree, genotype) for name, tree in trees.items()} if hasattr(network, "restrict") else trees


def code_of(genotype: Any) -> Int[Array, " edges"]:
    """Return a genotype's code as an array; empty where it has none, which is enough for static wirings."""
    return jnp.asarray(getattr(genotype, "code", ()), jnp.int32)


def can_have_auxiliary(network: Network) -> bool:
    """Return whether networks of this kind may be built with an auxiliary classifier."""
    return dataclasses.is_dataclass(network) and any(field.name == "auxiliary" for field in dataclasses.fields(network))


def with_auxiliary(network: Network) -> Network:
    """Return the network with an auxiliary classifier, or raise TrainingError when no network of its kind has one."""
    if not can_have_auxiliary(network):
        raise TrainingError(f"{type(network).__name__}s have no auxiliary classifier: set the recipe's auxiliary_weight to 0.")
    return dataclasses.replace(network, auxiliary=True)  # type: ignore[type-var]
