"""Posteriors and gradient flow: by the formulas of textbooks, by integration, by training a linearised model, by neural-tangents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from hypothesis import given
from hypothesis import strategies as st
from kernel_models import MODELS
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.sparse.linalg import aslinearoperator

from jknas.errors import KernelError, NeuralTangentsImportError
from jknas.kernels.gram import gram
from jknas.kernels.neural_tangents.shim import import_neural_tangents
from jknas.kernels.operator import ntk_operator
from jknas.kernels.predict import gp_posterior, gradient_flow
from jknas.kernels.spectrum import residual_bound
from jknas.kernels.taylor import linearize


def problem(n=7, m=3, k=2, seed=0, rank=40):
    """Return a training, a cross and a test kernel of one feature map, and targets."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n + m, rank)) / np.sqrt(rank)
    kernel = features @ features.T
    return kernel[:n, :n], kernel[n:, :n], kernel[n:, n:], rng.standard_normal((n, k))


def full_kernels(n=4, m=2, k=3, seed=0):
    """Return training and cross kernels of all pairs of outputs, ``[n, n, k, k]``, the same flattened, and targets."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n + m, k, 30))
    kernel = np.einsum("nap,mbp->nmab", rows, rows)
    flat = np.einsum("nap,mbp->namb", rows, rows).reshape((n + m) * k, -1)
    return kernel[:n, :n], kernel[n:, :n], kernel[n:, n:], flat[: n * k, : n * k], flat[n * k :, : n * k], rng.standard_normal((n, k))


# The posterior


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_posterior_is_that_of_the_joint_gaussian(ridge):
    """Conditioning by the precision matrix of the joint distribution, another route to the same numbers."""
    train, cross, test, y = problem()
    joint = np.block([[train + ridge * np.eye(7), cross.T], [cross, test]])
    precision = np.linalg.inv(joint)
    covariance = np.linalg.inv(precision[7:, 7:])
    found = gp_posterior(train, cross, y, np.diag(test), ridge=ridge)
    np.testing.assert_allclose(found.mean, -covariance @ precision[7:, :7] @ y, rtol=1e-9)
    np.testing.assert_allclose(found.variance, np.diag(covariance), rtol=1e-9)
    one = gp_posterior(train, cross, y[:, 0], ridge=ridge)
    np.testing.assert_allclose(one.mean, found.mean[:, 0], rtol=1e-12)
    assert one.variance is None


def test_without_ridge_it_interpolates_and_is_certain():
    train, _, _, y = problem()
    found = gp_posterior(train, train, y, np.diag(train))
    np.testing.assert_allclose(found.mean, y, rtol=1e-9)
    np.testing.assert_allclose(found.variance, 0, atol=1e-12)


def test_a_full_kernel_is_that_of_all_outputs():
    train, cross, test, flat_train, flat_cross, y = full_kernels()
    prior = np.einsum("iiaa->ia", test)
    found = gp_posterior(train, cross, y, prior, ridge=0.1)
    flat = gp_posterior(flat_train, flat_cross, y.reshape(-1), prior.reshape(-1), ridge=0.1)
    np.testing.assert_allclose(found.mean, flat.mean.reshape(2, 3), rtol=1e-12)
    np.testing.assert_allclose(found.variance, flat.variance.reshape(2, 3), rtol=1e-12)
    flow = gradient_flow(train, y, cross, t=[0.1, 1.0])
    flat = gradient_flow(flat_train, y.reshape(-1), flat_cross, t=[0.1, 1.0])
    np.testing.assert_allclose(flow.train, flat.train.reshape(2, 4, 3), rtol=1e-12)
    np.testing.assert_allclose(flow.test, flat.test.reshape(2, 2, 3), rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2])
def test_a_full_kernel_without_pairs_of_outputs_is_the_plain_one(k):
    train, cross, test, y = problem()
    y, spread = y[:, :k], [np.einsum("nm,ab->nmab", kernel, np.eye(k)) for kernel in (train, cross)]
    prior = np.diag(test)
    plain, full = gp_posterior(train, cross, y, prior), gp_posterior(*spread, y, np.stack([prior] * k, 1))
    np.testing.assert_allclose(full.mean, plain.mean, rtol=1e-9)
    np.testing.assert_allclose(full.variance, np.stack([plain.variance] * k, 1), rtol=1e-9)
    np.testing.assert_allclose(gradient_flow(spread[0], y, t=0.3).train, gradient_flow(train, y, t=0.3).train, rtol=1e-9)


def test_records_of_kernels_and_operators_serve(float64):
    apply, params, x = MODELS["mlp"].made()
    train, test, y = x[:3], x[3:], np.array([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]])
    kernel, cross = gram(apply, params, train, method="jacobian"), gram(apply, params, test, train, method="jacobian")
    expected = np.asarray(cross) @ np.linalg.solve(np.asarray(kernel) + 0.1 * np.eye(3), y)
    np.testing.assert_allclose(gp_posterior(kernel, cross, y, ridge=0.1).mean, expected, rtol=1e-9)
    matrixless = gp_posterior(ntk_operator(apply, params, train), cross, y, ridge=0.1, rtol=1e-12)
    np.testing.assert_allclose(matrixless.mean, expected, rtol=1e-9)


# Gradient flow


@given(seed=st.integers(0, 1000), time=st.floats(0, 20), rank=st.sampled_from([3, 40]))
def test_the_flow_is_the_matrix_exponential(seed, time, rank):
    """With three features the kernel is singular, and the flow of the test outputs exists none the less."""
    train, cross, _, y = problem(rank=rank, seed=seed)
    start, start_test = np.cos(y), np.ones((3, 2))
    found = gradient_flow(train, y, cross, f0=start, f0_test=start_test, t=time)
    # d/dt (f, f_test) = (K, K_cross) (y - f), as one linear system with a constant
    size = 7 + 3 + 7
    system = np.zeros((size, size))
    system[:7, :7], system[:7, 10:], system[7:10, :7], system[7:10, 10:] = -train, train, -cross, cross
    joint = expm(time * system) @ np.concatenate([start, start_test, y])
    np.testing.assert_allclose(found.train, joint[:7], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(found.test, joint[7:10], rtol=1e-8, atol=1e-10)


def test_the_flow_is_the_integrated_one():
    train, cross, _, y = problem(k=1)
    y, rate = y[:, 0], 0.7
    times = np.array([0.0, 0.5, 2.0, 10.0])

    def velocity(_, f):
        return rate * np.concatenate([train @ (y - f[:7]), cross @ (y - f[:7])])

    solved = solve_ivp(velocity, (0, 10), np.zeros(10), t_eval=times, method="DOP853", rtol=1e-12, atol=1e-14).y
    found = gradient_flow(train, y, cross, t=times, learning_rate=rate)
    np.testing.assert_allclose(found.train, solved[:7].T, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.test, solved[7:].T, rtol=1e-9, atol=1e-11)


def test_small_steps_of_gradient_descent_on_the_linearised_model_follow_the_flow(float64):
    """The error of Euler's method falls with the step, and its extrapolation meets the closed form."""
    apply, params, x = MODELS["mlp"].made()
    train, test, y, time = x[:3], x[3:], jnp.asarray(np.random.default_rng(0).standard_normal((3, 3))), 0.2
    lin = linearize(apply, params)

    def loss(p):
        return jnp.sum((lin(p, train) - y) ** 2) / 2

    def trained(steps):
        def step(p, _):
            return jax.tree.map(lambda w, g: w - time / steps * g, p, jax.grad(loss)(p)), None

        p, _ = jax.lax.scan(step, params, None, length=steps)
        return lin(p, train), lin(p, test)

    kernel = gram(apply, params, train, outputs="full", method="jacobian")
    cross = gram(apply, params, test, train, outputs="full", method="jacobian")
    flow = gradient_flow(kernel, y, cross, f0=apply(params, train), f0_test=apply(params, test), t=time)
    run = quick_jit(trained, static_argnums=0)
    runs = {steps: [np.asarray(part) for part in run(steps)] for steps in (1000, 2000, 4000)}
    for place, exact in enumerate(flow):
        coarse, middle, fine = (runs[steps][place] for steps in (1000, 2000, 4000))
        assert np.abs(fine - exact).max() < 1e-3 * np.abs(exact).max()
        twice = (2 * fine - middle, 2 * middle - coarse)
        np.testing.assert_allclose((4 * twice[0] - twice[1]) / 3, exact, rtol=1e-7)


