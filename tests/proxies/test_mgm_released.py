"""The statistic of the released KNAS code under both behaviours of PyTorch, against numbers that this code computed.

The recordings are from PyTorch 2, where the 50 stored slices are true gradients of single examples. Under PyTorch 1 the same code holds
50 views of one buffer: the recorded gradient of the last example, 50 times.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_variables import completed
from recordings import SMALL, WIDE, fifty_examples, recording
from tolerances import relative_error

from jknas import proxies
from jknas.kernels.objectives import per_example
from jknas.networks.nasbench201.torch_order import leading_entries, tensors

CASES = [("genotype", "A_g06_mix5ops"), ("genotype", "A_g04_allnone")]
# One program serves the codes of all cells of a size, but it takes long to compile.
CASES += [pytest.param("code", name, marks=pytest.mark.slow) for name in SMALL + WIDE]
SECOND = [pytest.param("genotype", "A_g06_mix5ops", marks=pytest.mark.slow), *CASES[1:]]
"""The fast suite asks one question of the larger cell."""
EXACT = 1e-9
"""Float64 against PyTorch's float64; seen: 2e-13."""
ROUNDED = 1e-7
"""Against float64 numbers that are recorded in float32."""


@functools.partial(jax.jit, static_argnums=(0, 1), static_argnames="genotype")
def scored(name, network, params, batch, *, code=None, genotype=None):
    proxy, wiring = proxies.get(name), code if genotype is None else genotype
    return proxy.measure(network, params, wiring, batch, jax.random.key(0), **proxy.settings)


@functools.partial(jax.jit, static_argnums=0, static_argnames="genotype")
def example_entries(network, params, batch, *, code=None, genotype=None):
    """Return the entries ``[50, m, 50]`` of every tensor that the wiring may use, and which ``[m]`` are taken."""
    wiring = code if genotype is None else genotype

    def one(x, label):
        def loss(params):
            return per_example(network.apply(params, x[None], wiring, statistics="example"), label[None])[0]

        gradient = jax.grad(loss)(params)
        return leading_entries(network, gradient, wiring, entries=50, tensors_taken=11)

    entries, taken = jax.lax.map(lambda example: one(*example), tuple(batch))
    return entries, taken[0]


def released(rows):
    """Write the loop of the released code out: ``rows`` [tensors, 50 examples, 50 entries], in the dtype that they have."""
    total = rows.dtype.type(0)
    for tensor in rows:
        a, b = tensor[:25], tensor[25:]
        total += ((a - a.mean(0)) * (b - b.mean(0))).sum() / rows.dtype.type(2500)
    return total


def prepared(folder, kind, name):
    """Return the recording and what ``scored`` takes from the network on; a code is traced, a genotype is compiled in."""
    recorded = recording(folder, name)
    variables, batch = recorded.variables(), proxies.Batch(*fifty_examples(folder))
    if kind == "genotype":
        return recorded, (recorded.network, variables["params"], batch), {"genotype": recorded.genotype}
    wiring = {"code": jnp.asarray(recorded.genotype.code, jnp.int32)}
    return recorded, (recorded.network, completed(recorded.network, variables)["params"], batch), wiring


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_statistic_under_pytorch_2(fixtures_folder, kind, name):
    recorded, arguments, wiring = prepared(fixtures_folder, kind, name)
    found = float(scored("mgm_released", *arguments, **wiring))
    # The halves cancel; the sum of magnitudes is the scale of the rounding.
    scale = np.abs(recorded.arrays["knas/components_f64"]).sum()
    assert abs(found - float(recorded.arrays["knas/official_f64"])) <= EXACT * scale


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("kind", "name"), SECOND)
def test_the_statistic_under_pytorch_1(fixtures_folder, kind, name):
    recorded, arguments, wiring = prepared(fixtures_folder, kind, name)
    last = recorded.arrays["knas/last_example_f64"]
    found = float(scored("mgm_released_aliased", *arguments, **wiring))
    assert found == pytest.approx(np.square(last).sum(), rel=EXACT, abs=1e-30)
    # The released loop on the aliased slices leaves the rounding of a mean of 25 equal numbers, which grows with their squares.
    residue = released(np.repeat(last.astype(np.float32)[:, None], 50, axis=1))
    assert 0 <= residue <= 1e-13 * found


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("kind", "name"), SECOND)
def test_it_looks_at_the_entries_that_the_released_code_looks_at(fixtures_folder, kind, name):
    recorded, arguments, wiring = prepared(fixtures_folder, kind, name)
    entries, taken = example_entries(*arguments, **wiring)
    taken = np.asarray(taken).astype(bool)
    found, names = np.asarray(entries)[:, taken].swapaxes(0, 1), recorded.arrays["knas/names"]
    assert relative_error(found, recorded.arrays["knas/trunc_grads_f32"], floor=1e-12) <= ROUNDED
    assert relative_error(found[:, -1], recorded.arrays["knas/last_example_f64"], floor=1e-12) <= EXACT
    a, b = found[:, :25], found[:, 25:]
    components = ((a - a.mean(1, keepdims=True)) * (b - b.mean(1, keepdims=True))).sum(1) / 2500
    assert relative_error(components, recorded.arrays["knas/components_f64"], floor=1e-20) <= EXACT
    assert released(found) == pytest.approx(float(recorded.arrays["knas/official_f64"]), abs=EXACT * np.abs(components).sum())
    # Four channels have fewer than eleven tensors of 50 entries; whose they are, their names say.
    eligible = [tensor.name for tensor in tensors(recorded.network, recorded.genotype) if tensor.name in names]
    assert eligible == list(names)
    assert len(names) <= 11
