r"""Scores of the empirical neural tangent kernel of one batch at initialisation.

.. math:: K_{ij} = \Bigl\langle \frac{\partial y_i}{\partial w}, \frac{\partial y_j}{\partial w} \Bigr\rangle

The matrix is computed on the device, by one program for the whole space; its spectrum is taken on the host in float64
(:mod:`jknas.kernels.spectrum`), and every score carries all of it in its extras, with the floor below which an eigenvalue is rounding.

All take the same settings:

``statistics``
    what batch normalisation normalises over, and so which kernel it is. ``example`` (default): every image by itself; the examples do not
    interact, and one backward pass gives the matrix. ``batch``: training mode, where one image's output depends on all of them, as in the
    released code of TE-NAS; N backward passes of the whole batch. The default in the DARTS space, where the other says next to nothing
    (:data:`jknas.proxies.proxy.IN_TRAINING_MODE`).
``parameters``
    ``weights`` (default): convolutions, normalisation scales and the classifier, as in that code; or ``all``.
``objective``
    whose gradient: ``logits`` (default), the sum of an example's outputs, as in that code; or ``loss``, its cross-entropy.

References:
    Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
    arXiv:2102.11535, section 3.1.1, and its released code, github.com/VITA-Group/TENAS (``lib/procedures/ntk.py``).
    Mok, Na, Kim, Han and Yoon, "Demystifying the Neural Tangent Kernel from a Practical Perspective: Can it be trusted for Neural
    Architecture Search without training?", CVPR 2022, arXiv:2203.14577, and its released code, github.com/naver-ai/demystifying-ntk
    (``others_all_bn``).

Deviations:
    TE-NAS compares supernets and reads ``lambda_max / lambda_min`` off the float32 matrix as it comes, negative or not, with NaN turned
    into 1e5; its images are randomly cropped and flipped. Here single architectures are scored, images are not augmented, and what is not
    a number above rounding has a status that ranks last. The code of Mok et al. leaves the classifier's weights out of the kernel, takes
    training-mode batch normalisation, and turns an undefined alignment into 1e-4; here ``weights`` holds the classifier, and an undefined
    alignment is NaN.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.kernels.coupled import ntk_coupled
from jknas.kernels.gram import gram
from jknas.kernels.objectives import Objective, Parameters
from jknas.kernels.spectrum import Spectrum, spectrum
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network
from jknas.proxies.proxy import IN_TRAINING_MODE, Batch, Outcome, Proxy, Setting, Subject, model

_ROWS_AT_ONCE = 8
"""Backward passes of the whole batch at once: all N of them would keep N times the network's activations."""


class LabelledKernel(NamedTuple):
    """A kernel with the classes of its examples."""

    matrix: Float[Array, "n n"]
    labels: Int[Array, " n"]


def ntk_matrix(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    statistics: Statistics = "example",
    parameters: Parameters = "weights",
    objective: Objective = "logits",
) -> Float[Array, "n n"]:
    """Return the kernel of the batch; the device part of the proxies.

    Args:
        network: the network.
        params: its parameters.
        wiring: genotype or code.
        batch: images and labels; the labels matter for ``objective="loss"`` only.
        key: not used.
        statistics: ``"example"`` or ``"batch"``.
        parameters: ``"weights"``, ``"all"``, or a predicate on the leaf's path.
        objective: ``"logits"`` or ``"loss"``.

    Raises:
        ValueError: for an unknown name; running averages do not exist at initialisation.
    """
    del key
    choose("statistics", statistics, ("example", "batch"), error=ProxyError)
    apply, labels = model(network, wiring, statistics), batch.labels if objective == "loss" else None
    if statistics == "batch":
        return ntk_coupled(apply, params, batch.x, labels, objective=objective, parameters=parameters, chunk_size=_ROWS_AT_ONCE)
    # The images interact in no way that is meant to count: each is normalised by itself.
    found = gram(apply, params, batch.x, labels=labels, objective=objective, parameters=parameters, interaction="ignore")
    return found.matrix


def ntk_matrix_and_labels(
    network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray, **settings: Any
) -> LabelledKernel:
    """Return the kernel of :func:`ntk_matrix` with the labels."""
    return LabelledKernel(ntk_matrix(network, params, wiring, batch, key, **settings), batch.labels)


def spectrum_facts(found: Spectrum) -> dict[str, Any]:
    """Return a spectrum's numbers as plain data; ``spectrum`` is its status."""
    names = ("lambda_max", "lambda_min", "condition_number", "trace", "frobenius", "effective_rank", "floor")
    return {**{name: float(getattr(found, name)) for name in names}, "spectrum": found.status}


def _finish(matrix: Any, *, name: str, needs_lambda_min: bool) -> Outcome:
    """Return one number of the spectrum. A singular matrix voids only what rests on the smallest eigenvalue."""
    found = spectrum(matrix)
    status = "ok" if found.status == "saturated" and not needs_lambda_min else found.status
    score = math.nan if status == "non_finite" else float(getattr(found, name))
    return Outcome(score, status, spectrum_facts(found))


