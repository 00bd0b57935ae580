r"""ntk_effective_rank: the exponential of the entropy of the tangent kernel's spectrum.

.. math:: s = \exp \Bigl( -\sum_k p_k \log p_k \Bigr), \qquad p_k = \lambda_k / \sum_j \lambda_j

Reference: Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
The settings are those of :mod:`jknas.proxies.measurements.tangent_kernel`.
"""

from jknas.proxies.measurements.tangent_kernel import read_spectrum, row

PROXY = row(
    name="ntk_effective_rank",
    summary="effective rank of the tangent kernel: the exponential of its spectrum's entropy",
    reference="Roy and Vetterli, The effective rank, EUSIPCO 2007",
    read=read_spectrum("effective_rank"),
)
