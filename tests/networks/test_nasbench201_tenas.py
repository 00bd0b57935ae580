"""TE-NAS's thin network against its definition in NumPy, and its regions against recorded and golden numbers."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from recordings import SMALL, load
from thin_reference import distinct, from_state, golden_params, hooked_bits, reference

from jknas.kernels.linear_regions import count_patterns, linear_regions
from jknas.networks.nasbench201.tenas import ThinCellNetwork, live_operations
from jknas.spaces.nasbench201.genotype import CellGenotype

NETWORK = ThinCellNetwork()
TRACES = collections.Counter()


@functools.partial(jax.jit, static_argnums=0)
def outcome(network, params, x, wiring):
    """Logits, activations and count in one program."""
    TRACES[wiring.shape] += 1
    activations = network.activations(params, x, wiring)
    return network.apply(params, x, wiring), activations, count_patterns(activations)


@functools.cache
def random_params(seed=0):
    """Nothing special: random scales and shifts too. In float64, as all that is compared with the reference."""
    assert jax.config.jax_enable_x64
    rng, params = np.random.default_rng(seed), NETWORK.init(jax.random.key(seed))
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype), params)


def patches(seed, n=40):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((n, 3, 3, 1)))


WEIGHTS = arrays(float, (6, 5), elements=st.sampled_from([0.0, 0.0, 0.01, 0.0101, 0.25, 1.0]))


def check_against_reference(params, x, wiring, weights):
    logits, activations, counted = outcome(NETWORK, params, x, wiring)
    expected_logits, hooked = reference(params, x, weights)
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(hooked_bits(np.asarray(live_operations(wiring)), activations), hooked > 0)
    assert int(counted.patterns) == distinct(hooked > 0)
    assert int(counted.non_finite) == 0
    assert int(NETWORK.relu_units(wiring)) == hooked.shape[1]
    return activations


@pytest.mark.usefixtures("float64")
@settings(max_examples=40)
@given(WEIGHTS, st.integers(0, 2))
def test_mixtures_execute_their_live_operations_and_no_others(weights, seed):
    check_against_reference(random_params(seed), patches(seed), jnp.asarray(weights), weights)


@pytest.mark.usefixtures("float64")
@settings(max_examples=12)
@given(st.tuples(*[st.integers(0, 4)] * 6), st.integers(0, 2))
def test_codes_and_genotypes_are_mixtures_of_one_operation(code, seed):
    params, x, weights = random_params(seed), patches(seed), np.eye(5)[list(code)]
    activations = check_against_reference(params, x, jnp.asarray(code), weights)
    genotype = CellGenotype.from_code(code)
    # Only what the genotype uses is there, and that is the same, from the full parameters and from its own.
    wanted = {f"edge_{edge}_{name}" for edge, name in zip(("1_0", "2_0", "2_1", "3_0", "3_1", "3_2"), genotype.operations, strict=True)}
    own = params | {"cell": {name: layer for name, layer in params["cell"].items() if name in wanted}}
    read = [any(code[edge] in {2, 3} for edge in edges) for edges in ((0, 1, 3), (2, 4), (5,))]
    for some in (params, own):
        found = NETWORK.activations(some, x, genotype)
        kept = [node for node, used in zip(activations, (*read, True), strict=True) if used]
        assert len(found) == len(kept)
        for one, other in zip(found, kept, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
    for node, used in zip(activations, read, strict=False):
        assert used or not np.asarray(node).any()
    assert NETWORK.relu_units(genotype) == NETWORK.relu_units(jnp.asarray(code))


def test_all_codes_share_a_compilation_and_so_do_all_mixtures(float64):
    params, x = random_params(), patches(1)
    for seed in range(2):
        outcome(NETWORK, params, x, jnp.asarray(np.random.default_rng(seed).integers(0, 5, 6)))
        outcome(NETWORK, params, x, jnp.asarray(np.random.default_rng(seed).random((6, 5))))
    before = dict(TRACES)
    for seed in range(2, 9):
        outcome(NETWORK, params, x, jnp.asarray(np.random.default_rng(seed).integers(0, 5, 6)))
        outcome(NETWORK, params, x, jnp.asarray(np.random.default_rng(seed).random((6, 5))))
    assert before == dict(TRACES)
    assert set(TRACES) == {(6,), (6, 5)}


def test_codes_out_of_range_are_clipped_when_traced(float64):
    params, x = random_params(), patches(1)
    beyond, last = (outcome(NETWORK, params, x, jnp.asarray(code))[0] for code in ([3, 7, -2, 1, 1, 2], [3, 4, 0, 1, 1, 2]))
    np.testing.assert_array_equal(beyond, last)


def test_candidates_may_be_batched(float64):
    params, x, weights = random_params(), patches(2), np.random.default_rng(0).random((3, 6, 5)) * (np.arange(5) != 2)
    counts = jax.jit(jax.vmap(lambda one: count_patterns(NETWORK.activations(params, x, one)).patterns))(jnp.asarray(weights))
    assert counts.tolist() == [distinct(reference(params, x, one)[1] > 0) for one in weights]


def test_a_weight_that_is_no_number_comes_through(float64):
    weights = np.full((6, 5), 0.25)
    weights[3, 2] = np.nan
    logits, _, counted = outcome(NETWORK, random_params(), patches(3), jnp.asarray(weights))
    assert np.isnan(logits).all()
    assert int(counted.non_finite) == 40


def test_initial_parameters_are_the_cut_full_set():
    genotype = CellGenotype.from_code((3, 0, 2, 1, 4, 3))
    full, own = NETWORK.init(jax.random.key(3)), NETWORK.init(jax.random.key(3), genotype)
    assert set(own["cell"]) == {"edge_1_0_nor_conv_3x3", "edge_2_1_nor_conv_1x1", "edge_3_2_nor_conv_3x3"}
    assert len(full["cell"]) == 12
    jax.tree.map(np.testing.assert_array_equal, own, full | {"cell": {name: full["cell"][name] for name in own["cell"]}})
    bound = 1 / 3  # of a 3x3 kernel of one channel, PyTorch's default
    kernels = np.stack([layer["kernel"] for name, layer in full["cell"].items() if name.endswith("3x3")])
    assert 0.9 * bound < np.abs(kernels).max() <= bound
    assert np.abs(NETWORK.init(jax.random.key(3), scheme="he_normal")["classifier_bias"]).max() == 0


@pytest.mark.parametrize(
    ("compute", "error", "message"),
    [
        (lambda: ThinCellNetwork(channels=0), ValueError, "channels must be a positive integer, got 0"),
        (lambda: NETWORK.init(jax.random.key(0), scheme="kaiming"), ValueError, "initialisation 'kaiming' is not known"),
        (
            lambda: NETWORK.apply({}, jnp.ones((2, 3, 3, 3)), jnp.zeros(6, int)),
            ValueError,
            r"inputs must be .* 1\], got \(2, 3, 3, 3\); tenas",
        ),
        (lambda: NETWORK.apply({}, jnp.ones((2, 3, 3, 1)), "|none~0|"), TypeError, "wiring is a string; parse it first"),
        (lambda: live_operations(jnp.zeros((5, 6))), ValueError, "wiring must be a CellGenotype, a code"),
        (
            lambda: NETWORK.apply(
                NETWORK.init(jax.random.key(0), CellGenotype.from_code((1,) * 6)), jnp.ones((2, 3, 3, 1)), jnp.zeros(6, int)
            ),
            ValueError,
            "params hold no edge_1_0_nor_conv_1x1, which the wiring may execute; draw the parameters for this genotype, or without one",
        ),
    ],
)
def test_arguments_that_do_not_fit(compute, error, message):
    with pytest.raises(error, match=message):
        compute()


# ---- recorded and golden counts


def recorded_inputs(folder):
    """Three batches of 1,000 in one array; the batch is what is normalised over."""
    return jnp.asarray(load(folder, "_lrc_inputs")["inputs_nchw"].transpose(0, 1, 3, 4, 2).reshape(3000, 3, 3, 1), float)


def released_count(bits):
    """Count as the released code does: the sum over inputs of one over the inputs of the same pattern, in float32."""
    on = np.asarray(bits, np.float32)
    apart = on @ (1 - on).T
    alike = (apart + apart.T == 0).sum(1).astype(np.float32)
    return functools.reduce(np.add, np.float32(1) / alike, np.float32(0))


def rounded(count):
    """Return a released count as the whole number that it is but for rounding, where ``int`` would lose one."""
    assert abs(float(count) - round(float(count))) < 0.01
    return round(float(count))


def test_a_released_count_is_whole_up_to_rounding_only():
    """64 patterns that occur 1 to 64 times: the sum of 2,080 reciprocals stays below 64."""
    patterns = (np.arange(64)[:, None] >> np.arange(6)) & 1
    bits = np.repeat(patterns, np.arange(1, 65), axis=0)
    found = float(released_count(bits))
    assert found != 64
    assert rounded(found) == 64
    assert linear_regions(lambda batch: batch, jnp.asarray(bits), chunk_size=500).count == 64


_activations = jax.jit(NETWORK.activations)


def counted(params, x, wiring):
    """Return the count, checked against the compiled one, and the bits in the released order."""
    batches = [_activations(params, batch, wiring) for batch in x.reshape(3, 1000, 3, 3, 1)]
    found = linear_regions(lambda batch: _activations(params, batch, wiring), x, chunk_size=1000)
    together = jax.jit(count_patterns)(jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *batches))
    assert (int(together.patterns), int(together.non_finite)) == (found.count, 0)
    assert found.non_finite == 0
    live = np.asarray(live_operations(wiring))
    return found, np.concatenate([hooked_bits(live, batch) for batch in batches])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", SMALL)
def test_recorded_cells_have_the_recorded_regions(fixtures_folder, name):
    recorded = load(fixtures_folder, name)
    params = from_state({key.removeprefix("lrc_sd/"): value for key, value in recorded.items() if key.startswith("lrc_sd/")})
    mixture = jax.nn.softmax(jnp.asarray(recorded["lrc_sd/arch_parameters"], float))
    np.testing.assert_array_equal(mixture.argmax(1), CellGenotype.parse(str(recorded["genotype"])).code)
    found, bits = counted(params, recorded_inputs(fixtures_folder), mixture)
    assert found.count == rounded(recorded["lrc/count_f64"]) == rounded(recorded["lrc/count_f32"])
    assert found.count == int(recorded["lrc/unique_rows_f64"]) == rounded(released_count(bits))
    assert bits.shape == (3000, int(recorded["lrc/n_neuron"])) == (3000, int(NETWORK.relu_units(mixture)))
    np.testing.assert_array_equal(np.packbits(bits, axis=1), recorded["lrc/bits_f64"])
    assert found.status == ("dead" if name == "A_g04_allnone" else "ok")


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("group", ["full", "pruned3"])
def test_the_recorded_supernet_has_the_recorded_regions(fixtures_folder, group):
    recorded = load(fixtures_folder, "_tenas_thin_supernet")
    params = from_state({key.removeprefix("sd/"): value for key, value in recorded.items() if key.startswith("sd/")})
    mixture = jax.nn.softmax(jnp.asarray(recorded[f"{group}/alphas"], float))
    found, bits = counted(params, recorded_inputs(fixtures_folder), mixture)
    assert found.count == rounded(recorded[f"{group}/count_f64"]) == rounded(recorded[f"{group}/count_f32"])
    assert found.count == rounded(released_count(bits))
    assert bits.shape[1] == int(recorded[f"{group}/n_neuron"])
    np.testing.assert_array_equal(np.packbits(bits, axis=1), recorded[f"{group}/bits_f64"])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("live", "units", "regions"), [((1, 2, 3, 4), 117, 551), ((3,), 63, 664), ((2,), 63, 745), ((1,), 9, 49), ((4,), 9, 52)]
)
def test_the_golden_network_has_the_documented_regions(live, units, regions):
    weights = np.zeros((6, 5))
    weights[:, live] = 1 / len(live)
    k = np.arange(27_000, dtype=np.float64)
    x = jnp.asarray(np.sin(0.37 * k + 1e-5 * k**2).reshape(3000, 3, 3, 1))  # one channel: channels first and last are the same
    found, bits = counted(golden_params(NETWORK), x, jnp.asarray(weights))
    assert (found.count, bits.shape[1]) == (regions, units)
    assert found.status == "ok"
