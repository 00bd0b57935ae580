r"""snip: how much the loss would change, to first order, without each weight, :math:`\sum_l \sum_i |w_i g_i|`.

References:
    Lee, Ajanthan and Torr, "SNIP: Single-shot Network Pruning based on Connection Sensitivity", ICLR 2019, arXiv:1810.02340.
    Abdelfattah, Mehrotra, Dudziak and Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, arXiv:2101.08134, Eq. (1) (as a score).

Deviations:
    SNIP divides by the sum over all weights in order to prune; the score of an architecture is the sum itself. See also
    :mod:`jknas.proxies.measurements.batch_gradient`, which describes the setting too.
"""

from jknas.proxies.measurements.batch_gradient import ZERO_COST, row
from jknas.proxies.proxy import read_scalar

PROXY = row(
    name="snip",
    summary="sum of |weight x gradient|: how much the loss would change, to first order, without each weight",
    reference=f"Lee et al., SNIP, ICLR 2019, arXiv:1810.02340; as a score of architectures: {ZERO_COST}, Eq. (1)",
    read=lambda found: read_scalar(found.snip),
)
