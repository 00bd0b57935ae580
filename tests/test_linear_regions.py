"""Region counts against brute force, recorded and golden numbers, and the thin network they are counted on."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from recorded import SMALL
from thin_reference import from_state, golden_params, hooked_bits, reference

from jknas.genotype import CellGenotype
from jknas.kernels.linear_regions import LinearRegions, count_distinct, count_patterns, linear_regions, pack_words, tenas_crops
from jknas.networks.thin_cell import ThinCellNetwork, live_operations

NETWORK = ThinCellNetwork()
TRACES = collections.Counter()


def distinct(rows):
    return len({tuple(row) for row in np.asarray(rows).tolist()})


# ---- counting


BITS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70), elements=st.booleans(), fill=st.just(False))


def compiled_count(bits):
    """Count in a program of one shape: rows are repeated and columns of zeros added."""
    wide = np.zeros((140, 145), bool)
    wide[:, : bits.shape[1]] = np.resize(bits, (140, bits.shape[1]))
    found = _compiled_count(jnp.asarray(wide))
    assert int(found.non_finite) == 0
    return int(found.patterns)


_compiled_count = jax.jit(count_patterns)


@given(BITS, st.integers(1, 80))
def test_both_counts_are_those_of_brute_force(bits, chunk_size):
    expected, values = distinct(bits), np.where(bits, 0.5, 0.0)
    found = linear_regions(lambda x: [x[:, ::2], {"rest": x[:, 1::2, None]}], values, chunk_size=chunk_size)
    assert found == LinearRegions(expected, *bits.shape, non_finite=0)
    assert compiled_count(bits) == expected


@given(BITS, st.integers(0, 99))
def test_order_repetition_and_constant_units_do_not_count(bits, seed):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(len(bits), size=2 * len(bits)), rng.permutation(bits.shape[1])
    rows[: len(bits)] = rng.permutation(len(bits))
    more = np.concatenate([bits[rows][:, columns], np.ones((len(rows), 3), bool), bits[rows]], axis=1)
    assert compiled_count(more) == linear_regions(np.asarray, more).count == distinct(bits)


def test_words_hold_the_bits_in_order():
    bits = np.zeros((2, 33), bool)
    bits[0, [0, 5]], bits[1, [31, 32]] = True, True
    np.testing.assert_array_equal(pack_words(jnp.asarray(bits)), np.array([[33, 0], [2**31, 1]], np.uint32))
    assert pack_words(jnp.asarray(bits)).dtype == jnp.uint32


def test_rows_that_differ_in_any_one_word_are_told_apart():
    base = np.random.default_rng(0).integers(0, 2**32, 7, np.uint32)
    rows = np.stack([base, *(base ^ np.eye(7, dtype=np.uint32)[word] * np.uint32(2**31) for word in range(7)), base])
    assert int(count_distinct(jnp.asarray(rows))) == 8
    assert int(count_distinct(jnp.zeros((4, 0), jnp.uint32))) == 1
    assert int(count_distinct(jnp.zeros((0, 3), jnp.uint32))) == 0
    many = jax.vmap(count_distinct)(jnp.asarray(np.stack([rows, np.repeat(rows[:1], 9, 0)])))
    assert many.tolist() == [8, 1]


def test_a_hundred_thousand_inputs_go_through_in_chunks():
    codes = np.random.default_rng(0).integers(0, 60_000, 100_000)
    longest = []

    def activations(chunk):
        longest.append(len(chunk))
        return [(chunk[:, None] >> np.arange(16)) & 1, np.ones((len(chunk), 101))]

    found = linear_regions(activations, codes, chunk_size=3000)
    assert found == LinearRegions(len(np.unique(codes)), 100_000, 117, 0)
    assert max(longest) == 3000
    assert sum(longest) == 100_000


def test_a_unit_is_on_above_zero_before_and_after_the_relu():
    values = np.array([[-0.0, 1e-300], [0.0, 2.0], [-3.0, np.finfo(float).tiny]])
    assert linear_regions(lambda x: x, values).count == 1
    assert linear_regions(lambda x: np.maximum(x, 0), values).count == 1
    assert linear_regions(lambda x: x, np.array([[0.0], [1e-300]])).count == 2


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (LinearRegions(5, 9, 4, 0), "ok"),
        (LinearRegions(9, 9, 4, 0), "saturated"),
        (LinearRegions(1, 1, 4, 0), "saturated"),
        (LinearRegions(1, 9, 4, 0), "dead"),
        (LinearRegions(1, 9, 0, 0), "dead"),
        (LinearRegions(1, 1, 0, 0), "dead"),
        (LinearRegions(5, 9, 4, 1), "non_finite"),
    ],
)
def test_what_a_count_says(found, status):
    assert found.status == status


def test_a_network_without_units_has_one_region():
    assert linear_regions(lambda _: [], np.ones((4, 2))) == LinearRegions(1, 4, 0, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_reported(bad):
    values = np.array([[1.0, 2.0], [bad, bad], [1.0, bad], [-1.0, 2.0]])
    for library in (np.asarray, jnp.asarray):
        found = linear_regions(lambda x: (x[:, :1], x[:, 1:]), library(values), chunk_size=3)
        assert (found.non_finite, found.status) == (2, "non_finite")
    assert int(count_patterns((jnp.asarray(values[:, :1]), jnp.asarray(values[:, 1:]))).non_finite) == 2


@pytest.mark.parametrize(
    ("activations", "x", "chunk_size", "message"),
    [
        (np.asarray, np.ones((3, 1)), 0, "chunk_size must be at least 1, got 0"),
        (np.asarray, np.ones((0, 1)), 1, r"no inputs to count regions over: x has shape \(0, 1\)"),
        (np.transpose, np.ones((3, 2)), 3, r"one row per input, \[3, ...\], but one has shape \(2, 3\); return the inputs or outputs of"),
        (np.sum, np.ones((3, 2)), 3, r"one row per input, \[3, ...\], but one has shape \(\)"),
        (lambda x: x[:, : int(x[0, 0])], np.array([[1.0, 1.0], [2.0, 1.0]]), 1, "1 units in the first chunk and 2 in a later"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted(activations, x, chunk_size, message):
    with pytest.raises(ValueError, match=message):
        linear_regions(activations, x, chunk_size=chunk_size)


@pytest.mark.parametrize(
    ("activations", "message"),
    [
        ([], "no activations to count patterns of"),
        ([jnp.ones((2, 3)), jnp.ones((3, 2))], r"\[2, ...\], but one has shape \(3, 2\)"),
        ([jnp.ones(())], r"\[n, ...\], but one has shape \(\)"),
    ],
)
def test_what_cannot_be_counted_in_a_program(activations, message):
    with pytest.raises(ValueError, match=message):
        count_patterns(activations)


# ---- inputs


def located(patch, images, mean, std):
    """Return (image, row, column, channel) of a patch of images in which no pixel value comes twice."""
    found = []
    for channel, (centre, spread) in enumerate(zip(mean, std, strict=True)):
        pixels = (patch[..., 0].astype(np.float64) * spread + centre) * 255
        if np.abs(pixels - pixels.round()).max() < 1e-3:
            image, row, column, _ = np.argwhere(images == pixels[0, 0].round())[0]
            window = images[image, row : row + len(patch), column : column + len(patch), channel]
            found += [(image, row, column, channel)] if np.array_equal(window, pixels.round()) else []
    assert len(found) == 1
    return found[0]


def test_crops_are_normalised_windows_of_one_channel():
    images = np.arange(2 * 5 * 4 * 3, dtype=np.uint8).reshape(2, 5, 4, 3)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.25, 1.7)
    patches = tenas_crops(images, np.random.default_rng(0), 600, mean=mean, std=std)
    assert (patches.shape, patches.dtype) == ((600, 3, 3, 1), np.float32)
    places = collections.Counter(located(patch, images, mean, std) for patch in patches)
    # Every window comes, up to the borders, and none much more often than the others: 600 draws of 36.
    assert set(places) == {(i, r, c, k) for i in range(2) for r in range(3) for c in range(2) for k in range(3)}
    assert max(places.values()) < 3 * 600 / 36


def test_no_image_comes_twice_before_each_came_once():
    images = np.broadcast_to(np.arange(50, dtype=np.uint8)[:, None, None, None], (50, 4, 4, 1))
    drawn = tenas_crops(images, np.random.default_rng(0), 120, mean=(0.0,), std=(1 / 255,))[:, 0, 0, 0].round().astype(int)
    assert sorted(drawn[:50]) == sorted(drawn[50:100]) == list(range(50))
    assert len(set(drawn[100:])) == 20
    assert not np.array_equal(drawn[:50], drawn[50:100])


def test_crops_follow_the_generator():
    images = np.random.default_rng(1).integers(0, 256, (9, 6, 6, 3), np.uint8)
    one, same, other = (tenas_crops(images, np.random.default_rng(seed), 5, mean=(0, 0, 0), std=(1, 1, 1), size=6) for seed in (0, 0, 1))
    assert one.shape == (5, 6, 6, 1)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rng": 3}, TypeError, r"rng must be a numpy.random.Generator, got int; make one with numpy.random.default_rng\(seed\)"),
        ({"images": np.zeros((2, 5, 5, 3))}, ValueError, r"images must be uint8 \[m, h, w, c\] with m >= 1, got float64 \(2, 5, 5, 3\)"),
        ({"images": np.zeros((0, 5, 5, 3), np.uint8)}, ValueError, r"images must be uint8"),
        ({"images": np.zeros((5, 5, 3), np.uint8)}, ValueError, r"images must be uint8"),
        ({"mean": (0.0,)}, ValueError, "the images have 3 channels, but mean has 1 entries and std 3; give one per channel"),
        ({"std": (1.0,)}, ValueError, "mean has 3 entries and std 1"),
        ({"n": 0}, ValueError, "n must be at least 1 .*got n=0"),
        ({"size": 6}, ValueError, "size between 1 and 5, the images' side; got n=4, size=6"),
    ],
)
def test_crops_of_what_does_not_fit(change, error, message):
    arguments = {"images": np.zeros((2, 5, 6, 3), np.uint8), "rng": np.random.default_rng(0), "n": 4, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    arguments |= change
    with pytest.raises(error, match=message):
        tenas_crops(arguments.pop("images"), arguments.pop("rng"), arguments.pop("n"), **arguments)


# ---- the thin network


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
    with np.load(folder / "_lrc_inputs.npz") as file:
        return jnp.asarray(file["inputs_nchw"].transpose(0, 1, 3, 4, 2).reshape(3000, 3, 3, 1), float)


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
    with np.load(fixtures_folder / f"{name}.npz") as file:
        recorded = dict(file)
    params = from_state({key.removeprefix("lrc_sd/"): value for key, value in recorded.items() if key.startswith("lrc_sd/")})
    mixture = jax.nn.softmax(jnp.asarray(recorded["lrc_sd/arch_parameters"], float))
    np.testing.assert_array_equal(mixture.argmax(1), CellGenotype.parse(str(recorded["genotype"])).code)
    found, bits = counted(params, recorded_inputs(fixtures_folder), mixture)
    assert found.count == int(recorded["lrc/count_f64"]) == int(recorded["lrc/unique_rows_f64"])
    assert bits.shape == (3000, int(recorded["lrc/n_neuron"])) == (3000, int(NETWORK.relu_units(mixture)))
    np.testing.assert_array_equal(np.packbits(bits, axis=1), recorded["lrc/bits_f64"])
    assert found.status == ("dead" if name == "A_g04_allnone" else "ok")


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("group", ["full", "pruned3"])
def test_the_recorded_supernet_has_the_recorded_regions(fixtures_folder, group):
    with np.load(fixtures_folder / "_tenas_thin_supernet.npz") as file:
        recorded = dict(file)
    params = from_state({key.removeprefix("sd/"): value for key, value in recorded.items() if key.startswith("sd/")})
    mixture = jax.nn.softmax(jnp.asarray(recorded[f"{group}/alphas"], float))
    found, bits = counted(params, recorded_inputs(fixtures_folder), mixture)
    assert found.count == int(recorded[f"{group}/count_f64"])
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
