r"""Scores of the Jacobian of a network's outputs with respect to its inputs: how differently the network treats different images.

Row *n* of the Jacobian is the gradient of the sum of all logits of the batch with respect to image *n*,

.. math:: J_n = \frac{\partial}{\partial x_n} \sum_i \sum_k f_k(x_1, \dots, x_N)_i ,

flattened; one backward pass gives all rows. With :math:`C` the matrix of Pearson correlations between rows, and
:math:`\varepsilon = 10^{-5}`,

.. math:: \mathrm{jacob\_cov} = -\sum_k \Bigl[ \log(\lambda_k + \varepsilon) + \frac{1}{\lambda_k + \varepsilon} \Bigr], \qquad
          \lambda_k \text{ the eigenvalues of } C,

and, with :math:`C^{(c)}` the correlations between the rows of class *c* alone, and
:math:`s_c = \sum_{ij} \log(|C^{(c)}_{ij}| + \varepsilon)`,

.. math:: \mathrm{EPE} = \begin{cases} \sum_c |s_c| & \text{at most 100 classes} \\
          \frac{1}{m} \sum_{c, c'} \bigl| s_c / n_c - s_{c'} / n_{c'} \bigr| & \text{more, } n_c \text{ rows in class } c \text{ of } m
          \end{cases}

Correlations and eigenvalues are taken on the host in float64.

References:
    Mellor, Turner, Storkey and Crowley, "Neural Architecture Search without Training", arXiv:2006.04647, first version (jacob_cov).
    Lopes, Alirezazadeh and Alexandre, "EPE-NAS: Efficient Performance Estimation Without Training for Neural Architecture Search",
    ICANN 2021, arXiv:2102.08099.
"""

import math

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jknas.kernels.objectives import Apply, per_example
from jknas.xla.soundness import require_sound_backend

EPSILON = 1e-5
"""Added inside the logarithms."""
MANY_CLASSES = 100
"""From more classes than this on, EPE-NAS compares the classes with each other."""


def input_jacobian(apply: Apply, params: object, x: Float[Array, "n ..."]) -> Float[Array, "n d"]:
    """Return the gradient of the sum of all outputs with respect to every input, one row an example, from one backward pass.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``; the examples may depend on each other, and the rows are then of the batch's sum.
        params: its parameters.
        x: the inputs, one floating-point array.

    Raises:
        UnsoundBackendError: if the installed JAX computes wrong matrix products.

    >>> import jax.numpy as jnp
    >>> input_jacobian(lambda w, x: (x * x) @ w, jnp.ones((2, 1)), jnp.array([[1.0, 2.0], [3.0, -1.0]])).tolist()
    [[2.0, 4.0], [6.0, -2.0]]
    """
    require_sound_backend()
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


def correlation_score(rows: Float[np.ndarray, "n d"]) -> tuple[float, Float[np.ndarray, " n"]]:
    """Return jacob_cov, see the module's text, and the eigenvalues of the correlation matrix in ascending order.

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


def class_correlation_score(rows: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], *, classes: int) -> float:
    """Return the score of EPE-NAS, see the module's text.

    Args:
        rows: the Jacobian.
        labels: class indices; only the classes that occur count. Beyond 100 classes those with one image, which have no pair to
            correlate, are left out, and the score is NaN where no others are.
        classes: the number of classes of the task, which chooses between the two forms.

    Returns:
        NaN where a row is constant or not finite.
    """
    present, counts = np.unique(labels, return_counts=True)
    many = classes > MANY_CLASSES
    if many:
        present = present[counts > 1]
    found = []
    for label in present:
        correlations = np.abs(row_correlations(np.asarray(rows)[labels == label]))
        total = np.sum(np.log(correlations + EPSILON))
        found.append(total / len(correlations) if many else total)
    scores = np.array(found)
    if not many:
        return float(np.sum(np.abs(scores)))
    return float(np.abs(scores[:, None] - scores).sum() / len(scores)) if len(scores) else math.nan
