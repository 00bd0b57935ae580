r"""The empirical neural tangent kernel of one batch at initialisation: ntk_*, tenas_condition and label_gradient_alignment.

.. math:: K_{ij} = \Bigl\langle \frac{\partial y_i}{\partial w}, \frac{\partial y_j}{\partial w} \Bigr\rangle

The device computes the matrix, by one program for the whole space. The host computes its spectrum in float64
(:mod:`jknas.kernels.spectrum`). Every score carries the whole spectrum in its extras, with the floor below which an eigenvalue is rounding.
The proxies share three settings:

``statistics``
    what batch normalisation normalises over, and so which kernel it is. ``example``: each image by itself; the examples do not interact,
    and one backward pass gives the matrix. ``batch``: training mode, where the output of one image depends on all of them, as in the
    released code of TE-NAS; N backward passes of the whole batch. The default is the network's ``score_statistics``
    (:data:`jknas.proxies.proxy.USUAL_STATISTICS`).
``parameters``
    ``weights`` (default): convolutions, normalisation scales and the classifier, as in that code; or ``all``.
``objective``
    whose gradient: ``logits`` (default), the sum of an example's outputs, as in that code; or ``loss``, its cross-entropy.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jknas.kernels.coupled import ntk_coupled
from jknas.kernels.gram import gram
from jknas.kernels.objectives import Objective, Parameters
from jknas.kernels.spectrum import Spectrum, spectrum
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network
from jknas.proxies.measurements.forward import model
from jknas.proxies.proxy import USUAL_STATISTICS, NetworkProxy, Outcome
from jknas.proxies.setup import Batch

KNAS = "Xu et al., KNAS, ICML 2021, arXiv:2111.13293"
TENAS = "Chen et al., TE-NAS, ICLR 2021, arXiv:2102.11535, section 3.1.1"


class LabelledKernel(NamedTuple):
    """A kernel with the classes of its examples."""

    matrix: Float[Array, "n n"]
    labels: Int[Array, " n"]


def measure(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    statistics: Statistics = "example",
    parameters: Parameters = "weights",
    objective: Objective = "logits",
) -> LabelledKernel:
    """Return the kernel of the batch; the device part of the proxies.

    Args:
        network: the network.
        params: its parameters.
        wiring: genotype or code.
        batch: images and labels; the kernel depends on the labels only with ``objective="loss"``.
        key: not used.
        statistics: ``"example"`` or ``"batch"``.
        parameters: ``"weights"``, ``"all"``, or a predicate on the leaf's path.
        objective: ``"logits"`` or ``"loss"``.

    Raises:
        JknasError: for an unknown name.
    """
    apply, labels = model(network, wiring, statistics), batch.labels if objective == "loss" else None
    if statistics == "batch":
        matrix = ntk_coupled(apply, params, batch.x, labels, objective=objective, parameters=parameters)
    else:  # each image is normalised by itself: no interaction counts
        matrix = gram(apply, params, batch.x, labels=labels, objective=objective, parameters=parameters, interaction="ignore").matrix
    return LabelledKernel(matrix, batch.labels)


def spectrum_facts(found: Spectrum) -> dict[str, Any]:
    """Return a spectrum's numbers as plain data; ``spectrum`` is its status."""
    names = ("lambda_max", "lambda_min", "condition_number", "trace", "frobenius", "effective_rank", "floor")
    return {**{name: float(getattr(found, name)) for name in names}, "spectrum": found.status}


def read_spectrum(number: str, *, needs_lambda_min: bool = False) -> Callable[[LabelledKernel], Outcome]:
    """Return the host part that reads one attribute of the :class:`~jknas.kernels.spectrum.Spectrum`.

    A singular matrix only voids what depends on the smallest eigenvalue.
    """

    def read(kernel: LabelledKernel) -> Outcome:
        found = spectrum(kernel.matrix)
        status = "ok" if found.status == "saturated" and not needs_lambda_min else found.status
        score = math.nan if status == "non_finite" else float(getattr(found, number))
        return Outcome(score, status, spectrum_facts(found))

    return read


row = functools.partial(
    NetworkProxy,
    measure=measure,
    cost="1 backward pass; N passes with statistics=batch, the default for DARTS",
    needs_labels=False,
    settings={"statistics": "example", "parameters": "weights", "objective": "logits"},
    network_defaults=USUAL_STATISTICS,
)
"""The row of a proxy that reads its score from the kernel."""
