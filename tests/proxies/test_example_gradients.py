"""zico, gradsign and hnas against NumPy, from gradients taken one by one."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit

from jknas import proxies
from jknas.kernels.gram import gram
from jknas.kernels.objectives import per_example
from jknas.networks import CellNetwork
from jknas.proxies import Batch
from jknas.proxies.gradsign import gradsign
from jknas.proxies.hnas import mean_squared_gradient
from jknas.proxies.zico import zico
from jknas.spaces.nasbench201.genotype import CellGenotype

MIXED = CellGenotype(("nor_conv_3x3", "none", "nor_conv_1x1", "skip_connect", "none", "avg_pool_3x3"))
KERNELS = ("in", "out")


def coupled(params, x):
    """Examples that depend on each other, as in training-mode batch normalisation."""
    hidden = x @ params["in"]
    return jnp.maximum(hidden - hidden.mean(0, keepdims=True) + params["shift"][None], 0) @ params["out"]


def independent(params, x):
    return jnp.maximum(x @ params["in"] + params["shift"][None], 0) @ params["out"]


def case(n=6):
    generator = np.random.default_rng(0)
    params = {"in": generator.standard_normal((5, 7)), "out": generator.standard_normal((7, 3)), "shift": generator.standard_normal(7)}
    params |= {"unused": np.zeros((2, 2)), "steps": np.arange(4).reshape(2, 2)}
    return jax.tree.map(jnp.asarray, params), jnp.asarray(generator.standard_normal((n, 5))), jnp.asarray(generator.integers(0, 3, n))


def objectives(apply, params, x, labels, objective):
    outputs = apply(params, x)
    if objective == "target":
        return outputs[jnp.arange(len(x)), labels]
    return per_example(outputs, labels, objective=objective)


def gradients_of(apply, params, x, labels, objective="loss"):
    """The kernels' gradients of every example's objective, in one batch: ``[n, ...]`` each."""

    def chosen(kernels):
        return objectives(apply, params | kernels, x, labels, objective)

    return jax.device_get(quick_jit(jax.jacrev(chosen))({name: params[name] for name in KERNELS}))


def gradients_alone(apply, params, x, labels, objective="loss"):
    rows = [gradients_of(apply, params, x[i : i + 1], labels[i : i + 1], objective) for i in range(len(x))]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *rows)


MODELS = {"alone": (independent, gradients_alone), "together": (coupled, gradients_of)}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("examples", "chunk_size"), [("alone", 4), ("alone", 100), ("together", 4)])
def test_gradsign_counts_signs(examples, chunk_size):
    """Six examples in chunks of four: the last chunk is filled up, and what fills it does not count."""
    apply, rows = MODELS[examples]
    params, x, labels = case()
    found = quick_jit(functools.partial(gradsign, apply, examples=examples, chunk_size=chunk_size))(params, x, labels)
    expected = sum(np.abs(np.sign(leaf).sum(0)).sum() for leaf in rows(apply, params, x, labels).values())
    assert float(found) == expected > 0


@pytest.mark.usefixtures("float64")
def test_one_example_agrees_with_itself():
    params, x, labels = case(1)
    found = quick_jit(functools.partial(gradsign, independent))(params, x, labels)
    leaves = gradients_of(independent, params, x, labels).values()
    assert float(found) == sum(np.count_nonzero(leaf) for leaf in leaves) < sum(leaf.size for leaf in leaves)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("examples", "objective"), [("alone", "target"), ("alone", "logits"), ("together", "loss")])
def test_the_mean_squared_gradient_is_that_of_the_examples(examples, objective):
    apply, rows = MODELS[examples]
    params, x, labels = case()
    compute = functools.partial(mean_squared_gradient, apply, objective=objective, examples=examples, chunk_size=4)
    expected = sum(np.square(leaf).sum() for leaf in rows(apply, params, x, labels, objective).values()) / len(x)
    assert float(quick_jit(compute)(params, x, labels)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.usefixtures("float64")
def test_the_mean_squared_gradient_is_the_trace_of_the_kernel():
    params, x, labels = case()
    kernels = {name: params[name] for name in KERNELS}
    found = gram(lambda kernels, x: independent(params | kernels, x), kernels, x, labels=labels, objective="loss")
    mean = quick_jit(functools.partial(mean_squared_gradient, independent, objective="loss"))(params, x, labels)
    assert float(mean) == pytest.approx(float(np.trace(found.matrix)) / len(x), rel=1e-10)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("batches", [2, 3])
def test_zico_is_the_inverse_coefficient_of_variation(batches):
    params, x, labels = case()
    found = quick_jit(functools.partial(zico, coupled, batches=batches))(params, x, labels)
    size, parts = len(x) // batches, []
    for start in range(0, len(x), size):
        rows = gradients_of(coupled, params, x[start : start + size], labels[start : start + size])
        parts.append({name: leaf.mean(0) for name, leaf in rows.items()})
    expected = 0.0
    for name in KERNELS:  # the unused matrix has no gradient, and so no share
        stacked = np.stack([part[name] for part in parts])
        spread = stacked.std(0)
        expected += math.log((np.abs(stacked).mean(0)[spread > 0] / spread[spread > 0]).sum())
    assert float(found) == pytest.approx(expected, rel=1e-10)


def test_gradients_that_do_not_vary_are_left_out():
    """The same two images twice: nothing is left, and no logarithm of nothing is taken. And what is no number stays none."""
    params, x, labels = case(2)
    compute = quick_jit(functools.partial(zico, independent))
    twice = jnp.concatenate([x, x]), jnp.concatenate([labels, labels])
    assert float(compute(params, *twice)) == 0.0
    assert math.isnan(float(compute(params, twice[0].at[0, 0].set(math.nan), twice[1])))
    assert math.isnan(float(quick_jit(functools.partial(gradsign, independent))(params, x.at[0, 0].set(math.nan), labels)))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("statistics", ["example", "batch"])
def test_the_network_of_a_code(statistics):
    """The proxies of a code on the full set of parameters against Jacobian rows of its genotype."""
    network, generator = CellNetwork(2, 1, 4), np.random.default_rng(0)
    x, labels = jnp.asarray(generator.standard_normal((4, 8, 8, 3))), jnp.asarray(generator.integers(0, 4, 4))
    params = network.init(jax.random.key(0))["params"]

    def scored(params, code):
        given = network, params, code, Batch(x, labels), jax.random.key(0)
        return {
            "gradsign": proxies.get("gradsign").measure(*given, statistics=statistics, chunk_size=3),
            "hnas": proxies.get("hnas").measure(*given, statistics=statistics, objective="loss"),
            "zico": proxies.get("zico").measure(*given, statistics=statistics),
        }

    def losses(params, x, labels):
        return per_example(network.apply(params, x, MIXED, statistics=statistics), labels)

    found = quick_jit(scored)(params, jnp.asarray(MIXED.code))
    jacobian = quick_jit(jax.jacrev(losses))
    chosen = network.restrict(params, MIXED)

    def kernels(jacobian):
        named = jax.tree_util.tree_leaves_with_path(jax.device_get(jacobian))
        return [leaf for path, leaf in named if path[-1].key not in ("scale", "bias", "classifier_bias")]

    rows = kernels(jacobian(chosen, x, labels))
    assert float(found["gradsign"]) == sum(np.abs(np.sign(leaf).sum(0)).sum() for leaf in rows)
    assert float(found["hnas"]) == pytest.approx(math.sqrt(sum(np.square(leaf).sum() for leaf in rows) / 4), rel=1e-10)
    halves = [kernels(jacobian(chosen, x[part], labels[part])) for part in (slice(0, 2), slice(2, 4))]
    expected = 0.0
    for pair in zip(*halves, strict=True):
        first, second = (leaf.mean(0) for leaf in pair)
        differ = first != second
        expected += math.log(((np.abs(first) + np.abs(second))[differ] / np.abs(first - second)[differ]).sum())
    assert float(found["zico"]) == pytest.approx(expected, rel=1e-5)  # terms are quotients by small differences


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("zico", {"batches": 1}, r"4 examples cannot be cut into batches=1 equal mini-batches, at least 2; choose a number that divides 4"),
        ("zico", {"batches": 3}, r"4 examples cannot be cut into batches=3 equal mini-batches"),
        ("zico", {"statistics": "running"}, "Unknown statistics 'running'; expected one of example, batch"),
        ("gradsign", {"statistics": "running"}, "Unknown statistics 'running'; expected one of example, batch"),
        ("gradsign", {"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
        ("hnas", {"objective": "sum"}, "Unknown objective 'sum'; expected one of target, logits, loss"),
    ],
)
def test_settings_that_do_not_fit(name, settings, words):
    network = CellNetwork(2, 1)
    params = jax.eval_shape(lambda: network.init(jax.random.key(0))["params"])
    batch = Batch(jnp.zeros((4, 8, 8, 3)), jnp.zeros(4, int))
    score = functools.partial(proxies.get(name).measure, network, batch=batch, key=jax.random.key(0), **settings)
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(lambda params, code: score(params=params, wiring=code), params, jnp.zeros(6, int))


def test_the_kernels_know_their_choices():
    params, x, labels = case()
    with pytest.raises(ValueError, match="Unknown examples 'apart'; expected one of alone, together"):
        gradsign(independent, params, x, labels, examples="apart")
