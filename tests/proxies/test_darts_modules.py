"""Scores of the modules of a DARTS network, by kind: near, apd, vkdnw."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from plain_darts import plain_darts
from random_variables import random_variables
from tolerances import relative_error

from jknas.networks.darts import DartsNetwork
from jknas.networks.darts.torch_names import tensors
from jknas.networks.parameters import unit_averages
from jknas.proxies import Batch, get, near
from jknas.proxies.measurements.first_elements import first_elements
from jknas.proxies.near import effective_rank
from jknas.spaces.darts.genotype import DartsGenotype

TWO = DartsNetwork(channels=4, cells=2, classes=3)  # two reduction cells, of which the second reads inputs of two resolutions
GENOTYPE = DartsGenotype.from_code([4, 6, 3, 0, 1, 0, 7, 0, 5, 0, 2, 0, 0, 4, 3, 7, 0, 5, 4, 1, 0, 0, 6, 2, 0, 0, 3, 0])
CODE = np.asarray(GENOTYPE.code, np.int32)
KEY = jax.random.key(5)

pytestmark = [pytest.mark.usefixtures("float64"), pytest.mark.slow]


@functools.cache
def images():
    return np.random.default_rng(3).standard_normal((4, 8, 8, 3))


@functools.cache
def params():
    return random_variables(TWO)["params"]


@functools.cache
def own():
    return TWO.restrict(params(), GENOTYPE)


@functools.cache
def plain():
    """What the written-out network kept."""
    kept = quick_jit(lambda params: plain_darts(TWO, GENOTYPE, params, jnp.asarray(images()))[1].arrays())(own())
    return jax.tree.map(np.asarray, kept)


def outcomes(name):
    """The outcome of the genotype and that of its code."""
    batch = Batch(jnp.asarray(images()), jnp.zeros(4, int))
    shown = quick_jit(lambda params: get(name).measure(TWO, params, GENOTYPE, batch, KEY))(own())
    coded = quick_jit(lambda params, code: get(name).measure(TWO, params, code, batch, KEY))(params(), jnp.asarray(CODE))
    return [get(name).read(jax.tree.map(np.asarray, found)) for found in (shown, coded)]


def leading(values, start=None):
    del start
    return values.reshape(-1, values.shape[-1])[: values.shape[-1]]


def test_near_ranks_every_relu_convolution_and_normalisation(monkeypatch):
    monkeypatch.setattr(near, "square", leading)
    kept = plain()
    modules = [*(np.maximum(value, 0) for value in kept["relus"]), *kept["convolutions"], *kept["normalised"]]
    expected = sum(float(effective_rank(leading(value))) for value in modules)
    assert [outcome.score for outcome in outcomes("near")] == pytest.approx([expected] * 2, rel=1e-9)


def test_apd_multiplies_the_sums_over_normalisations_and_convolutions():
    rank = ratio = 0.0
    for value in plain()["normalised"]:
        squares = np.linalg.svd(value.reshape(-1, value.shape[-1]), compute_uv=False) ** 2
        rank += squares.sum() / squares[0]
    variables = {"params": own()}
    for tensor in tensors(TWO, GENOTYPE):
        if tensor.collection == "params":
            kernel = tensor.read_torch(variables)
            ratio += np.abs(kernel).sum() / np.linalg.norm(kernel.ravel()) if kernel.ndim == 4 else 0
    assert [outcome.score for outcome in outcomes("apd")] == pytest.approx([rank * ratio] * 2, rel=1e-9)


@functools.cache
def first_derivatives():
    """The derivatives of the logits of two images by the first element of every tensor ``[2, 3, p]``, in PyTorch's order and layout."""

    def logits(params):
        return TWO.apply(params, jnp.asarray(images()[:2]), GENOTYPE, statistics="running", batch_stats=unit_averages(params))

    derivatives, columns = quick_jit(jax.jacrev(logits))(own()), []
    for tensor in tensors(TWO, GENOTYPE):
        if tensor.collection == "params":
            read = jax.vmap(jax.vmap(lambda one, tensor=tensor: tensor.read_torch({"params": one}).reshape(-1)[0]))
            columns.append(read(derivatives))
    return np.stack(columns, -1)


@pytest.mark.parametrize("wiring", ["genotype", "code"])
def test_vkdnw_differentiates_by_the_first_element_of_every_tensor(wiring):
    chosen, weights = (GENOTYPE, own()) if wiring == "genotype" else (jnp.asarray(CODE), params())
    found = quick_jit(lambda params: first_elements(TWO, params, jnp.asarray(images()[:2]), chosen, tensors=128))(weights)
    expected = first_derivatives()
    count = expected.shape[2]
    assert int(found.tensors) == count
    assert relative_error(found.jacobian[:, :, :count], expected[:, :, :128]) <= 1e-9
    assert not np.any(found.jacobian[:, :, count:])
