"""params: the number of parameters, the null model that every training-free score has to beat.

Reference: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020, arXiv:2001.00326.
"""

from jknas.networks.network import Network, size_of
from jknas.proxies.proxy import SizeProxy
from jknas.spaces.space import Genotype, Space


def parameter_count(space: Space, genotype: Genotype, network: Network, resolution: int) -> int:
    """Return the number of trainable parameters of the macro network; the resolution does not matter."""
    return space.parameters(genotype, **size_of(network), image_channels=network.input_channels)


PROXY = SizeProxy(
    name="params",
    count=parameter_count,
    summary="number of parameters",
    reference="Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326",
    cost="none",
)
