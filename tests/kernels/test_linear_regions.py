"""Region counts against brute force, and the inputs that TE-NAS counts them over."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from thin_reference import distinct

from jknas.kernels.linear_regions import LinearRegions, count_distinct, count_patterns, linear_regions, pack_words, tenas_crops

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
