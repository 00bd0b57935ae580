r"""epe_nas: correlations of the input gradients within each class.

With :math:`C^{(c)}` the correlations between the rows of class *c* of :mod:`jknas.proxies.measurements.input_jacobian`,
:math:`s_c = \sum_{ij} \log(|C^{(c)}_{ij}| + \varepsilon)` and :math:`\varepsilon = 10^{-5}`,

.. math:: s = \begin{cases} \sum_c |s_c| & \text{at most 100 classes} \\
          \frac{1}{m} \sum_{c, c'} \bigl| s_c / n_c - s_{c'} / n_{c'} \bigr| & \text{more, } n_c \text{ rows in class } c \text{ of } m
          \end{cases}

``statistics``
    what batch normalisation normalises over: ``batch`` (default), training mode, as in the released code; or ``example``.
``classes``
    which number of classes chooses between the two forms: that of the ``network`` (default, the paper), or ``ten`` for every data set, as
    in the released script, which never passes the number on. They differ beyond 100 classes: in the benchmark only on ImageNet16-120.

Reference: Lopes, Alirezazadeh and Alexandre, "EPE-NAS: Efficient Performance Estimation Without Training for Neural Architecture Search",
ICANN 2021, arXiv:2102.08099.

Deviations:
    None in the number. As in the released code, a class of a single image has the 1x1 correlation matrix (1), which adds log(1.00001).
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network
from jknas.proxies.measurements.forward import model
from jknas.proxies.measurements.input_jacobian import EPSILON, input_jacobian, row_correlations, status_of
from jknas.proxies.proxy import NetworkProxy, Outcome
from jknas.proxies.setup import Batch

MANY_CLASSES = 100
"""With more classes than this, the score compares the classes with each other."""


class LabelledJacobian(NamedTuple):
    """Input gradients with the classes of their images, and the number of classes that chooses the form."""

    rows: Float[Array, "n d"]
    labels: Int[Array, " n"]
    classes: Int[Array, ""]


def class_correlation_score(rows: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], *, classes: int) -> float:
    """Return the score of a Jacobian.

    Args:
        rows: the Jacobian.
        labels: class indices; only the classes that occur count. Beyond 100 classes, those with one image have no pair to correlate and are
            left out.
        classes: the number of classes of the task, which chooses between the two forms.

    Returns:
        NaN where a row is constant or not finite, and beyond 100 classes where no class has two images.
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


def measure(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    statistics: Statistics = "batch",
    classes: str = "network",
) -> LabelledJacobian:
    """Return the input gradient of every image with its label; the device part. The key is not used."""
    choose("classes", classes, ("network", "ten"), error=ProxyError)
    rows = input_jacobian(model(network, wiring, statistics), params, batch.x)
    return LabelledJacobian(rows, batch.labels, jnp.asarray(network.classes if classes == "network" else 10))


def read_classes(found: LabelledJacobian) -> Outcome:
    """Return the score with the number of classes that occur."""
    rows, labels = np.asarray(found.rows), np.asarray(found.labels)
    score = class_correlation_score(rows, labels, classes=int(found.classes))
    return Outcome(score, status_of(rows, score), {"classes": len(np.unique(labels))})


PROXY = NetworkProxy(
    name="epe_nas",
    measure=measure,
    summary="correlations of the input gradients within each class",
    reference="Lopes et al., EPE-NAS, ICANN 2021, arXiv:2102.08099",
    cost="1 backward pass to the images; on the host the correlations of each class",
    batch_size=256,
    settings={"statistics": "batch", "classes": "network"},
    read=read_classes,
)
