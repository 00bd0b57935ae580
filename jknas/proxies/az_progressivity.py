r"""az_progressivity: by how much the expressivity grows from block to block, at worst; a component of AZ-NAS.

.. math:: s = \min_l \, (e_{l+1} - e_l)

with the entropies :math:`e_l` of :mod:`jknas.proxies.az_expressivity`.

Reference: Lee and Ham, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", CVPR 2024, arXiv:2403.19232, section 3.
Definition of the blocks and deviations: :mod:`jknas.proxies.measurements.block_gradients`.
"""

import numpy as np

from jknas.proxies.measurements.block_gradients import entropies, row
from jknas.proxies.proxy import read_scalar

PROXY = row(
    name="az_progressivity",
    summary="smallest growth of that entropy from block to block",
    read=lambda found: read_scalar(np.diff(entropies(found.covariances)).min()),  # NaN where one of them is
)
