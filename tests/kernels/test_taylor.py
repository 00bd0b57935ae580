"""The first-order expansion of models: it touches them, is affine, and misses them by the square of the step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from kernel_models import MODELS
from tolerances import relative_error

from jknas.errors import KernelError, NeuralTangentsImportError
from jknas.kernels.gram import gram
from jknas.kernels.neural_tangents.shim import import_neural_tangents
from jknas.kernels.taylor import linearize

SOME = ["mlp", "other_layouts", "weight_normalisation", "mixed_tree", "python_numbers", "own_layer"]


def moved(params, size, seed=1):
    """Return parameters that far away, in one direction per seed; what is no floating-point number stays."""
    rng = np.random.default_rng(seed)

    def move(leaf):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            return leaf
        return jnp.asarray(leaf) + size * jnp.asarray(rng.standard_normal(jnp.shape(leaf)))

    return jax.tree.map(move, params)


@pytest.mark.parametrize("name", SOME)
def test_it_is_the_model_at_its_centre_and_affine(float64, name):
    apply, params, x = MODELS[name].made()
    lin = quick_jit(linearize(apply, params))
    centre = np.asarray(lin(params, x))
    assert relative_error(centre, quick_jit(apply)(params, x)) < 1e-12
    once, twice = np.asarray(lin(moved(params, 1.0), x)), np.asarray(lin(moved(params, 2.0), x))
    assert relative_error(twice - centre, 2 * (once - centre)) < 1e-9
    assert np.abs(once - centre).max() > 1e-3


@pytest.mark.parametrize("name", ["mlp", "other_layouts", "weight_normalisation"])
def test_it_misses_the_model_by_the_square_of_the_step(float64, name):
    apply, params, x = MODELS[name].made()
    both = quick_jit(lambda p: apply(p, x) - linearize(apply, params)(p, x))
    large, small = (np.abs(both(moved(params, size))).max() for size in (1e-2, 1e-3))
    assert 80 < large / small < 125


@pytest.mark.parametrize("name", ["mlp", "other_layouts", "weight_normalisation"])
def test_its_kernel_is_the_models_and_constant(float64, name):
    apply, params, x = MODELS[name].made()
    kernel = quick_jit(lambda p: gram(apply, p, x, method="jacobian").matrix)(params)
    constant = quick_jit(lambda p: gram(linearize(apply, params), p, x, method="jacobian").matrix)
    assert relative_error(constant(params), kernel) < 1e-9
    assert relative_error(constant(moved(params, 0.5)), kernel) < 1e-9
    assert relative_error(quick_jit(lambda p: gram(apply, p, x, method="jacobian").matrix)(moved(params, 0.5)), kernel) > 1e-3


def test_it_follows_the_models_own_reverse_rule(float64):
    square = jax.custom_vjp(jnp.square)
    square.defvjp(lambda w: (w**2, w), lambda w, cotangent: (3 * w * cotangent,))  # 3 w for 2 w
    lin = linearize(lambda w, x: square(w) * x, jnp.array(2.0))
    assert float(lin(jnp.array(2.5), jnp.array(1.0))) == 4 + 6 * 0.5


def test_equals_the_one_of_neural_tangents(float64):
    try:
        theirs = import_neural_tangents().linearize
    except NeuralTangentsImportError as error:
        pytest.skip(str(error))
    apply, params, x = MODELS["mlp"].made()
    there = moved(params, 0.3)
    assert relative_error(linearize(apply, params)(there, x), theirs(apply, params)(there, x)) < 1e-12


def test_other_parameters_are_refused():
    apply, params, x = MODELS["mlp"].made()
    lin = linearize(apply, params)
    with pytest.raises(KernelError, match=r"expected parameters of the structure PyTreeDef\(\{'b1'"):
        lin(list(params.values()), x)
    with pytest.raises(KernelError, match=r"expected parameters of the shapes \[\(7,\), \(3,\), .*, got \[\(8,\)"):
        lin(params | {"b1": jnp.zeros(8)}, x)
    with pytest.raises(KernelError, match="nothing to differentiate"):
        linearize(lambda p, x: x, jnp.arange(3))
