"""synflow: the flow through the weights of a network without normalisation, in float64.

``normalisation``
    ``none`` (default): no batch normalisation anywhere, the definition in the paper and in most later work. ``reductions``: as
    zero-cost-nas ships it, which takes batch normalisation out of the stem, the cells and the head, and leaves it in the two reduction
    blocks (training mode on the single image); for NAS-Bench-201 only. ``all``: everywhere, the published variant ``synflow_bn``.
``scale``
    ``log`` (default), the natural logarithm, as in NASLib; or ``raw``, as in zero-cost-nas, numbers up to 1e60. Ranks agree.

Deviations:
    zero-cost-nas scores a network with biases in the cells' convolutions, whose absolute values also flow; the published network has none.
    Nothing flows through a cell whose output does not depend on its input: the raw score is 0 and its logarithm minus infinity, with the
    status ``dead``, where NASLib leaves 0.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.kernels.synflow import synflow
from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.network import Network, layers_of
from jknas.proxies.proxy import Batch, Model, Outcome, Proxy, Setting, model

_REDUCTIONS_ELSEWHERE = (
    "normalisation=reductions keeps the batch normalisation of the two reduction blocks of NAS-Bench-201's networks, and other networks "
    "have no such blocks; choose normalisation=none or normalisation=all"
)


def synflow_score(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    normalisation: str = "none",
    scale: str = "log",
) -> Float[Array, ""]:
    """Return the synaptic flow or its logarithm; of the batch only the images' size matters, the key does not.

    Raises:
        ValueError: for an unknown setting.
        ProxyError: for ``normalisation="reductions"`` in another space than NAS-Bench-201.
    """
    del key
    choose("normalisation", normalisation, ("none", "reductions", "all"), error=ProxyError)
    choose("scale", scale, ("log", "raw"), error=ProxyError)
    if normalisation == "reductions":
        apply = _released(network, wiring)
    else:
        apply = model(network, wiring, "batch" if normalisation == "all" else "none")
    flow = synflow(apply, params, batch.x, layers=layers_of(network, wiring))
    return flow if scale == "raw" else jnp.log(flow)


def _released(network: Network, wiring: Any) -> Model:
    if not isinstance(network, CellNetwork):
        raise ProxyError(_REDUCTIONS_ELSEWHERE)
    return functools.partial(_in_reductions, network, wiring)


def _in_reductions(network: CellNetwork, wiring: Any, params: PyTree, x: jax.Array) -> jax.Array:
    return network.apply_normalising_reductions(params, x, wiring)


def _finish(value: Any) -> Outcome:
    score = float(value)
    if score == -math.inf:  # the logarithm of exactly nothing
        return Outcome(score, "dead")
    return Outcome(score, "ok" if math.isfinite(score) else "non_finite")


def _check(space: str, settings: Mapping[str, Setting]) -> None:
    if space != "nasbench201" and settings.get("normalisation") == "reductions":
        raise ProxyError(f"in the space {space!r} this score is not defined: {_REDUCTIONS_ELSEWHERE}.")


PROXIES = (
    Proxy(
        name="synflow",
        score=synflow_score,
        summary="flow through the absolute weights from an image of ones to the outputs, without normalisation (log)",
        reference="Tanaka et al., SynFlow, NeurIPS 2020, arXiv:2006.05467; as a score: Abdelfattah et al., ICLR 2021, arXiv:2101.08134",
        cost="1 backward pass on one image, in float64",
        needs_labels=False,
        batch_size=1,
        settings={"normalisation": "none", "scale": "log"},
        finish=_finish,
        check=_check,
        precision="float64",
    ),
)
