"""mgm: the score of KNAS, Eq. (15): the mean of the Gram matrix of gradients, which is the squared norm of the mean gradient.

:mod:`jknas.kernels.mgm` has the formula and says what the paper leaves open. The settings are those of :func:`jknas.kernels.mgm.mgm`, and

``statistics``
    what batch normalisation normalises over: ``example``, each image by itself, which is what the released code does by training-mode
    normalisation at batch size one; or ``batch``, training mode. The default is the network's ``score_statistics``
    (:data:`jknas.proxies.proxy.USUAL_STATISTICS`).

Reference: Xu et al., "KNAS: Green Neural Architecture Search", ICML 2021, arXiv:2111.13293, Eq. (15).
Deviations: those of :mod:`jknas.kernels.mgm`.
"""

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.kernels.mgm import mgm
from jknas.kernels.objectives import Objective, Parameters
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network
from jknas.proxies.measurements.forward import model
from jknas.proxies.proxy import USUAL_STATISTICS, NetworkProxy
from jknas.proxies.setup import Batch

KNAS = "Xu et al., KNAS: Green Neural Architecture Search, ICML 2021, arXiv:2111.13293"


def measure(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    objective: Objective = "loss",
    parameters: Parameters = "all",
    statistics: Statistics = "example",
) -> Float[Array, ""]:
    """Return Eq. (15), see :func:`jknas.kernels.mgm.mgm`; the key is not used."""
    del key
    return mgm(model(network, wiring, statistics), params, batch.x, batch.labels, objective=objective, parameters=parameters)


PROXY = NetworkProxy(
    name="mgm",
    measure=measure,
    summary="mean of the Gram matrix of loss gradients: squared norm of the mean gradient",
    reference=f"{KNAS}, Eq. (15), with the loss as in the released code",
    cost="1 backward pass",
    settings={"objective": "loss", "parameters": "all", "statistics": "example"},
    network_defaults=USUAL_STATISTICS,
)
