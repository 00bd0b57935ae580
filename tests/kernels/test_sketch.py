"""Sketches: what they promise over random keys, and that they are the same projection wherever they are computed."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from kernel_models import MODELS, Draw, N, conv
from slow_kernel import compiled_slow_gram, slow_gram
from tolerances import relative_error, tolerances

from jknas.errors import KernelError
from jknas.kernels.sketch import sketched_gram

KEYS, WIDTH = 400, 8
FAST = {"mlp", "other_layouts", "tied_embedding", "embedding_dropped", "recurrent", "branch_chosen_inside_a_scan", "ntk_parametrisation"}
EXACT = {"parameter_without_use"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in sorted(MODELS.keys() - EXACT)]
)
def test_estimates_are_unbiased_and_deviate_as_promised(float64, name):
    """Projections that were used twice would show: products of the parts of a gradient that meet do not cancel on average."""
    apply, params, x = MODELS[name].made()

    def run(p, x, keys):
        one = lambda key: sketched_gram(apply, p, x, width=WIDTH, key=key)  # noqa: E731
        found = jax.vmap(lambda key: one(key).matrix)(keys)
        return slow_gram(apply, p, x), found.mean(0), jnp.mean((found - slow_gram(apply, p, x)[None]) ** 2, 0), one(keys[0])

    kernel, mean, square, first = map(np.asarray, (*(results := quick_jit(run)(params, x, keys_of(KEYS)))[:3], results[3].diagonal))
    assert relative_error(first, np.diag(kernel)) <= tolerances().gram
    bound = (np.outer(first, first) + kernel**2) / WIDTH
    assert (np.abs(mean - kernel) <= 5 * np.sqrt(bound / KEYS)).all()
    assert (square <= 1.6 * bound + 1e-20).all()  # a sample's variance scatters by some 15 per cent


def keys_of(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def wide_mlp():
    draw = Draw(0)
    params = {"a": draw(20, 64), "b": draw(64, 64), "c": draw(64, 3)}
    return lambda p, x: jnp.tanh(jnp.tanh(x @ p["a"]) @ p["b"]) @ p["c"], params, draw.data(20)


def test_errors_fall_as_the_root_of_the_width(float64):
    apply, params, x = wide_mlp()
    kernel, widths, errors = compiled_slow_gram(apply, params, x), [4, 16, 64, 128], []
    for width in widths:
        run = quick_jit(lambda keys, width=width: jax.vmap(lambda key: sketched_gram(apply, params, x, width=width, key=key).matrix)(keys))
        errors.append(np.sqrt(np.mean((np.asarray(run(keys_of(200))) - np.asarray(kernel)) ** 2)))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert -0.6 <= slope <= -0.4, (slope, errors)


made = functools.cache(lambda name, floats: MODELS[name].made())  # one function object, so that programs are compiled once


def sketch_of(name, x=None, *, width=16, seed=0, **options):
    apply, params, own = made(name, jnp.result_type(float))
    return sketched_gram(apply, params, own if x is None else x, width=width, key=jax.random.key(seed), interaction="ignore", **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "nested_scans"])
def test_a_key_fixes_the_projection(float64, name):
    first, again, other = sketch_of(name), sketch_of(name), sketch_of(name, seed=1)
    assert np.asarray(first.features).tobytes() == np.asarray(again.features).tobytes()
    assert relative_error(other.features, first.features) > 0.1
    x = MODELS[name].made()[2]
    order = np.random.default_rng(0).permutation(N)
    assert relative_error(sketch_of(name, x[order]).features, first.features[order]) <= tolerances().gram
    assert relative_error(sketch_of(name, x[2:3]).features, first.features[2:3]) <= tolerances().gram
    for chunk_size in (2, 4):
        chunked = sketch_of(name, chunk_size=chunk_size)
        assert relative_error(chunked.features, first.features) <= tolerances().gram
        assert relative_error(chunked.diagonal, first.diagonal) <= tolerances().gram


def test_chunks_and_batches_do_not_change_the_projection_of_convolutions(float64):
    """In ``gram`` the number of examples decides how a convolution and a look-up are contracted."""
    draw = Draw(0)
    params, x = {"k": draw(3, 3, 2, 4), "head": draw(4, 2)}, draw(40, 16, 16, 2, gain=1.0)
    run = lambda x: sketched_gram(  # noqa: E731
        lambda p, x: jnp.tanh(conv(x, p["k"])).mean((1, 2)) @ p["head"], params, x, width=8, key=jax.random.key(0)
    )
    assert relative_error(run(x).features[:1], run(x[:1]).features) <= tolerances().gram


def test_features_of_disjoint_parameters_add_up(float64):
    first, rest = (sketch_of("mlp", parameters=lambda path, one=one: ("1" in path) == one) for one in (True, False))
    assert relative_error(first.features + rest.features, sketch_of("mlp").features) <= tolerances().gram
    assert relative_error(first.diagonal + rest.diagonal, sketch_of("mlp").diagonal) <= tolerances().gram


@pytest.mark.parametrize("layer", ["dense", "filter"])
def test_the_projection_is_linear_and_has_one_sign_per_parameter(float64, layer):
    """The gradient of a linear model is its input: unit vectors show the projection itself."""
    shape = (40,) if layer == "dense" else (3, 3, 4)
    size, w = int(np.prod(shape)), jnp.ones((*shape, 1))
    apply = (lambda w, x: x @ w) if layer == "dense" else (lambda w, x: conv(x, w, padding="VALID")[:, 0, 0])
    run = lambda x: np.asarray(sketched_gram(apply, w, x.reshape(-1, *shape), width=8, key=jax.random.key(3)).features)  # noqa: E731
    projection, x = run(jnp.eye(size)), Draw(1)(6, size, gain=1.0)
    assert (np.sort(np.abs(projection), 1) == np.eye(8)[-1]).all()
    assert {-1.0, 1.0} <= set(projection.ravel())
    assert len({tuple(row) for row in np.abs(projection)}) == 8  # every component is used
    assert relative_error(run(x), np.asarray(x) @ projection) <= tolerances().gram


def test_losses(float64):
    apply, params, x = wide_mlp()
    labels = jnp.arange(N) % 3
    reference = compiled_slow_gram(apply, params, x, labels=labels, labelled=True)
    found = sketched_gram(apply, params, x, width=2048, key=jax.random.key(0), objective="loss", labels=labels)
    assert relative_error(found.diagonal, np.diag(reference)) <= tolerances().gram
    deviation = np.sqrt((np.outer(found.diagonal, found.diagonal) + reference**2) / 2048)
    assert (np.abs(np.asarray(found) - reference) <= 5 * deviation).all()
    assert found.objective == "loss"


def test_the_record_is_that_of_a_kernel():
    found = sketch_of("mlp")
    np.testing.assert_array_equal(np.asarray(found), found.matrix)
    np.testing.assert_allclose(found.matrix, np.asarray(found.features) @ np.asarray(found.features).T, rtol=1e-5, atol=1e-5)
    assert (found.width, found.method, found.outputs, found.objective) == (16, "sketch", "sum", "logits")
    assert found.parameters == ("['b1']", "['b2']", "['w1']", "['w2']")
    assert found.features.dtype == jnp.float32
    apply, params, x = MODELS["mlp"].made()
    inside = jax.jit(lambda p, x, key: sketched_gram(apply, p, x, width=16, key=key))(params, x, jax.random.key(0))
    np.testing.assert_allclose(inside.features, found.features, rtol=1e-5, atol=1e-6)
    legacy = sketched_gram(apply, params, x, width=16, key=jax.random.key_data(jax.random.key(0)))
    np.testing.assert_array_equal(legacy.features, found.features)


def test_no_array_holds_all_gradients():
    """Two equal layers: the gradients of one at a time are in memory."""
    draw = Draw(0)
    params, x = [draw(50, 50), draw(50, 50)], draw(97, 7, 50)
    apply = lambda p, x: jnp.tanh(jnp.tanh(x @ p[0]) @ p[1]).sum(1)  # noqa: E731
    run = lambda p, x: sketched_gram(apply, p, x, width=16, key=jax.random.key(0)).features  # noqa: E731
    sizes = {
        int(np.prod(list(map(int, found.split(","))))) for found in re.findall(r"\[(\d+(?:,\d+)*)\]", str(jax.make_jaxpr(run)(params, x)))
    }
    assert 97 * 50 * 50 in sizes
    assert max(sizes) < 1.5 * 97 * 50 * 50


def two_scalars(p, x):
    return (p["a"] + p["b"]) * x


def test_features_never_cancel_silently():
    """The gradient has two equal entries, and width 1 adds them with random signs."""
    params, x, errors = {"a": jnp.float32(1), "b": jnp.float32(2)}, jnp.array([1.0, 0.0, 3.0]), []
    run = lambda x, seed: sketched_gram(two_scalars, params, x, width=1, key=jax.random.key(seed))  # noqa: E731
    for seed in range(12):
        try:
            found = run(x, seed)
        except KernelError as error:
            errors.append(str(error))
            traced = np.asarray(jax.jit(lambda x, seed=seed: run(x, seed).features)(x))
            assert np.isnan(traced).ravel().tolist() == [True, False, True]
        else:
            np.testing.assert_array_equal(np.asarray(found.features).ravel() ** 2, 4 * np.asarray(x) ** 2)
    assert 0 < len(errors) < 12
    assert re.search(r"features of 2 of 3 examples cancel to zeros.*first is example 0.*another key or a larger width than 1", errors[0])


def test_wide_sketches_of_few_nonzero_gradients_are_not_zero():
    """A wide layer with sparse inputs: each gradient has one nonzero entry, and keeps it."""
    x = jnp.eye(300)[::3]
    found = sketched_gram(lambda w, x: x @ w, jnp.ones((300, 1)), x, width=4, key=jax.random.key(0))
    np.testing.assert_array_equal(np.abs(np.asarray(found.features)).sum(1), np.ones(100))


def test_a_zero_gradient_is_no_error():
    found = sketched_gram(lambda w, x: x @ w, jnp.ones((3, 1)), jnp.zeros((2, 3)), width=4, key=jax.random.key(0))
    np.testing.assert_array_equal(found.features, np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be a whole number of features, at least 1, got 0"),
        ({"width": -3}, "width must be a whole number"),
        ({"width": 2.5}, "width must be a whole number"),
        ({"key": 0}, "key must be a key of jax.random, such as jax.random.key"),
        ({"key": np.zeros(3, np.uint32)}, "key must be a key of jax.random"),
        ({"key": None}, "key must be a key of jax.random"),
        ({"objective": "loss"}, r"needs labels \[n\]"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"parameters": "biases"}, "parameters='biases' is not known"),
    ],
)
def test_errors_of_the_arguments(change, message):
    apply, params, x = MODELS["mlp"].made()
    with pytest.raises(ValueError, match=message):
        sketched_gram(apply, params, x, **{"width": 4, "key": jax.random.key(0)} | change)