def test_the_end_of_the_flow_is_the_posterior_mean():
    train, cross, _, y = problem()
    end = gradient_flow(train, y, cross, t=np.inf)
    np.testing.assert_allclose(end.train, y, rtol=1e-12)
    np.testing.assert_allclose(end.test, gp_posterior(train, cross, y).mean, rtol=1e-9)
    # From other outputs at the start, the same holds for the difference to them.
    moved = gradient_flow(train, y, cross, f0=1.0, f0_test=1.0, t=np.inf)
    np.testing.assert_allclose(moved.test, 1 + gp_posterior(train, cross, y - 1).mean, rtol=1e-9)


def test_the_residual_obeys_the_bound_of_knas():
    train, _, _, y = problem(k=1)
    times = np.linspace(0, 30, 50)
    residuals = np.sum((gradient_flow(train, y[:, 0], t=times).train - y[:, 0]) ** 2, axis=1)
    bound = residual_bound(float(np.sum(y**2)), times, np.linalg.eigvalsh(train)[0], rate=2.0)
    assert (residuals <= bound * (1 + 1e-9)).all()
    assert (np.diff(residuals) < 0).all()


def test_the_mean_loss_is_slower_by_the_number_of_targets():
    train, cross, _, y = problem()
    slow, fast = gradient_flow(train, y, cross, t=14 * 0.3, loss="mean"), gradient_flow(train, y, cross, t=0.3)
    np.testing.assert_allclose(slow.train, fast.train, rtol=1e-12)
    np.testing.assert_allclose(slow.test, fast.test, rtol=1e-12)


