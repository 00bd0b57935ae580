"""What every kernel obeys, on random tiny networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import relative_error, tolerances

from jknas.kernels.gram import gram

SIZE = 6
FEW = settings(max_examples=8)


def apply(p, x):
    hidden = jnp.tanh(jnp.take(p["table"], x["token"], axis=0) + x["vector"] @ p["w"] * p["scale"][None] + p["bias"][None])
    return jax.lax.scan(lambda h, w: (jnp.sin(h @ w) + h, None), hidden, p["stack"])[0] @ p["w"].T


def drawn(seed, n=SIZE):
    rng = np.random.default_rng(seed)
    shapes = {"table": (5, 4), "w": (3, 4), "scale": (4,), "bias": (4,), "stack": (2, 4, 4)}
    params = {name: jnp.asarray(rng.normal(size=shape) / 2) for name, shape in shapes.items()}
    x = {"token": jnp.asarray(rng.integers(0, 5, n), jnp.int32), "vector": jnp.asarray(rng.normal(size=(n, 3)) * rng.uniform(0, 2))}
    return params, x


@functools.cache
def program(factor=1.0, chunk_size=None, parameters="all"):
    assert jax.config.jax_enable_x64

    def run(params, x):
        return gram(lambda p, x: factor * apply(p, x), params, x, chunk_size=chunk_size, parameters=parameters).matrix

    return quick_jit(run)


pytestmark = pytest.mark.usefixtures("float64")
SEEDS = st.integers(0, 2**32 - 1)


@FEW
@given(SEEDS)
def test_symmetric_and_without_negative_eigenvalues(seed):
    kernel = np.asarray(program()(*drawn(seed)))
    assert relative_error(kernel, kernel.T) <= tolerances().gram
    values = np.linalg.eigvalsh(kernel)
    assert values.min() >= -SIZE * np.finfo(float).eps * 10 * values.max()
    assert values.max() > 0


@FEW
@given(SEEDS, st.permutations(range(SIZE)))
def test_a_permutation_of_the_examples_permutes_rows_and_columns(seed, order):
    params, x = drawn(seed)
    order = np.asarray(order)
    kernel, permuted = program()(params, x), program()(params, jax.tree.map(lambda a: a[order], x))
    assert relative_error(permuted, kernel[order][:, order]) <= tolerances().gram


@FEW
@given(SEEDS, st.sampled_from([2, 3, 4, 5]))
def test_chunks_change_nothing(seed, chunk_size):
    assert relative_error(program(chunk_size=chunk_size)(*drawn(seed)), program()(*drawn(seed))) <= tolerances().gram


def of_matrices(path):
    return path in {"['table']", "['w']"}


def of_the_rest(path):
    return not of_matrices(path)


@FEW
@given(SEEDS)
def test_kernels_add_up_over_the_parameters(seed):
    parts = [program(parameters=parameters)(*drawn(seed)) for parameters in (of_matrices, of_the_rest)]
    assert relative_error(parts[0] + parts[1], program()(*drawn(seed))) <= tolerances().gram
    assert min(float(jnp.trace(part)) for part in parts) > 0


@FEW
@given(SEEDS, st.sampled_from([-1.0, 0.5, 3.0]))
def test_a_factor_of_the_outputs_comes_out_squared(seed, factor):
    assert relative_error(program(factor=factor)(*drawn(seed)), factor**2 * program()(*drawn(seed))) <= tolerances().gram


@FEW
@given(SEEDS, st.integers(1, SIZE - 1))
def test_examples_do_not_change_each_others_entries(seed, cut):
    params, x = drawn(seed)
    whole = program()(params, x)
    padded = program()(params, jax.tree.map(lambda a: jnp.concatenate([a[:cut], jnp.repeat(a[:1], SIZE - cut, 0)]), x))
    assert relative_error(padded[:cut, :cut], whole[:cut, :cut]) <= tolerances().gram
