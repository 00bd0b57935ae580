"""zico: mean of the gradients' absolute values over their spread between mini-batches, layer by layer.

``batches``
    the proxy's batch is cut into so many mini-batches; 2 (default), as the authors' search passes.
``statistics``
    what batch normalisation normalises over: ``batch`` (default), training mode within each mini-batch, as in the released code; or
    ``example``.

Deviations:
    The paper writes an expectation over mini-batches; the released code takes those of its loader, and the search two. A port in MeCo's
    repository does not reset the gradients between the two, so that the second is their sum: that is another score, and not here. Layers
    that a code does not choose have no gradient and are left out, where the released code raises an error.
"""

from typing import Any

from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.kernels.zico import zico
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network, layers_of
from jknas.proxies.proxy import Batch, Proxy, model


def zico_score(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    batches: int = 2,
    statistics: Statistics = "batch",
) -> Float[Array, ""]:
    """Return the score, see :func:`jknas.kernels.zico.zico`; the key is not used.

    Raises:
        ValueError: for unknown statistics, or a batch that cannot be cut so.
    """
    del key
    choose("statistics", statistics, ("example", "batch"), error=ProxyError)
    layers = layers_of(network, wiring)
    return zico(model(network, wiring, statistics), params, batch.x, batch.labels, batches=batches, layers=layers)


PROXIES = (
    Proxy(
        name="zico",
        score=zico_score,
        summary="sum over the layers of the log of mean |gradient| over its standard deviation between mini-batches",
        reference="Li et al., ZiCo, ICLR 2023, arXiv:2301.11300",
        cost="1 backward pass of each of 2 mini-batches",
        batch_size=128,
        settings={"batches": 2, "statistics": "batch"},
    ),
)
