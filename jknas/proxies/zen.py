r"""Zen: how strongly a network with Gaussian weights answers to a small change of its input, undoing its normalisations.

With *f* the feature map before pooling, *x* and *x'* standard normal images, and :math:`\bar\sigma_i^2` the mean over channels of the batch
variance that the *i*-th batch normalisation divides by,

.. math:: s = \log \mathbb{E} \, \| f(x) - f(x + 0.01 \, x') \|_F + \sum_i \log \bar\sigma_i

Without the second term the normalisations would hide the scale of what is in front of them; with it the score is that of a network
without any, computed without overflow.

The settings:

``norm``
    ``frobenius`` (default): the expectation of every image's norm, as in the paper; or ``l1``, the sum of absolute values, as in the
    released code.
``variance``
    ``batch`` (default): that of the pass with *x*, as in the paper; or ``running``: the running averages of the released code, which start
    at one and move by a tenth towards the variance of each of the two passes of every repeat; a later repeat goes on from them.
``repeats``
    draws of weights and images whose scores are averaged: 1 by default, 32 in the released code. The first one's weights and images are
    those of the scorer.

Weights are standard normal and so are the images: what was asked for as initialisation plays no part, and of the data set only the shape
of its images.

Reference:
    Lin, Wang, Sun, Chen, Sun, Qian, Li and Jin, "Zen-NAS: A Zero-Shot NAS for High-Performance Image Recognition", ICCV 2021,
    arXiv:2102.01063, section 3 and its algorithm 1, and its released code, github.com/idstcv/ZenNAS.

Deviations:
    The paper defines the score for chains of convolutions and removes residual links from other networks; in a cell of this space a skip
    connection is an operation like others, and stays, as in the NAS-Bench-201 port of AZ-NAS. A convolution that no path leads to, whose
    input is zero for every image, has no variance and does not count with ``batch``: it is no part of the function. With ``running`` it
    counts with what is left of the average's start, as in the released code. The variance is the unbiased one in both settings. The
    epsilon of the variances is 1e-5, of the released code's own networks 1e-3.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.networks.layers.conv_norm import RUNNING_MOMENTUM
from jknas.networks.network import Network, initial_params
from jknas.networks.observation import LayerWeights, ObservableNetwork, RunBlock, convolved, normalise_layer
from jknas.proxies.measurements.forward import observable
from jknas.proxies.proxy import NetworkProxy
from jknas.proxies.setup import Batch, Setup, drawn_with, noise

_STEP = 0.01


def measure(
    network: Network,
    params: PyTree,
    wiring: Any,
    batch: Batch,
    key: PRNGKeyArray,
    *,
    norm: str = "frobenius",
    variance: str = "batch",
    repeats: int = 1,
) -> Float[Array, ""]:
    """Return the score; minus infinity where the features do not depend on the input.

    Args:
        network: a network that is observable.
        params: its parameters, standard normal.
        wiring: genotype or code.
        batch: standard normal images; the labels are not used.
        key: draws the change of the input, and all that further repeats need.
        norm: ``"frobenius"`` or ``"l1"``.
        variance: ``"batch"`` or ``"running"``.
        repeats: draws, at least 1.

    Raises:
        ValueError: for an unknown name, or repeats below 1.

    Cost: two forward passes per repeat.
    """
    choose("norm", norm, ("frobenius", "l1"), error=ProxyError)
    choose("variance", variance, ("batch", "running"), error=ProxyError)
    if repeats < 1:
        raise ProxyError(f"repeats must be at least 1, got {repeats}")
    observed = observable(network, "zen")

    def score(averages: Array, params: PyTree, x: Array, key: PRNGKeyArray) -> tuple[Array, Array]:
        pair = jnp.stack([x, x + _STEP * jax.random.normal(key, x.shape, x.dtype)])
        # A loop, so that one pass is compiled and not two.
        features, variances, used = jax.lax.map(lambda images: features_and_variances(observed, params, wiring, images), pair)
        averages = _moved(_moved(averages, variances[0]), variances[1])
        logs = jnp.log(averages if variance == "running" else variances[0])
        size = _norms(features[0] - features[1], norm).mean()
        counts = used[0] & (variances[0] > 0) if variance == "batch" else used[0]
        return averages, jnp.log(size) + 0.5 * jnp.where(counts, logs, jnp.zeros_like(logs)).sum()

    def drawn(key: PRNGKeyArray) -> tuple[PyTree, Array]:
        weights, images = jax.random.split(key)
        return initial_params(observed, weights, "normal"), jax.random.normal(images, batch.x.shape, batch.x.dtype)

    def repeat(averages: Array, item: tuple[Array, PRNGKeyArray]) -> tuple[Array, Array]:
        first, (draw, change) = item[0], jax.random.split(item[1])
        weights, x = jax.lax.cond(first, lambda _: (params, batch.x), drawn, draw)
        return score(averages, weights, x, change)

    if repeats == 1:
        return score(jnp.ones((), batch.x.dtype), params, batch.x, key)[1]
    places = jax.eval_shape(lambda x: features_and_variances(observed, params, wiring, x)[1], batch.x)
    averages = jnp.ones(places.shape, places.dtype)
    return jax.lax.scan(repeat, averages, (jnp.arange(repeats) == 0, jax.random.split(key, repeats)))[1].mean()


def features_and_variances(
    network: ObservableNetwork, params: PyTree, wiring: Any, x: Float[Array, "n h w c"]
) -> tuple[Float[Array, "n hf wf cf"], Float[Array, " m"], Bool[Array, " m"]]:
    """Return the feature map before pooling, and for every layer the mean over channels of its batch variance and whether it is normalised.

    Every edge of every cell has a place, as if it held a convolution.
    """

    def layer(_kind: str, x: Array, weights: LayerWeights, _given: PyTree) -> tuple[Array, tuple[Array, Array]]:
        y, variances = normalise_layer(convolved(x, weights), weights, "batch")
        return y, (variances.mean(), jnp.asarray(weights.norm is not None))

    def visit(kind: str, run: RunBlock, x: Array, _extra: PyTree) -> tuple[Array, PyTree]:
        seen = run(layer, x, {})
        means, normalised = (jnp.stack(parts) for parts in zip(*seen.records.values(), strict=True))
        return seen.output, (means, normalised, x if kind == "classifier" else None)

    found = network.walk(params, x, wiring, visit).summaries
    means, normalised = (jnp.concatenate([summary[part].reshape(-1) for summary in found.values()]) for part in (0, 1))
    return found["classifier"][2], means, normalised


def _moved(averages: Array, variances: Array) -> Array:
    return RUNNING_MOMENTUM * averages + (1 - RUNNING_MOMENTUM) * variances


def _norms(difference: Array, norm: str) -> Float[Array, " n"]:
    """Return the norm of every image's difference."""
    flat = difference.reshape(len(difference), -1)
    return jnp.abs(flat).sum(1) if norm == "l1" else jnp.linalg.norm(flat, axis=1)


PROXY = NetworkProxy(
    name="zen",
    measure=measure,
    summary="answer of a network with Gaussian weights to a small change of its input, without the scale of its normalisations",
    reference="Lin et al., Zen-NAS, ICCV 2021, arXiv:2102.01063, algorithm 1",
    cost="2 forward passes a repeat",
    needs_labels=False,
    batch_size=16,
    settings={"norm": "frobenius", "variance": "batch", "repeats": 1},
    setup=Setup(init=drawn_with("normal"), batch=noise, once=False),
    requires=("observable",),
)
