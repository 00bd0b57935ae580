"""The kernel as a linear operator against the matrix, inside SciPy's solvers, and its stochastic estimates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from kernel_models import MODELS, conv
from scipy.sparse.linalg import aslinearoperator, cg, eigsh
from tolerances import relative_error, tolerances

from jknas.errors import KernelError
from jknas.kernels import operator
from jknas.kernels.gram import gram
from jknas.kernels.operator import Estimate, logdet_estimate, ntk_operator, trace_estimate
from jknas.xla import programs


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(operator, "PROGRAMS", QuickPrograms())


class QuickPrograms(programs.Programs):
    def jitted(self, function, *first):
        return self._kept((function, first), lambda: quick_jit(functools.partial(function, *first)))


def dense(apply, params, x, labels=None, **options):
    matrix = quick_jit(lambda p, x: gram(apply, p, x, labels=labels, method="jacobian", **options).matrix)(params, x)
    n, _, *outputs = matrix.shape
    return np.asarray(matrix).transpose(0, 2, 1, 3).reshape(n * outputs[0], -1) if outputs else np.asarray(matrix)


def assert_operator(made, matrix):
    vectors = np.random.default_rng(1).standard_normal((len(matrix), 6))  # more than are taken at once
    assert made.shape == matrix.shape
    assert made.dtype == matrix.dtype
    tolerance = tolerances().gram
    assert relative_error(made @ vectors, matrix @ vectors) <= tolerance
    assert relative_error(made @ vectors[:, 0], matrix @ vectors[:, 0]) <= tolerance
    assert relative_error(made.rmatvec(vectors[:, 0]), matrix @ vectors[:, 0]) <= tolerance
    assert relative_error(made.T @ vectors[:, :3], made.H @ vectors[:, :3]) == 0


# A perceptron, a convolutional network, an attention network; rules of the user's own; trees of several sorts.
SOME = ["mlp", "convolutions", "own_layer", "mixed_tree", "keys_in_the_input", "python_numbers", "vector_output"]
HEAVY = ["text_encoder", "residual", "scanned_vit", "group_norm_cnn", "equinox_model", "nnx_model", "own_rule_in_a_scan", "checkpoint"]


@pytest.mark.parametrize("name", [*SOME, *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY)])
def test_products_are_those_of_the_matrix(float64, name):
    apply, params, x = MODELS[name].made()
    assert_operator(ntk_operator(apply, params, x, chunk_size=2), dense(apply, params, x))  # five examples: the last chunk is filled up


@pytest.mark.parametrize(
    "options",
    [{"outputs": "trace"}, {"outputs": "full"}, {"objective": "loss"}, {"parameters": "weights"}, {"parameters": lambda p: "w1" in p}],
)
def test_options_are_those_of_gram(float64, options):
    apply, params, x = MODELS["mlp"].made()
    labels = jnp.array([0, 2, 1, 1, 0])
    made = ntk_operator(apply, params, x, labels=labels, **options)
    assert_operator(made, dense(apply, params, x, labels, **options))
    assert made.parameters == gram(apply, params, x, labels=labels, method="jacobian", **options).parameters


def test_single_precision():
    apply, params, x = MODELS["mlp"].made()
    assert_operator(ntk_operator(apply, params, x, chunk_size=3), dense(apply, params, x))


def test_half_precision_sums_in_single_precision():
    apply, params, x = MODELS["mlp"].made()
    params, x = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, x))
    made, matrix = ntk_operator(apply, params, x, chunk_size=2), dense(apply, params, x)
    assert made.dtype == np.float32
    assert relative_error(made @ np.ones(5), matrix @ np.ones(5)) <= tolerances().low_precision


@pytest.mark.parametrize("chunk_size", [1, 3, 4, 5, 99])
def test_chunks_change_nothing(float64, chunk_size):
    apply, params, x = MODELS["mlp"].made()
    assert_operator(ntk_operator(apply, params, x, chunk_size=chunk_size), dense(apply, params, x))


def test_two_programs_serve_all_chunks_and_products():
    traced = []
    apply, params, x = MODELS["mlp"].made()

    def counted(p, x):
        traced.append(x.shape)
        return apply(p, x)

    made = ntk_operator(counted, params, x, chunk_size=2, interaction="ignore")
    for seed in range(3):
        made @ np.random.default_rng(seed).standard_normal(5)
    # The first chunk begins the sum and the others continue it: two programs for J^T v, one for J u.
    assert len(traced) == 3
    assert set(traced) == {(1, 5)}


# Solvers


@functools.cache
def perceptron(n):
    """A perceptron whose kernel has well-separated leading eigenvalues, in the float type in force."""
    rng = np.random.default_rng(0)
    params = [jnp.asarray(rng.standard_normal(shape) / np.sqrt(shape[0]), jnp.float32) for shape in ((10, 64), (64, 3))]
    return lambda p, x: jnp.tanh(x @ p[0]) @ p[1], params, jnp.asarray(rng.standard_normal((n, 10)), jnp.float32)


@pytest.mark.slow
def test_eigsh_finds_the_ten_largest_eigenvalues_of_two_thousand_examples():
    apply, params, x = perceptron(2000)
    found = eigsh(ntk_operator(apply, params, x, chunk_size=1000), 10, return_eigenvectors=False)
    exact = np.linalg.eigvalsh(np.asarray(gram(apply, params, x), np.float64))[-10:]
    np.testing.assert_allclose(np.sort(found), exact, rtol=1e-4)


@pytest.mark.slow
def test_eigsh_finds_the_ten_largest_eigenvalues_of_a_convolutional_network():
    rng = np.random.default_rng(0)
    params = [jnp.asarray(rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1])), jnp.float32) for shape in ((3, 3, 1, 8), (8, 4))]
    x = jnp.asarray(rng.standard_normal((2000, 6, 6, 1)), jnp.float32)
    apply = lambda p, x: jax.nn.relu(conv(x, p[0])).mean((1, 2)) @ p[1]  # noqa: E731
    found = eigsh(ntk_operator(apply, params, x, chunk_size=1000), 10, return_eigenvectors=False)
    exact = np.linalg.eigvalsh(np.asarray(gram(apply, params, x), np.float64))[-10:]
    np.testing.assert_allclose(np.sort(found), exact, rtol=1e-4)


def test_conjugate_gradients_solve_with_a_ridge(float64):
    apply, params, x = MODELS["mlp"].made()
    made, y = ntk_operator(apply, params, x), np.arange(5.0)
    found, status = cg(made + 0.5 * aslinearoperator(np.eye(5)), y, rtol=1e-12)
    assert status == 0
    np.testing.assert_allclose(found, np.linalg.solve(dense(apply, params, x) + 0.5 * np.eye(5), y), rtol=1e-9)


# Estimates


def spread(n, seed=0):
    """Return a matrix whose eigenvalues fall from 10 to 1e-3."""
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    return (rotation * np.geomspace(10, 1e-3, n)) @ rotation.T


def test_the_trace_is_within_its_error():
    matrix = spread(200)
    deviations = []
    for seed in range(40):
        found = trace_estimate(matrix, probes=10, seed=seed)
        assert isinstance(found, Estimate)
        deviations.append((found.value - np.trace(matrix)) / found.error)
    assert np.mean(np.abs(deviations) < 2) > 0.8  # Student's t with nine degrees of freedom: 0.92
    assert np.abs(np.mean(deviations)) < 0.7  # unbiased: four standard deviations of the mean
    assert trace_estimate(matrix, seed=1) == trace_estimate(matrix, seed=1) != trace_estimate(matrix, seed=2)


def test_the_log_determinant_is_within_its_error():
    matrix, ridge = spread(200), 0.01
    exact = np.linalg.slogdet(matrix + ridge * np.eye(200))[1]
    deviations = []
    for seed in range(40):
        found = logdet_estimate(matrix, ridge=ridge, probes=10, steps=60, seed=seed)
        deviations.append((found.value - exact) / found.error)
    assert np.mean(np.abs(deviations) < 2) > 0.8
    assert np.abs(np.mean(deviations)) < 0.7


def test_every_probe_is_exact_when_the_lanczos_iteration_ends():
    """One step per eigenvalue is exact: with the identity's one eigenvalue there is nothing to estimate."""
    assert logdet_estimate(3.0 * np.eye(20), ridge=1.0, steps=20) == Estimate(
        pytest.approx(20 * np.log(4.0)), pytest.approx(0.0, abs=1e-12)
    )
    low_rank = np.outer(np.arange(1.0, 7), np.arange(1.0, 7))  # five eigenvalues are zero
    probes = logdet_estimate(low_rank, ridge=0.5, steps=2, probes=4000)
    assert abs(probes.value - np.linalg.slogdet(low_rank + 0.5 * np.eye(6))[1]) < 4 * probes.error


