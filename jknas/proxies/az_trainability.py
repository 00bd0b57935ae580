r"""az_trainability: how near to one the spectral norms of the blocks' Jacobians are; a component of AZ-NAS.

.. math:: s = \frac{1}{L} \sum_{l=1}^{L} (2 - \sigma_l - 1 / \sigma_l)

where :math:`\sigma_l`, the spectral norm of the block's Jacobian, is estimated as the largest singular value of the gradient product. The
best score is 0, at :math:`\sigma_l = 1`: gradients neither grow nor shrink.

Reference: Lee and Ham, "AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search", CVPR 2024, arXiv:2403.19232, section 3.
Definition of the products and deviations: :mod:`jknas.proxies.measurements.block_gradients`.

Deviations:
    As in the released code, a network with a cell that is the identity has the score minus infinity; the formula of the paper would call it
    perfect.
"""

import math

import numpy as np

from jknas.proxies.measurements.block_gradients import Measured, row
from jknas.proxies.proxy import Outcome, read_scalar


def read_spectral_norms(found: Measured) -> Outcome:
    """Return the mean term over the blocks."""
    terms = []
    for products, same in zip(found.products, found.identical, strict=True):
        for product, identical in zip(np.asarray(products, np.float64), np.asarray(same), strict=True):
            if not np.all(np.isfinite(product)):
                terms.append(math.nan)
                continue
            largest = float(np.linalg.svd(product, compute_uv=False)[0])
            terms.append(-math.inf if identical else 2 - largest - 1 / (largest + 1e-6))
    return read_scalar(np.mean(terms))


PROXY = row(
    name="az_trainability",
    summary="how near to one the spectral norms of the blocks' Jacobians are",
    read=read_spectral_norms,
)
