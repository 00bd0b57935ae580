r"""Predictions from a kernel: Gaussian-process posterior (kernel ridge regression), and training by gradient flow in closed form.

Any kernel of this package serves, or any array: the tangent kernel gives the predictions of the linearised network, the kernel of features
those of its last layer. Everything is computed on the host in float64.

Targets are ``[n]`` or ``[n, k]``. A kernel ``[n, n]`` predicts each of the k columns by itself, :math:`K \otimes I_k`; a kernel of all
pairs of outputs ``[n, n, k, k]`` (``outputs="full"``) is flattened to ``[n k, n k]``. Kernels are taken as they are: the mean over the
outputs, which neural-tangents calls ``trace_axes=(-1,)``, is ``outputs="trace"`` divided by k.

References: Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, Eqs. (2.23) to (2.26); Xu et al.,
"KNAS", ICML 2021, arXiv:2111.13293, Eqs. (11) to (13); Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under
Gradient Descent", NeurIPS 2019, arXiv:1902.06720, Eqs. (9) to (11).
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64
from scipy.linalg import LinAlgError, cho_factor, cho_solve, lapack
from scipy.sparse.linalg import LinearOperator, cg

from jknas.errors import KernelError, choose

Loss = Literal["sum", "mean"]
r"""``sum``: :math:`\frac{1}{2} \|y - f\|^2`, the one of KNAS. ``mean``: the same divided by the n k entries of y, the one of
neural-tangents. Training by ``mean`` is training by ``sum`` at a learning rate n k times smaller."""

Matrix = Float[Array, "..."] | Float[np.ndarray, "..."]


class Posterior(NamedTuple):
    """A Gaussian-process posterior at m test examples.

    Attributes:
        mean: ``[m]`` or ``[m, k]``.
        variance: of the function without observation noise, in the shape of ``k_test_diag``; None without it.
    """

    mean: Float64[np.ndarray, "m ..."]
    variance: Float64[np.ndarray, "m ..."] | None


class Flow(NamedTuple):
    """Outputs at the times t.

    Attributes:
        train: at the training examples, the shape of t followed by that of y.
        test: at the test examples; None without ``k_cross``.
    """

    train: Float64[np.ndarray, "..."]
    test: Float64[np.ndarray, "..."] | None


def gp_posterior(
    k_train: Any, k_cross: Any, y: Matrix, k_test_diag: Matrix | None = None, *, ridge: float = 0.0, rtol: float = 1e-6
) -> Posterior:
    r"""Return the posterior of a Gaussian process; its mean is kernel ridge regression.

    .. math:: \mu = K_{*n} (K + \rho I)^{-1} y, \qquad
              \sigma^2 = \mathrm{diag}\, K_{**} - \mathrm{diag}\, K_{*n} (K + \rho I)^{-1} K_{n*}

    Cost: O(n^3) time and O(n^2) memory for a matrix; for an operator, one product per step of conjugate gradients and column of y.

    Args:
        k_train: the kernel of the training examples: ``[n, n]`` or ``[n, n, k, k]``, an array or a record that holds one as ``.matrix``;
            or a SciPy ``LinearOperator`` such as :func:`jknas.ntk_operator`, for the mean alone.
        k_cross: test against training examples, ``[m, n]`` or ``[m, n, k, k]``: ``gram(apply, params, x_test, x)``.
        y: targets ``[n]`` or ``[n, k]``; the process has mean zero, so subtract a prior mean first.
        k_test_diag: prior variances ``[m]`` of the test examples, for a full kernel ``[m, k]``.
        ridge: the variance of the observation noise, :math:`\rho`, in units of the kernel.
        rtol: for an operator, the residual at which conjugate gradients stop, in units of the norm of y. A float32 operator reaches about
            1e-6.

    Returns:
        The posterior. Variances are at least 0 but for rounding, which is left as it is.

    Raises:
        KernelError: shapes that do not fit, a kernel that is singular or not positive definite at the precision of its dtype, a negative
            ridge, variances from an operator, or conjugate gradients that do not converge.

    >>> posterior = gp_posterior(np.eye(2), np.array([[0.5, 0.0]]), np.array([2.0, 7.0]), np.array([1.0]))
    >>> posterior.mean.tolist(), posterior.variance.tolist()
    ([1.0], [0.75])
    """
    if not ridge >= 0:
        raise KernelError(f"ridge must be 0 or more, got {ridge}")
    targets = _Targets(y)
    cross = targets.cross(k_cross)
    if isinstance(k_train, LinearOperator):
        if k_test_diag is not None:
            raise KernelError("variances need a matrix as k_train, got an operator: compute jknas.gram, or leave k_test_diag out")
        columns = targets.columns(cross.shape[1])
        return Posterior(targets.shaped(cross @ _conjugate_gradients(k_train, columns, ridge, rtol)), None)
    matrix, epsilon = targets.square(k_train, cross)
    factor = _factor(matrix, ridge, epsilon)
    mean = targets.shaped(cross @ cho_solve(factor, targets.columns(len(matrix))))
    if k_test_diag is None:
        return Posterior(mean, None)
    prior = np.asarray(k_test_diag, np.float64)
    expected = mean.shape if np.ndim(getattr(k_train, "matrix", k_train)) == 4 else mean.shape[:1]
    if prior.shape != expected:
        raise KernelError(f"k_test_diag must be prior variances of the shape {expected}, got {prior.shape}")
    explained = np.einsum("mn,nm->m", cross, cho_solve(factor, cross.T))
    return Posterior(mean, prior - explained.reshape(expected))


def gradient_flow(
    k_train: Any,
    y: Matrix,
    k_cross: Any = None,
    *,
    f0: Matrix | float = 0.0,
    f0_test: Matrix | float = 0.0,
    t: Matrix | Sequence[float] | float,
    learning_rate: float = 1.0,
    loss: Loss = "sum",
) -> Flow:
    r"""Return the outputs of a model with a constant kernel, trained on the squared loss by gradient flow for the time t.

    .. math:: \dot f = \eta K (y - f), \qquad f(t) = y + e^{-\eta K t} (f_0 - y), \qquad
              f_*(t) = f_{*0} + K_{*n} K^{-1} (I - e^{-\eta K t}) (y - f_0)

    These are Eqs. (11) and (12) of KNAS with a kernel that does not change, so that :math:`\|y - f(t)\|^2` obeys Eq. (13)
    (:func:`jknas.kernels.spectrum.residual_bound`). :math:`K^{-1} (I - e^{-\eta K t})` is taken by eigenvalues and exists for singular
    kernels, too. It is also the flow of the linearised model (:func:`jknas.linearize`), and gradient descent of small steps
    with :math:`t` = steps, :math:`\eta` = the step size.

    Cost: O(n^3) time, O(n^2) memory, then O(n^2) per time.

    Args:
        k_train: ``[n, n]`` or ``[n, n, k, k]``, an array or a record that holds one as ``.matrix``.
        y: targets ``[n]`` or ``[n, k]``.
        k_cross: test against training examples, ``[m, n]`` or ``[m, n, k, k]``.
        f0: outputs at the training examples at time 0, a number or the shape of y.
        f0_test: outputs at the test examples at time 0.
        t: a time or an array of times, 0 or more; ``inf`` is the end of training.
        learning_rate: :math:`\eta`; only ``learning_rate * t`` counts.
        loss: see :data:`Loss`; ``"mean"`` agrees with neural-tangents' ``gradient_descent_mse``.

    Returns:
        The outputs at every time.

    Raises:
        KernelError: shapes that do not fit, a negative time, a kernel with an eigenvalue below zero beyond rounding, or ``t=inf`` with a
            singular one, for which training never ends.

    >>> gradient_flow(np.diag([1.0, 2.0]), np.array([1.0, 1.0]), t=np.log(2.0)).train.round(3).tolist()
    [0.5, 0.75]
    """
    choose("loss", loss, get_args(Loss), error=KernelError)
    targets = _Targets(y)
    cross = None if k_cross is None else targets.cross(k_cross)
    matrix, epsilon = targets.square(k_train, cross)
    times = np.asarray(t, np.float64)
    if not ((times >= 0).all() and learning_rate > 0):
        raise KernelError(f"times must be 0 or later and the learning rate above 0, got t={t} and learning_rate={learning_rate}")
    scaled = times * learning_rate / (targets.y.size if loss == "mean" else 1)
    values, vectors = np.linalg.eigh(matrix)
    _require_semidefinite(values, epsilon)
    if np.isinf(times).any() and values[0] <= epsilon * values[-1]:
        raise _singular(values, 0.0, "training never ends: give a finite t, or add a ridge to the diagonal of k_train")
    values = np.maximum(values, 0.0)
    residual = vectors.T @ targets.columns(len(matrix), minus=f0)
    with np.errstate(divide="ignore", invalid="ignore"):  # inf * 0 at a zero eigenvalue is refused above; 0 / 0 is replaced
        decay = np.expm1(-np.multiply.outer(scaled, values))[..., None]  # e^(-a t) - 1
        grown = np.where(values[:, None] > 0, -decay / values[:, None], scaled[..., None, None])
    train = targets.shaped(vectors @ (-decay * residual), start=f0)
    return Flow(train, None if cross is None else targets.shaped((cross @ vectors) @ (grown * residual), start=f0_test))


class _Targets:
    """Targets, and the shapes that follow from them: columns ``[n, k]``, or one column ``[n k, 1]`` for a kernel of all outputs."""

    def __init__(self, y: Any) -> None:
        self.y = np.asarray(y, np.float64)
        if self.y.ndim not in {1, 2} or not self.y.size:
            raise KernelError(f"y must be targets [n] or [n, k], got shape {self.y.shape}")
        if not np.isfinite(self.y).all():
            raise KernelError("y holds NaN or infinity")
        self.n = len(self.y)
        self._k = self.y.shape[1] if self.y.ndim == 2 else 1

    def cross(self, kernel: Any) -> Float64[np.ndarray, "m n"]:
        """Return the kernel of test and training examples as a matrix."""
        return self._matrix("k_cross", kernel)[0]

    def square(self, kernel: Any, cross: np.ndarray | None) -> tuple[Float64[np.ndarray, "n n"], float]:
        """Return the kernel of the training examples as a symmetric matrix, and the rounding unit of its dtype."""
        if isinstance(kernel, LinearOperator):
            raise KernelError("expected a matrix as k_train, got an operator: compute jknas.gram")
        matrix, epsilon = self._matrix("k_train", kernel)
        if matrix.shape[0] != matrix.shape[1] or (cross is not None and cross.shape[1] != len(matrix)):
            shapes = f"{matrix.shape}" if cross is None else f"{matrix.shape} and {cross.shape}"
            raise KernelError(f"k_train must be square, and k_cross [m, n] pair the same outputs; as matrices they are {shapes}")
        if not np.isfinite(matrix).all():
            raise KernelError("k_train holds NaN or infinity")
        asymmetry = float(np.abs(matrix - matrix.T).max())
        if asymmetry > epsilon**0.5 * np.abs(matrix).max():
            raise KernelError(f"k_train is not symmetric: it differs from its transpose by up to {asymmetry:.3g}")
        return (matrix + matrix.T) / 2, epsilon

    def _matrix(self, name: str, kernel: Any) -> tuple[np.ndarray, float]:
        given = np.asarray(getattr(kernel, "matrix", kernel))
        full = given.ndim == 4 and self.y.ndim == 2 and given.shape[1:] == (self.n, self._k, self._k)
        if not full and (given.ndim != 2 or given.shape[1] != self.n):
            raise KernelError(
                f"{name} must be [..., {self.n}] for the {self.n} targets, or [..., {self.n}, k, k] for all pairs of k outputs, "
                f"got shape {given.shape} and y {self.y.shape}"
            )
        epsilon = float(jnp.finfo(given.dtype).eps) if jnp.issubdtype(given.dtype, jnp.floating) else float(np.finfo(np.float64).eps)
        matrix = given.astype(np.float64)
        return (matrix.transpose(0, 2, 1, 3).reshape(len(given) * self._k, -1) if full else matrix), epsilon

    def columns(self, rows: int, minus: Any = 0.0) -> Float64[np.ndarray, "r c"]:
        """Return the targets, less what is there already, as columns for a kernel of that many rows."""
        return (self.y - self._started(minus, self.y.shape)).reshape(rows, -1)

    def shaped(self, columns: np.ndarray, start: Any = 0.0) -> np.ndarray:
        """Return columns ``[..., r, c]`` in the shape ``[..., m]`` or ``[..., m, k]``, added to what was there at the start."""
        shape = (columns.shape[-2] * columns.shape[-1] // self._k, *self.y.shape[1:])
        return self._started(start, shape) + columns.reshape(*columns.shape[:-2], *shape)

    @staticmethod
    def _started(value: Any, shape: tuple[int, ...]) -> np.ndarray:
        start = np.asarray(value, np.float64)
        if start.shape not in {(), shape}:
            raise KernelError(f"outputs at time 0 must be a number or have the shape {shape}, got {start.shape}")
        return start


def _factor(matrix: np.ndarray, ridge: float, epsilon: float) -> Any:
    """Return the Cholesky factor of the kernel and its ridge, or raise KernelError."""
    summed = matrix + ridge * np.eye(len(matrix))
    try:
        factor = cho_factor(summed, lower=True)
    except LinAlgError:
        values = np.linalg.eigvalsh(matrix)
        _require_semidefinite(values, epsilon)
        raise _singular(values, ridge, "raise the ridge") from None
    reciprocal, _ = lapack.dpocon(factor[0], np.abs(summed).sum(0).max(), uplo="L")
    if reciprocal < epsilon:  # an estimate in another norm: decide by eigenvalues
        values = np.linalg.eigvalsh(matrix)
        if values[0] + ridge <= epsilon * (values[-1] + ridge):
            raise _singular(values, ridge, "raise the ridge")
    return factor


def _require_semidefinite(values: np.ndarray, epsilon: float) -> None:
    floor = len(values) * epsilon * np.abs(values).max()
    if values[0] < -floor:
        raise KernelError(f"k_train has the eigenvalue {values[0]:.3g}, beyond its rounding of {floor:.3g}: it is no Gram matrix")


def _singular(values: np.ndarray, ridge: float, advice: str) -> KernelError:
    low, high = values[0] + ridge, values[-1] + ridge
    condition = high / low if low > 0 else np.inf
    return KernelError(
        f"k_train with ridge={ridge:.3g} is singular at the precision of its dtype: condition number {condition:.3g}, eigenvalues "
        f"{low:.3g} to {high:.3g}. A ridge of {1e-6 * values.mean():.1g} is a millionth of its mean eigenvalue; {advice}"
    )


def _conjugate_gradients(operator: LinearOperator, columns: np.ndarray, ridge: float, rtol: float) -> np.ndarray:
    n = len(columns)
    if operator.shape != (n, n):
        raise KernelError(f"k_train must be an operator of the shape {(n, n)}, got {operator.shape}")
    summed = LinearOperator((n, n), matvec=lambda v: operator @ v + ridge * v, dtype=np.float64)
    found = np.empty(columns.shape)
    for place, column in enumerate(columns.T):
        with np.errstate(all="ignore"):  # a breakdown of the iteration is in its status
            found[:, place], status = cg(summed, column, rtol=rtol)
        if status:
            raise KernelError(
                f"conjugate gradients did not reach rtol={rtol:g} in {status} steps: the kernel with ridge={ridge:g} is close to singular "
                "at its precision. Raise the ridge or rtol, or compute in float64"
            )
    return found
