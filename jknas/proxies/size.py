"""Network size as a proxy: the null model that every training-free score has to beat."""

from typing import Any

from jknas.networks.network import Network
from jknas.proxies.proxy import Proxy
from jknas.spaces.space import Space


def parameter_count(space: Space, genotype: Any, network: Network, resolution: int) -> int:
    """Return the number of parameters; the resolution does not matter."""
    del resolution
    return space.parameters(
        genotype, channels=network.channels, cells=network.cells, classes=network.classes, image_channels=network.input_channels
    )


def mac_count(space: Space, genotype: Any, network: Network, resolution: int) -> int:
    """Return the multiply-accumulate operations of one forward pass on one image (the field's "FLOPs")."""
    return space.macs(
        genotype,
        channels=network.channels,
        cells=network.cells,
        classes=network.classes,
        image_channels=network.input_channels,
        resolution=resolution,
    )


_REFERENCE = "Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326"

PROXIES = (
    Proxy("params", parameter_count, "number of parameters", _REFERENCE, "none", needs_labels=False, needs_network=False),
    Proxy(
        "macs", mac_count, "multiply-accumulates, called FLOPs in the field", _REFERENCE, "none", needs_labels=False, needs_network=False
    ),
)
