r"""grad_norm: the sum over the layers of the norm of the loss gradient, :math:`\sum_l \|g_l\|_2`.

Reference: Abdelfattah, Mehrotra, Dudziak and Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, arXiv:2101.08134, section 3.2.
Settings and deviations: :mod:`jknas.proxies.measurements.batch_gradient`.
"""

from jknas.proxies.measurements.batch_gradient import ZERO_COST, row
from jknas.proxies.proxy import read_scalar

PROXY = row(
    name="grad_norm",
    summary="sum over the layers of the norm of the loss gradient",
    reference=f"{ZERO_COST}, section 3.2",
    read=lambda found: read_scalar(found.gradient_norm),
)
