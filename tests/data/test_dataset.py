import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jknas.data import Dataset, batch
from jknas.data.dataset import channel_constants
from jknas.data.resizing import resize
from jknas.data.splits import balanced_halves, balanced_order, benchmark_halves, check_limit, read_benchmark_file
from jknas.errors import DataError


def make(**changes):
    rng = np.random.default_rng(0)
    fields = {
        "name": "made",
        "num_classes": 3,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
        "crop_padding": 1,
        "horizontal_flip": True,
        "source": "a test",
    }
    for split, count in (("train", 12), ("validation", 6), ("test", 5)):
        fields[f"x_{split}"] = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        fields[f"y_{split}"] = (np.arange(count) % 3).astype(np.int32)
    return Dataset(**{**fields, **changes})


def test_a_data_set_knows_its_sizes_and_is_frozen():
    dataset = make()
    assert (dataset.resolution, dataset.channels) == (8, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"
    with pytest.raises(ValueError, match="read-only"):
        dataset.x_train[0] = 0


def test_making_a_data_set_leaves_the_callers_arrays_writable():
    images = np.zeros((12, 8, 8, 3), np.uint8)
    dataset = make(x_train=images)
    images[0] = 1
    assert not dataset.x_train.flags.writeable


BAD_FIELDS = {
    "float pixels": ({"x_train": np.zeros((12, 8, 8, 3))}, "x_train: dtype float64; expected uint8 pixels 0..255: multiply by 255"),
    "int pixels": ({"x_test": np.zeros((5, 8, 8, 3), np.int64)}, "x_test: dtype int64; expected uint8"),
    "no channel axis": ({"x_train": np.zeros((12, 8, 8), np.uint8)}, r"expected four axes \[N, H, W, C\]; add a channel axis"),
    "channels first": ({"x_train": np.zeros((12, 3, 8, 8), np.uint8)}, r"transpose\(0, 2, 3, 1\)"),
    "not square": ({"x_train": np.zeros((12, 8, 6, 3), np.uint8)}, "expected square images"),
    "empty": ({"x_validation": np.zeros((0, 8, 8, 3), np.uint8)}, "x_validation: shape .* holds no pixels"),
    "a list": ({"x_train": [[1]]}, "came as list; expected a numpy array"),
    "other size": ({"x_test": np.zeros((5, 9, 9, 3), np.uint8)}, "all splits need one height"),
    "float labels": ({"y_train": np.zeros(12)}, r"y_train: dtype float64; expected integer labels"),
    "int64 labels": ({"y_train": np.zeros(12, np.int64)}, r"expected int32: convert with y.astype\(np.int32\)"),
    "one-hot labels": ({"y_train": np.zeros((12, 3), np.int32)}, r"y.argmax\(axis=1\)"),
    "column labels": ({"y_train": np.zeros((12, 1), np.int32)}, r"y.reshape\(-1\)"),
    "label list": ({"y_train": [0] * 12}, "came as list; expected a numpy array of integer labels"),
    "label count": ({"y_test": np.zeros(4, np.int32)}, "y_test: 4 labels for 5 images"),
    "label too large": ({"y_test": np.full(5, 3, np.int32)}, r"labels run from 3 to 3; expected 0..2 \(3 classes\)"),
    "label negative": ({"y_test": np.full(5, -1, np.int32)}, "labels run from -1 to -1"),
    "one class": ({"num_classes": 1}, "at least 2"),
    "short mean": ({"mean": (0.5,)}, "mean has 1 values; expected one per channel, that is 3"),
    "mean in 0..255": ({"mean": (125.0, 120.0, 110.0)}, "divide 0..255 values by 255"),
    "std nan": ({"std": (0.2, float("nan"), 0.2)}, "std is .*finite"),
    "std zero": ({"std": (0.2, 0.0, 0.2)}, "every channel needs a value above 0"),
    "padding": ({"crop_padding": -1}, "crop_padding is -1"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_a_field_that_does_not_fit_is_refused_with_the_fix(changes, message):
    with pytest.raises(DataError, match=message):
        make(**changes)


def test_normalise_is_the_formula_in_float64():
    dataset = make()
    expected = (dataset.x_test / 255.0 - np.asarray(dataset.mean)) / np.asarray(dataset.std)
    normalised = dataset.normalise(dataset.x_test)
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised, expected, atol=2e-6)


@pytest.mark.parametrize("images", [np.zeros((2, 8, 8, 1), np.uint8), np.zeros((2, 8, 8, 3), np.float32)])
def test_normalise_refuses_other_channels_and_floats(images):
    with pytest.raises(DataError, match="images to normalise"):
        make().normalise(images)


def test_the_digest_follows_everything_that_a_score_depends_on_and_nothing_else():
    first, same = make(), make(name="renamed", source="elsewhere")
    assert first.digest == same.digest
    assert len(first.digest) == 64
    pixel = first.x_train.copy()
    pixel[3, 2, 1, 0] ^= 1
    others = [make(x_train=pixel), make(mean=(0.5, 0.4, 0.31)), make(crop_padding=2), make(horizontal_flip=False), make(num_classes=4)]
    assert len({first.digest, *(other.digest for other in others)}) == 6


def test_an_unknown_split_is_named():
    with pytest.raises(DataError, match="no split 'valid'; expected one of train, validation, test"):
        make().split("valid")


def test_channel_constants_agree_with_numpy():
    images = make().x_train
    mean, std = channel_constants(images)
    np.testing.assert_allclose(mean, (images / 255.0).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255.0).std(axis=(0, 1, 2)), rtol=1e-12)


def test_a_batch_is_fixed_by_its_seed_and_has_no_repeats():
    dataset = make()
    x, y = batch(dataset, 12, seed=3)
    again_x, again_y = batch(dataset, 12, seed=3)
    np.testing.assert_array_equal(x, again_x)
    np.testing.assert_array_equal(y, again_y)
    assert (x.dtype, y.dtype, x.shape) == (np.float32, np.int32, (12, 8, 8, 3))
    assert len(np.unique(x.reshape(12, -1), axis=0)) == 12
    assert not np.array_equal(x, batch(dataset, 12, seed=4)[0])


def test_a_batch_pairs_images_with_their_own_labels():
    images = np.repeat(np.arange(12, dtype=np.uint8), 8 * 8 * 3).reshape(12, 8, 8, 3)
    dataset = make(x_train=images)
    x, y = batch(dataset, 7, seed=0)
    rows = np.rint((x[:, 0, 0, 0] * dataset.std[0] + dataset.mean[0]) * 255).astype(int)
    np.testing.assert_array_equal(y, rows % 3)


@pytest.mark.parametrize("size", [0, -1, 13])
def test_a_batch_larger_than_the_split_is_refused(size):
    with pytest.raises(DataError, match=f"a batch of {size} was asked for; the training split holds 12 images"):
        batch(make(), size, seed=0)


def test_benchmark_halves_are_the_published_ones():
    train, validation = benchmark_halves(50_000)
    assert train[:12].tolist() == [0, 5, 7, 11, 13, 15, 16, 17, 20, 24, 26, 28]
    assert validation[:12].tolist() == [1, 2, 3, 4, 6, 8, 9, 10, 12, 14, 18, 19]
    assert (train[111], validation[111], train[-1], validation[-1]) == (203, 242, 49_994, 49_999)
    assert len(train) == len(validation) == 25_000


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=120), st.integers(0, 5), st.data())
def test_every_prefix_of_the_balanced_order_is_stratified(labels, seed, data):
    labels = np.asarray(labels)
    order = balanced_order(labels, seed=seed)
    assert sorted(order) == list(range(len(labels)))
    share = data.draw(st.integers(1, len(labels)))
    for label in np.unique(labels):
        expected = share * (labels == label).mean()
        bound = 1 + len(np.unique(labels)) * (labels == label).mean()
        assert abs((labels[order[:share]] == label).sum() - expected) <= bound + 1e-9
    first, second = balanced_halves(labels, seed=seed)
    assert sorted([*first, *second]) == list(range(len(labels)))