def test_estimates_of_a_kernel_and_of_its_operator_agree(float64):
    apply, params, x = MODELS["mlp"].made()
    made, matrix = ntk_operator(apply, params, x, chunk_size=2), gram(apply, params, x)
    for estimate in (trace_estimate, functools.partial(logdet_estimate, ridge=0.1)):
        np.testing.assert_allclose(estimate(made), estimate(matrix), rtol=1e-9)


def test_agrees_with_the_library_matfree(float64):
    stochtrace, funm, decomp = (pytest.importorskip(f"matfree.{name}") for name in ("stochtrace", "funm", "decomp"))
    matrix, ridge, signs = spread(60), 0.01, np.random.default_rng(3).choice([-1.0, 1.0], (60, 8))
    integrand = funm.monte_carlo_funm_sym_logdet(decomp.tridiag_sym(12))
    estimator = stochtrace.estimator_monte_carlo(integrand, lambda key: jnp.asarray(signs.T))
    with jax.numpy_dtype_promotion("standard"):
        expected = estimator(lambda v: jnp.asarray(matrix) @ v + ridge * v, jax.random.key(0))
    assert logdet_estimate(matrix, ridge=ridge, probes=8, steps=12, seed=3).value == pytest.approx(float(expected), rel=1e-9)


# Refusals


