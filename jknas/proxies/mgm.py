"""mgm: the score of KNAS, Eq. (15): the mean of the Gram matrix of gradients, which is the squared norm of the mean gradient.

:mod:`jknas.kernels.mgm` has the formula and says what the paper leaves open. The settings are those of :func:`jknas.kernels.mgm.mgm`, and

``statistics``
    what batch normalisation normalises over: ``example``, each image by itself, which is what the released code does by training-mode
    normalisation at batch size one; or ``batch``, training mode. The default is the network's ``score_statistics``
    (:data:`jknas.proxies.proxy.USUAL_STATISTICS`).

``parameters``
    whose gradients count. The default is the network's ``score_parameters``, where it has that attribute: a pre-trained encoder has a head
    that is drawn anew for every seed and holds most of the gradient.

Reference: Xu et al., "KNAS: Green Neural Architecture Search", ICML 2021, arXiv:2111.13293, Eq. (15).
Deviations: those of :mod:`jknas.kernels.mgm`.
"""

from jknas.kernels.mgm import mgm
from jknas.proxies.measurements.forward import on_networks
from jknas.proxies.proxy import USUAL_STATISTICS, NetworkProxy

KNAS = "Xu et al., KNAS: Green Neural Architecture Search, ICML 2021, arXiv:2111.13293"

PROXY = NetworkProxy(
    name="mgm",
    measure=on_networks(mgm, layered=False, statistics="example"),
    summary="mean of the Gram matrix of loss gradients: squared norm of the mean gradient",
    reference=f"{KNAS}, Eq. (15), with the loss as in the released code",
    cost="1 backward pass",
    settings={"objective": "loss", "parameters": "all", "statistics": "example"},
    network_defaults={**USUAL_STATISTICS, "parameters": "score_parameters"},
)
