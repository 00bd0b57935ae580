"""MeCo against NumPy's correlations, layer by layer and module by module."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import random_variables

from jknas.networks.layers.pooling import average_pool_2x2
from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.observation import convolved, normalise_layer
from jknas.proxies import Batch
from jknas.proxies.meco import correlation, measure, smallest_eigenvalues
from jknas.spaces.nasbench201.genotype import CellGenotype

TINY = CellNetwork(2, 1, 3)
CELL = CellGenotype.from_code((3, 1, 2, 4, 0, 3))
"""Edges: 3x3, skip from the input, 1x1 from node 1, pooling from the input, none, 3x3 from node 2."""


def recording_layer(kind, x, weights, given):
    """Keep the first image's map before and behind the normalisation."""
    del kind, given
    y = convolved(x, weights)
    out = normalise_layer(y, weights, "batch")[0]
    return out, (y[0], out[0])


@functools.cache
def found():
    params = random_variables(TINY, CELL)["params"]
    x = jnp.asarray(np.random.default_rng(2).standard_normal((2, 8, 8, 3)))
    batch = Batch(x, jnp.zeros(2, int))

    def visit(kind, run, x, extra):
        del kind, extra
        seen = run(recording_layer, x, {})
        return seen.output, (x[:1], [source.value[0] for source in seen.sources], dict(seen.records), seen.output[0])

    @quick_jit
    def all_of_it(params):
        kinds = {layers: measure(TINY, params, CELL, batch, jax.random.key(0), layers=layers) for layers in ("convolutions", "modules")}
        return kinds, TINY.walk(params, x, CELL, visit).summaries

    return all_of_it(params)


def smallest(maps):
    flat = np.asarray(maps, np.float64).reshape(-1, maps.shape[-1])
    with np.errstate(invalid="ignore"):
        return np.linalg.eigvalsh(np.nan_to_num(np.corrcoef(flat.T)))[0]  # a constant channel, of a ReLU that is off, has no correlation


def of(summary, cell):
    return jax.tree.map(lambda leaf: leaf[0], summary) if cell else summary


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_layers_are_the_convolutions():
    kinds, seen = found()
    expected = 0.0
    for name in ("stem", "reduction1", "reduction2"):
        expected += sum(smallest(y) for y, _ in seen[name][2].values())
    for name in ("stage1", "stage2", "stage3"):
        expected += sum(smallest(of(seen[name], True)[2][edge][0]) for edge in ("edge_1_0", "edge_2_1", "edge_3_2"))
    assert smallest_eigenvalues(kinds["convolutions"]).score == pytest.approx(expected, abs=1e-10)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_modules_of_the_released_code():
    kinds, seen = found()
    total = 3 * smallest(seen["stem"][2]["stem"][1])
    for name in ("stage1", "stage2", "stage3"):
        _, (zero, one, two), records, output = of(seen[name], True)
        relu = functools.partial(np.maximum, 0)
        for source, edge in ((zero, "edge_1_0"), (one, "edge_2_1"), (two, "edge_3_2")):
            before, behind = records[edge]
            total += smallest(relu(source)) + smallest(before) + 3 * smallest(behind)
        total += smallest(zero) + 2 * smallest(records["edge_3_0"][0]) + smallest(output)
    for name in ("reduction1", "reduction2"):
        x, sources, records, output = seen[name]
        for source, layer in zip(sources, ("conv_a", "conv_b"), strict=True):
            before, behind = records[layer]
            total += smallest(np.maximum(source, 0)) + smallest(before) + 3 * smallest(behind)
        total += smallest(average_pool_2x2(x)[0]) + 2 * smallest(records["downsample"][0]) + smallest(output)
    total += smallest(seen["last_norm"][2]["last_norm"][1]) + 2 * smallest(seen["last_norm"][3])
    outcome = smallest_eigenvalues(kinds["modules"])
    assert outcome.score == pytest.approx(total, abs=1e-9)
    assert outcome.score == pytest.approx(sum(outcome.extras.values()))


def test_constant_channels_and_few_pixels():
    maps = np.random.default_rng(0).standard_normal((2, 2, 4)).astype(np.float32)
    assert abs(np.linalg.eigvalsh(np.asarray(correlation(jnp.asarray(maps)), float))[0]) < 1e-6, "4 channels of 4 pixels are singular"
    maps[..., 1] = 0.5
    matrix = np.asarray(correlation(jnp.asarray(maps)))
    assert not matrix[1].any()
    assert not matrix[:, 1].any()
    assert np.isnan(np.asarray(correlation(jnp.asarray(maps).at[0, 0, 0].set(jnp.nan)))).any(), "NaN comes through"


def test_nan_stays_nan():
    outcome = smallest_eigenvalues({"stem": [(np.full((2, 2), np.nan), 1.0)]})
    assert math.isnan(outcome.score)
    assert outcome.status == "non_finite"
    assert smallest_eigenvalues({"stem": [(np.full((2, 2), np.nan), 0.0)]}).status == "ok", "what does not run does not count"


def test_layers_that_mean_nothing():
    with pytest.raises(ValueError, match="Unknown layers 'hooks'; expected one of convolutions, modules"):
        measure(TINY, {}, None, Batch(np.zeros((1, 8, 8, 3)), None), None, layers="hooks")
