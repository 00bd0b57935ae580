r"""nasi: the squared norm of the mini-batch gradient, :math:`\sum_l \|g_l\|_2^2`, which approximates a trace norm of the tangent kernel.

Reference: Shu, Cai, Dai, Ooi and Low, "NASI: Label- and Data-agnostic Neural Architecture Search at Initialization", ICLR 2022,
arXiv:2109.00817, Eq. (12).

Deviations:
    NASI's score is a trace norm of the tangent kernel. Its Eq. (12) approximates it by the squared norm of a mini-batch gradient times
    constants that are equal for all architectures; the proxy leaves these out. The cap on large values belongs to NASI's search, not to the
    score. See also :mod:`jknas.proxies.measurements.batch_gradient`, which describes the setting too.
"""

from jknas.proxies.measurements.batch_gradient import row
from jknas.proxies.proxy import read_scalar

PROXY = row(
    name="nasi",
    summary="squared norm of the gradient of the batch's mean loss over the kernels: a trace norm of the tangent kernel, approximated",
    reference="Shu et al., NASI, ICLR 2022, arXiv:2109.00817, Eq. (12) without its constants",
    read=lambda found: read_scalar(found.squared_gradient),
)
