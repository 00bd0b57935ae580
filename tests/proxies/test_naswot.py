"""NASWOT against its definition, recorded kernels and published-formula values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from golden import golden_images, golden_variables
from random_variables import completed
from recordings import SMALL, WIDE, recording

from jknas.errors import ProxyError
from jknas.networks.darts import TenasDartsNetwork
from jknas.networks.nasbench201.network import CellNetwork
from jknas.proxies import Batch, NetworkProxy, get
from jknas.proxies.naswot import agreement, block_kernels, log_determinant, measure
from jknas.spaces.nasbench201.index import genotype_at

KEY = jax.random.key(0)
MIXED, NOTHING = "A_g06_mix5ops", "A_g04_allnone"
OTHERS = [name for name in SMALL + WIDE if name not in {MIXED, NOTHING}]


@functools.partial(quick_jit, static_argnums=0)
def by_block(network, params, x, code):
    return block_kernels(network, params, code, x)


def kernel(*arguments):
    return sum(np.asarray(share) for share in by_block(*arguments).values())


def written_out(values):
    on = (np.asarray(values).reshape(len(values), -1) > 0).astype(int)
    return on @ on.T + (1 - on) @ (1 - on).T


def test_agreement_is_the_definition(rng):
    values = rng.standard_normal((5, 3, 4, 2)).astype(np.float32)
    values[:, 0] = 0  # a unit at zero is off
    np.testing.assert_array_equal(agreement(jnp.asarray(values)), written_out(values))


def test_too_many_units():
    with pytest.raises(ValueError, match="16777216 units in one layer cannot be counted exactly in float32"):
        jax.eval_shape(agreement, jax.ShapeDtypeStruct((2, 2**24), jnp.float32))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", [NOTHING, *(pytest.param(name, marks=pytest.mark.slow) for name in (MIXED, *OTHERS))])
def test_the_kernel_is_the_recorded_one(fixtures_folder, name):
    recorded = recording(fixtures_folder, name)
    params = completed(recorded.network, recorded.variables())["params"]
    shares = by_block(recorded.network, params, recorded.images(), jnp.asarray(recorded.genotype.code))
    # The recording went through the network twice with the hooks in place, the second time without the last ReLU.
    found = 2 * sum(np.asarray(share) for share in shares.values()) - np.asarray(shares["last_norm"])
    np.testing.assert_array_equal(found, recorded.arrays["naswot/K_f64"])
    outcome = log_determinant(found)
    assert outcome.score == pytest.approx(float(recorded.arrays["naswot/logdet_f64"]), rel=1e-12)
    assert outcome.status == ("ok" if np.isfinite(outcome.score) else "saturated")


@pytest.mark.usefixtures("float64")
def test_order_does_not_matter_and_duplicates_are_singular(fixtures_folder, rng):
    recorded = recording(fixtures_folder, MIXED)
    params, code = completed(recorded.network, recorded.variables())["params"], jnp.asarray(recorded.genotype.code)
    x = recorded.images().at[3].set(recorded.images()[0])
    usual = kernel(recorded.network, params, x, code)
    order = rng.permutation(len(x))
    shuffled = kernel(recorded.network, params, x[order], code)
    np.testing.assert_array_equal(shuffled, usual[order][:, order])
    twice = log_determinant(usual)
    assert (twice.score, twice.status) == (-np.inf, "saturated")


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("index", "expected"),
    [(284, 93.4360864), pytest.param(11, 100.752470, marks=pytest.mark.slow), pytest.param(1462, 105.976613, marks=pytest.mark.slow)],
)
def test_the_published_network_has_the_documented_value(index, expected):
    genotype, network = genotype_at(index), CellNetwork()
    params = golden_variables(network, genotype)["params"]
    batch = Batch(golden_images(8, 32), jnp.zeros(8, int))
    found = jax.jit(lambda params: measure(network, params, genotype, batch, KEY))(params)
    assert log_determinant(found).score == pytest.approx(expected, abs=6e-7 if index == 284 else 6e-6)


def test_the_proxy():
    proxy = get("naswot")
    assert (proxy.batch_size, proxy.higher_is_better, proxy.needs_labels, type(proxy)) == (128, True, False, NetworkProxy)


def test_another_network_is_refused_with_what_to_write():
    words = r"naswot'? needs the capability 'observable', which TenasDartsNetwork lacks: give the class the method walk\("
    with pytest.raises(ProxyError, match=words):
        get("naswot").check(TenasDartsNetwork(), {})
    with pytest.raises(ProxyError, match=words):
        measure(TenasDartsNetwork(), {}, None, Batch(np.zeros((1, 8, 8, 3)), np.zeros(1, int)), KEY)
