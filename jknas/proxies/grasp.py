"""grasp: the preserved gradient flow, on one batch.

``statistics``
    what batch normalisation normalises over: ``batch`` (default), training mode, as in the released code; or ``example``.

Deviations:
    The sign is that of zero-cost-nas: larger is better there, and pruning in the paper removes the weights with the *largest* of these.
    Published correlations are absolute values, and the sign of this score's correlation is not the same on every data set. The paper takes
    several batches and a softmax temperature of 200, for pruning; zero-cost-nas, and this score, one batch and no temperature. The network
    and the batch differ from zero-cost-nas as :mod:`jknas.proxies.saliency` says.
"""

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.kernels.grasp import grasp
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network, layers_of
from jknas.proxies.proxy import Batch, Proxy, model


def grasp_score(
    network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray, *, statistics: Statistics = "batch"
) -> Float[Array, ""]:
    """Return the score, see :func:`jknas.kernels.grasp.grasp`; the key is not used.

    Raises:
        ValueError: for unknown statistics; running averages do not exist at initialisation.
    """
    del key
    choose("statistics", statistics, ("example", "batch"), error=ProxyError)
    layers = layers_of(network, wiring)
    return grasp(model(network, wiring, statistics), params, batch.x, batch.labels, layers=layers)


PROXIES = (
    Proxy(
        name="grasp",
        score=grasp_score,
        summary="-sum of weight x (Hessian x gradient): how the gradient's norm would change without each weight",
        reference="Wang et al., GraSP, ICLR 2020, arXiv:2002.07376, Eq. (8); as a score: Abdelfattah et al., ICLR 2021, arXiv:2101.08134",
        cost="1 backward pass, and 1 through a backward pass",
        settings={"statistics": "batch"},
    ),
)