def label_alignment(matrix: Float[Array, "n n"] | Float[np.ndarray, "n n"], labels: Int[Array, " n"] | Int[np.ndarray, " n"]) -> float:
    r"""Return the label-gradient alignment of a kernel.

    .. math:: \mathrm{LGA} = \frac{\langle K - \bar K, L - \bar L \rangle_F}{\|K - \bar K\|_F \, \|L - \bar L\|_F}, \qquad
              L_{ij} = \begin{cases} 1 & \text{labels } i \text{ and } j \text{ agree} \\ -1 & \text{otherwise} \end{cases}

    with :math:`\bar K` and :math:`\bar L` the mean entries: Pearson's correlation of the entries of both matrices. With one-hot labels *Y*
    in place of *L* the matrix :math:`Y Y^T` gives the same number. Float64 on the host, O(n^2).

    Returns:
        A number from -1 to 1. NaN where it is undefined: all labels agree, or all entries of the kernel are equal up to their rounding (a
        network that ignores its input), or one of them is not finite.

    Reference: Mok et al., CVPR 2022, arXiv:2203.14577 (LGA), after Deshpande et al., arXiv:2102.00084 (label-gradient correlation).

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


def _finish_alignment(found: LabelledKernel) -> Outcome:
    facts = spectrum_facts(spectrum(found.matrix))
    score = label_alignment(found.matrix, found.labels)
    if facts["spectrum"] not in ("ok", "saturated"):
        return Outcome(score, facts["spectrum"], facts)
    if not math.isnan(score):
        return Outcome(score, "ok", facts)
    return Outcome(score, "dead" if len(np.unique(found.labels)) > 1 else "non_finite", facts)


def _tenas_network(network: Any) -> Network:
    made: Network = network.tenas_network()
    return made


def _finisher(name: str, *, needs_lambda_min: bool) -> Callable[[Any], Outcome]:
    return functools.partial(_finish, name=name, needs_lambda_min=needs_lambda_min)


_SETTINGS: dict[str, Setting] = {"statistics": "example", "parameters": "weights", "objective": "logits"}
_COST = "1 backward pass; N passes with statistics=batch, the default for DARTS"
_TENAS = "Chen et al., TE-NAS, ICLR 2021, arXiv:2102.11535, section 3.1.1"
_KNAS = "Xu et al., KNAS, ICML 2021, arXiv:2111.13293"
_MOK = "Mok et al., CVPR 2022, arXiv:2203.14577"

_spectral = functools.partial(Proxy, score=ntk_matrix, cost=_COST, needs_labels=False, settings=_SETTINGS, settings_in=IN_TRAINING_MODE)
"""A proxy that reads one number off the spectrum."""

PROXIES = (
    _spectral(
        name="ntk_condition",
        summary="condition number of the tangent kernel",
        reference=_TENAS,
        higher_is_better=False,
        finish=_finisher("condition_number", needs_lambda_min=True),
    ),
    _spectral(
        name="tenas_condition",
        summary="condition number on TE-NAS's own small network (3 channels; DARTS: two cells from 1 channel), training-mode normalisation",
        reference=f"{_TENAS}, sizes as released",
        cost="72 backward passes of a network of 3 channels; 14 of one of 1 channel for DARTS",
        higher_is_better=False,
        batch_size=72,
        batch_sizes={"darts": 14},
        settings={**_SETTINGS, "statistics": "batch"},
        finish=_finisher("condition_number", needs_lambda_min=True),
        subject=Subject(network=_tenas_network),
    ),
    _spectral(
        name="ntk_lambda_min",
        summary="smallest eigenvalue of the tangent kernel: the rate that bounds training under gradient flow",
        reference=f"{_KNAS}, Eq. (13)",
        finish=_finisher("lambda_min", needs_lambda_min=True),
    ),
    _spectral(
        name="ntk_trace",
        summary="trace of the tangent kernel: the sum of squared per-example gradient norms",
        reference="Shu et al., NASI, ICLR 2022, arXiv:2109.00817 (trace norm; there of the loss gradients, approximated)",
        finish=_finisher("trace", needs_lambda_min=False),
    ),
    _spectral(
        name="ntk_frobenius",
        summary="Frobenius norm of the tangent kernel: bounds its smallest eigenvalue from above",
        reference=f"{_KNAS}, Eq. (14)",
        finish=_finisher("frobenius", needs_lambda_min=False),
    ),
    _spectral(
        name="ntk_effective_rank",
        summary="effective rank of the tangent kernel: the exponential of its spectrum's entropy",
        reference="Roy and Vetterli, The effective rank, EUSIPCO 2007",
        finish=_finisher("effective_rank", needs_lambda_min=False),
    ),
    Proxy(
        name="label_gradient_alignment",
        score=ntk_matrix_and_labels,
        summary="correlation of the tangent kernel's entries with whether the labels agree",
        reference=f"{_MOK}, label-gradient alignment",
        cost=_COST,
        settings=_SETTINGS,
        settings_in=IN_TRAINING_MODE,
        finish=_finish_alignment,
    ),
)
