"""What training asks of a network, besides what scoring does."""

import dataclasses
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float, PyTree

from jknas.errors import TrainingError
from jknas.networks.layers.initialisation import Scheme
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network

__all__ = ["TrainableNetwork", "can_have_auxiliary", "trainable", "with_auxiliary"]


@runtime_checkable
class TrainableNetwork(Network, Protocol):
    """A network whose training step is the same program text for every search space.

    Attributes:
        genotypes: type of the genotypes that it takes as static wirings.
        has_drop_path: whether :meth:`train_apply` can drop paths, those of a genotype as static wiring.
    """

    genotypes: ClassVar[type]
    has_drop_path: ClassVar[bool]

    @property
    def auxiliary(self) -> bool:
        """Whether :meth:`train_apply` runs an auxiliary classifier."""
        ...

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

    def restrict(self, tree: PyTree, genotype: Any) -> PyTree:
        """Return the part of ``params`` or ``batch_stats`` that a genotype uses."""
        ...


def trainable(network: Network) -> TrainableNetwork:
    """Return the network, or raise TrainingError when it is made for scores alone."""
    if not isinstance(network, TrainableNetwork):
        raise TrainingError(f"network is a {type(network).__name__}, which cannot be trained; expected a CellNetwork or a DartsNetwork.")
    return network


def can_have_auxiliary(network: Network) -> bool:
    """Return whether networks of this kind may be built with an auxiliary classifier."""
    return dataclasses.is_dataclass(network) and any(field.name == "auxiliary" for field in dataclasses.fields(network))


def with_auxiliary(network: Network) -> Network:
    """Return the network with an auxiliary classifier, or raise TrainingError when no network of its kind has one."""
    if not can_have_auxiliary(network):
        raise TrainingError(f"{type(network).__name__}s have no auxiliary classifier: set the recipe's auxiliary_weight to 0.")
    return dataclasses.replace(network, auxiliary=True)  # type: ignore[type-var]
