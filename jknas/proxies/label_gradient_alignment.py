r"""label_gradient_alignment: the correlation of the tangent kernel's entries with whether the labels agree.

.. math:: \mathrm{LGA} = \frac{\langle K - \bar K, L - \bar L \rangle_F}{\|K - \bar K\|_F \, \|L - \bar L\|_F}, \qquad
          L_{ij} = \begin{cases} 1 & \text{labels } i \text{ and } j \text{ agree} \\ -1 & \text{otherwise} \end{cases}

with :math:`\bar K` and :math:`\bar L` the mean entries. With one-hot labels *Y*, the matrix :math:`Y Y^T` in place of *L* gives the same
number. The settings are those of :mod:`jknas.proxies.measurements.tangent_kernel`.

References:
    Mok, Na, Kim, Han and Yoon, "Demystifying the Neural Tangent Kernel from a Practical Perspective: Can it be trusted for Neural
    Architecture Search without training?", CVPR 2022, arXiv:2203.14577, and its released code, github.com/naver-ai/demystifying-ntk
    (``others_all_bn``).
    Deshpande et al., arXiv:2102.00084 (label-gradient correlation).

Deviations:
    The released code leaves the classifier's weights out of the kernel, takes training-mode batch normalisation, and turns an undefined
    alignment into 1e-4. Here ``weights`` includes the classifier, and an undefined alignment is NaN.
"""

import math

import numpy as np
from jaxtyping import Array, Float, Int

from jknas.kernels.spectrum import spectrum
from jknas.proxies.measurements.tangent_kernel import LabelledKernel, row, spectrum_facts
from jknas.proxies.proxy import Outcome


def label_alignment(matrix: Float[Array, "n n"] | Float[np.ndarray, "n n"], labels: Int[Array, " n"] | Int[np.ndarray, " n"]) -> float:
    """Return the alignment of any kernel: Pearson's correlation of the entries of both matrices. Float64 on the host, O(n^2).

    Returns:
        A number from -1 to 1. NaN where it is undefined: all labels agree, all entries of the kernel are equal up to their rounding (a
        network that ignores its input), or one of them is not finite.

    >>> round(label_alignment(np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 2.0]]), np.array([0, 0, 1])), 4)
    0.9087
    """
    given = np.asarray(matrix)
    rounding = float(np.finfo(given.dtype).eps) if np.issubdtype(given.dtype, np.floating) else float(np.finfo(np.float64).eps)
    kernel, classes = given.astype(np.float64), np.asarray(labels)
    largest = float(np.abs(kernel).max())
    if not 0 < largest < math.inf:
        return math.nan
    kernel = kernel / largest  # so that no square overflows
    same = np.where(classes[:, None] == classes, 1.0, -1.0)
    kernel, same = kernel - kernel.mean(), same - same.mean()
    spread = float(np.linalg.norm(same))
    if spread == 0 or np.abs(kernel).max() <= len(kernel) * rounding:
        return math.nan
    return float(np.vdot(kernel, same) / (np.linalg.norm(kernel) * spread))


def read_alignment(found: LabelledKernel) -> Outcome:
    """Return the alignment; a singular kernel has one like any other."""
    facts = spectrum_facts(spectrum(found.matrix))
    score = label_alignment(found.matrix, found.labels)
    if facts["spectrum"] not in ("ok", "saturated"):
        return Outcome(score, facts["spectrum"], facts)
    if not math.isnan(score):
        return Outcome(score, "ok", facts)
    return Outcome(score, "dead" if len(np.unique(found.labels)) > 1 else "non_finite", facts)


PROXY = row(
    name="label_gradient_alignment",
    summary="correlation of the tangent kernel's entries with whether the labels agree",
    reference="Mok et al., CVPR 2022, arXiv:2203.14577, label-gradient alignment",
    needs_labels=True,
    read=read_alignment,
)
