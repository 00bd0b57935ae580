"""mgm_layerwise: the score of KNAS, Eq. (16): the MGM of a few parameters of every layer, averaged over the layers.

:func:`jknas.kernels.mgm.mgm_layerwise` has the formula. The settings:

``entries``
    ``sampled`` (default) draws ``samples`` parameters of every layer, as in the paper; ``released`` takes the tensors and entries of the
    released code, the first 50 entries of the first eleven eligible tensors, but averages them as Eq. (16) says.
``samples``
    parameters per layer, 50 in the paper.
``objective``, ``statistics``
    as in :mod:`jknas.proxies.mgm`.

Reference: Xu et al., "KNAS: Green Neural Architecture Search", ICML 2021, arXiv:2111.13293, Eq. (16).
Deviations: those of :mod:`jknas.kernels.mgm`.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import ProxyError
from jknas.kernels.mgm import mgm_layerwise
from jknas.kernels.objectives import Objective
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network, layers_of
from jknas.proxies.measurements.forward import model
from jknas.proxies.mgm import KNAS
from jknas.proxies.mgm_released import leading_entries
from jknas.proxies.proxy import USUAL_STATISTICS, NetworkProxy
from jknas.proxies.setup import Batch


def measure(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    objective: Objective = "loss",
    entries: str = "sampled",
    samples: int = 50,
    statistics: Statistics = "example",
) -> Float[Array, ""]:
    """Return Eq. (16) over the convolutions and the classifier; the key draws the sampled parameters.

    Raises:
        ProxyError: for unknown ``entries``, or those of the released code where the network has no PyTorch order.
    """
    if entries == "sampled":
        apply, layers = model(network, wiring, statistics), layers_of(network, wiring)
        return mgm_layerwise(apply, params, batch.x, batch.labels, key=key, objective=objective, samples=samples, layers=layers)
    if entries != "released":
        raise ProxyError(f"entries={entries!r} is not known; choose 'sampled' or 'released'")
    values, taken = leading_entries(network, params, wiring, batch, objective=objective, statistics=statistics)
    return jnp.sum(jnp.square(values)) / jnp.sum(taken)


PROXY = NetworkProxy(
    name="mgm_layerwise",
    measure=measure,
    summary="MGM of 50 sampled parameters a layer, averaged over the layers",
    reference=f"{KNAS}, Eq. (16)",
    cost="1 backward pass",
    settings={"objective": "loss", "entries": "sampled", "samples": 50, "statistics": "example"},
    network_defaults=USUAL_STATISTICS,
    requires_for={"entries": {"released": "torch_order"}},
)
