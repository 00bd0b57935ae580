r"""The spectrum of a Gram matrix, and how far to trust it.

Eigenvalues are computed on the host in float64, whatever the dtype of the matrix. A condition number is only as good as the smallest
eigenvalue, which is the first to drown in the rounding of the matrix. So the record also holds the floor, below which an eigenvalue is
rounding, and a status:

============== ======================================================= =================== ==================
status         the matrix                                              condition number    effective rank
============== ======================================================= =================== ==================
``ok``         positive definite beyond rounding                       lambda_max/lambda_min  defined
``saturated``  abs(lambda_min) <= floor: numerically singular          inf                 defined
``dead``       zero: the objective depends on none of the parameters   nan                 nan
``negative``   lambda_min < -floor: no Gram matrix                     nan                 nan
``non_finite`` holds NaN or infinity                                   nan                 nan
============== ======================================================= =================== ==================

A network whose outputs ignore its *input* gives every example the same gradient: its matrix is constant, has rank one and is saturated.

Deviations:
    TE-NAS's released code divides the extreme eigenvalues of the float32 matrix without a check: a slightly negative ``lambda_min`` gives a
    negative condition number, which its ranking takes for a very good one; NaN becomes 1e5 and infinity 1.8e308. Here the status says so
    instead. ``lambda_max / lambda_min`` of the record is the unguarded ratio.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from jknas.errors import KernelError

SpectrumStatus = Literal["ok", "saturated", "dead", "negative", "non_finite"]
"""How far to trust the eigenvalues: see the table in the module docstring."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The eigenvalues of a symmetric matrix and numbers derived from them.

    Attributes:
        eigenvalues: ``[n]``, ascending, float64, read-only; NaN if the matrix is not finite.
        lambda_max: the largest eigenvalue.
        lambda_min: the smallest eigenvalue, of either sign, unchanged.
        condition_number: ``lambda_max / lambda_min``; ``inf`` when saturated (it is at least ``lambda_max / floor``); NaN
            when dead, negative or not finite.
        frobenius: the Frobenius norm of the matrix.
        trace: the sum of its diagonal.
        effective_rank: the exponential of the entropy of the eigenvalues divided by their sum, between 1 and n; eigenvalues of at most
            the floor count as zero. NaN when dead, negative or not finite.
        floor: ``n * epsilon * max(abs(eigenvalues))``, about how far the rounding of the matrix moves its eigenvalues.
        asymmetry: the largest ``abs(matrix - matrix.T)`` in units of the largest entry; the mean of both is decomposed.
        status: see :mod:`jknas.kernels.spectrum`.
    """

    eigenvalues: Float64[np.ndarray, " n"]
    lambda_max: float
    lambda_min: float
    condition_number: float
    frobenius: float
    trace: float
    effective_rank: float
    floor: float
    asymmetry: float
    status: SpectrumStatus


def spectrum(gram: Any, *, epsilon: float | None = None, symmetry_tolerance: float | None = None) -> Spectrum:
    """Decompose a Gram matrix.

    Args:
        gram: a real symmetric matrix ``[n, n]``, NumPy or JAX, or a record that holds one as ``.matrix``.
        epsilon: rounding unit of the arithmetic that *computed* the matrix; by default that of its dtype (integers: of float64). Give
            ``numpy.finfo("float32").eps`` for a float32 kernel that was widened afterwards.
        symmetry_tolerance: how far ``matrix - matrix.T`` may be from zero, in units of the largest entry; by default the square root of
            the dtype's rounding unit (3e-4 in float32, 1e-8 in float64). A smaller difference is rounding and is averaged away.

    Returns:
        The record. Takes O(n^3) time and O(n^2) memory on the host, in float64.

    Raises:
        KernelError: the matrix is not square, empty, or not symmetric.
        TypeError: it does not hold real numbers.

    References:
        Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours", ICLR 2021, arXiv:2102.11535, section 3.1.1
        (condition number of the tangent kernel).
        Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007 (effective rank).

    >>> import numpy as np
    >>> found = spectrum(np.diag([1.0, 4.0, 2.0]))
    >>> found.status, found.condition_number, found.eigenvalues.tolist()
    ('ok', 4.0, [1.0, 2.0, 4.0])
    >>> spectrum(np.ones((2, 2))).status
    'saturated'
    """
    matrix, dtype_epsilon, smallest = _checked(gram)
    n, largest = len(matrix), float(np.abs(matrix).max())
    if not np.isfinite(largest):
        return _undefined(matrix)
    if largest < smallest:
        zeros = np.zeros(n)
        return Spectrum(_frozen(zeros), 0.0, 0.0, np.nan, 0.0, 0.0, np.nan, 0.0, 0.0, "dead")
    matrix = matrix / largest  # so that no square overflows
    asymmetry = float(np.abs(matrix - matrix.T).max())
    allowed = dtype_epsilon**0.5 if symmetry_tolerance is None else symmetry_tolerance
    if not asymmetry <= allowed:
        raise KernelError(
            f"the matrix is not symmetric: it differs from its transpose by {asymmetry:.1e} of its largest entry, and at most "
            f"{allowed:.1e} counts as rounding. A Gram matrix pairs one set of examples with itself: compute it so, or raise "
            "symmetry_tolerance if the arithmetic was that coarse"
        )
    matrix = (matrix + matrix.T) / 2
    eigenvalues = np.linalg.eigvalsh(matrix)
    lowest, highest = float(eigenvalues[0]), float(eigenvalues[-1])
    floor = n * (dtype_epsilon if epsilon is None else epsilon) * max(abs(lowest), abs(highest))
    status: SpectrumStatus = "negative" if lowest < -floor else "saturated" if lowest <= floor else "ok"
    return Spectrum(
        eigenvalues=_frozen(eigenvalues * largest),
        lambda_max=highest * largest,
        lambda_min=lowest * largest,
        condition_number={"ok": highest / lowest if status == "ok" else np.nan, "saturated": np.inf}.get(status, np.nan),
        frobenius=float(np.linalg.norm(matrix)) * largest,
        trace=float(np.trace(matrix)) * largest,
        effective_rank=np.nan if status == "negative" else _effective_rank(eigenvalues[eigenvalues > floor]),
        floor=floor * largest,
        asymmetry=asymmetry,
        status=status,
    )


def _checked(gram: Any) -> tuple[Float64[np.ndarray, "n n"], float, float]:
    """Return the matrix in float64, the rounding unit of its dtype, and that dtype's smallest normal number."""
    given = np.asarray(getattr(gram, "matrix", gram))
    if given.ndim != 2 or given.shape[0] != given.shape[1] or given.size == 0:
        raise KernelError(
            f"a spectrum needs a square matrix [n, n] with n >= 1, got shape {given.shape}. A kernel between two sets of examples has "
            "none; of one over several outputs, decompose the square block that is meant"
        )
    if jnp.issubdtype(given.dtype, jnp.floating):
        limits = jnp.finfo(given.dtype)
    elif np.issubdtype(given.dtype, np.integer):
        limits = jnp.finfo(np.float64)
    else:
        raise TypeError(f"a spectrum needs real numbers, got dtype {given.dtype}; convert the matrix to float64 first")
    return given.astype(np.float64), float(limits.eps), float(limits.tiny)


