r"""ntk_condition: the condition number of the tangent kernel, :math:`\lambda_{\max} / \lambda_{\min}`; smaller is better.

Reference: Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
arXiv:2102.11535, section 3.1.1, and its released code, github.com/VITA-Group/TENAS (``lib/procedures/ntk.py``).
The settings are those of :mod:`jknas.proxies.measurements.tangent_kernel`.

Deviations:
    TE-NAS compares supernets. It reads the ratio of the extreme eigenvalues from the float32 matrix, negative or not, and turns NaN into
    1e5; its images are randomly cropped and flipped. Here single architectures are scored, images are not augmented, and a number that is
    not above rounding has a status that ranks last.
"""

from jknas.proxies.measurements.tangent_kernel import TENAS, read_spectrum, row

PROXY = row(
    name="ntk_condition",
    summary="condition number of the tangent kernel",
    reference=TENAS,
    higher_is_better=False,
    read=read_spectrum("condition_number", needs_lambda_min=True),
)
