r"""The Jacobian of a network's outputs with respect to its inputs, from which jacob_cov and epe_nas read their scores.

Row *n* is the gradient of the sum of all logits of the batch with respect to image *n*,

.. math:: J_n = \frac{\partial}{\partial x_n} \sum_i \sum_k f_k(x_1, \dots, x_N)_i ,

flattened; one backward pass gives all rows. The scores are functions of Pearson's correlations between rows, taken on the host in float64:
they measure how differently the network treats different images.

Deviations:
    Rows without a correlation, as of a network that ignores its input, make the score NaN with a status, as in zero-cost-nas; other ports
    put -1e8 or 0. The batch is the same for all architectures and not augmented.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jknas.errors import KernelError
from jknas.kernels.objectives import Apply, per_example
from jknas.xla.soundness import require_sound_backend

EPSILON = 1e-5
"""What both scores add inside their logarithms."""


def input_jacobian(apply: Apply, params: object, x: Float[Array, "n ..."]) -> Float[Array, "n d"]:
    """Return the gradient of the sum of all outputs with respect to every input, one row per example, from one backward pass.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``; where the examples depend on each other, the rows are of the batch's sum.
        params: its parameters.
        x: the inputs, one floating-point array.

    Raises:
        KernelError: inputs that have no gradient.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    >>> import jax.numpy as jnp
    >>> input_jacobian(lambda w, x: (x * x) @ w, jnp.ones((2, 1)), jnp.array([[1.0, 2.0], [3.0, -1.0]])).tolist()
    [[2.0, 4.0], [6.0, -2.0]]
    """
    require_sound_backend()
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise KernelError(f"the inputs are {x.dtype}: tokens have no gradient; use a score of the parameters' gradients, such as mgm.")
    with jax.default_matmul_precision("highest"):
        rows = jax.grad(lambda x: per_example(apply(params, x), objective="logits").sum())(x)
    return rows.reshape(len(x), -1)


def row_correlations(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n n"]:
    """Return Pearson's correlations between rows, float64; NaN for a row that is constant."""
    given = np.asarray(rows, np.float64)
    largest = np.abs(given).max(axis=1, keepdims=True, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = given / largest  # so that no square over- or underflows; a row of zeros becomes NaN
        centred = scaled - scaled.mean(1, keepdims=True)
        centred = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return centred @ centred.T


def status_of(rows: Float[np.ndarray, "n d"], score: float) -> str:
    """Return the status of a score; a Jacobian of zeros is that of a network that ignores its input."""
    if math.isfinite(score):
        return "ok"
    return "non_finite" if np.any(rows) else "dead"