def test_balanced_halves_of_equal_classes_are_equal():
    labels = np.repeat(np.arange(10), 20)
    for half in balanced_halves(labels):
        assert (np.bincount(labels[half]) >= 9).all()


def test_the_first_hundred_of_a_thousand_hold_every_class_about_alike():
    labels = np.repeat(np.arange(10), 100)
    for seed in range(5):
        counts = np.bincount(labels[balanced_order(labels, seed=seed)[:100]], minlength=10)
        assert abs(counts - 10).max() <= 2  # an ordinary permutation strays by 5 or 6


@pytest.mark.parametrize("limit", [(0, 1), (1,), (1, 2, 3), 5, "12", (1.5, 2), (-1, 4)])
def test_a_bad_limit_is_refused(limit):
    with pytest.raises(DataError, match="two positive whole numbers"):
        check_limit(limit)


def test_a_split_file_is_read_and_a_wrong_one_refused(tmp_path):
    path = tmp_path / "split.txt"
    path.write_text('{"xvalid": ["int", ["3", "0"]], "xtest": ["int", ["1", "2"]]}')
    valid, test = read_benchmark_file(path, 4)
    assert (valid.tolist(), test.tolist()) == ([0, 3], [1, 2])
    with pytest.raises(DataError, match="do not share out the 5 images"):
        read_benchmark_file(path, 5)
    for text in (
        "",
        "[]",
        "{}",
        '{"xvalid": ["float", []], "xtest": ["int", []]}',
        '{"xvalid": 3, "xtest": 4}',
        '{"xvalid": ["int", ["a"]]}',
    ):
        path.write_text(text)
        with pytest.raises(DataError, match="not a split file"):
            read_benchmark_file(path, 4)


