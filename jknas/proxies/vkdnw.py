r"""VKDNW: how evenly an untrained network's Fisher information is spread, after its number of layers.

With :math:`z_n` the logits of image *n*, :math:`p_n` their softmax and :math:`J_n` ``[k, p]`` their derivatives with respect to *p*
coordinates of the weights, the Fisher information of the predictions is

.. math:: F = \frac{1}{N} \sum_n J_n^T C_n J_n, \qquad C_n = \mathrm{diag}(p_n) - p_n p_n^T = L_n L_n^T

With :math:`\lambda_1 \dots \lambda_9` the deciles of its eigenvalues, divided by their sum, and :math:`\aleph` the number of parameter
tensors of the network,

.. math:: s = \aleph + \sum_{k=1}^{9} -\lambda_k \log \lambda_k

The entropy is at most :math:`\log 9 < 3`, and a convolution brings at least nine tensors: the score orders by the number of convolutions
first. The extras hold both parts and the deciles.

Labels play no part. Weights are He normal and images standard normal, whatever was asked for; normalisation is in evaluation mode with
its initial averages, that is, nearly the identity. The softmax is smoothed to :math:`0.95 \, p + 0.05 / K`.

The settings:

``coordinates``
    ``first`` (default, as published): the first element of each of the first 128 parameter tensors; the deciles are of all eigenvalues,
    zeros included. ``all``: every parameter. As *F* then has far more zeros than others, the deciles are of the *N (K - 1)* eigenvalues of
    the Gram matrix :math:`G = A A^T`, with :math:`A = N^{-1/2} L_n^T J_n` stacked over the images, which are the others of *F*; the *N*
    zeros that belong to the sum of an image's probabilities are never formed. It is another score than the published one, the entropy of
    the full Fisher information, and needs the tangent kernel of all pairs of logits: take a batch of 8, which is enough for ``first``, too.
``factor``
    ``multinomial`` (default): *F* as it is defined. ``released``: the released code multiplies :math:`L_n J_n` in place of
    :math:`L_n^T J_n`, with *L* the Cholesky factor, so that :math:`L_n^T L_n` takes the place of :math:`C_n`: for a uniform softmax the
    uncentred logit gradients of the first *K - 1* classes.

Reference:
    Tybl and Neumann, "Training-free Neural Architecture Search through Variance of Knowledge of Deep Network Weights", CVPR 2025,
    arXiv:2502.04975, and its released code, github.com/ondratybl/VKDNW.

Deviations:
    From the paper: :math:`\aleph` counts tensors, not layers, and the softmax is smoothed; both are as in the released code, by which the
    published numbers were made, and are so for every choice of ``factor``. From the released code: it keeps the 0.05 of the smoothing in
    half precision, and takes derivatives one tensor at a time in forward mode (:mod:`jknas.proxies.measurements.first_elements`). An
    information that is zero or not finite has the entropy 0, as there: the lowest score of its number of tensors.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.kernels.gram import gram
from jknas.networks.network import Network
from jknas.networks.parameters import unit_averages
from jknas.proxies.measurements.first_elements import count_tensors, first_elements
from jknas.proxies.measurements.forward import observable
from jknas.proxies.proxy import NetworkProxy, Outcome
from jknas.proxies.setup import Batch, Setup, drawn_with, noise

TENSORS = 128
"""How many parameter tensors the published score looks at."""

SMOOTHING = 0.05
_SMALL = 1e-10
_DECILES = np.arange(1, 10) / 10


class Measured(NamedTuple):
    """What the device computes.

    Attributes:
        logits: ``[n, k]``.
        derivatives: of the logits, ``[n, k, p]`` for the first elements; the tangent kernel of all pairs of logits, ``[n, n, k, k]``, for
            all parameters.
        tensors: parameter tensors that the network has.
        released: whether the factor is the released code's.
    """

    logits: Float[Array, "n k"]
    derivatives: Float[Array, "n _ ..."]
    tensors: Float[Array, ""]
    released: Bool[Array, ""]


def measure(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    coordinates: str = "first",
    factor: str = "multinomial",
) -> Measured:
    """Return the logits, and their derivatives or the tangent kernel; the device part.

    Args:
        network: a network that is observable.
        params: its parameters, He normal.
        wiring: genotype or code.
        batch: standard normal images; the labels are not used.
        key: not used.
        coordinates: ``"first"`` or ``"all"``.
        factor: ``"multinomial"`` or ``"released"``.

    Raises:
        ProxyError: for an unknown name.

    Cost: K backward passes without weight gradients, and on the host a product of K N rows; with ``coordinates="all"`` one with the
    gradients of K N examples, and on the host the eigenvalues of a matrix of as many rows.
    """
    choose("coordinates", coordinates, ("first", "all"), error=ProxyError)
    choose("factor", factor, ("multinomial", "released"), error=ProxyError)
    observed, released = observable(network, "vkdnw"), jnp.asarray(factor == "released")
    evaluated: Any = observed.apply  # which takes running averages, as that of every network in evaluation mode
    if coordinates == "first":
        found = first_elements(observed, params, batch.x, wiring, tensors=TENSORS)
        return Measured(found.logits, found.jacobian, found.tensors, released)

    def apply(params: PyTree, x: Array) -> Array:
        logits: Array = evaluated(params, x, wiring, statistics="running", batch_stats=unit_averages(params))
        return logits

    kernel = gram(apply, params, batch.x, outputs="full", interaction="ignore").matrix
    return Measured(apply(params, batch.x), kernel, count_tensors(observed, params, batch.x, wiring), released)


def smoothed(logits: Float[Any, "n k"]) -> Float64[np.ndarray, "n k"]:
    """Return the softmax, mixed with a uniform distribution so that no class vanishes."""
    wide = np.asarray(logits, np.float64)
    shares = np.exp(wide - wide.max(1, keepdims=True))
    return (1 - SMOOTHING) * shares / shares.sum(1, keepdims=True) + SMOOTHING / wide.shape[1]


def cholesky(p: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k j"]:
    """Return the Cholesky factor of ``diag(p) - p p^T`` without its last column, which is zero: ``[n, k, k - 1]``.

    >>> factor = cholesky(np.array([[0.5, 0.25, 0.25]]))[0]
    >>> (factor @ factor.T).round(4).tolist()
    [[0.25, -0.125, -0.125], [-0.125, 0.1875, -0.0625], [-0.125, -0.0625, 0.1875]]
    """
    k = p.shape[1]
    tails = np.cumsum(p[:, ::-1], 1)[:, ::-1]  # of p_i and all behind it
    behind = tails[:, 1:]
    diagonal = np.sqrt(p[:, :-1] * behind / tails[:, :-1])
    below = -p[:, :, None] * (diagonal / behind)[:, None]
    return np.where(np.tri(k, k - 1, -1, dtype=bool), below, np.eye(k, k - 1) * diagonal[:, None])


def row_factor(p: Float64[np.ndarray, "n k"], *, released: bool) -> Float64[np.ndarray, "n j k"]:
    """Return the matrices ``M`` ``[n, k - 1, k]`` whose ``M^T M`` is the middle of the Fisher information.

    It is ``L L^T``, or ``L^T L`` for the released code, with ``L`` the Cholesky factor.
    """
    factor = cholesky(p)
    if not released:
        return factor.swapaxes(1, 2)
    inner = np.linalg.cholesky(factor.swapaxes(1, 2) @ factor).swapaxes(1, 2)
    return np.pad(inner, ((0, 0), (0, 0), (0, 1)))


def fisher_information(
    p: Float64[np.ndarray, "n k"], jacobian: Float[Any, "n k p"], *, released: bool = False
) -> Float64[np.ndarray, "p p"]:
    """Return the Fisher information of predictions ``p`` whose logits have these derivatives."""
    rows = row_factor(p, released=released) @ np.asarray(jacobian, np.float64)
    rows = rows.reshape(-1, rows.shape[2])
    return rows.T @ rows / len(p)


def fisher_gram(p: Float64[np.ndarray, "n k"], kernel: Float[Any, "n n k k"], *, released: bool = False) -> Float64[np.ndarray, "m m"]:
    """Return the Gram matrix of the Fisher information's rows, ``[n (k - 1), n (k - 1)]``, from the tangent kernel of all logits."""
    factor = row_factor(p, released=released)
    blocks = np.einsum("nik,nmkl,mjl->nimj", factor, np.asarray(kernel, np.float64), factor, optimize=True)
    size = factor.shape[0] * factor.shape[1]
    return blocks.reshape(size, size) / len(p)


