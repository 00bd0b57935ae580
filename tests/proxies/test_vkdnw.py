"""VKDNW against derivatives taken one by one, and the linear algebra of its Fisher information."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import completed, random_variables
from tolerances import relative_error

from jknas.errors import ProxyError
from jknas.kernels.gram import gram
from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.nasbench201.torch_order import tensors
from jknas.networks.network import initial_params
from jknas.networks.parameters import unit_averages
from jknas.proxies import Batch, get
from jknas.proxies.measurements.first_elements import count_tensors, first_elements
from jknas.proxies.vkdnw import (
    Measured,
    cholesky,
    decile_entropy,
    fisher_gram,
    fisher_information,
    measure,
    read_entropy,
    row_factor,
    smoothed,
)
from jknas.spaces.nasbench201.genotype import CellGenotype

TINY = CellNetwork(2, 1, 3)
CELLS = {"all_none": (0,) * 6, "all_skip": (1,) * 6, "all_3x3": (3,) * 6, "mixed": (3, 1, 2, 4, 0, 3), "pointwise": (4, 2, 0, 1, 2, 0)}
EXACT = 1e-9


# ---- derivatives


IMAGES = np.random.default_rng(3).standard_normal((2, 8, 8, 3))


@quick_jit
def of_code(params, code):
    return first_elements(TINY, params, jnp.asarray(IMAGES), code, tensors=128)


@functools.cache
def jacobian(genotype):
    """Differentiate the logits of every image by every parameter of one genotype."""
    params = random_variables(TINY, genotype)["params"]

    def logits(params):
        return TINY.apply(params, jnp.asarray(IMAGES), genotype, statistics="running", batch_stats=unit_averages(params))

    return params, quick_jit(jax.jacrev(logits))(params)


def written_out(genotype):
    """Return the derivatives by the first element of every tensor ``[n, k, p]``, in PyTorch's order and layout."""
    _, derivatives = jacobian(genotype)
    columns = []
    for tensor in tensors(TINY, genotype):
        if tensor.collection == "params":
            read = jax.vmap(jax.vmap(lambda one, tensor=tensor: tensor.read_torch({"params": one}).reshape(-1)[0]))
            columns.append(read(derivatives))
    return np.stack(columns, -1)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", CELLS)
def test_first_elements_are_derivatives_taken_one_by_one(name):
    """One program serves all codes, but it takes long to compile."""
    genotype = CellGenotype.from_code(CELLS[name])
    params = completed(TINY, {"params": jacobian(genotype)[0]})["params"]
    expected = written_out(genotype)
    found = of_code(params, jnp.asarray(CELLS[name]))
    count = expected.shape[2]
    assert int(found.tensors) == count == 21 + 9 * sum(digit in {2, 3} for digit in CELLS[name])
    assert relative_error(found.jacobian[:, :, :count], expected) <= EXACT
    assert not np.any(found.jacobian[:, :, count:])


@pytest.mark.usefixtures("float64")
@pytest.mark.slow
def test_only_the_first_tensors_of_a_genotype_count():
    genotype = CellGenotype.from_code(CELLS["mixed"])
    params = completed(TINY, {"params": jacobian(genotype)[0]})["params"]
    expected = written_out(genotype)
    found = quick_jit(lambda params: first_elements(TINY, params, jnp.asarray(IMAGES), genotype, tensors=17))(params)
    assert int(found.tensors) == expected.shape[2]
    assert relative_error(found.jacobian, expected[:, :, :17]) <= EXACT


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["all_none", pytest.param("mixed", marks=pytest.mark.slow)])
def test_all_coordinates_are_the_kernel_of_all_derivatives(name):
    genotype = CellGenotype.from_code(CELLS[name])
    params, derivatives = jacobian(genotype)
    rows = np.concatenate([np.asarray(leaf).reshape(6, -1) for leaf in jax.tree.leaves(derivatives)], 1)
    batch = Batch(jnp.asarray(IMAGES), jnp.zeros(2, int))
    found = quick_jit(lambda params: measure(TINY, params, genotype, batch, jax.random.key(0), coordinates="all"))(params)
    assert relative_error(found.derivatives, (rows @ rows.T).reshape(2, 3, 2, 3).transpose(0, 2, 1, 3)) <= EXACT
    assert int(found.tensors) == written_out(genotype).shape[2]


