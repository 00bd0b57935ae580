"""jacob_cov and epe_nas: correlations between the input gradients of the images of a batch.

``statistics``
    what batch normalisation normalises over: ``batch`` (default), training mode, as in both papers' code; or ``example``.
``classes`` (epe_nas)
    which number of classes chooses between its two forms: that of the ``network`` (default, the paper), or ``ten``, whatever the data set,
    as the released script, which never passes the number on. They differ beyond 100 classes: on ImageNet16-120 alone of the benchmark's.

Deviations:
    The eigenvalues are those of a symmetric matrix, where the released code of jacob_cov takes a general solver and may report a complex
    number. Rows that have no correlation, as of a network that ignores its input, make the score NaN with a status, as in zero-cost-nas;
    ports elsewhere put -1e8 or 0. The batch is the same for all architectures and not augmented. EPE-NAS's code counts a class of a single
    image as the 1x1 correlation matrix (1), which adds log(1.00001); so does this.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.kernels.jacobian import class_correlation_score, correlation_score, input_jacobian
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network
from jknas.proxies.proxy import Batch, Outcome, Proxy, model


class LabelledJacobian(NamedTuple):
    """Input gradients with the classes of their images, and the number of classes that chooses EPE-NAS's form."""

    rows: Float[Array, "n d"]
    labels: Int[Array, " n"]
    classes: Int[Array, ""]


def jacobian_rows(
    network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray, *, statistics: Statistics = "batch"
) -> Float[Array, "n d"]:
    """Return every image's input gradient; the device part of jacob_cov. The key is not used.

    Raises:
        ValueError: for unknown statistics; running averages do not exist at initialisation.
    """
    del key
    choose("statistics", statistics, ("example", "batch"), error=ProxyError)
    return input_jacobian(model(network, wiring, statistics), params, batch.x)


def labelled_jacobian(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    statistics: Statistics = "batch",
    classes: str = "network",
) -> LabelledJacobian:
    """Return the rows of :func:`jacobian_rows` with their labels; the device part of epe_nas.

    Raises:
        ValueError: for unknown statistics or ``classes``.
    """
    choose("classes", classes, ("network", "ten"), error=ProxyError)
    rows = jacobian_rows(network, params, wiring, batch, key, statistics=statistics)
    return LabelledJacobian(rows, batch.labels, jnp.asarray(network.classes if classes == "network" else 10))


def _worth(rows: np.ndarray, score: float) -> str:
    """Return the status of a score; a Jacobian of zeros is that of a network that ignores its input."""
    if math.isfinite(score):
        return "ok"
    return "non_finite" if rows.any() else "dead"


def _finish_correlations(rows: Any) -> Outcome:
    score, eigenvalues = correlation_score(rows)
    extras = {"lambda_max": float(eigenvalues[-1]), "lambda_min": float(eigenvalues[0])}
    return Outcome(score, _worth(np.asarray(rows), score), extras)


def _finish_classes(found: LabelledJacobian) -> Outcome:
    score = class_correlation_score(np.asarray(found.rows), np.asarray(found.labels), classes=int(found.classes))
    return Outcome(score, _worth(np.asarray(found.rows), score), {"classes": len(np.unique(found.labels))})


PROXIES = (
    Proxy(
        name="jacob_cov",
        score=jacobian_rows,
        summary="how little the images' input gradients correlate",
        reference="Mellor et al., arXiv:2006.04647, first version; Abdelfattah et al., ICLR 2021, arXiv:2101.08134, section 3.2",
        cost="1 backward pass to the images; on the host the eigenvalues of an N x N matrix",
        needs_labels=False,
        settings={"statistics": "batch"},
        finish=_finish_correlations,
    ),
    Proxy(
        name="epe_nas",
        score=labelled_jacobian,
        summary="correlations of the input gradients within each class",
        reference="Lopes et al., EPE-NAS, ICANN 2021, arXiv:2102.08099",
        cost="1 backward pass to the images; on the host the correlations of each class",
        batch_size=256,
        settings={"statistics": "batch", "classes": "network"},
        finish=_finish_classes,
    ),
)
