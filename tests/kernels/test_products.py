"""Inner products of the gradients of two sets of examples against gradients taken one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from kernel_models import MODELS, N
from slow_kernel import jacobian
from tolerances import relative_error, tolerances

from jknas.kernels.products import gradient_products

FAMILIES = [
    *("mlp", "other_layouts", "tied_embedding", "embedding_dropped", "recurrent"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("group_norm_cnn", "scanned_vit", "text_encoder")),
]
LABELS_A, LABELS_B = jnp.arange(N) % 2, jnp.array([1, 0, 1])


def two_sets(name):
    apply, params, a = MODELS[name].made()
    return apply, params, a, jax.tree.map(lambda leaf: leaf[:3], MODELS[name].made(7)[2])


@pytest.mark.parametrize("name", FAMILIES)
def test_products_of_loss_gradients(float64, name):
    apply, params, a, b = two_sets(name)

    def run(p, a, b):
        first, second = (jacobian(apply, p, x, labels=y, labelled=True)[:, 0] for x, y in ((a, LABELS_A), (b, LABELS_B)))
        whole, in_chunks = (gradient_products(apply, p, a, b, labels_a=LABELS_A, labels_b=LABELS_B, chunk_size=size) for size in (None, 2))
        return whole, in_chunks, jnp.matmul(first, second.T, precision="highest")

    whole, in_chunks, reference = quick_jit(run)(params, a, b)
    assert whole.shape == (N, 3)
    assert relative_error(whole, reference) <= tolerances().gram
    assert relative_error(in_chunks, reference) <= tolerances().gram


def test_products_of_output_gradients_of_chosen_parameters(float64):
    apply, params, a, b = two_sets("mlp")
    chosen = lambda path: "1" in path  # noqa: E731
    first, second = (np.asarray(jacobian(apply, params, x, chosen=chosen).sum(1)) for x in (a, b))
    for size in (None, 1, 3, 100):
        found = gradient_products(apply, params, a, b, objective="logits", parameters=chosen, chunk_size=size)
        assert relative_error(found, first @ second.T) <= tolerances().gram


def test_permutations_of_both_sets(float64):
    apply, params, a, b = two_sets("mlp")
    rows, columns = np.random.default_rng(0).permutation(N), np.array([2, 0, 1])
    run = quick_jit(lambda p, a, b: gradient_products(apply, p, a, b, objective="logits", chunk_size=2))
    assert relative_error(run(params, a[rows], b[columns]), run(params, a, b)[rows][:, columns]) <= tolerances().gram


def test_a_long_list_streams_through_one_program():
    apply, params, a, b = two_sets("mlp")
    long, traced = jnp.tile(a, (20, 1)), []

    def counted(p, x):
        traced.append(x.shape)
        return apply(p, x)

    found = gradient_products(counted, params, long, b, objective="logits", chunk_size=8, interaction="ignore")
    assert found.shape == (100, 3)
    np.testing.assert_allclose(found, np.tile(gradient_products(apply, params, a, b, objective="logits"), (20, 1)), rtol=1e-5)
    assert len(traced) <= 2, "one shape of chunk, one trace of the model and its check"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels_a": None}, r"needs labels_a \[n\]"),
        ({"labels_b": None}, r"needs labels_b \[n\]"),
        ({"labels_b": jnp.zeros(2, jnp.int32)}, "labels_b must be 3 integers"),
        ({"b": jnp.zeros((3, 6))}, r"a and b must have the same structure, shapes and dtypes, got \(\(5,\), 'float32'\) and \(\(6,\)"),
        ({"a": jnp.zeros((0, 5))}, "a must be arrays with one common leading axis"),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"objective": "logit"}, "objective='logit' is not known"),
    ],
)
def test_errors_of_the_arguments(change, message):
    apply, params, a, b = two_sets("mlp")
    given = {"a": a, "b": b, "labels_a": LABELS_A, "labels_b": LABELS_B} | change
    with pytest.raises(ValueError, match=message):
        gradient_products(apply, params, given.pop("a"), given.pop("b"), **given)
