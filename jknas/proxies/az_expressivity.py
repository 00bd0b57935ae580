r"""az_expressivity: how evenly the features of a network use their channels, summed over the blocks; a component of AZ-NAS.

.. math:: s = \sum_{l=0}^{L} e_l, \qquad e_l = -\sum_k p_k \log p_k

with :math:`p_k` the eigenvalues, divided by their sum, of the covariance of the channels of the block's output :math:`F_l`.

Reference: Lee and Ham, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", CVPR 2024, arXiv:2403.19232, section 3.
Definition of the blocks and deviations: :mod:`jknas.proxies.measurements.block_gradients`.
"""

from jknas.proxies.measurements.block_gradients import entropies, row
from jknas.proxies.proxy import read_scalar

PROXY = row(
    name="az_expressivity",
    summary="entropy of the channels' principal components, summed over the blocks",
    read=lambda found: read_scalar(entropies(found.covariances).sum()),
)
