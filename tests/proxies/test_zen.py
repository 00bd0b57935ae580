"""Zen against its definition, on the network of the genotype run as it is."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import search_stubs as stubs
from compiling import quick_jit

from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.observation import look
from jknas.proxies import Batch, get
from jknas.proxies.zen import features_and_variances, measure
from jknas.scoring.scorer import make_scorer
from jknas.spaces.nasbench201.genotype import CellGenotype

TINY = CellNetwork(2, 1, 3)
CELL = CellGenotype.from_code((3, 1, 2, 4, 0, 3))
KEY = jax.random.key(3)


def images():
    return jnp.asarray(np.random.default_rng(1).standard_normal((4, 8, 8, 3)), jnp.float32)


@functools.cache
def scorer(norm, variance, repeats):
    params = TINY.init(jax.random.key(1), scheme="normal")["params"]
    batch = Batch(images(), jnp.zeros(4, int))
    run = quick_jit(lambda params, code: measure(TINY, params, code, batch, KEY, norm=norm, variance=variance, repeats=repeats))
    return lambda cell: float(run(params, jnp.asarray(cell.code)))


def scored(norm="frobenius", variance="batch", repeats=1, *, cell=CELL):
    return scorer(norm, variance, repeats)(cell)


@functools.cache
def passes():
    """Features and variances of both passes, from the averages that training would keep."""
    variables = TINY.init(jax.random.key(1), CELL, scheme="normal")
    x = images()
    change = jax.random.normal(KEY, x.shape)
    averages = jax.tree.map(jnp.zeros_like, variables["batch_stats"])

    @quick_jit
    def run(params, averages, x):
        features = look(TINY, params, x, CELL, lambda kind, seen: seen.output).summaries["last_norm"]
        moved = TINY.apply_and_update(params, averages, x, CELL)[1]
        return features, [leaf for path, leaf in jax.tree.leaves_with_path(moved) if path[-1].key == "var"]

    found = []
    for one in (x, x + 0.01 * change):
        features, variances = run(variables["params"], averages, one)
        found.append((np.asarray(features, np.float64), [10 * float(np.mean(leaf)) for leaf in variances]))
    assert len(found[0][1]) == 6 + 3 * 3
    return found


def test_the_definition_of_the_paper():
    (before, variances), (after, _) = passes()
    size = np.mean([np.linalg.norm(difference) for difference in before - after])
    expected = math.log(size) + sum(math.log(math.sqrt(value)) for value in variances)
    assert scored() == pytest.approx(expected, rel=1e-4)


def test_a_convolution_that_no_path_leads_to_does_not_count():
    """Node 1 is zero for every image; what reads it has no variance."""
    blocked, cut = (scored(cell=CellGenotype.from_code(code)) for code in ((0, 3, 2, 1, 3, 4), (0, 3, 0, 1, 0, 4)))
    assert math.isfinite(blocked)
    assert blocked == cut != scored()


@pytest.mark.slow
def test_the_variants_of_the_released_code():
    (before, variances), (after, others) = passes()
    size = np.mean(np.abs(before - after).sum((1, 2, 3)))
    averages = [0.9 * (0.9 + 0.1 * one) + 0.1 * other for one, other in zip(variances, others, strict=True)]
    expected = math.log(size) + sum(0.5 * math.log(value) for value in averages)
    assert scored("l1", "running") == pytest.approx(expected, rel=1e-4)
    # Other weights and images: another score near the first, and averages that have moved further from one.
    assert 1e-3 < abs(scored("l1", "running", 3) / expected - 1) < 0.5


def test_only_convolutions_are_normalised():
    params = jax.eval_shape(lambda: TINY.init(jax.random.key(1)))["params"]
    features, means, used = jax.eval_shape(
        lambda params, code: features_and_variances(TINY, params, code, images()), params, jnp.zeros(6, int)
    )
    assert (features.shape, means.shape, used.shape) == ((4, 2, 2, 8), (27,), (27,))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"norm": "l2"}, "Unknown norm 'l2'; expected one of frobenius, l1"),
        ({"variance": "ema"}, "Unknown variance 'ema'; expected one of batch, running"),
        ({"repeats": 0}, "repeats must be at least 1, got 0"),
    ],
)
def test_settings_that_mean_nothing(settings, words):
    with pytest.raises(ValueError, match=words):
        measure(TINY, {}, None, Batch(images(), None), KEY, **settings)


def test_the_definition_fixes_images_and_weights():
    scorer = make_scorer(get("zen"), stubs.tiny_digits(), stubs.SPACE, channels=2, cells=1, scheme="he_normal")
    params, batch, _ = scorer._draw()
    assert batch.x.shape == (16, 8, 8, 3)
    assert np.asarray(params["stage3"]["edge_2_0_nor_conv_3x3"]["kernel"]).std() == pytest.approx(1, rel=0.1)
    assert not np.any(params["classifier_bias"])