# ---- Fisher information


def little_model(params, x):
    return jnp.tanh(x @ params["a"]) @ params["b"]


@pytest.fixture
def little(float64, rng):
    """A model of 33 parameters on 4 images of 3 classes: its parameters, inputs, probabilities and derivatives ``[n, k, p]``."""
    del float64
    params = {"a": jnp.asarray(rng.standard_normal((5, 4)) / 2), "b": jnp.asarray(rng.standard_normal((4, 3)))}
    x = jnp.asarray(rng.standard_normal((4, 5)))
    derivatives = jax.jacrev(little_model)(params, x)
    flat = np.concatenate([np.asarray(leaf).reshape(4, 3, -1) for leaf in jax.tree.leaves(derivatives)], 2)
    return params, x, np.asarray(jax.nn.softmax(little_model(params, x))), flat


def middle(p, *, released):
    """Return the K x K matrices between the derivatives, from NumPy's Cholesky factor of all but the last class."""
    wanted = np.stack([np.diag(one) - np.outer(one, one) for one in p])
    if not released:
        return wanted
    factor = np.zeros_like(wanted)
    factor[:, :-1, :-1] = np.linalg.cholesky(wanted[:, :-1, :-1])
    factor[:, -1, :-1] = -factor[:, :-1, :-1].sum(1)  # probabilities sum to one, so that the rows of the covariance sum to zero
    np.testing.assert_allclose(factor @ factor.swapaxes(1, 2), wanted, atol=1e-12)
    return factor.swapaxes(1, 2) @ factor


def test_the_rows_are_roots_of_probabilities_times_scores(little):
    """Labels drawn from the predictions give the expected outer product of their log-likelihood's gradients."""
    params, x, p, derivatives = little
    logs = jax.jacrev(lambda params: jax.nn.log_softmax(little_model(params, x)))(params)
    scores = np.concatenate([np.asarray(leaf).reshape(4, 3, -1) for leaf in jax.tree.leaves(logs)], 2)
    rows = np.sqrt(p)[:, :, None] * scores
    np.testing.assert_allclose(np.einsum("nc,ncp->np", np.sqrt(p), rows), 0, atol=1e-12)
    expected = np.einsum("ncp,ncq->pq", rows, rows) / 4
    np.testing.assert_allclose(fisher_information(p, derivatives), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("released", [False, True])
def test_gram_and_information_have_one_spectrum(little, released):
    params, x, p, derivatives = little
    information = np.einsum("nkp,nkl,nlq->pq", derivatives, middle(p, released=released), derivatives) / 4
    np.testing.assert_allclose(fisher_information(p, derivatives, released=released), information, rtol=1e-9, atol=1e-12)
    kernel = gram(little_model, params, x, outputs="full").matrix
    matrix = fisher_gram(p, kernel, released=released)
    assert matrix.shape == (8, 8), "4 images of 3 classes, without a zero for each image"
    of_information, of_gram = np.linalg.eigvalsh(information), np.linalg.eigvalsh(matrix)
    np.testing.assert_allclose(of_information[-8:], of_gram, rtol=1e-9)
    assert np.abs(of_information[:-8]).max() < 1e-12 * of_information[-1]


def test_the_gram_of_all_classes_has_a_zero_for_every_image(little):
    _, _, p, derivatives = little
    root = np.sqrt(p)
    factor = np.stack([np.diag(one) for one in root]) - p[:, :, None] * root[:, None]
    rows = (factor.swapaxes(1, 2) @ derivatives).reshape(12, -1) / 2
    values = np.linalg.eigvalsh(rows @ rows.T)
    assert np.abs(values[:4]).max() < 1e-12 * values[-1]
    kernel = np.einsum("nkp,mlp->nmkl", derivatives, derivatives)
    np.testing.assert_allclose(values[4:], np.linalg.eigvalsh(fisher_gram(p, kernel)), rtol=1e-9)


def test_the_released_factor_of_a_uniform_softmax():
    p = np.full((1, 5), 0.2)
    factor = row_factor(p, released=True)[0]
    np.testing.assert_allclose(factor.T @ factor, np.diag([1, 1, 1, 1, 0]) / 5, atol=1e-15)
    usual = row_factor(p, released=False)[0]
    np.testing.assert_allclose(usual.T @ usual, np.eye(5) / 5 - 1 / 25, atol=1e-15)


def test_the_cholesky_factor(rng):
    p = smoothed(rng.standard_normal((6, 7)).astype(np.float32) * 30)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-12)
    assert p.min() >= 0.05 / 7
    np.testing.assert_allclose(cholesky(p) @ cholesky(p).swapaxes(1, 2), middle(p, released=False), atol=1e-14)
    assert not np.triu(cholesky(p)[0], 1).any()


