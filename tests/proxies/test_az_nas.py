"""The parts of AZ-NAS against their definitions, block by block."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import search_stubs as stubs
from compiling import quick_jit
from random_variables import random_variables

from jknas.networks.nasbench201.blocks import reduction
from jknas.networks.nasbench201.cell import plain_layer, run_cell
from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.observation import look
from jknas.networks.parameters import joined
from jknas.proxies import Batch, get
from jknas.proxies.measurements.block_gradients import Measured, covariance, entropies, gradient_product, measure
from jknas.scoring.scorer import make_scorer
from jknas.spaces.nasbench201.genotype import CellGenotype

TINY = CellNetwork(2, 1, 3)
CELL = CellGenotype.from_code((3, 1, 2, 4, 0, 3))
KEY = jax.random.key(3)


@functools.cache
def measured():
    """The variables, what every block gives, and the measurements."""
    variables = random_variables(TINY, CELL)
    x = jnp.asarray(np.random.default_rng(2).standard_normal((3, 8, 8, 3)))

    @quick_jit
    def both(params):
        features = look(TINY, params, x, CELL, lambda kind, seen: seen.output).summaries
        return features, measure(TINY, params, CELL, Batch(x, jnp.zeros(3, int)), KEY)

    return variables, *both(variables["params"])


@pytest.mark.usefixtures("float64")
def test_expressivity_is_the_entropy_of_principal_components():
    _, features, found = measured()
    expected = []
    for name in ("stem", "stage1", "reduction1", "stage2", "reduction2", "stage3"):
        flat = np.asarray(features[name]).reshape(-1, features[name].shape[-1])
        shares = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2
        shares /= shares.sum()
        expected.append(-sum(share * math.log(share + 1e-8) for share in shares))
    np.testing.assert_allclose(entropies(found.covariances), expected, rtol=1e-9)
    assert get("az_expressivity").read(found).score == pytest.approx(sum(expected))
    assert get("az_progressivity").read(found).score == pytest.approx(min(np.diff(expected)))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_trainability_is_made_of_every_block_s_own_gradient():
    variables, features, found = measured()
    blocks = ("stem", "stage1", "reduction1", "stage2", "reduction2", "stage3")
    keys, sigmas = dict(zip(blocks, jax.random.split(KEY, len(blocks)), strict=True)), []
    for before, name in itertools.pairwise(blocks):
        x = features[before][0] if before.startswith("stage") else features[before]
        part = joined(variables["params"][name], variables["batch_stats"][name])
        if name.startswith("stage"):
            part = jax.tree.map(lambda leaf: leaf[0], part)
            key = jax.random.split(keys[name], 1)[0]
            forward = functools.partial(lambda part, x: run_cell(part, CELL, plain_layer("batch"), x, {}).output, part)
        else:
            key = keys[name]
            forward = functools.partial(lambda part, x: reduction(part, plain_layer("batch"), x, {}).output, part)
        above = jax.random.rademacher(key, jax.eval_shape(forward, x).shape, x.dtype)
        below = np.asarray(quick_jit(lambda x, above, forward=forward: jax.vjp(forward, x)[1](above)[0])(x, above))
        above = np.asarray(above)
        ratio = below.shape[1] // above.shape[1]
        total = 0
        for image in range(above.shape[0]):
            for row in range(above.shape[1]):
                for column in range(above.shape[2]):
                    patch = below[image, ratio * row : ratio * (row + 1), ratio * column : ratio * (column + 1)].reshape(-1)
                    total = total + np.outer(patch, above[image, row, column])
        sigmas.append(np.linalg.norm(total / math.prod(above.shape[:3]), 2))
    expected = np.mean([2 - sigma - 1 / (sigma + 1e-6) for sigma in sigmas])
    assert get("az_trainability").read(found).score == pytest.approx(expected, rel=1e-9)


def test_an_identity_is_minus_infinity_and_not_perfect():
    above = jax.random.rademacher(KEY, (2, 4, 4, 3), float)
    product, same = gradient_product(above, above)
    assert (float(product[0, 0]), float(same)) == (1.0, 1.0)
    plain = [np.asarray(product)[None]] * 5
    finish = get("az_trainability").read
    assert math.isfinite(finish(Measured([], plain, [np.zeros(1)] * 5)).score)
    found = finish(Measured([], plain, [np.full(1, float(place == 2)) for place in range(5)]))
    assert (found.score, found.status) == (-math.inf, "non_finite")


def test_features_without_variance_stay_nan():
    constant = np.asarray(covariance(jnp.ones((2, 4, 4, 3))))[None]
    spread = np.eye(3)[None]
    matrices = [spread, spread, spread, constant, spread, spread]
    found = entropies(matrices)
    assert np.isnan(found).tolist() == [False, False, False, True, False, False]
    assert found[0] == pytest.approx(math.log(3), rel=1e-6)
    for name in ("az_expressivity", "az_progressivity"):
        outcome = get(name).read(Measured(matrices, [], []))
        assert math.isnan(outcome.score)
        assert outcome.status == "non_finite"


def test_the_definition_fixes_images_and_weights():
    scorers = [
        make_scorer(get("az_trainability"), stubs.tiny_digits(), stubs.SPACE, channels=2, cells=1, scheme=s)
        for s in ("pytorch", "he_normal")
    ]
    assert scorers[0].batch_size == 64
    first, second = (scorer._draw() for scorer in scorers)
    jax.tree.map(np.testing.assert_array_equal, first[:2], second[:2])
    assert first[1].x.shape == (64, 8, 8, 3)
    assert abs(float(first[1].x.std()) - 1) < 0.02
    kernel = np.asarray(first[0]["stage3"]["edge_2_0_nor_conv_3x3"]["kernel"])
    assert kernel.std() == pytest.approx(math.sqrt(2 / (9 * 8)), rel=0.1)
    assert get("az_expressivity").measure is get("az_trainability").measure
    assert get("az_expressivity").setup is get("az_progressivity").setup