def test_resizing_scales_images_and_padding_and_keeps_constants():
    dataset = make(crop_padding=1)
    larger = resize(dataset, 32)
    assert larger.x_train.shape == (12, 32, 32, 3)
    assert (larger.crop_padding, larger.mean) == (4, dataset.mean)
    assert "resized from 8 to 32" in larger.source
    assert resize(dataset, 8) is dataset
    assert resize(dataset, None) is dataset
    assert resize(dataset, 2).crop_padding == 1


def test_resizing_keeps_a_constant_image_and_treats_channels_alike():
    flat = np.full((12, 8, 8, 3), 77, np.uint8)
    assert (resize(make(x_train=flat), 20).x_train == 77).all()
    colour, grey = make(), make().x_train[..., :1]
    single = make(x_train=grey, x_validation=colour.x_validation[..., :1], x_test=colour.x_test[..., :1], mean=(0.5,), std=(0.2,))
    np.testing.assert_array_equal(resize(single, 16).x_train[..., 0], resize(colour, 16).x_train[..., 0])


def test_bilinear_upsampling_of_a_ramp_by_hand():
    ramp = np.broadcast_to(np.asarray([0, 100], np.uint8)[None, None, :, None], (12, 2, 2, 3)).copy()
    small = {f"x_{split}": np.zeros((count, 2, 2, 3), np.uint8) for split, count in (("validation", 6), ("test", 5))}
    # Half-pixel centres: positions -0.25, 0.25, 0.75, 1.25 between 0 and 100, clamped at the border.
    assert resize(make(x_train=ramp, **small), 4).x_train[0, 0, :, 0].tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize("resolution", [0, -3, 1.5, True, "32", 5000])
def test_a_bad_resolution_is_refused(resolution):
    with pytest.raises(DataError, match=r"expected None .as stored. or a whole number"):
        resize(make(), resolution)