# ---- the score


def test_the_entropy_of_deciles(rng):
    for spread in (0.1, 1, 10):
        entropy, deciles = decile_entropy(np.exp(spread * rng.standard_normal(128)))
        assert 0 < entropy < math.log(9)
        assert np.all(np.diff(deciles) > 0)
    assert decile_entropy(np.full(128, 3.7))[0] == pytest.approx(math.log(9), abs=1e-8)
    assert decile_entropy(np.arange(11.0))[1].tolist() == list(range(1, 10))
    assert decile_entropy(np.zeros(21))[0] == 0


def test_a_spectrum_in_which_nine_of_ten_are_zero(rng):
    """Eigenvalues that are missing because there are few images count as zeros."""
    derivatives = rng.standard_normal((1, 3, 60)).astype(np.float32)
    outcome = read_entropy(Measured(np.zeros((1, 3)), derivatives, np.asarray(60.0), np.asarray(False)))
    assert outcome.extras["deciles"][:8] == pytest.approx([0] * 8, abs=1e-12)
    assert outcome.extras["entropy"] < 1e-2, "rounding, next to the 1e-10 of the denominator"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_information_that_is_not_finite_is_last_among_its_tensors(bad):
    derivatives = np.ones((2, 3, 21), np.float32)
    derivatives[0, 0, 0] = bad
    outcome = read_entropy(Measured(np.zeros((2, 3)), derivatives, np.asarray(21.0), np.asarray(False)))
    assert (outcome.score, outcome.status, outcome.extras["spectrum"]) == (21.0, "ok", "non_finite")


@pytest.mark.slow
def test_the_number_of_tensors():
    network = CellNetwork(1, 5, 2, 1)
    params = initial_params(network, jax.random.key(0), "he_normal")
    count = quick_jit(lambda code: count_tensors(network, params, jnp.zeros((1, 8, 8, 1)), code))
    codes = [(3,) * k + (1,) * (6 - k) for k in range(7)]
    assert [int(count(jnp.asarray(code))) for code in codes] == [21, 66, 111, 156, 201, 246, 291]


def test_no_entropy_outweighs_a_convolution(rng):
    def score(tensors):
        count = min(tensors, 128)
        factor = np.exp(3 * rng.standard_normal(count))
        derivatives = (rng.standard_normal((4, 3, count)) * factor).astype(np.float32)
        return read_entropy(Measured(rng.standard_normal((4, 3)), derivatives, np.asarray(float(tensors)), np.asarray(False)))

    found = [[score(21 + 45 * convolutions) for _ in range(4)] for convolutions in range(7)]
    for fewer, more in itertools.pairwise(found):
        assert max(outcome.score for outcome in fewer) < min(outcome.score for outcome in more)
    assert all(outcome.score == outcome.extras["aleph"] + outcome.extras["entropy"] for group in found for outcome in group)


def test_the_proxy():
    proxy = get("vkdnw")
    assert (proxy.batch_size, proxy.needs_labels, proxy.requires) == (64, False, ("observable",))
    batch = Batch(jnp.zeros((1, 8, 8, 3)), jnp.zeros(1, int))
    with pytest.raises(ProxyError, match="Unknown coordinates 'last'; expected one of first, all"):
        measure(TINY, {}, None, batch, jax.random.key(0), coordinates="last")
    with pytest.raises(ProxyError, match="Unknown factor 'cholesky'; expected one of multinomial, released"):
        measure(TINY, {}, None, batch, jax.random.key(0), factor="cholesky")
