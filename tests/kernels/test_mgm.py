"""MGM against the slow obvious computation, on models that are not ours as well as on those that are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st

from jknas.kernels.mgm import _one_per_stretch, mean_gradient, mgm, mgm_layerwise, sum_of_squares
from jknas.kernels.objectives import per_example
from jknas.networks import CellNetwork
from jknas.proxies.mgm_released import centred_half_product, last_example_norm
from jknas.spaces.nasbench201.genotype import CellGenotype

MIXED = CellGenotype(("nor_conv_3x3", "none", "nor_conv_1x1", "skip_connect", "none", "avg_pool_3x3"))  # every operation once, and live


def perceptron(params, x):
    hidden = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"][None])
    return hidden @ params["out"]["kernel"] + params["out"]["bias"][None]


def perceptron_case(seed=0, n=6):
    generator = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(generator.standard_normal(shape))  # noqa: E731
    params = {"hidden": {"kernel": draw(5, 7), "bias": draw(7)}, "out": {"kernel": draw(7, 3), "bias": draw(3)}}
    return params, draw(n, 5), jnp.asarray(generator.integers(0, 3, n))


def network_case(statistics):
    network = CellNetwork(2, 1, 4)
    params = network.init(jax.random.key(0), MIXED)["params"]
    generator = np.random.default_rng(0)
    x, labels = jnp.asarray(generator.standard_normal((4, 8, 8, 3))), jnp.asarray(generator.integers(0, 4, 4))
    return (lambda p, x: network.apply(p, x, MIXED, statistics=statistics)), params, x, labels


def gram(apply, params, x, labels, objective):
    """The N x N matrix of inner products of Jacobian rows: what Eq. (15) averages."""
    rows = jax.jacrev(lambda p: per_example(apply(p, x), labels, objective=objective))(params)
    flat = jnp.concatenate([leaf.reshape(len(labels), -1) for leaf in jax.tree.leaves(rows)], axis=1)
    return flat @ flat.T


SLOW = [("example", "logits"), ("batch", "loss"), ("batch", "logits")]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("case", "objective"),
    [
        ("perceptron", "loss"),
        ("perceptron", "logits"),
        ("example", "loss"),
        *(pytest.param(case, objective, marks=pytest.mark.slow) for case, objective in SLOW),
    ],
)
def test_equals_the_mean_over_all_pairs(case, objective):
    apply, params, x, labels = (perceptron, *perceptron_case()) if case == "perceptron" else network_case(case)
    expected = quick_jit(lambda params: gram(apply, params, x, labels, objective).mean())(params)
    score = quick_jit(lambda params: mgm(apply, params, x, labels, objective=objective))(params)
    assert float(score) == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.usefixtures("float64")
def test_examples_that_do_not_interact_give_the_gram_of_single_gradients():
    apply, params, x, labels = network_case("example")
    single = quick_jit(jax.grad(lambda params, x, label: per_example(apply(params, x), label)[0]))
    gradients = [single(params, x[i : i + 1], labels[i : i + 1]) for i in range(len(labels))]
    flat = np.stack([np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)]) for gradient in gradients])
    score = quick_jit(lambda params: mgm(apply, params, x, labels))(params)
    assert float(score) == pytest.approx((flat @ flat.T).mean(), rel=1e-10)


@pytest.mark.usefixtures("float64")
def test_parameters_choose_what_is_differentiated():
    params, x, labels = perceptron_case()
    gradient = mean_gradient(perceptron, params, x, labels)
    kernels = float(sum_of_squares([gradient["hidden"]["kernel"], gradient["out"]["kernel"]]))
    head = float(sum_of_squares(gradient["out"]))
    assert float(mgm(perceptron, params, x, labels, parameters="weights")) == pytest.approx(kernels, rel=1e-12)
    assert float(mgm(perceptron, params, x, labels, parameters=lambda path: "'out'" in path)) == pytest.approx(head, rel=1e-12)
    assert head != pytest.approx(kernels)


def test_integer_leaves_are_left_alone():
    params, x, labels = perceptron_case()
    with_counter = {**params, "steps": jnp.zeros((), jnp.int32)}
    score = quick_jit(lambda params: mgm(perceptron, params, x, labels))
    assert float(score(with_counter)) == pytest.approx(float(score(params)), rel=1e-6)
    by_layer = quick_jit(lambda params: mgm_layerwise(perceptron, params, x, labels, key=jax.random.key(0)))
    assert float(by_layer(with_counter)) == pytest.approx(float(by_layer(params)), rel=1e-6)


def test_half_precision_gradients_are_accumulated_in_float32():
    # 4097 ones: bfloat16 has eight digits and would sum them to 4096.
    apply, params, x = (lambda w, x: (x @ w).sum(1)), jnp.ones((4097, 1), jnp.bfloat16), jnp.ones((1, 4097), jnp.bfloat16)
    assert float(mgm(apply, params, x, objective="logits")) == 4097
    assert float(mgm_layerwise(apply, params, x, key=jax.random.key(0), objective="logits", samples=4097)) == 4097


def test_one_sample_of_each_stretch_of_a_layer_too_large_for_32_bit_products():
    size, samples = 2**31 - 1, 50
    drawn = np.asarray(_one_per_stretch(jax.random.key(0), (1, size), samples), np.int64)[0]
    assert list(drawn * samples // size) == list(range(samples))


def test_single_output_models_need_no_class_axis():
    weights, x = jnp.array([1.0, -2.0]), jnp.array([[1.0, 2.0], [3.0, -1.0]])
    assert float(mgm(lambda w, x: x @ w, weights, x, objective="logits")) == pytest.approx(4.25)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 10))
def test_not_negative_permutation_invariant_and_quadratic_in_the_output(seed, scale):
    params, x, labels = perceptron_case(seed)
    score = float(mgm(perceptron, params, x, labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    assert score >= 0
    assert float(mgm(perceptron, params, x[order], labels[order])) == pytest.approx(score, rel=1e-4, abs=1e-7)
    plain = float(mgm(perceptron, params, x, objective="logits"))
    scaled = float(mgm(lambda p, x: scale * perceptron(p, x), params, x, objective="logits"))
    assert scaled == pytest.approx(scale**2 * plain, rel=1e-3)


@pytest.mark.usefixtures("float64")
def test_layerwise_with_all_parameters_is_the_mean_over_leaves():
    params, x, labels = perceptron_case()
    gradient = mean_gradient(perceptron, params, x, labels)
    expected = np.mean([float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient)])
    got = mgm_layerwise(perceptron, params, x, labels, key=jax.random.key(0), samples=50)
    assert float(got) == pytest.approx(expected, rel=1e-12)


@pytest.mark.usefixtures("float64")
def test_layerwise_sampling_is_unbiased():
    params, x, labels = perceptron_case()
    gradient = mean_gradient(perceptron, params, x, labels)
    samples = 7
    # The stretches of 5 x 7 = 35 kernel entries are equal, so every entry is drawn with probability samples / size.
    chances = [min(1.0, samples / leaf.size) for leaf in jax.tree.leaves(gradient)]
    squares = [float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient)]
    expected = np.mean([chance * square for chance, square in zip(chances, squares, strict=True)])
    score = jax.jit(lambda keys: jax.lax.map(lambda key: mgm_layerwise(perceptron, params, x, labels, key=key, samples=samples), keys))
    drawn = np.asarray(score(jax.random.split(jax.random.key(1), 2000)))
    assert drawn.std() > 0
    assert drawn.mean() == pytest.approx(expected, abs=4 * drawn.std() / np.sqrt(len(drawn)))


@pytest.mark.usefixtures("float64")
def test_centred_half_product_is_the_written_formula():
    entries = np.random.default_rng(0).standard_normal((6, 2, 3))
    expected = 0.0
    for tensor in range(2):
        for entry in range(3):
            a, b = entries[:3, tensor, entry], entries[3:, tensor, entry]
            expected += sum((a[k] - a.mean()) * (b[k] - b.mean()) for k in range(3))
    assert float(centred_half_product(jnp.asarray(entries))) == pytest.approx(expected / 36, rel=1e-12)


def test_released_statistic_has_both_signs_and_the_aliased_one_does_not():
    draws = np.random.default_rng(0).standard_normal((200, 50, 11, 50))
    signs = np.array([float(centred_half_product(jnp.asarray(draw))) for draw in draws])
    assert 0.4 <= (signs < 0).mean() <= 0.6
    assert all(float(last_example_norm(jnp.asarray(draw[-1]))) > 0 for draw in draws[:5])


def test_non_finite_gradients_stay_visible():
    assert np.isnan(float(mgm(lambda w, x: x @ w * jnp.nan, jnp.ones((2, 3)), jnp.ones((4, 2)), objective="logits")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "hinge"}, "objective='hinge' is not known; choose 'loss' or 'logits'"),
        ({"labels": None}, 'objective="loss" needs labels'),
        ({"labels": jnp.zeros(5, int)}, r"got outputs \(6, 3\) and labels int32\(5,\)"),
        ({"labels": jnp.zeros(6)}, r"integer labels \[n\]"),
        ({"parameters": "conv"}, "parameters='conv' is not known"),
        ({"parameters": None}, "parameters=None is not known; choose 'all', 'weights', 'without_head' or a predicate"),
        ({"parameters": lambda path: False}, "chooses none of the 4 leaves"),
        ({"apply": lambda p, x: (p["out"]["bias"] * x.sum())[None, None]}, r"one row per example; it returned \(1, 1, 3\)"),
    ],
)
def test_errors_teach(change, message):
    params, x, labels = perceptron_case()
    arguments = {"apply": perceptron, "labels": labels, **change}
    apply, labels = arguments.pop("apply"), arguments.pop("labels")
    with pytest.raises(ValueError, match=message):
        mgm(apply, params, x, labels, **arguments)


def test_layerwise_and_released_errors_teach():
    params, x, labels = perceptron_case()
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        mgm_layerwise(perceptron, params, x, labels, key=jax.random.key(0), samples=0)
    with pytest.raises(ValueError, match="n must be even; got 5"):
        centred_half_product(jnp.zeros((5, 2, 3)))
