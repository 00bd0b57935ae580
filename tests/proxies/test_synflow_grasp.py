"""Synaptic flow and preserved gradient flow against the slow obvious definitions."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import search_stubs as stubs
from compiling import quick_jit

from jknas import proxies, spaces
from jknas.errors import ProxyError
from jknas.kernels.objectives import per_example
from jknas.networks import CellNetwork
from jknas.networks.darts import DartsNetwork
from jknas.proxies import Batch
from jknas.proxies.grasp import grasp
from jknas.proxies.synflow import measure, synflow
from jknas.scoring.scorer import make_scorer
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.xla.switch import add_chosen, add_chosen_inside

MIXED = CellGenotype(("nor_conv_3x3", "none", "nor_conv_1x1", "skip_connect", "none", "avg_pool_3x3"))
BATCH = Batch(jnp.ones((2, 8, 8, 3)), jnp.arange(2))


def perceptron(params, x):
    return jnp.tanh(x @ params["in"] + params["shift"][None]) @ params["out"]


def perceptron_case():
    generator = np.random.default_rng(0)
    shapes = {"in": (5, 4), "shift": (4,), "out": (4, 3)}
    params = {name: jnp.asarray(generator.standard_normal(shape)) for name, shape in shapes.items()}
    return params, jnp.asarray(generator.standard_normal((6, 5))), jnp.asarray(generator.integers(0, 3, 6))


@pytest.mark.usefixtures("float64")
def test_grasp_is_the_product_with_the_hessian_of_the_kernels():
    params, x, labels = perceptron_case()
    kernels = jnp.concatenate([params["in"].ravel(), params["out"].ravel()])

    def loss(kernels):
        full = {"in": kernels[:20].reshape(5, 4), "out": kernels[20:].reshape(4, 3), "shift": params["shift"]}
        return per_example(perceptron(full, x), labels).mean()

    slope, curvature = quick_jit(lambda k: (jax.grad(loss)(k), jax.hessian(loss)(k)))(kernels)
    found = quick_jit(functools.partial(grasp, perceptron))(params, x, labels)
    expected = -np.asarray(kernels) @ np.asarray(curvature) @ np.asarray(slope)
    assert float(found) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("add", [add_chosen, add_chosen_inside])
def test_a_choice_inside_a_loop_is_differentiated_twice(add):
    """As the cells of a stage and the edges of a DARTS cell are; written out, the loop needs no rule of its own."""

    def affine(x, weights):
        return jnp.tanh(x @ weights["kernel"]) + weights["shift"][None]

    generator = np.random.default_rng(0)
    weights = {"kernel": jnp.asarray(generator.standard_normal((3, 4, 4))), "shift": jnp.asarray(generator.standard_normal((3, 4)))}
    x = jnp.asarray(generator.standard_normal((2, 4)))

    def looped(weights, code):
        return jax.lax.scan(lambda x, row: (add((None, affine), code, x, (x, row)), None), x, weights)[0].sum()

    def written_out(weights, code):
        del code
        y = x
        for at in range(3):
            y = y + affine(y, jax.tree.map(lambda leaf, at=at: leaf[at], weights))
        return y.sum()

    @functools.partial(quick_jit, static_argnums=0)
    def curved(function, weights, code):
        def along(weights, direction):
            slopes = jax.grad(function)(weights, code)
            return sum(jnp.vdot(slope, fixed) for slope, fixed in zip(*map(jax.tree.leaves, (slopes, direction)), strict=True))

        return jax.grad(along)(weights, jax.lax.stop_gradient(jax.grad(function)(weights, code)))

    found, expected = (curved(function, weights, jnp.asarray(1)) for function in (looped, written_out))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-10), found, expected)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_grasp_of_a_network_is_the_change_of_its_gradient():
    """Reverse over reverse through the networks' own rules, against differences of gradients."""
    network, generator = CellNetwork(2, 1, 4), np.random.default_rng(0)
    batch = Batch(jnp.asarray(generator.standard_normal((4, 8, 8, 3))), jnp.asarray(generator.integers(0, 4, 4)))
    params, proxy = network.init(jax.random.key(0))["params"], proxies.get("grasp")
    code = jnp.asarray(MIXED.code)
    found = quick_jit(lambda params, code: proxy.measure(network, params, code, batch, jax.random.key(0)))(params, code)

    @quick_jit
    def gradient(params):
        def loss(params):
            return per_example(network.apply(params, batch.x, MIXED, statistics="batch"), batch.labels).mean()

        def kept(path, leaf):
            return jnp.zeros_like(leaf) if path[-1].key in ("scale", "bias", "classifier_bias") else leaf

        return jax.tree_util.tree_map_with_path(kept, jax.grad(loss)(params))

    chosen = network.restrict(params, MIXED)
    step, slope = 1e-7, gradient(chosen)
    ahead, behind = (gradient(jax.tree.map(lambda w, g, s=sign: w + s * step * g, chosen, slope)) for sign in (1, -1))
    products = jax.tree.map(lambda w, a, b: float(jnp.sum(w * (a - b))) / (2 * step), chosen, ahead, behind)
    assert float(found) == pytest.approx(-sum(jax.tree.leaves(products)), rel=1e-4)


