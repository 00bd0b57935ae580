"""Spectra against hand-worked matrices and recorded ones, and the two bounds of the KNAS paper."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import load
from scipy.integrate import solve_ivp

from jknas.kernels.spectrum import Spectrum, lambda_min_bound, residual_bound, spectrum

EPSILON32, EPSILON64 = (float(np.finfo(dtype).eps) for dtype in ("float32", "float64"))


def rotated(eigenvalues, seed=0):
    """Return a symmetric matrix with these eigenvalues."""
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues), len(eigenvalues))))
    return (basis * np.asarray(eigenvalues)) @ basis.T


def test_a_hand_worked_matrix():
    found = spectrum(np.array([[2.0, 1.0], [1.0, 2.0]]))
    np.testing.assert_allclose(found.eigenvalues, [1, 3], rtol=1e-14)
    assert (found.lambda_min, found.lambda_max) == (found.eigenvalues[0], found.eigenvalues[-1])
    assert found.condition_number == pytest.approx(3, rel=1e-14)
    assert found.frobenius == pytest.approx(np.sqrt(10), rel=1e-14)
    assert found.trace == 4
    assert found.effective_rank == pytest.approx(4 / 27**0.25, rel=1e-12)  # exp(-(1/4 log 1/4 + 3/4 log 3/4))
    assert found.floor == pytest.approx(2 * EPSILON64 * 3, rel=1e-12)
    assert found.asymmetry == 0
    assert found.status == "ok"


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12), st.integers(0, 99), st.sampled_from([1e-200, 1e-9, 1.0, 1e200]))
def test_a_matrix_of_known_eigenvalues(eigenvalues, seed, scale):
    """Also far out of the range of squares: no norm may overflow or vanish."""
    found, expected = spectrum(rotated(eigenvalues, seed) * scale), np.sort(eigenvalues) * scale
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-9)
    assert found.condition_number == pytest.approx(expected[-1] / expected[0], rel=1e-9)
    assert found.trace == pytest.approx(expected.sum(), rel=1e-12)
    assert found.frobenius / scale == pytest.approx(np.sqrt(np.square(eigenvalues).sum()), rel=1e-12)
    shares = expected / expected.sum()
    assert found.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-9)
    assert found.floor == pytest.approx(len(eigenvalues) * EPSILON64 * expected[-1], rel=1e-9)
    assert found.status == "ok"


@given(st.integers(1, 8), st.integers(0, 99))
def test_the_order_of_the_examples_does_not_matter(n, seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 9))
    first, order = rows @ rows.T, rng.permutation(n)
    one, other = spectrum(first), spectrum(first[np.ix_(order, order)])
    for field in dataclasses.fields(Spectrum):
        if field.name not in {"status", "asymmetry"}:
            np.testing.assert_allclose(getattr(one, field.name), getattr(other, field.name), rtol=1e-9, err_msg=field.name)
    assert one.status == other.status == "ok"


@pytest.mark.parametrize(("eigenvalues", "rank"), [([3.0] * 5, 5), ([1.0, 0.0, 0.0], 1), ([0.0, 2.0, 2.0, 0.0], 2)])
def test_the_effective_rank_counts_equal_eigenvalues(eigenvalues, rank):
    assert spectrum(rotated(eigenvalues)).effective_rank == pytest.approx(rank, rel=1e-9)


@pytest.mark.parametrize(
    ("matrix", "status", "condition", "ranked"),
    [
        pytest.param(np.diag([1.0, 2.0]), "ok", 2, True, id="definite"),
        pytest.param([[7.0]], "ok", 1, True, id="one example"),
        pytest.param([[-7.0]], "negative", np.nan, False, id="one negative entry"),
        pytest.param(np.ones((3, 3)), "saturated", np.inf, True, id="every example alike"),
        pytest.param(np.diag([1.0, -1e-17]), "saturated", np.inf, True, id="negative by rounding"),
        pytest.param(np.diag([1.0, -1e-9]), "negative", np.nan, False, id="negative"),
        pytest.param(-np.eye(2), "negative", np.nan, False, id="all negative"),
        pytest.param(np.zeros((3, 3)), "dead", np.nan, False, id="zero"),
        pytest.param(np.diag([1.0, np.nan]), "non_finite", np.nan, False, id="NaN"),
        pytest.param(np.diag([np.inf, -np.inf]), "non_finite", np.nan, False, id="infinite"),
    ],
)
def test_status_and_condition_number_belong_together(matrix, status, condition, ranked):
    matrix = np.asarray(matrix)
    found = spectrum(matrix)
    assert found.status == status
    np.testing.assert_equal(found.condition_number, condition)
    assert np.isfinite(found.effective_rank) == ranked
    if status == "non_finite":
        assert np.isnan(found.eigenvalues).all()
        assert np.isnan([found.lambda_min, found.lambda_max, found.floor]).all()
        assert not np.isfinite(found.trace)
        assert not np.isfinite(found.frobenius)
    else:
        # What came out is reported as it came, whatever its sign.
        np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(matrix), atol=1e-15)
        assert found.lambda_min == found.eigenvalues[0]
        assert found.lambda_max == found.eigenvalues[-1]
        assert (abs(found.lambda_min) <= found.floor) == (status in {"saturated", "dead"})


def test_the_floor_is_that_of_the_arithmetic():
    """An eigenvalue a millionth of a millionth of the largest is known in float64, and is rounding in float32."""
    narrow = np.diag([1.0, 0.5, 1e-12]).astype(np.float32)
    assert spectrum(narrow).status == "saturated"
    assert spectrum(narrow).floor == pytest.approx(3 * EPSILON32, rel=1e-12)
    assert spectrum(narrow.astype(np.float64)).status == "ok"
    assert spectrum(narrow.astype(np.float64), epsilon=EPSILON32).status == "saturated"
    assert spectrum(jnp.asarray(narrow, jnp.bfloat16)).floor == pytest.approx(3 / 128, rel=1e-12)
    assert spectrum(np.array([[2, 1], [1, 2]])).floor == pytest.approx(6 * EPSILON64, rel=1e-12)
    assert spectrum(np.full((1, 1), 1e-39, np.float32)).status == "dead"  # below the smallest normal number
    assert spectrum(np.full((1, 1), 1e-39, np.float64)).status == "ok"


def test_arrays_and_records_are_taken():
    expected = spectrum(np.diag([1.0, 3.0]))
    for matrix in (jnp.diag(jnp.array([1.0, 3.0])), types.SimpleNamespace(matrix=np.diag([3.0, 1.0])), [[1.0, 0.0], [0.0, 3.0]]):
        found = spectrum(matrix)
        assert found.eigenvalues.dtype == np.float64
        np.testing.assert_array_equal(found.eigenvalues, expected.eigenvalues)
    with pytest.raises(ValueError, match="read-only"):
        expected.eigenvalues[0] = 2.0


def test_rounding_of_symmetry_is_averaged_and_more_is_refused():
    nearly = np.array([[2.0, 1.0 + 1e-9], [1.0 - 1e-9, 2.0]])
    found = spectrum(nearly)
    assert found.asymmetry == pytest.approx(1e-9, rel=1e-6)
    np.testing.assert_allclose(found.eigenvalues, [1, 3], rtol=1e-15)
    lopsided = np.array([[2.0, 1.2], [0.8, 2.0]])
    with pytest.raises(
        ValueError, match=r"not symmetric: it differs from its transpose by 2.0e-01 .* at most 1.5e-08 counts as .* one set"
    ):
        spectrum(lopsided)
    with pytest.raises(ValueError, match=r"at most 3.5e-04 "):
        spectrum(lopsided.astype(np.float32))
    np.testing.assert_allclose(spectrum(lopsided, symmetry_tolerance=0.5).eigenvalues, [1, 3], rtol=1e-15)


@pytest.mark.parametrize("shape", [(2, 3), (4,), (2, 2, 2), (0, 0)])
def test_what_is_not_square_is_refused(shape):
    with pytest.raises(
        ValueError, match=rf"square matrix \[n, n\] with n >= 1, got shape \({', '.join(map(str, shape))}.*decompose the square block"
    ):
        spectrum(np.zeros(shape))


@pytest.mark.parametrize("dtype", ["complex128", "bool"])
def test_what_is_not_real_is_refused(dtype):
    with pytest.raises(TypeError, match=f"needs real numbers, got dtype {dtype}; convert"):
        spectrum(np.eye(2, dtype=dtype))


@pytest.mark.parametrize(
    ("name", "group"),
    [("_tenas_supernet_C3N1", group) for group in ("full", "pruned3", "single")]
    + [("A_g06_mix5ops", group) for group in ("ntk_w_train", "ntk_all_train", "ntk_w_eval")],
)
def test_recorded_kernels_have_the_recorded_spectrum(fixtures_folder, name, group):
    arrays = load(fixtures_folder, name)
    recorded = {key: arrays[f"{group}/{key}"] for key in ("gram_f64", "eig_f64", "cond_f64", "gram_f32")}
    found = spectrum(recorded["gram_f64"])
    np.testing.assert_allclose(found.eigenvalues, recorded["eig_f64"], rtol=1e-10)
    assert found.condition_number == pytest.approx(float(recorded["cond_f64"]), rel=1e-10)
    narrow = spectrum(recorded["gram_f32"])
    assert found.status == narrow.status == "ok"
    assert narrow.condition_number == pytest.approx(found.condition_number, rel=0.01)


@pytest.mark.parametrize("name", ["A_g04_allnone", "A_g05_cutout"])
@pytest.mark.parametrize("precision", ["f32", "f64"])
def test_cells_that_ignore_their_input_are_saturated(fixtures_folder, name, precision):
    """The released code records negative condition numbers of them, which its search would take for excellent."""
    arrays = load(fixtures_folder, name)
    gram, recorded = arrays[f"ntk_w_train/gram_{precision}"], float(arrays[f"ntk_w_train/cond_{precision}"])
    assert recorded < -1e6
    found = spectrum(gram)
    assert (found.status, found.condition_number) == ("saturated", np.inf)
    assert found.effective_rank == pytest.approx(1, abs=1e-5)


@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 99))
def test_the_smallest_eigenvalue_is_below_the_frobenius_norm(n, features, seed):
    """Eq. (14), and the sharper bounds that its docstring names."""
    rows = np.random.default_rng(seed).standard_normal((n, features))
    found = spectrum(rows @ rows.T)
    bound = lambda_min_bound(found)
    assert bound == pytest.approx(np.sqrt(np.square(rows @ rows.T).sum()), rel=1e-12)
    assert found.lambda_min <= found.trace / n * (1 + 1e-12)
    assert found.trace / n <= bound / np.sqrt(n) * (1 + 1e-12)


def test_the_residual_bound_takes_the_smallest_eigenvalue_so_far():
    bound = residual_bound(3.0, np.array([0.0, 1.0, 2.0, 3.0]), np.array([2.0, 0.5, 1.0, 0.25]))
    np.testing.assert_allclose(bound, 3 * np.exp([0, -0.5, -1.0, -0.75]), rtol=1e-15)
    np.testing.assert_allclose(residual_bound(3.0, jnp.array([0.0, 2.0]), 0.5, rate=2.0), [3, 3 * np.exp(-2)], rtol=1e-15)


@pytest.mark.parametrize(
    ("times", "eigenvalues", "message"),
    [
        ([0.0, 1.0], [1.0], r"lambda_min as one number or \[t\], got shapes \(2,\) and \(1,\); give the eigenvalue at each"),
        (1.0, 1.0, r"times \[t\]"),
        ([0.0, 2.0, 1.0], 1.0, "times must ascend from 0 on.*sort them"),
        ([-1.0, 2.0], 1.0, "times must ascend from 0 on"),
    ],
)
def test_a_residual_bound_of_what_does_not_fit(times, eigenvalues, message):
    with pytest.raises(ValueError, match=message):
        residual_bound(1.0, np.asarray(times), np.asarray(eigenvalues))


def perceptron(theta, x):
    """Three inputs, six hidden units, one output; 30 parameters in one vector."""
    return jnp.tanh(x @ theta[:18].reshape(3, 6) + theta[None, 18:24]) @ theta[24:]


def gradient_flow(seed, sign):
    """Train by gradient flow on half the summed squares; the targets lie off the outputs along the kernel's slowest direction.

    Returns times, squared residuals and smallest eigenvalues.
    """
    rng, jacobian, outputs = np.random.default_rng(seed), jax.jit(jax.jacrev(perceptron)), jax.jit(perceptron)
    start, x = 0.7 * rng.standard_normal(30), rng.standard_normal((5, 3))
    rows = np.asarray(jacobian(start, x))
    slowest, directions = (part[..., 0] for part in np.linalg.eigh(rows @ rows.T))
    targets = np.asarray(outputs(start, x)) + 2 * sign * directions
    times = np.linspace(0, 1.5 / slowest, 61)
    flow = solve_ivp(
        lambda _, theta: np.asarray(jacobian(theta, x)).T @ (targets - np.asarray(outputs(theta, x))),
        (0, times[-1]), start, t_eval=times, method="LSODA", rtol=1e-9, atol=1e-11,
    )  # fmt: skip
    kernels = [np.asarray(jacobian(theta, x)) for theta in flow.y.T]
    residuals = [np.square(targets - np.asarray(outputs(theta, x))).sum() for theta in flow.y.T]
    return times, np.array(residuals), np.array([spectrum(rows @ rows.T).lambda_min for rows in kernels])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("seed", "sign"), [(4, -1), (6, 1), (2, -1)])
def test_the_loss_under_gradient_flow_stays_below_the_bound(seed, sign):
    """Eq. (13). The residual starts along the slowest direction, where the bound is tight, so that a larger exponent breaks it."""
    times, residuals, smallest = gradient_flow(seed, sign)
    sharp, printed = (residual_bound(residuals[0], times, smallest, rate=rate) for rate in (2.0, 1.0))
    assert (residuals <= sharp * (1 + 1e-6)).all()
    assert (sharp <= printed).all()
    assert printed[-1] < 0.5 * residuals[0]  # the bound says something
    assert (residuals > residual_bound(residuals[0], times, smallest, rate=2.5)).any()


@pytest.mark.usefixtures("float64")
def test_the_bound_fails_with_the_eigenvalue_of_time_zero():
    """The paper treats the kernel as if it stood still; on this network its smallest eigenvalue sinks, and the loss shows it."""
    times, residuals, smallest = gradient_flow(4, -1)
    assert smallest.min() < 0.7 * smallest[0]
    assert (residuals > 1.2 * residual_bound(residuals[0], times, smallest[0], rate=2.0)).any()
