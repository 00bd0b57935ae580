"""macs: the multiply-accumulate operations of one forward pass, which the field calls FLOPs; a null model.

Reference: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020, arXiv:2001.00326.
"""

from jknas.networks.network import Network, size_of
from jknas.proxies.proxy import SizeProxy
from jknas.spaces.space import Genotype, Space


def mac_count(space: Space, genotype: Genotype, network: Network, resolution: int) -> int:
    """Return the multiply-accumulate operations of one forward pass of the macro network on one image."""
    return space.macs(genotype, **size_of(network), image_channels=network.input_channels, resolution=resolution)


PROXY = SizeProxy(
    name="macs",
    count=mac_count,
    summary="multiply-accumulates, called FLOPs in the field",
    reference="Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326",
    cost="none",
)
