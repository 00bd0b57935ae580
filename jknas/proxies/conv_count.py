"""conv_count: the number of edges whose operation holds a convolution; a null model.

In NAS-Bench-201 it has seven values, 0 to 6, and orders cells as the number of parameter tensors does: the network with *N* cells in each
stage has 21 tensors, and 9 N more for each convolution edge of the cell. Scores that sum over layers follow it.

Reference:
    Tybl and Neumann, "Training-free Neural Architecture Search through Variance of Knowledge of Deep Network Weights" (VKDNW), CVPR 2025,
    arXiv:2502.04975, which ranks by the number of trainable layers first.

Deviations:
    The paper counts layers of the network, here edges of the genotype count, in DARTS those of both cells. A DARTS skip connection of
    stride 2 holds two convolutions and does not count: the choice on the edge is none.
"""

from jknas.errors import ProxyError
from jknas.networks.network import Network
from jknas.proxies.proxy import SizeProxy
from jknas.spaces.space import Genotype, Space


def convolution_edges(space: Space, genotype: Genotype, network: Network, resolution: int) -> int:
    """Return the number of edges whose operation is one of ``space.convolutions``; network and resolution do not matter.

    Raises:
        ProxyError: the space does not say which of its operations hold a convolution.
    """
    if space.convolutions is None:
        raise ProxyError(
            f"proxy 'conv_count' needs to know which operations of {space.name!r} hold a convolution: "
            f"set Space.convolutions to their names, some of {', '.join(space.operations)}."
        )
    return sum(space.operations[digit] in space.convolutions for digit in genotype.code)


PROXY = SizeProxy(
    name="conv_count",
    count=convolution_edges,
    summary="edges that hold a convolution",
    reference="Tybl and Neumann, VKDNW, CVPR 2025, arXiv:2502.04975",
    cost="none",
)