# neural-tangents


def library():
    try:
        return import_neural_tangents().predict
    except NeuralTangentsImportError as error:
        pytest.skip(str(error))


def test_the_flow_is_that_of_neural_tangents(float64):
    train, cross, _, y = problem()
    theirs = library().gradient_descent_mse(jnp.asarray(train), jnp.asarray(y), learning_rate=0.8)
    for time in (0.0, 1.0, 50.0):
        with jax.numpy_dtype_promotion("standard"):
            expected = theirs(time, jnp.asarray(0.2 * y), jnp.ones((3, 2)), jnp.asarray(cross))
        found = gradient_flow(train, y, cross, f0=0.2 * y, f0_test=1.0, t=time, learning_rate=0.8, loss="mean")
        np.testing.assert_allclose(found.train, expected[0], rtol=1e-9)
        np.testing.assert_allclose(found.test, expected[1], rtol=1e-9)


def test_the_flow_of_a_full_kernel_is_that_of_neural_tangents(float64):
    train, cross, _, _, _, y = full_kernels()
    theirs = library().gradient_descent_mse(jnp.asarray(train), jnp.asarray(y), trace_axes=())
    with jax.numpy_dtype_promotion("standard"):
        expected = theirs(2.0, jnp.zeros_like(y), jnp.zeros((2, 3)), jnp.asarray(cross))
    found = gradient_flow(train, y, cross, t=2.0, loss="mean")
    np.testing.assert_allclose(found.train, expected[0], rtol=1e-9)
    np.testing.assert_allclose(found.test, expected[1], rtol=1e-9)


def test_the_posterior_is_that_of_neural_tangents(float64):
    train, cross, test, y = problem()
    with jax.numpy_dtype_promotion("standard"):
        theirs = library().gp_inference(jnp.asarray(train), jnp.asarray(y), diag_reg=0.05, diag_reg_absolute_scale=True)
        expected = theirs("nngp", jnp.asarray(cross), jnp.asarray(test))
    found = gp_posterior(train, cross, y, np.diag(test), ridge=0.05)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(found.variance, np.diag(expected.covariance), rtol=1e-9)


