r"""MeCo: the smallest eigenvalue of the correlation of a layer's channels, for one image, summed over the layers.

.. math:: s = \sum_i \lambda_{\min}\bigl( P(f^i) \bigr)

with :math:`P(f^i)` the Pearson correlation, over the pixels, of the channel maps :math:`f^i` ``[c, h w]`` of layer *i*. A channel that is
constant over the image is correlated with nothing, itself included.

Wherever a layer has as many channels as pixels or more, :math:`h w \le c`, the correlation is singular and its smallest eigenvalue zero
up to rounding: on 32x32 pixels the published network's third stage (64 channels of 8x8 pixels) adds nothing.

The setting ``layers`` says what a layer is:

``convolutions`` (default)
    every convolution's output; the normalisation behind it does not change correlations.
``modules``
    every output of a module that the released code hooks, containers included: a convolution with its ReLU, normalisation and wrappers
    counts four times and its ReLU once, a pooling twice, a skip connection, a cell and a reduction once each, the stem three times.

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

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, choose
from jknas.networks.layers.pooling import average_pool_2x2
from jknas.networks.nasbench201.cell import KERNEL_SIZES, edge_name
from jknas.networks.observation import LayerWeights, RunBlock, Seen, convolved, normalise_layer
from jknas.proxies.measurements.forward import walked
from jknas.proxies.proxy import NetworkProxy, Outcome, read_scalar
from jknas.proxies.setup import Batch
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS

_HOOKED = {"stem": 3, "conv_a": 4, "conv_b": 4, "downsample": 2}
_HOOKED_ON_EDGE = {**dict.fromkeys(KERNEL_SIZES, 4), "avg_pool_3x3": 2}


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
    centred = flat - flat.mean(0)
    size = jnp.linalg.norm(centred, axis=0)
    unit = jnp.where(size == 0, jnp.zeros_like(centred), centred / jnp.where(size == 0, jnp.ones_like(size), size))
    return jnp.matmul(unit.T, unit, precision="highest")


def measure(
    network: Any, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray, *, layers: str = "convolutions"
) -> Mapping[str, list[Correlation]]:
    """Return the correlations of every block; the device part.

    Args:
        network: a network that is observable.
        params: its parameters.
        wiring: genotype or code.
        batch: images, of which the first counts; the labels are not used.
        key: not used.
        layers: ``"convolutions"`` or ``"modules"``.

    Raises:
        ValueError: for unknown layers.

    Cost: a forward pass, a product over one image's pixels a layer, and on the host an eigenvalue problem a layer.
    """
    del key
    choose("layers", layers, ("convolutions", "modules"), error=ProxyError)

    def visit(kind: str, run: RunBlock, x: Array, extra: PyTree) -> tuple[Array, list[Correlation]]:
        del extra
        seen = run(_layer, x, {})
        found = _convolutions(kind, seen) if layers == "convolutions" else _modules(kind, x, seen)
        return seen.output, [Correlation(matrix, jnp.asarray(times, x.dtype)) for matrix, times in found]

    found: Mapping[str, list[Correlation]] = walked(network, "meco").walk(params, batch.x, wiring, visit).summaries
    return found


def _layer(kind: str, x: Array, weights: LayerWeights, given: PyTree) -> tuple[Array, Array]:
    del given
    y = convolved(x, weights)
    matrix = jnp.zeros((0, 0), y.dtype) if y.ndim == 2 else correlation(y[0])
    return normalise_layer(y, weights, "batch")[0], matrix


Counted = list[tuple[Array, Any]]


def _convolutions(kind: str, seen: Seen) -> Counted:
    if kind == "cell":
        return _on_edges(seen, dict.fromkeys(KERNEL_SIZES, 1))
    return [(seen.records[name], 1) for name in _HOOKED if name in seen.records]


def _on_edges(seen: Seen, times: Mapping[str, int]) -> Counted:
    counts, operations = jnp.asarray([times.get(name, 0) for name in OPERATIONS]), jnp.asarray(seen.operations)
    return [(seen.records[edge_name(edge)], counts[operations[edge]]) for edge in range(len(EDGES))]


def _modules(kind: str, x: Array, seen: Seen) -> Counted:
    if kind == "classifier":
        return []
    counted = [(correlation(jax.nn.relu(source.value[0])), source.convolutions) for source in seen.sources]
    if kind == "last_norm":  # the normalisation, the ReLU, and the container of both
        return [(seen.records["last_norm"], 1), (correlation(seen.output[0]), 2)]
    if kind == "cell":
        counted += [(correlation(source.value[0]), source.skips) for source in seen.sources]
        counted += _on_edges(seen, _HOOKED_ON_EDGE)
    else:
        counted += [(seen.records[name], times) for name, times in _HOOKED.items() if name in seen.records]
    if kind == "reduction":
        counted.append((correlation(average_pool_2x2(x)[0]), 1))
    return counted if kind == "stem" else [*counted, (correlation(seen.output[0]), 1)]


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
)