def centred(p, x):
    return (x - x.mean(0, keepdims=True)) @ p


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, p, x: ntk_operator(a, p, x, outputs="mean"), "Unknown outputs 'mean'"),
        (lambda a, p, x: ntk_operator(a, p, x, outputs="trace", objective="loss"), 'needs objective="logits"'),
        (lambda a, p, x: ntk_operator(a, p, x, objective="loss"), r"needs labels \[n\]"),
        (lambda a, p, x: ntk_operator(a, p, x, chunk_size=0), "chunk_size must be at least 1"),
        (lambda a, p, x: ntk_operator(a, p, x, parameters=lambda _: False), "nothing to differentiate"),
        (lambda a, p, x: ntk_operator(centred, jnp.ones((5, 2)), x), "the examples interact"),
        (lambda a, p, x: ntk_operator(a, p, x) @ (1j * np.ones(5)), "the kernel is real"),
        (lambda a, p, x: trace_estimate(np.ones((2, 3))), "expected a square operator"),
        (lambda a, p, x: trace_estimate(np.eye(3), probes=1), "probes must be at least 2"),
        (lambda a, p, x: logdet_estimate(np.eye(3), ridge=0.0), "ridge must be above 0"),
        (lambda a, p, x: logdet_estimate(np.eye(3), ridge=1.0, steps=0), "steps must be at least 1"),
        (lambda a, p, x: logdet_estimate(-np.eye(3), ridge=0.5), "has the eigenvalue -1, .* raise the ridge"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(KernelError, match=message):
        call(*MODELS["mlp"].made())
