"""gradsign and hnas: scores of the gradients of single examples.

``statistics``
    what batch normalisation normalises over. ``example`` (default): each image is a batch of its own, as in GradSign's code. ``batch``:
    training mode, where one image's output depends on all of them; N backward passes of the whole batch instead of N of one image. The
    default in the DARTS space, where the other says next to nothing (:data:`jknas.proxies.proxy.IN_TRAINING_MODE`).
``chunk_size``
    gradients in memory at once; no part of the definition.
``objective`` (hnas)
    whose gradient: ``target`` (default), the output of the image's own class, as in the released code; ``logits``, the sum of its outputs;
    or ``loss``, its cross-entropy.

Deviations:
    GradSign's code runs in a port with the mean in place of the sum over the weights, which takes the number of parameters out and is
    another ranking; not here. The released code of HNAS runs one training-mode batch and attributes its gradient to the images by where the
    signal enters each layer, which is not the gradient of an image's output; here it is that, with either kind of statistics. It counts the
    classifier's bias, whose squared gradient is one for every architecture; here kernels alone. HNAS combines the score with others in its
    search; this is the score.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.kernels.example_gradients import Examples, Target, gradsign, mean_squared_gradient
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network, layers_of
from jknas.proxies.proxy import IN_TRAINING_MODE, Batch, Proxy, model


def _examples(statistics: Statistics) -> Examples:
    choose("statistics", statistics, ("example", "batch"), error=ProxyError)
    return "alone" if statistics == "example" else "together"


def gradsign_score(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    statistics: Statistics = "example",
    chunk_size: int = 8,
) -> Float[Array, ""]:
    """Return the score, see :func:`jknas.kernels.example_gradients.gradsign`; the key is not used.

    Raises:
        ValueError: for unknown statistics, or ``chunk_size < 1``.
    """
    del key
    examples, layers = _examples(statistics), layers_of(network, wiring)
    apply = model(network, wiring, statistics)
    return gradsign(apply, params, batch.x, batch.labels, layers=layers, examples=examples, chunk_size=chunk_size)


def hnas_score(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    statistics: Statistics = "example",
    objective: Target = "target",
    chunk_size: int = 8,
) -> Float[Array, ""]:
    """Return the square root of the kernel's trace over N, see :func:`jknas.kernels.example_gradients.mean_squared_gradient`.

    Raises:
        ValueError: for an unknown name, or ``chunk_size < 1``.
    """
    del key
    mean = mean_squared_gradient(
        model(network, wiring, statistics),
        params,
        batch.x,
        batch.labels,
        objective=objective,
        layers=layers_of(network, wiring),
        examples=_examples(statistics),
        chunk_size=chunk_size,
    )
    return jnp.sqrt(mean)


_COST = "N backward passes at batch size one; with statistics=batch, the default for DARTS, of the whole batch"

PROXIES = (
    Proxy(
        name="gradsign",
        score=gradsign_score,
        summary="sum over the weights of |sum over the examples of the sign of their loss gradients|",
        reference="Zhang and Jia, GradSign, ICLR 2022, arXiv:2110.08616, Algorithm 1",
        cost=_COST,
        settings={"statistics": "example", "chunk_size": 8},
        settings_in=IN_TRAINING_MODE,
    ),
    Proxy(
        name="hnas",
        score=hnas_score,
        summary="root of the mean squared norm of the examples' gradients: of the trace of the tangent kernel over N",
        reference="Shu et al., Unifying and Boosting Gradient-Based Training-Free NAS (HNAS), NeurIPS 2022, arXiv:2201.09785, M_Trace",
        cost=_COST,
        settings={"statistics": "example", "objective": "target", "chunk_size": 8},
        settings_in=IN_TRAINING_MODE,
    ),
)
