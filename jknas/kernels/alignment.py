r"""How near two kernels are to each other: the cosine of their matrices.

.. math:: A(K, L) = \frac{\langle K, L \rangle_F}{\|K\|_F \, \|L\|_F}

Of two positive semi-definite matrices it is between 0 and 1. Computed on the host in float64.

References: Cristianini, Shawe-Taylor, Elisseeff, Kandola, "On Kernel-Target Alignment", NeurIPS 2001; Cortes, Mohri, Rostamizadeh,
"Algorithms for Learning Kernels Based on Centered Alignment", JMLR 13, 2012, arXiv:1203.0550 (centring); Fort et al., "Deep learning versus
kernel learning", NeurIPS 2020, arXiv:2010.15110 (the distance between kernels during training).
"""

from typing import Any

import numpy as np
from jaxtyping import Array, Int

from jknas.errors import KernelError


def centred_label_alignment(kernel: Any, labels: Int[Array, " n"] | Int[np.ndarray, " n"]) -> float:
    r"""Return the alignment of a kernel with :math:`Y Y^T`, *Y* the one-hot labels, both centred in feature space.

    A matrix is centred as :math:`H K H`, :math:`H = I - \frac{1}{n} 1 1^T`, so that a kernel that is constant plus little else, as tangent
    kernels are, is judged by the rest.

    Args:
        kernel: ``[n, n]``, an array or a record that holds one as ``.matrix``.
        labels: ``[n]``, classes.

    Returns:
        A number from 0 to 1; NaN where it is undefined: one class alone, a kernel that is constant up to its rounding or not finite.

    Raises:
        KernelError: shapes that do not fit.

    >>> centred_label_alignment(np.kron(np.eye(2), np.ones((2, 2))), np.array([0, 0, 1, 1]))
    1.0
    """
    matrix, epsilon = _matrix(kernel)
    classes = np.asarray(labels)
    if classes.shape != matrix.shape[:1]:
        raise KernelError(f"labels must be [{len(matrix)}], one per row of the kernel, got shape {classes.shape}")
    centred = _centred(matrix)
    if not np.abs(centred).max() > len(matrix) * epsilon * np.abs(matrix).max():
        return float("nan")
    return _cosine(centred, _centred((classes[:, None] == classes).astype(np.float64)))


def kernel_distance(kernel: Any, other: Any) -> float:
    r"""Return :math:`1 - A(K, L)`: 0 for kernels that differ by a factor alone, and NaN where one of them is zero or not finite.

    Args:
        kernel: ``[n, n]``, an array or a record that holds one as ``.matrix``.
        other: likewise, of the same examples.

    Raises:
        KernelError: shapes that do not fit.

    >>> round(kernel_distance(np.eye(2), np.diag([1.0, 0.0])), 4)  # the cosine of 45 degrees
    0.2929
    """
    (first, _), (second, _) = _matrix(kernel), _matrix(other)
    if first.shape != second.shape:
        raise KernelError(f"both kernels must be of the same examples, got shapes {first.shape} and {second.shape}")
    return 1.0 - _cosine(first, second)


def _matrix(kernel: Any) -> tuple[np.ndarray, float]:
    given = np.asarray(getattr(kernel, "matrix", kernel))
    if given.ndim != 2 or given.shape[0] != given.shape[1] or not given.size:
        raise KernelError(f"expected a square kernel [n, n], got shape {given.shape}")
    epsilon = np.finfo(given.dtype if given.dtype in (np.float32, np.float16) else np.float64).eps
    return given.astype(np.float64), float(epsilon)


def _centred(matrix: np.ndarray) -> np.ndarray:
    return matrix - matrix.mean(0) - matrix.mean(1, keepdims=True) + matrix.mean()


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    largest = [float(np.abs(matrix).max()) for matrix in (first, second)]
    if not all(0 < size < np.inf for size in largest):
        return float("nan")
    a, b = first / largest[0], second / largest[1]  # so that no square overflows
    return float(np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
