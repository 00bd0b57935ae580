"""The networks that each search space is scored and trained on: the one place that knows which network belongs to which space.

Data flow from a genotype to its wiring to a network; a space itself knows no network, so that it can be used without JAX.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import PyTree

from jknas.errors import NetworkError, choose
from jknas.networks.darts import DartsNetwork, TenasDartsNetwork, TenasDartsThinNetwork
from jknas.networks.darts import layers as darts_layers
from jknas.networks.nasbench201 import torch_order as registration
from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.nasbench201.tenas import ThinCellNetwork
from jknas.networks.network import Network, ThinNetwork

Layers = Callable[[PyTree], list[tuple[jax.Array, jax.Array]]]
"""Cuts a gradient into stacks of equal layers and their weights, see :mod:`jknas.kernels.mgm`."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """The networks of one space.

    Attributes:
        space: its name.
        macro: makes the network that is scored and trained, from ``channels``, ``cells``, ``classes`` and ``input_channels``.
        kernel_layers: ``(network, wiring)`` to what cuts a gradient into convolutions and the classifier.
        tenas: TE-NAS's small network for the tangent kernel, for the classes and images of a network.
        thin: TE-NAS's network for counting linear regions, for the classes of a network.
        thin_cells: its number of cells.
    """

    space: str
    macro: Callable[..., Network]
    kernel_layers: Callable[[Any, Any], Layers]
    tenas: Callable[[Network], Network]
    thin: Callable[[Network], ThinNetwork]
    thin_cells: int

    def resized(self, network: Network, *, channels: int, cells: int) -> Network:
        """Return a network of another size for the same classes and images."""
        return self.macro(channels=channels, cells=cells, classes=network.classes, input_channels=network.input_channels)


_FAMILIES = {
    CellNetwork: Family(
        space="nasbench201",
        macro=CellNetwork,
        kernel_layers=registration.kernel_layers,
        tenas=lambda network: CellNetwork(3, 1, network.classes, network.input_channels),
        thin=lambda network: ThinCellNetwork(classes=network.classes),
        thin_cells=1,
    ),
    DartsNetwork: Family(
        space="darts",
        macro=DartsNetwork,
        kernel_layers=darts_layers.kernel_layers,
        tenas=lambda network: TenasDartsNetwork(network.classes, network.input_channels),
        thin=lambda network: TenasDartsThinNetwork(network.classes),
        thin_cells=2,
    ),
}


def family_for(space: str) -> Family:
    """Return the networks of a space.

    Raises:
        ValueError: no network is made for a space of that name.
    """
    by_space = {family.space: family for family in _FAMILIES.values()}
    return by_space[choose("space with a network", space, tuple(by_space), error=NetworkError)]


def family_of(network: Network) -> Family:
    """Return the family that a macro network belongs to.

    Raises:
        ValueError: it is no macro network.
    """
    for kind, family in _FAMILIES.items():
        if isinstance(network, kind):
            return family
    known = ", ".join(kind.__name__ for kind in _FAMILIES)
    raise NetworkError(f"network is a {type(network).__name__}; expected one of {known}")
