r"""NEAR: how many directions the activations of a network use, by the effective rank of square samples, summed over its layers.

.. math:: s = \sum_l \mathrm{erank}(Z_l), \qquad \mathrm{erank}(Z) = \exp \Bigl( -\sum_k p_k \log p_k \Bigr), \quad
          p_k = \sigma_k / \sum_j \sigma_j

with :math:`\sigma_k` the singular values of :math:`Z_l`, a square cut from the outputs of a layer: channels are columns, and rows are the
pixels of all images, image by image, column by column of an image. From *W r* on, as many rows are taken as there are channels, with *W*
the width of the maps and *r* uniform in :math:`0 \dots N H - 2`. So 16 channels on 32x32 pixels see half a column of one image. The
classifier's outputs are *N* rows of *K* numbers, of which the first *K* are taken. Nothing is centred.

The settings:

``layers``
    ``all`` (default): every convolution, normalisation and classifier, before activation, and every ReLU, each in front of its
    convolution; ``weights``: the first three alone; ``activations``: the ReLUs alone.
``repetitions``
    draws of weights whose scores are averaged: 1 by default, 32 as published. The first weights are those of the scorer, the others are
    drawn as PyTorch does; the images stay.

Normalisation is in training mode, as in the released code by PyTorch's default.

Reference:
    Husistein, Reiher and Eckhoff, "NEAR: A Training-Free Pre-Estimator of Machine Learning Model Performance", ICLR 2025,
    arXiv:2408.08776, and its released code, github.com/ReiherGroup/NEAR.

Deviations:
    One draw of the weights in place of 32, which cost 32 times as much: see ``repetitions``. The released code hooks every module that owns
    a weight or is an activation; the modules here are those of the benchmark's own network, where each convolution of a cell has a ReLU of
    its own, as in DARTS. It appends batches until a layer has as many rows as columns; here there is one batch, of 16 images by default,
    enough for all layers but a classifier of more classes than images, of which all rows are taken. A square is a small part of what even
    these give: on all cells of NAS-Bench-201 the ranks by 16 and by 128 images agree to 0.9996. Near the end of the rows it may cut fewer
    than it has columns; here the last whole square is taken. A layer of zeros, such as a convolution that no path leads to, has no
    effective rank and counts 0, as there; NaN and infinite outputs make the score NaN here. Rows are drawn by JAX, layer by layer: a code
    of the DARTS space, with a place for every layer that an edge may have, draws others than its genotype.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import ProxyError, check_count, choose
from jknas.networks.network import Network, initial_params
from jknas.networks.observation import LayerWeights, RunBlock, convolved, normalise_layer
from jknas.proxies.measurements.forward import observable
from jknas.proxies.measurements.layers import for_every_layer, layer_names
from jknas.proxies.proxy import NetworkProxy, Outcome, read_scalar
from jknas.proxies.setup import Batch

_SELECTIONS = {"all": (True, True, True), "weights": (False, True, True), "activations": (True, False, False)}
"""Which of a layer's three modules count: ReLU; convolution or classifier; normalisation."""

_RELU = 0


class Squares(NamedTuple):
    """The squares cut from the outputs of a layer's modules, and which of them count; stacked where cells or repetitions are.

    Attributes:
        relu: ``[*m, c_in, c_in]``.
        convolution: ``[*m, c, c]``, or fewer rows.
        normalisation: ``[*m, c, c]``.
        counts: ``[*m, 3]``.
    """

    relu: Float[Array, "*m ri ci"]
    convolution: Float[Array, "*m r c"]
    normalisation: Float[Array, "*m r c"]
    counts: Float[Array, "*m 3"]


