"""NEAR: the effective rank, the squares that it is taken of, and which modules of a network count."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import random_variables

from jknas.errors import ProxyError
from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.observation import convolved, normalise_layer
from jknas.proxies import Batch, get, near
from jknas.proxies.near import Squares, effective_rank, measure, square, sum_of_ranks
from jknas.spaces.nasbench201.genotype import CellGenotype

TINY = CellNetwork(2, 1, 3)
CELL = CellGenotype.from_code((3, 1, 2, 4, 0, 3))
IMAGES = np.random.default_rng(2).standard_normal((4, 8, 8, 3))


def slow_rank(matrix):
    values = np.linalg.svd(np.asarray(matrix, float), compute_uv=False)
    if not values.sum() > 0:
        return 0.0
    shares = [value / values.sum() for value in values if value > 0]
    return math.exp(-sum(share * math.log(share) for share in shares))


# ---- the effective rank


def test_the_identity_has_full_rank():
    assert [float(effective_rank(np.eye(n))) for n in (1, 2, 7)] == pytest.approx([1, 2, 7], rel=1e-12)
    assert float(effective_rank(np.ones((5, 3)))) == pytest.approx(1, rel=1e-12)
    assert float(effective_rank(np.zeros((3, 3)))) == 0
    np.testing.assert_allclose(effective_rank(np.stack([np.eye(3), np.zeros((3, 3)), np.ones((3, 3))])), [3, 0, 1], rtol=1e-12)


@pytest.mark.parametrize("r", [0.0, 0.3, -0.8, 0.99])
def test_a_circulant_matrix(r):
    """The singular values are those of two independent pairs of variables with correlation r, multiplied."""
    row = np.array([1, r, r * r, r])
    matrix = np.stack([np.roll(row, shift) for shift in range(4)])
    shares = [(1 + abs(r)) / 2, (1 - abs(r)) / 2]
    entropy = -sum(share * math.log(share) for share in shares)
    assert float(effective_rank(matrix)) == pytest.approx(math.exp(2 * entropy), rel=1e-10)


def test_random_matrices(rng):
    matrices = rng.standard_normal((3, 5, 4))
    np.testing.assert_allclose(effective_rank(matrices), [slow_rank(one) for one in matrices], rtol=1e-12)


# ---- the square


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (3, 2, 2, 4), (5, 2, 2, 9), (2, 4, 2, 5)])
def test_the_square_is_cut_from_the_rows_of_all_pixels(shape):
    n, height, width, channels = shape
    values = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    rows = [values[image, h, w] for image in range(n) for w in range(width) for h in range(height)]
    cut, starts = jax.jit(square), n * height - 1
    for r in range(starts):
        first = min(width * r, len(rows) - channels)
        np.testing.assert_array_equal(cut(values, jnp.float32((r + 0.5) / starts)), rows[first : first + channels])


def test_few_rows_are_all_taken():
    values = np.arange(32.0, dtype=np.float32).reshape(1, 2, 2, 8)
    np.testing.assert_array_equal(square(jnp.asarray(values), jnp.float32(0.7)), values[0].swapaxes(0, 1).reshape(4, 8))
    logits = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    np.testing.assert_array_equal(square(jnp.asarray(logits), jnp.float32(0.7)), logits[:3])
    np.testing.assert_array_equal(square(jnp.asarray(logits.T), jnp.float32(0.7)), logits.T)


# ---- the modules


def recording_layer(kind, x, weights, given):
    """Keep what a layer's ReLU, convolution and normalisation return."""
    del kind, given
    read = convolved(x, weights._replace(kernel=None, bias=None))
    y = convolved(x, weights)
    return normalise_layer(y, weights, "batch")[0], (read, y, normalise_layer(y, weights, "batch")[0])


def leading(values, start):
    del start
    return values.reshape(-1, values.shape[-1])[: values.shape[-1]]


