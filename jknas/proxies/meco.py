r"""MeCo: the smallest eigenvalue of the correlation of a layer's channels, for one image, summed over the layers.

.. math:: s = \sum_i \lambda_{\min}\bigl( P(f^i) \bigr)

with :math:`P(f^i)` the Pearson correlation, over the pixels, of the channel maps :math:`f^i` ``[c, h w]`` of layer *i*. A channel that is
constant over the image is correlated with nothing, itself included.

Wherever a layer has as many channels as pixels or more, :math:`h w \le c`, the correlation is singular and its smallest eigenvalue zero
up to rounding: on 32x32 pixels the published network's third stage (64 channels of 8x8 pixels) adds nothing.

The setting ``layers`` says what a layer is:

``convolutions`` (default)
    every convolution's output; the normalisation behind it does not change correlations. Depthwise convolutions count, and each half of a
    factorised reduction.
``modules``
    every output of a module that the released code hooks, containers included, see :mod:`jknas.networks.nasbench201.modules`; only
    for networks that say which these are.

Reference:
    Jiang, Wang and Bie, "MeCo: Zero-Shot NAS with One Data and Single Forward Pass via Minimum Eigenvalue of Correlation", NeurIPS 2023,
    Eq. (12), and its released code, github.com/HamsterMimi/MeCo.

Deviations:
    The paper's text does not say which outputs are layers. The released code takes the network of zero-cost-nas, which has other containers
    in places; the modules here are those of the benchmark's own network. It uses one image, here by default the first of the batch, which
    normalisation sees whole. Correlations that are not defined become zero there, as here for constant channels; other NaN stay NaN
    here. Its variant on 8 random channels a layer is not there. Eigenvalues are taken on the host in float64.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.networks.families import require
from jknas.networks.network import Network
from jknas.networks.observation import LayerWeights, RunBlock, convolved, normalise_layer
from jknas.proxies.measurements.forward import observable
from jknas.proxies.proxy import NetworkProxy, Outcome, read_scalar
from jknas.proxies.setup import Batch


class Correlation(NamedTuple):
    """Correlations of one value, in a stage of all cells, and how often they count.

    Attributes:
        matrix: ``[c, c]``, or ``[cells, c, c]``.
        times: how often the smallest eigenvalue counts; a scalar, or ``[cells]``.
    """

    matrix: Float[Array, "*m c c"]
    times: Float[Array, "*m"]


def correlation(maps: Float[Array, "h w c"]) -> Float[Array, "c c"]:
    """Return the Pearson correlation of the channels over the pixels; rows of constant channels are zero."""
    flat = maps.reshape(-1, maps.shape[-1])
    centred = flat - flat.mean(0, keepdims=True)
    size = jnp.linalg.norm(centred, axis=0, keepdims=True)
    unit = jnp.where(size == 0, jnp.zeros_like(centred), centred / jnp.where(size == 0, jnp.ones_like(size), size))
    return jnp.matmul(unit.T, unit, precision="highest")


def measure(
    network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray, *, layers: str = "convolutions"
) -> Mapping[str, list[Correlation]]:
    """Return the correlations of every block; the device part. Of the batch only the first image counts, and the key is not used.

    Args:
        network: a network that is observable.
        params: its parameters.
        wiring: genotype or code.
        batch: images.
        key: not used.
        layers: ``"convolutions"`` or ``"modules"``.

    Raises:
        ProxyError: for unknown layers, or modules of a network that does not say which it has.

    Cost: a forward pass, and for each layer a product over one image's pixels and, on the host, an eigenvalue problem.
    """
    choose("layers", layers, ("convolutions", "modules"), error=ProxyError)
    if layers == "modules":
        require(network, "modules", "meco with layers=modules", error=ProxyError)
    observed: Any = observable(network, "meco")

    def layer(kind: str, x: Array, weights: LayerWeights, _given: PyTree) -> tuple[Array, Correlation | None]:
        y = convolved(x, weights)
        times = int(weights.kernel is not None) if layers == "convolutions" else observed.times_hooked(kind)
        record = None if y.ndim == 2 else Correlation(correlation(y[0]), jnp.asarray(times, x.dtype))
        return normalise_layer(y, weights, "batch")[0], record

    def visit(kind: str, run: RunBlock, x: Array, _extra: PyTree) -> tuple[Array, list[Correlation]]:
        seen = run(layer, x, {})
        found = [record for record in seen.records.values() if record is not None]
        values = [] if layers == "convolutions" else observed.module_outputs(kind, x, seen)
        return seen.output, found + [Correlation(correlation(value[0]), jnp.asarray(times, x.dtype)) for value, times in values]

    return observed.walk(params, batch.x, wiring, visit).summaries


def smallest_eigenvalues(found: Mapping[str, list[Any]]) -> Outcome:
    """Return the sum over all layers, with the sum of every block in the extras."""
    sums = {}
    for block, counted in found.items():
        total = 0.0
        for matrix, times in counted:
            for one, count in zip(_stacked(matrix, 2), _stacked(times, 0), strict=True):
                if count and one.size:
                    total += float(count) * (float(np.linalg.eigvalsh(one)[0]) if np.all(np.isfinite(one)) else np.nan)
        sums[block] = total
    outcome = read_scalar(sum(sums.values()))
    return Outcome(outcome.score, outcome.status, sums)


def _stacked(array: Any, dimensions: int) -> np.ndarray:
    wide = np.asarray(array, np.float64)
    return wide[None] if wide.ndim == dimensions else wide


PROXY = NetworkProxy(
    name="meco",
    measure=measure,
    summary="smallest eigenvalue of the correlation of one image's channel maps, summed over the layers",
    reference="Jiang et al., MeCo, NeurIPS 2023, Eq. (12)",
    cost="1 forward pass of one image",
    needs_labels=False,
    batch_size=1,
    settings={"layers": "convolutions"},
    read=smallest_eigenvalues,
    requires=("observable",),
    requires_for={"layers": {"modules": "modules"}},
)