# Refusals

TRAIN, CROSS, TEST, Y = problem()
SINGULAR, SINGULAR_CROSS, *_ = problem(rank=3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gp_posterior(SINGULAR, CROSS, Y), r"singular at the precision of its dtype: condition number .*raise the ridge"),
        (lambda: gp_posterior(np.ones((7, 7), np.float32), CROSS, Y, ridge=1e-7), r"with ridge=1e-07 is singular .*number 7e\+07"),
        (lambda: gp_posterior(-TRAIN, CROSS, Y), "k_train has the eigenvalue -.*: it is no Gram matrix"),
        (lambda: gp_posterior(TRAIN, CROSS, Y, ridge=-1.0), "ridge must be 0 or more, got -1"),
        (lambda: gp_posterior(TRAIN, CROSS, Y, TEST), r"prior variances of the shape \(3,\), got \(3, 3\)"),
        (lambda: gp_posterior(TRAIN, CROSS[:, :5], Y), r"k_cross must be \[\.\.\., 7\] for the 7 targets"),
        (lambda: gp_posterior(TRAIN[:5], CROSS, Y), r"k_train must be square"),
        (lambda: gp_posterior(np.triu(TRAIN), CROSS, Y), "k_train is not symmetric: it differs"),
        (lambda: gp_posterior(TRAIN * np.nan, CROSS, Y), "k_train holds NaN or infinity"),
        (lambda: gp_posterior(TRAIN, CROSS, Y[None]), r"y must be targets \[n\] or \[n, k\], got shape \(1, 7, 2\)"),
        (lambda: gradient_flow(TRAIN, Y, t=-1.0), "times must be 0 or later"),
        (lambda: gradient_flow(TRAIN, Y, t=np.nan), "times must be 0 or later"),
        (lambda: gradient_flow(TRAIN, Y, t=1.0, learning_rate=0.0), "learning rate above 0"),
        (lambda: gradient_flow(TRAIN, Y, t=1.0, loss="half"), "Unknown loss 'half'"),
        (lambda: gradient_flow(TRAIN, Y, t=1.0, f0=np.ones(7)), r"must be a number or have the shape \(7, 2\), got \(7,\)"),
        (lambda: gradient_flow(TRAIN, Y, CROSS, t=1.0, f0_test=np.ones(3)), r"the shape \(3, 2\), got \(3,\)"),
        (lambda: gradient_flow(SINGULAR, Y, t=np.inf), "training never ends: give a finite t"),
        (lambda: gradient_flow(-TRAIN, Y, t=1.0), "it is no Gram matrix"),
        (
            lambda: gradient_flow(np.einsum("nm,ab->nmab", TRAIN, np.eye(2)), Y, CROSS, t=1.0),
            r"must be square, and k_cross .* pair the same",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(KernelError, match=message):
        call()


def test_operators_are_refused_where_they_do_not_do(float64):
    apply, params, x = MODELS["mlp"].made()
    made, y = ntk_operator(apply, params, x), np.ones(5)
    cross = np.ones((2, 5))
    with pytest.raises(KernelError, match="variances need a matrix as k_train, got an operator"):
        gp_posterior(made, cross, y, np.ones(2), ridge=1.0)
    with pytest.raises(KernelError, match="expected a matrix as k_train, got an operator"):
        gradient_flow(made, y, t=1.0)
    with pytest.raises(KernelError, match=r"an operator of the shape \(4, 4\), got \(5, 5\)"):
        gp_posterior(made, cross[:, :4], y[:4], ridge=1.0)
    with pytest.raises(KernelError, match=r"conjugate gradients did not reach rtol=1e-06 in 50 steps"):
        gp_posterior(aslinearoperator(np.ones((5, 5))), cross, np.arange(5.0))