@pytest.fixture
def modules(float64):
    """By block the first rows of the outputs of its ReLUs, and of its convolutions, normalisations and classifier."""
    del float64
    params = random_variables(TINY, CELL)["params"]

    def visit(kind, run, x, extra):
        del kind, extra
        seen = run(recording_layer, x, {})
        return seen.output, (dict(seen.records), seen.output)

    found = quick_jit(lambda params: TINY.walk(params, jnp.asarray(IMAGES), CELL, visit).summaries)(params)
    relus, weighted = {}, {}
    for block in ("stage1", "stage2", "stage3"):
        records = jax.tree.map(lambda leaf: leaf[0], found[block][0])
        edges = [records[edge] for edge in ("edge_1_0", "edge_2_1", "edge_3_2")]
        relus[block], weighted[block] = [edge[0] for edge in edges], [value for edge in edges for value in edge[1:]]
    for block in ("reduction1", "reduction2"):
        records = found[block][0]
        relus[block] = [records[name][0] for name in ("conv_a", "conv_b")]
        weighted[block] = [*records["conv_a"][1:], *records["conv_b"][1:], records["downsample"][1]]
    relus["last_norm"], weighted["last_norm"] = [found["last_norm"][1]], [found["last_norm"][0]["last_norm"][2]]
    weighted["stem"], weighted["classifier"] = found["stem"][0]["stem"][1:], [found["classifier"][0]["classifier"][1]]
    return params, relus, weighted


@pytest.mark.slow
def test_which_modules_count(modules, monkeypatch):
    params, relus, weighted = modules
    monkeypatch.setattr(near, "square", leading)
    batch, key = Batch(jnp.asarray(IMAGES), jnp.zeros(4, int)), jax.random.key(0)
    found = quick_jit(
        lambda params: {layers: measure(TINY, params, CELL, batch, key, layers=layers) for layers in ("all", "weights", "activations")}
    )(params)
    expected = {
        layers: {name: sum(slow_rank(leading(np.asarray(value), 0)) for value in values) for name, values in blocks.items()}
        for layers, blocks in (("weights", weighted), ("activations", relus))
    }
    for layers, sums in expected.items():
        outcome = sum_of_ranks(found[layers])
        assert {name: value for name, value in outcome.extras.items() if value} == pytest.approx(sums, rel=1e-9)
        assert outcome.score == pytest.approx(sum(sums.values()), rel=1e-9)
    total = sum(sum(sums.values()) for sums in expected.values())
    assert sum_of_ranks(found["all"]).score == pytest.approx(total, rel=1e-9)


@pytest.mark.slow
def test_repetitions_draw_new_weights():
    batch, zeros = Batch(jnp.asarray(IMAGES, jnp.float32), jnp.zeros(4, int)), random_variables(TINY)["params"]
    zeros = jax.tree.map(jnp.zeros_like, zeros)
    found = quick_jit(lambda params, key: measure(TINY, params, CELL, batch, key, repetitions=3))(zeros, jax.random.key(0))
    first, second, third = (
        sum_of_ranks(jax.tree.map(lambda leaf, place=place: leaf[place : place + 1], found)).score for place in range(3)
    )
    assert first == 0, "the first repetition has the weights that were given"
    assert second > 30
    assert third > 30
    assert second != third
    assert sum_of_ranks(found).score == pytest.approx((first + second + third) / 3)


def test_what_is_not_finite():
    squares = Squares(*(np.full((1, 2, 2), np.nan) for _ in range(3)), np.array([[0.0, 1.0, 0.0]]))
    outcome = sum_of_ranks({"stem": {"stem": squares}})
    assert math.isnan(outcome.score)
    assert outcome.status == "non_finite"
    unused = squares._replace(counts=np.zeros((1, 3)))
    assert sum_of_ranks({"stem": {"stem": unused}})[:2] == (0.0, "ok"), "what does not run does not count"


def test_the_proxy():
    assert (get("near").batch_size, get("near").settings) == (16, {"layers": "all", "repetitions": 1})
    batch = Batch(jnp.zeros((1, 8, 8, 3)), jnp.zeros(1, int))
    with pytest.raises(ProxyError, match="Unknown layers 'relu'; expected one of all, weights, activations"):
        measure(TINY, {}, None, batch, jax.random.key(0), layers="relu")
    with pytest.raises(ProxyError, match="repetitions is 0; expected a whole number, 1 or more"):
        measure(TINY, {}, None, batch, jax.random.key(0), repetitions=0)
