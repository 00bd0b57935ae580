r"""ntk_frobenius: the Frobenius norm of the tangent kernel, :math:`\|K\|_F`, which bounds its smallest eigenvalue from above.

Reference: Xu et al., "KNAS: Green Neural Architecture Search", ICML 2021, arXiv:2111.13293, Eq. (14).
The settings are those of :mod:`jknas.proxies.measurements.tangent_kernel`.
"""

from jknas.proxies.measurements.tangent_kernel import KNAS, read_spectrum, row

PROXY = row(
    name="ntk_frobenius",
    summary="Frobenius norm of the tangent kernel: bounds its smallest eigenvalue from above",
    reference=f"{KNAS}, Eq. (14)",
    read=read_spectrum("frobenius"),
)