def measure(
    network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray, *, layers: str = "all", repetitions: int = 1
) -> Mapping[str, Mapping[str, Squares]]:
    """Return the squares of all layers, by block and layer, stacked along a first axis of repetitions; the device part.

    Args:
        network: a network that is observable.
        params: its parameters.
        wiring: genotype or code.
        batch: images; the labels are not used.
        key: draws the rows, and the weights of further repetitions.
        layers: ``"all"``, ``"weights"`` or ``"activations"``.
        repetitions: draws of weights, at least 1.

    Raises:
        ProxyError: for unknown layers, or repetitions below 1.

    Cost: a forward pass per repetition; on the host the singular values of a C x C matrix per module and repetition.
    """
    choose("layers", layers, tuple(_SELECTIONS), error=ProxyError)
    check_count("repetitions", repetitions, error=ProxyError)
    observed, names = observable(network, "near"), layer_names(observable(network, "near"), params, batch.x, wiring)
    selected = _SELECTIONS[layers]

    def layer(_kind: str, x: Array, weights: LayerWeights, given: Array) -> tuple[Array, Squares]:
        read = convolved(x, weights._replace(kernel=None, bias=None))
        y = convolved(read, weights._replace(relu=False, before=None))
        out, _ = normalise_layer(y, weights, "batch")
        exists = (weights.relu, weights.kernel is not None, weights.norm is not None)
        counts = jnp.asarray([float(has and wanted) for has, wanted in zip(exists, selected, strict=True)], x.dtype)
        relu, convolution, normalisation = (square(value, given[place]) for place, value in enumerate((read, y, out)))
        return out, Squares(relu, convolution, normalisation, counts)

    def visit(kind: str, run: RunBlock, x: Array, extra: PyTree) -> tuple[Array, PyTree]:
        seen = run(layer, x, extra)
        records = dict(seen.records)
        if kind == "last_norm":  # the ReLU behind it belongs to no convolution
            (name,) = records
            counts = records[name].counts.at[_RELU].set(float(selected[_RELU]))
            records[name] = records[name]._replace(relu=square(seen.output, extra[name][_RELU]), counts=counts)
        return seen.output, records

    def squares(params: PyTree, key: PRNGKeyArray) -> PyTree:
        keys = iter(jax.random.split(key, sum(len(of_block) for _, of_block in names.values())))
        starts = for_every_layer(names, lambda cells: jax.random.uniform(next(keys), (*cells, 3), batch.x.dtype))
        return observed.walk(params, batch.x, wiring, visit, extras=starts).summaries

    def repeat(item: tuple[Array, PRNGKeyArray]) -> PyTree:
        draw, rows = jax.random.split(item[1])
        return squares(lax.cond(item[0], lambda _: params, lambda draw: initial_params(observed, draw, "pytorch"), draw), rows)

    if repetitions == 1:
        return jax.tree.map(lambda leaf: leaf[None], squares(params, key))
    return lax.map(repeat, (jnp.arange(repetitions) == 0, jax.random.split(key, repetitions)))


def square(values: Float[Array, "*n c"], start: Float[Array, ""]) -> Float[Array, "r c"]:
    """Cut as many rows as there are columns from a module's outputs, all of them where there are fewer.

    Args:
        values: maps ``[n, h, w, c]``, or a classifier's ``[n, c]``.
        start: a number in 0..1 that says where.
    """
    columns = values.shape[-1]
    if values.ndim == 2:
        return values[:columns]
    n, height, width, _ = values.shape
    count = n * height * width
    if count <= columns:
        return values.swapaxes(1, 2).reshape(-1, columns)
    row = jnp.minimum((start * (n * height - 1)).astype(int) * width, count - columns)
    # Only the images that the square touches are brought into the order of rows.
    pixels = height * width
    images = min(n, -(-(columns - 1) // pixels) + 1)
    first = jnp.minimum(row // pixels, n - images)
    near = lax.dynamic_slice_in_dim(values, first, images).swapaxes(1, 2).reshape(-1, columns)
    return lax.dynamic_slice_in_dim(near, row - first * pixels, columns)


def effective_rank(matrix: Float[np.ndarray, "*m r c"]) -> Float[np.ndarray, "*m"] | np.floating[Any]:
    """Return the exponential of the entropy of the singular values, divided by their sum; 0 for a matrix of zeros.

    >>> round(float(effective_rank(np.eye(3))), 12)
    3.0
    """
    values = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    total = values.sum(-1, keepdims=True)
    shares = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.where(total[..., 0] > 0, np.exp(-(shares * logs).sum(-1)), 0.0)


def sum_of_ranks(found: Mapping[str, Mapping[str, Squares]]) -> Outcome:
    """Return the sum over all layers, averaged over the repetitions, with the mean of every block in the extras."""
    sums = {}
    for block, layers in found.items():
        total = 0.0
        for squares in layers.values():
            counts = np.asarray(squares.counts) > 0
            for place, matrices in enumerate(squares[:3]):
                used = np.asarray(matrices, np.float64)[counts[..., place]]
                if not np.all(np.isfinite(used)):
                    total = math.nan
                elif used.size:
                    total += float(effective_rank(used).sum()) / len(counts)
        sums[block] = total
    outcome = read_scalar(sum(sums.values()))
    return Outcome(outcome.score, outcome.status, sums)


PROXY = NetworkProxy(
    name="near",
    measure=measure,
    summary="effective rank of squares cut from the activations, summed over the layers",
    reference="Husistein, Reiher and Eckhoff, NEAR, ICLR 2025, arXiv:2408.08776",
    cost="1 forward pass a repetition, and a small singular value problem per module on the host",
    needs_labels=False,
    batch_size=16,
    settings={"layers": "all", "repetitions": 1},
    read=sum_of_ranks,
    requires=("observable",),
)
