"""ntk_lambda_min: the smallest eigenvalue of the tangent kernel, the rate that bounds training under gradient flow.

Reference: Xu et al., "KNAS: Green Neural Architecture Search", ICML 2021, arXiv:2111.13293, Eq. (13).
The settings are those of :mod:`jknas.proxies.measurements.tangent_kernel`.
"""

from jknas.proxies.measurements.tangent_kernel import KNAS, read_spectrum, row

PROXY = row(
    name="ntk_lambda_min",
    summary="smallest eigenvalue of the tangent kernel: the rate that bounds training under gradient flow",
    reference=f"{KNAS}, Eq. (13)",
    read=read_spectrum("lambda_min", needs_lambda_min=True),
)