def decile_entropy(eigenvalues: Float[np.ndarray, " m"]) -> tuple[float, Float64[np.ndarray, " 9"]]:
    """Return the entropy of the nine deciles of a spectrum, divided by their sum, and the deciles.

    >>> round(decile_entropy(np.ones(5))[0], 4), round(float(np.log(9)), 4)
    (2.1972, 2.1972)
    """
    deciles = np.quantile(eigenvalues, _DECILES)
    shares = deciles / (np.abs(deciles).sum() + _SMALL)
    return float(np.sum(shares * -np.log(shares + _SMALL))), deciles


def read_entropy(found: Measured) -> Outcome:
    """Return the number of tensors plus the entropy, with both and the deciles in the extras."""
    tensors, released, derivatives = int(found.tensors), bool(found.released), np.asarray(found.derivatives)
    entropy, deciles, spectrum = 0.0, np.full(9, np.nan), "non_finite"
    if np.all(np.isfinite(derivatives)) and np.all(np.isfinite(found.logits)):
        p = smoothed(found.logits)
        if derivatives.ndim == 4:
            matrix = fisher_gram(p, derivatives, released=released)
        else:
            matrix = fisher_information(p, derivatives[:, :, : min(tensors, TENSORS)], released=released)
        # The singular values of a symmetric matrix: below zero is rounding.
        entropy, deciles = decile_entropy(np.abs(np.linalg.eigvalsh((matrix + matrix.T) / 2)))
        spectrum = "ok" if np.any(matrix) else "dead"
    facts = {"aleph": tensors, "entropy": entropy, "deciles": deciles.tolist(), "spectrum": spectrum}
    return Outcome(tensors + entropy, "ok", facts)


PROXY = NetworkProxy(
    name="vkdnw",
    measure=measure,
    summary="number of parameter tensors, plus the entropy of the deciles of the Fisher information's spectrum",
    reference="Tybl and Neumann, VKDNW, CVPR 2025, arXiv:2502.04975",
    cost="K backward passes without weight gradients",
    needs_labels=False,
    batch_size=64,
    settings={"coordinates": "first", "factor": "multinomial"},
    setup=Setup(init=drawn_with("he_normal"), batch=noise, once=False),
    read=read_entropy,
    requires=("observable",),
)
