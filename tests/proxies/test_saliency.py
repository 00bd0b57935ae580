"""The sums of one mini-batch gradient against loops over layers, hand-worked numbers and recorded ones."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import random_variables

from jknas import proxies
from jknas.kernels.mgm import mgm
from jknas.kernels.objectives import per_example
from jknas.networks import CellNetwork
from jknas.networks.nasbench201.network import restrict
from jknas.networks.nasbench201.torch_order import kernel_layers, tensors
from jknas.proxies import Batch
from jknas.proxies.measurements.batch_gradient import Saliency, saliency
from jknas.spaces.nasbench201.genotype import CellGenotype

NAMES = {
    "grad_norm": "gradient_norm",
    "snip": "snip",
    "plain": "plain",
    "nasi": "squared_gradient",
    "l2_norm": "weight_norm",
}
MIXED = CellGenotype(("nor_conv_3x3", "none", "nor_conv_1x1", "skip_connect", "none", "avg_pool_3x3"))
NETWORK = CellNetwork(2, 2, 4)
measure = proxies.get("snip").measure


def tiny_batch(n=4, classes=4, seed=0):
    generator = np.random.default_rng(seed)
    return Batch(jnp.asarray(generator.standard_normal((n, 8, 8, 3))), jnp.asarray(generator.integers(0, classes, n)))


def by_hand(weights, gradients):
    """The five sums, layer by layer."""
    products = [weight * gradient for weight, gradient in zip(weights, gradients, strict=True)]
    return Saliency(
        sum(np.linalg.norm(gradient) for gradient in gradients),
        sum(np.square(gradient).sum() for gradient in gradients),
        sum(np.abs(product).sum() for product in products),
        sum(product.sum() for product in products),
        sum(np.linalg.norm(weight) for weight in weights),
    )


def chosen_kernels(tree, genotype):
    """The kernels of a genotype one by one, from a tree of all candidates."""
    arrays, listed = {"params": jax.device_get(tree)}, tensors(NETWORK, genotype)
    return [array for array in (tensor.read(arrays) for tensor in listed if tensor.collection == "params") if array.ndim > 1]


@pytest.mark.usefixtures("float64")
def test_a_code_sums_over_the_single_layers_of_its_genotype():
    """Two cells a stage are two layers; operations that are not chosen count nowhere, not even where they have a gradient, as here."""
    params = random_variables(NETWORK)["params"]

    def everything_matters(params, x):
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(params)) + 0 * x

    def compute(params, code):
        return saliency(everything_matters, params, jnp.ones((2, 1)), objective="logits", layers=kernel_layers(NETWORK, code))

    found = quick_jit(compute)(params, jnp.asarray(MIXED.code))
    kernels = chosen_kernels(params, MIXED)
    assert len(kernels) == 2 + 2 * 3 + 3 * 2 * 2  # stem and classifier, two reductions, two convolutions in every cell
    np.testing.assert_allclose(found, by_hand(kernels, [np.cos(kernel) for kernel in kernels]), rtol=1e-10)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("statistics", ["batch", "example"])
def test_the_network_of_a_code_has_the_scores_of_its_genotype(statistics):
    params, batch = random_variables(NETWORK)["params"], tiny_batch()
    found = quick_jit(lambda code: measure(NETWORK, params, code, batch, jax.random.key(0), statistics=statistics))(jnp.asarray(MIXED.code))

    def loss(params):
        return per_example(NETWORK.apply(params, batch.x, MIXED, statistics=statistics), batch.labels).mean()

    chosen = restrict(params, MIXED)
    gradient = quick_jit(jax.grad(loss))(chosen)
    np.testing.assert_allclose(found, by_hand(chosen_kernels(chosen, MIXED), chosen_kernels(gradient, MIXED)), rtol=1e-10)


def _a_kernel(tree):
    return tree["stage2"]["edge_1_0_nor_conv_3x3"]["kernel"]


@pytest.mark.slow
def test_a_layer_behind_which_there_is_a_normalisation_is_orthogonal_to_its_gradient(float64):
    """Why plain says so little: but for the epsilon of the variance, only downsampling and classifier contribute."""
    params, batch = random_variables(NETWORK)["params"], tiny_batch()

    def loss(params):
        return per_example(NETWORK.apply(params, batch.x, MIXED, statistics="batch"), batch.labels).mean()

    chosen = restrict(params, MIXED)
    gradient = quick_jit(jax.grad(loss))(chosen)
    trees = jax.device_get((chosen, gradient))
    normalised, free = (np.multiply(*(leaf(tree) for tree in trees)) for leaf in (_a_kernel, lambda tree: tree["classifier"]))
    assert abs(normalised.sum()) < 1e-4 * np.abs(normalised).sum()
    assert abs(free.sum()) > 1e-2 * np.abs(free).sum()


def perceptron(params, x):
    return jnp.tanh(x @ params["in"]["kernel"] + params["in"]["bias"][None]) @ params["out"]["kernel"]


def perceptron_case():
    generator = np.random.default_rng(0)
    params = {"in": {"kernel": generator.standard_normal((5, 7)), "bias": generator.standard_normal(7)}}
    params["out"] = {"kernel": generator.standard_normal((7, 3)), "steps": np.arange(6).reshape(2, 3)}
    return jax.tree.map(jnp.asarray, params), jnp.asarray(generator.standard_normal((6, 5))), jnp.asarray(generator.integers(0, 3, 6))


@pytest.mark.usefixtures("float64")
def test_any_model_has_its_matrices_as_layers():
    params, x, labels = perceptron_case()
    found = quick_jit(functools.partial(saliency, perceptron))(params, x, labels)
    chosen = lambda kernels: per_example(  # noqa: E731
        jnp.tanh(x @ kernels[0] + params["in"]["bias"][None]) @ kernels[1], labels
    ).mean()
    kernels = [params["in"]["kernel"], params["out"]["kernel"]]
    expected = by_hand([np.asarray(kernel) for kernel in kernels], jax.device_get(quick_jit(jax.grad(chosen))(kernels)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # NASI's squared gradient is Eq. (15) of KNAS over the kernels.
    eq15 = quick_jit(functools.partial(mgm, perceptron, parameters=lambda path: path.endswith("['kernel']")))(params, x, labels)
    assert float(found.squared_gradient) == pytest.approx(float(eq15), rel=1e-12)


def test_half_precision_is_summed_in_float32():
    weights = jnp.full((64, 64), 0.5, jnp.bfloat16)
    compute = quick_jit(lambda w, x: saliency(lambda w, x: x @ w, w, x, objective="logits"))
    found = compute(weights, jnp.ones((1, 64), jnp.bfloat16))
    assert {value.dtype for value in found} == {jnp.dtype("float32")}
    assert (float(found.snip), float(found.gradient_norm), float(found.weight_norm)) == (2048.0, 64.0, 32.0)


def test_a_model_without_layers_is_refused():
    with pytest.raises(ValueError, match=r"there is no layer to score: no floating-point array of two or more axes; pass layers="):
        saliency(lambda w, x: x * w, jnp.ones(3), jnp.ones((2, 3)), objective="logits")


def test_running_averages_do_not_exist_at_initialisation():
    with pytest.raises(ValueError, match="Unknown statistics 'running'; expected one of example, batch"):
        measure(NETWORK, {}, MIXED, tiny_batch(), jax.random.key(0), statistics="running")


def test_the_registry_reads_each_number_of_one_measurement():
    numbers = Saliency(*(np.asarray(value) for value in (1.0, 2.0, 3.0, -4.0, math.nan)))
    for name, field in NAMES.items():
        proxy = proxies.get(name)
        assert proxy.measure is measure
        assert proxy.settings == {"statistics": "batch"}
        assert proxy.higher_is_better
        assert proxy.needs_labels == (name != "l2_norm")
        score, status, _ = proxy.read(numbers)
        assert score == pytest.approx(float(getattr(numbers, field)), nan_ok=True)
        assert status == ("non_finite" if name == "l2_norm" else "ok")