@pytest.mark.usefixtures("float64")
def test_synflow_sums_over_the_paths_of_absolute_weights():
    """Of a linear network: every layer carries the whole flow, and a bias adds what flows behind it."""
    params, x, _ = perceptron_case()

    def linear(params, x):
        return (x @ params["in"] + params["shift"][None]) @ params["out"]

    first, shift, second = (np.abs(params[name]) for name in ("in", "shift", "out"))
    found = quick_jit(functools.partial(synflow, linear))(params, x)
    through_both = (first @ second).sum()
    assert float(found) == pytest.approx(through_both + (through_both + (shift @ second).sum()), rel=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("scale", ["log", "raw"])
def test_without_normalisation_the_network_is_the_product_of_its_weights(scale):
    """The flow scales with the weights of each layer on every path, whatever their sign."""
    network, cell = CellNetwork(2, 1), CellGenotype(("none", "none", "none", "skip_connect", "none", "none"))
    params = network.init(jax.random.key(0), cell)["params"]
    compute = quick_jit(lambda params: measure(network, params, cell, BATCH, jax.random.key(0), scale=scale))
    once = float(compute(params))
    twice = float(compute(params | {"stem": -2 * params["stem"], "classifier": 3 * params["classifier"]}))
    assert twice == pytest.approx(once + math.log(6) if scale == "log" else 6 * once, rel=1e-10)
    scaled = jax.tree_util.tree_map_with_path(lambda path, leaf: 7 * leaf if path[-1].key in ("scale", "bias") else leaf, params)
    assert float(compute(scaled)) == pytest.approx(once, rel=1e-12), "scales and shifts play no part"


def test_nothing_flows_through_a_dead_cell():
    scorer = make_scorer(proxies.get("synflow"), stubs.tiny_digits(), stubs.SPACE)
    assert (scorer.batch_size, scorer.proxy.precision, scorer.proxy.needs_labels) == (1, "float64", False)
    finish = proxies.get("synflow").read
    assert finish(np.asarray(-math.inf))[:2] == (-math.inf, "dead")
    assert finish(np.asarray(math.inf))[:2] == (math.inf, "non_finite")
    assert finish(np.asarray(math.nan)).status == "non_finite"
    assert finish(np.asarray(5.0))[:2] == (5.0, "ok")
    json.dumps(finish(np.asarray(5.0)).extras)


def test_the_reductions_are_those_of_one_space():
    words = "synflow'? with normalisation=reductions needs the capability 'reductions', which DartsNetwork lacks: give the class"
    with pytest.raises(ProxyError, match=words):
        make_scorer(proxies.get("synflow"), stubs.tiny_digits(), spaces.get("darts"), settings={"normalisation": "reductions"})
    make_scorer(proxies.get("synflow"), stubs.tiny_digits(), stubs.SPACE, settings={"normalisation": "reductions"})
    with pytest.raises(ProxyError, match=words):
        measure(DartsNetwork(2, 3), {}, None, BATCH, jax.random.key(0), normalisation="reductions")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"normalisation": "some"}, "Unknown normalisation 'some'; expected one of none, reductions, all"),
        ({"scale": "log2"}, "Unknown scale 'log2'; expected one of log, raw"),
    ],
)
def test_unknown_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        measure(CellNetwork(2, 1), {}, MIXED, BATCH, jax.random.key(0), **settings)
    with pytest.raises(ValueError, match="Unknown statistics 'running'; expected one of example, batch"):
        proxies.get("grasp").measure(CellNetwork(2, 1), {}, MIXED, BATCH, jax.random.key(0), statistics="running")
