r"""jacob_cov: how little the input gradients of the images of a batch correlate.

With :math:`\lambda_k` the eigenvalues of the correlation matrix of the rows of :mod:`jknas.proxies.measurements.input_jacobian`, and
:math:`\varepsilon = 10^{-5}`,

.. math:: s = -\sum_k \Bigl[ \log(\lambda_k + \varepsilon) + \frac{1}{\lambda_k + \varepsilon} \Bigr]

``statistics``
    what batch normalisation normalises over: ``batch`` (default), training mode, as in the released code; or ``example``.

References:
    Mellor, Turner, Storkey and Crowley, "Neural Architecture Search without Training", arXiv:2006.04647, first version.
    Abdelfattah, Mehrotra, Dudziak and Lane, "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, arXiv:2101.08134, section 3.2.

Deviations:
    The eigenvalues are those of a symmetric matrix; the released code uses a general solver and may report a complex number.
"""

import math

import numpy as np
from jaxtyping import Float

from jknas.proxies.measurements.forward import on_networks
from jknas.proxies.measurements.input_jacobian import EPSILON, input_jacobian, row_correlations, status_of
from jknas.proxies.proxy import NetworkProxy, Outcome


def correlation_score(rows: Float[np.ndarray, "n d"]) -> tuple[float, Float[np.ndarray, " n"]]:
    """Return the score of a Jacobian, and the eigenvalues of the correlation matrix in ascending order.

    Returns:
        NaN and NaN eigenvalues where a row is constant, all zero as in a network that ignores its input, or not finite.

    >>> round(correlation_score(np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]))[0], 6)  # uncorrelated: both eigenvalues are one
    -2.0
    """
    correlations = row_correlations(rows)
    if not np.isfinite(correlations).all():
        return math.nan, np.full(len(correlations), math.nan)
    eigenvalues = np.linalg.eigvalsh(correlations)
    shifted = eigenvalues + EPSILON
    return float(-np.sum(np.log(shifted) + 1 / shifted)), eigenvalues


def read_correlations(rows: Float[np.ndarray, "n d"]) -> Outcome:
    """Return the score with the extreme eigenvalues."""
    score, eigenvalues = correlation_score(rows)
    return Outcome(score, status_of(rows, score), {"lambda_max": float(eigenvalues[-1]), "lambda_min": float(eigenvalues[0])})


PROXY = NetworkProxy(
    name="jacob_cov",
    measure=on_networks(lambda apply, params, x, labels: input_jacobian(apply, params, x), layered=False),
    summary="how little the images' input gradients correlate",
    reference="Mellor et al., arXiv:2006.04647, first version; Abdelfattah et al., ICLR 2021, arXiv:2101.08134, section 3.2",
    cost="1 backward pass to the images; on the host the eigenvalues of an N x N matrix",
    needs_labels=False,
    settings={"statistics": "batch"},
    read=read_correlations,
)
