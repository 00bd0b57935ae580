"""The scores of one mini-batch gradient: grad_norm, snip, plain, nasi, and l2_norm beside them.

One device part returns all five (:func:`jknas.kernels.saliency.saliency`), so that together they cost one backward pass. All take

``statistics``
    what batch normalisation normalises over: ``batch`` (default), training mode, as in the code of every paper below; or ``example``.

Deviations:
    zero-cost-nas scores a network of its own: biases in the cells' convolutions and no affine parameters in their normalisations. A bias in
    front of a training-mode normalisation changes nothing, and at initialisation scales are one and shifts zero, so that the numbers are
    those of the published network, to the last digit. In its l2_norm all candidate operations of an edge count; here the chosen one alone.
    It draws another batch for every architecture, augmented; here all see the same one, as it is. SNIP divides by the sum over all
    weights to prune; as a score of architectures the sum itself is meant.
    ``plain`` is a sum of signed terms that nearly cancel: the gradient of a normalised layer is orthogonal to its kernel (the output does
    not change with the kernel's scale, up to the epsilon of the variance). What is left is the share of the few layers behind which there
    is no normalisation, and in float32 some rounding.
    NASI's score is a trace norm of the tangent kernel; its Eq. (12) approximates it by the squared norm of a mini-batch gradient times
    constants that are the same for all architectures, and this squared norm is what is ranked by. Its cap on large values belongs to its
    search, not to the score.
"""

import functools
from collections.abc import Callable
from typing import Any

from jaxtyping import PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.kernels.saliency import Saliency, saliency
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network, layers_of
from jknas.proxies.proxy import Batch, Outcome, Proxy, finish_scalar, model


def saliency_scores(
    network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray, *, statistics: Statistics = "batch"
) -> Saliency:
    """Return all scores of one gradient; the device part of the proxies. The key is not used.

    Raises:
        ValueError: for unknown statistics; running averages do not exist at initialisation.
    """
    del key
    choose("statistics", statistics, ("example", "batch"), error=ProxyError)
    layers = layers_of(network, wiring)
    return saliency(model(network, wiring, statistics), params, batch.x, batch.labels, layers=layers)


def _finish(found: Saliency, *, name: str) -> Outcome:
    return finish_scalar(getattr(found, name))


def _finisher(name: str) -> Callable[[Any], Outcome]:
    return functools.partial(_finish, name=name)


_ZERO_COST = "Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021, arXiv:2101.08134"

_from_one_gradient = functools.partial(Proxy, score=saliency_scores, cost="1 backward pass", settings={"statistics": "batch"})
"""A proxy that reads one number of one gradient."""

PROXIES = (
    _from_one_gradient(
        name="grad_norm",
        summary="sum over the layers of the norm of the loss gradient",
        reference=f"{_ZERO_COST}, section 3.2",
        finish=_finisher("gradient_norm"),
    ),
    _from_one_gradient(
        name="snip",
        summary="sum of |weight x gradient|: how much the loss would change, to first order, without each weight",
        reference=f"Lee et al., SNIP, ICLR 2019, arXiv:1810.02340; as a score of architectures: {_ZERO_COST}, Eq. (1)",
        finish=_finisher("snip"),
    ),
    _from_one_gradient(
        name="plain",
        summary="sum of weight x gradient, signed; nearly zero for every layer behind which there is a normalisation",
        reference="zero-cost-nas, github.com/SamsungLabs/zero-cost-nas (plain); after Mozer and Smolensky, Skeletonization, NIPS 1988",
        finish=_finisher("plain"),
    ),
    _from_one_gradient(
        name="nasi",
        summary="squared norm of the gradient of the batch's mean loss over the kernels: a trace norm of the tangent kernel, approximated",
        reference="Shu et al., NASI, ICLR 2022, arXiv:2109.00817, Eq. (12) without its constants",
        finish=_finisher("squared_gradient"),
    ),
    _from_one_gradient(
        name="l2_norm",
        summary="sum over the layers of the norm of the weights: a null model that sees neither data nor gradients",
        reference="zero-cost-nas, github.com/SamsungLabs/zero-cost-nas (l2_norm)",
        cost="none of its own; measured with the gradient of grad_norm",
        needs_labels=False,
        finish=_finisher("weight_norm"),
    ),
)
