r"""plain: the signed sum of weights times gradients, :math:`\sum_l \sum_i w_i g_i`.

Its terms nearly cancel. The gradient of a normalised layer is orthogonal to its weights: the output does not change with their scale, up to
the epsilon of the variance. What remains comes from the few layers without a normalisation behind them and, in float32, from rounding.

References:
    Mozer and Smolensky, "Skeletonization: A Technique for Trimming the Fat from a Network via Relevance Assessment", NIPS 1988.
    As a score: the released code of Abdelfattah et al., ICLR 2021, arXiv:2101.08134, github.com/SamsungLabs/zero-cost-nas (``plain``).

Settings and deviations: :mod:`jknas.proxies.measurements.batch_gradient`.
"""

from jknas.proxies.measurements.batch_gradient import row
from jknas.proxies.proxy import read_scalar

PROXY = row(
    name="plain",
    summary="sum of weight x gradient, signed; nearly zero for every layer behind which there is a normalisation",
    reference="zero-cost-nas, github.com/SamsungLabs/zero-cost-nas (plain); after Mozer and Smolensky, Skeletonization, NIPS 1988",
    read=lambda found: read_scalar(found.plain),
)