def _undefined(matrix: np.ndarray) -> Spectrum:
    with np.errstate(invalid="ignore"):  # infinities of both signs on the diagonal: their sum is NaN, as it should be
        trace, frobenius = float(np.trace(matrix)), float(np.linalg.norm(matrix))
    return Spectrum(_frozen(np.full(len(matrix), np.nan)), np.nan, np.nan, np.nan, frobenius, trace, np.nan, np.nan, np.nan, "non_finite")


def _frozen(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values


def _effective_rank(positive: np.ndarray) -> float:
    shares = positive / positive.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def lambda_min_bound(found: Spectrum) -> float:
    r"""Return the upper bound of Eq. (14) of KNAS on the smallest eigenvalue, the Frobenius norm.

    .. math:: \lambda_{\min}(H) \le \sqrt{\textstyle\sum_i |\lambda_i|^2} = \|H\|_F

    The paper uses it to justify ranking architectures by the size of the kernel. It bounds ``lambda_min`` from above only: a large norm
    permits fast training and does not imply it. For a positive semi-definite matrix ``frobenius / sqrt(n)`` and ``trace / n`` are bounds
    too, and never larger.

    Reference: Xu et al., "KNAS: Green Neural Architecture Search", ICML 2021, arXiv:2111.13293, Eq. (14).
    """
    return found.frobenius


def residual_bound(
    initial: float,
    times: Float[np.ndarray, " t"] | Float[Array, " t"],
    lambda_min: float | Float[np.ndarray, " t"] | Float[Array, " t"],
    *,
    rate: float = 1.0,
) -> Float64[np.ndarray, " t"]:
    r"""Return the bound of Eq. (13) of KNAS on the squared training residual under gradient flow.

    .. math:: \|y^* - y(t)\|^2 \le e^{-\lambda_{\min} t} \, \|y^* - y(0)\|^2

    holds for :math:`\dot w = -\nabla_w \frac{1}{2} \|y^* - y(w)\|^2` (the sum over examples, not their mean), with :math:`\lambda_{\min}`
    the smallest eigenvalue of the Gram matrix of :math:`\partial y_i / \partial w` *along the path*: its running minimum over :math:`[0,
    t]`.

    Args:
        initial: :math:`\|y^* - y(0)\|^2`, the squared residual at time 0.
        times: ``[t]``, ascending from 0 or later, in units of 1 / eigenvalue.
        lambda_min: the smallest eigenvalue at each of the times, or one that holds for all of them.
        rate: 1 is the printed exponent; 2 follows from the proof's premises. Both hold, and 2 is sharp.

    Returns:
        The bound at each time, float64.

    Raises:
        KernelError: times and eigenvalues do not fit, or the times do not ascend from 0 or later.

    Deviations:
        The paper's proof (its appendix D) loses the factor two of the derivative of a square, differentiates :math:`e^{+\lambda t}
        \|\cdot\|^2` where it prints :math:`e^{-\lambda t}`, and uses :math:`\lambda_{\min}` as if it were constant while the kernel
        changes. The running minimum repairs the last point.

    Reference: Xu et al., "KNAS: Green Neural Architecture Search", ICML 2021, arXiv:2111.13293, Eq. (13).

    >>> residual_bound(2.0, np.array([0.0, 1.0]), 0.5, rate=2.0).round(4).tolist()
    [2.0, 0.7358]
    """
    time, eigenvalue = np.asarray(times, np.float64), np.asarray(lambda_min, np.float64)
    if time.ndim != 1 or eigenvalue.shape not in {(), time.shape}:
        raise KernelError(
            f"expected times [t] and lambda_min as one number or [t], got shapes {time.shape} and {eigenvalue.shape}; "
            "give the eigenvalue at each of the times"
        )
    if np.any(np.diff(time, prepend=0.0) < 0):
        raise KernelError("times must ascend from 0 on: the bound takes the smallest eigenvalue met so far; sort them")
    return initial * np.exp(-rate * np.minimum.accumulate(np.broadcast_to(eigenvalue, time.shape)) * time)
