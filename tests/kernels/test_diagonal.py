"""Per-example squared gradient norms against the diagonal of the kernel of gradients taken one by one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from kernel_models import MODELS, Draw, N
from slow_kernel import compiled_slow_gram, jacobian
from tolerances import relative_error, tolerances

from jknas.kernels.diagonal import gram_diagonal

FAST = {"mlp", "other_layouts", "tied_embedding", "embedding_dropped", "recurrent", "nested_scans", "ntk_parametrisation", "own_layer"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in MODELS])
def test_the_diagonal_of_the_kernel(float64, name):
    apply, params, x = MODELS[name].made()

    def run(p, x):
        rows = jacobian(apply, p, x).sum(1)
        return gram_diagonal(apply, p, x), gram_diagonal(apply, p, x, chunk_size=2), jnp.sum(rows * rows, 1)

    whole, in_chunks, reference = quick_jit(run)(params, x)
    assert whole.shape == (N,)
    assert relative_error(whole, reference, floor=1e-300) <= tolerances().gram
    assert relative_error(in_chunks, reference, floor=1e-300) <= tolerances().gram


@pytest.mark.parametrize("outputs", ["trace", "full"])
@pytest.mark.parametrize("name", ["mlp", "embedding_dropped", "weight_used_twice"])
def test_several_outputs(float64, name, outputs):
    apply, params, x = MODELS[name].made()

    def run(p, x):
        rows = jacobian(apply, p, x)
        reference = jnp.einsum("nap,nbp->nab" if outputs == "full" else "nap,nap->n", rows, rows)
        return gram_diagonal(apply, p, x, outputs=outputs), gram_diagonal(apply, p, x, outputs=outputs, chunk_size=3), reference

    whole, in_chunks, reference = quick_jit(run)(params, x)
    assert relative_error(whole, reference) <= tolerances().gram
    assert relative_error(in_chunks, reference) <= tolerances().gram


def test_losses_and_chosen_parameters(float64):
    apply, params, x = MODELS["mlp"].made()
    labels = jnp.arange(N) % 3
    reference = compiled_slow_gram(apply, params, x, chosen=lambda path: "b" not in path, labels=labels, labelled=True)
    found = gram_diagonal(apply, params, x, objective="loss", labels=labels, parameters=lambda path: "b" not in path)
    assert relative_error(found, np.diag(reference)) <= tolerances().gram


def test_a_permutation_of_the_examples_permutes_the_norms(float64):
    apply, params, x = MODELS["tied_embedding"].made()
    order, run = np.random.default_rng(0).permutation(N), quick_jit(lambda p, x: gram_diagonal(apply, p, x))
    assert relative_error(run(params, x[order]), run(params, x)[order]) <= tolerances().gram


def test_both_forms_of_a_dense_layer(float64):
    """A layer with few positions multiplies positions, one with many forms its gradient."""
    draw = Draw(0)
    for positions, width in ((2, 40), (40, 2)):
        x, w = draw(N, positions, width, gain=1.0), draw(width, 3)
        apply = lambda w, x: jnp.tanh(x @ w).sum(1)  # noqa: E731
        products = str(jax.make_jaxpr(lambda w, x, apply=apply: gram_diagonal(apply, w, x, interaction="ignore"))(w, x))
        assert (f"{positions},{positions}]" in products) == (positions < width)
        assert relative_error(gram_diagonal(apply, w, x), jnp.diag(compiled_slow_gram(apply, w, x))) <= tolerances().gram


def test_no_array_has_an_entry_for_every_pair_of_examples():
    apply, params, _ = MODELS["tied_embedding"].made()
    x = jnp.zeros((97, 4), jnp.int32)
    text = str(jax.make_jaxpr(lambda p, x: gram_diagonal(apply, p, x))(params, x))
    shapes = {tuple(map(int, found.split(","))) for found in re.findall(r"\[(\d+(?:,\d+)*)\]", text)}
    assert any(97 in shape for shape in shapes)
    assert not [shape for shape in shapes if shape.count(97) > 1]


def test_one_example():
    apply, params, x = MODELS["mlp"].made()
    np.testing.assert_allclose(gram_diagonal(apply, params, x[:1]), gram_diagonal(apply, params, x)[:1], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": "ful"}, "Unknown outputs 'ful'"),
        ({"objective": "loss", "outputs": "trace"}, "outputs='trace' combines the model's outputs"),
        ({"objective": "loss"}, r'objective="loss" needs labels \[n\]'),
        ({"chunk_size": 0}, "chunk_size must be at least 1"),
        ({"parameters": lambda path: False}, "nothing to differentiate"),
    ],
)
def test_errors_of_the_arguments(change, message):
    apply, params, x = MODELS["mlp"].made()
    with pytest.raises(ValueError, match=message):
        gram_diagonal(apply, params, x, **change)


def test_examples_that_interact_are_refused():
    draw = Draw(0)
    with pytest.raises(ValueError, match="the examples interact"):
        gram_diagonal(lambda p, x: (x - x.mean(0, keepdims=True)) @ p, draw(4, 3), draw.data(4))
