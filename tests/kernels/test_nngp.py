"""Kernels of features against products of features taken one by one, and of Flax layers against hand-written ones."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_models import MODELS, conv, promoting
from tolerances import relative_error, tolerances

from jknas.errors import KernelError
from jknas.kernels.nngp_kernel import nngp


def slow(apply, params, x, x2=None):
    def rows(x):
        n = len(jax.tree.leaves(x)[0])
        return np.stack([np.ravel(apply(params, jax.tree.map(lambda a, i=i: a[i : i + 1], x))) for i in range(n)]).astype(np.float64)

    a, b = rows(x), rows(x if x2 is None else x2)
    return np.array([[np.dot(u, v) / len(u) for v in b] for u in a])


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("name", ["mlp", "embedding_take", "mixed_tree", "vector_output", "vmapped_inside"])
def test_it_is_the_mean_product_of_the_outputs(float64, name, chunk_size):
    apply, params, x = MODELS[name].made()
    expected = slow(apply, params, x)
    found = nngp(apply, params, x, chunk_size=chunk_size)
    assert relative_error(found, expected) <= tolerances().gram
    part = jax.tree.map(lambda a: a[1:4], x)
    assert relative_error(nngp(apply, params, x, part, chunk_size=chunk_size), expected[:, 1:4]) <= tolerances().gram
    values = np.linalg.eigvalsh(found)
    assert values.min() > -1e-12 * values.max()
    assert np.array_equal(found, found.T)


def test_features_of_any_shape_count_all_their_numbers(float64):
    rng = np.random.default_rng(0)
    kernel, x = jnp.asarray(rng.standard_normal((3, 3, 2, 4))), jnp.asarray(rng.standard_normal((5, 6, 6, 2)))
    features = lambda p, x: jax.nn.relu(conv(x, p))  # noqa: E731
    assert relative_error(nngp(features, kernel, x), slow(features, kernel, x)) <= tolerances().gram


def test_half_precision_is_summed_in_single_precision():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 300)), jnp.bfloat16)
    found = nngp(lambda _, x: x, (), x)
    assert found.dtype == jnp.float32
    wide = np.asarray(x, np.float64)
    assert relative_error(found, wide @ wide.T / 300) < 1e-6


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), name="inner", param_dtype=x.dtype)(x)
        return nn.relu(x)


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = Block(name="body")(x)
        head = nn.Dense(3, name="head", param_dtype=x.dtype)
        again = nn.Dense(4, name="again", param_dtype=x.dtype)
        return head(again(again(x)).mean((1, 2)))


@pytest.mark.slow
def test_a_layer_of_a_flax_module(float64):
    network = Network()
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 5, 5, 2)))
    variables = network.init(jax.random.key(0), x)
    inner = lambda v, x: conv(x, v["params"]["body"]["inner"]["kernel"]) + v["params"]["body"]["inner"]["bias"][None, None, None]  # noqa: E731
    for layer, by_hand in (("body/inner", inner), ("body", lambda v, x: nn.relu(inner(v, x))), ("head", promoting(network.apply))):
        found = nngp(network.apply, variables, x, layer=layer)
        assert relative_error(found, slow(by_hand, variables, x)) <= tolerances().gram
    with pytest.raises(KernelError, match=r"layer 'body/outer' gave 0 arrays.*were called are body/inner, body, again, head"):
        nngp(network.apply, variables, x, layer="body/outer")
    with pytest.raises(KernelError, match=r"layer 'again' gave 2 arrays, expected one"):
        nngp(network.apply, variables, x, layer="again")
    with pytest.raises(KernelError, match=r"layer=\.\.\. needs apply=module.apply of a flax.linen.Module"):
        nngp(inner, variables, x, layer="head")


def test_wide_networks_approach_the_arc_cosine_kernel():
    """One hidden layer of ReLUs with weights N(0, 1): E relu(u) relu(v) is Cho and Saul's kernel of degree 1, divided by 2."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 3))
    norms = np.linalg.norm(x, axis=1)
    angle = np.arccos(np.clip(x @ x.T / np.outer(norms, norms), -1, 1))
    expected = np.outer(norms, norms) / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
    weights = jnp.asarray(rng.standard_normal((3, 200_000)), jnp.float32)
    found = nngp(lambda w, x: jax.nn.relu(x @ w), weights, jnp.asarray(x, jnp.float32))
    assert relative_error(found, expected) < 0.02  # five standard deviations of the mean of 200,000 units


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (lambda p, x: x - x.mean(0, keepdims=True), "the examples interact"),
        (lambda p, x: x.sum(), r"must be floating-point numbers \[n, \.\.\.\].*float32\[\]"),
        (lambda p, x: (x,), "for 1 examples they are tuple"),
        (lambda p, x: x > 0, r"they are bool\[1, 3\]"),
    ],
)
def test_what_is_refused(apply, message):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)), jnp.float32)
    with pytest.raises(KernelError, match=message):
        nngp(apply, (), x)
