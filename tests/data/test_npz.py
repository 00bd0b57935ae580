import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jknas import data


@pytest.fixture(autouse=True)
def _no_folder_from_outside(monkeypatch):
    monkeypatch.delenv("JKNAS_DATA", raising=False)


def arrays(**changes):
    rng = np.random.default_rng(0)
    content = {
        "x_train": rng.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8),
        "y_train": np.arange(50) % 5,
        "x_test": rng.integers(0, 256, (10, 8, 8, 3), dtype=np.uint8),
        "y_test": np.arange(10) % 5,
    }
    return {name: value for name, value in {**content, **changes}.items() if value is not None}


def write(folder, name="mine.npz", **changes):
    path = folder / name
    np.savez(path, **arrays(**changes))
    return path


def test_a_file_without_a_validation_part_gives_up_a_stratified_fifth(tmp_path):
    path, content = write(tmp_path), arrays()
    dataset = data.load(path)
    assert [len(dataset.split(split)[1]) for split in data.SPLITS] == [40, 10, 10]
    assert np.bincount(dataset.y_validation, minlength=5).tolist() == [2] * 5
    both = np.concatenate([dataset.x_train, dataset.x_validation])
    assert {row.tobytes() for row in both} == {row.tobytes() for row in content["x_train"]}
    np.testing.assert_allclose(dataset.mean, (dataset.x_train / 255.0).mean(axis=(0, 1, 2)), rtol=1e-12)
    assert (dataset.name, dataset.num_classes, dataset.crop_padding, dataset.horizontal_flip) == ("mine.npz", 5, 1, False)
    assert data.load(path).digest == dataset.digest


def test_what_the_file_says_is_used(tmp_path):
    changes = {
        "x_validation": np.ones((3, 8, 8, 3), np.uint8),
        "y_validation": np.asarray([0, 1, 2], np.uint8),
        "mean": np.asarray([0.1, 0.2, 0.3], np.float32),
        "std": np.asarray([0.5, 0.5, 0.5]),
        "class_names": np.asarray(list("abcdefg")),
        "horizontal_flip": np.asarray(True),
    }
    dataset = data.load(write(tmp_path, **changes))
    assert (len(dataset.y_train), len(dataset.y_validation), dataset.num_classes, dataset.horizontal_flip) == (50, 3, 7, True)
    np.testing.assert_allclose(dataset.mean, (0.1, 0.2, 0.3), rtol=1e-6)
    assert dataset.y_validation.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(dataset.x_train, arrays()["x_train"])


def test_a_limit_does_not_change_the_constants(tmp_path):
    path = write(tmp_path)
    whole, part = data.load(path), data.load(path, limit=(6, 3))
    assert [len(part.split(split)[1]) for split in data.SPLITS] == [6, 6, 3]
    assert (part.mean, part.std, part.num_classes) == (whole.mean, whole.std, whole.num_classes)


def test_a_limit_of_a_file_that_is_sorted_by_class_takes_all_classes(tmp_path):
    content = arrays()
    labels = np.repeat(np.arange(5), 10)
    given = {"y_train": labels, "x_validation": content["x_train"], "y_validation": labels, "y_test": np.repeat(np.arange(5), 2)}
    whole, part = (data.load(write(tmp_path, **given), limit=limit) for limit in (None, (10, 5)))
    assert [np.bincount(part.split(split)[1]).tolist() for split in data.SPLITS] == [[2] * 5, [2] * 5, [1] * 5]
    for split in data.SPLITS:
        known = {images.tobytes(): label for images, label in zip(*whole.split(split), strict=True)}
        assert all(known[images.tobytes()] == label for images, label in zip(*part.split(split), strict=True))
    np.testing.assert_array_equal(whole.y_train, labels)
    assert data.load(write(tmp_path, **given), limit=(50, 10)).digest == whole.digest


def test_a_relative_path_is_also_looked_for_in_the_folder(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.chdir("/")
    assert data.load("mine.npz", folder=tmp_path).name == "mine.npz"
    with pytest.raises(data.DataError, match=r"mine.npz: no such file; expected an .npz with x_train"):
        data.load("mine.npz")


def test_grey_images_keep_one_channel(tmp_path):
    dataset = data.load(write(tmp_path, x_train=arrays()["x_train"][..., :1], x_test=arrays()["x_test"][..., :1]))
    assert (dataset.channels, len(dataset.mean)) == (1, 1)


BAD_ARRAYS = {
    "missing": ({"y_test": None}, r"no array y_test, only x_train, y_train, x_test; expected x_train, y_train, x_test, y_test"),
    "float": ({"x_train": np.zeros((50, 8, 8, 3), np.float32)}, r"x_train: dtype float32; expected uint8 pixels 0..255: multiply by 255"),
    "no channels": ({"x_test": np.zeros((10, 8, 8), np.uint8)}, r"x_test: shape \(10, 8, 8\); expected four axes"),
    "flat": ({"x_train": np.zeros((50, 192), np.uint8)}, r"expected four axes \[N, H, W, C\]"),
    "channels first": ({"x_train": np.zeros((50, 3, 8, 8), np.uint8)}, r"x.transpose\(0, 2, 3, 1\)"),
    "not square": ({"x_train": np.zeros((50, 8, 7, 3), np.uint8)}, "expected square images"),
    "other size": ({"x_test": np.zeros((10, 16, 16, 3), np.uint8)}, "all splits need one height"),
    "empty train": ({"x_train": np.zeros((0, 8, 8, 3), np.uint8), "y_train": np.zeros(0, int)}, "x_train: shape .* holds no pixels"),
    "empty test": ({"x_test": np.zeros((0, 8, 8, 3), np.uint8), "y_test": np.zeros(0, int)}, "x_test: shape .* holds no pixels"),
    "scalar": ({"x_train": np.uint8(3)}, r"x_train: shape \(\); expected four axes"),
    "label count": ({"y_train": np.zeros(49, int)}, "y_train: 49 labels for 50 images"),
    "label float": ({"y_train": np.zeros(50)}, "y_train: dtype float64; expected integer labels"),
    "label text": ({"y_test": np.asarray(list("abcdeabcde"))}, "y_test: dtype <U1; expected integer labels"),
    "one-hot": ({"y_train": np.eye(5, dtype=int)[np.arange(50) % 5]}, r"y.argmax\(axis=1\)"),
    "column": ({"y_train": (np.arange(50) % 5)[:, None]}, r"y.reshape\(-1\)"),
    "negative": ({"y_train": np.arange(50) % 5 - 1}, "labels run from -1 to 3; expected 0 or more"),
    "gap": (
        {"y_train": np.arange(50) % 5 * 2, "y_test": np.zeros(10, int)},
        "label 1 never occurs; .* relabel without gaps, or store class_names",
    ),
    "test beyond": ({"y_test": np.full(10, 5)}, r"y_test: labels run from 5 to 5; expected 0..4 \(5 classes\)"),
    "names too few": ({"class_names": np.asarray(["a", "b"])}, r"labels run from 0 to 4; expected 0..1 \(2 classes\)"),
    "one class": ({"y_train": np.zeros(50, int), "y_test": np.zeros(10, int)}, "num_classes is 1"),
    "half validation": ({"x_validation": np.zeros((2, 8, 8, 3), np.uint8)}, "only one of x_validation and y_validation is there"),
    "validation dtype": ({"x_validation": np.zeros((2, 8, 8, 3)), "y_validation": np.zeros(2, int)}, "x_validation: dtype float64"),
    "half constants": ({"mean": np.zeros(3)}, "only one of mean and std is there"),
    "mean in 0..255": ({"mean": np.full(3, 120.0), "std": np.full(3, 60.0)}, "divide 0..255 values by 255"),
    "mean shape": ({"mean": np.zeros((1, 3)), "std": np.ones(3)}, r"mean is float64 \(1, 3\); expected one number per channel"),
    "std short": ({"mean": np.zeros(3), "std": np.ones(2)}, "std has 2 values; expected one per channel, that is 3"),
    "std zero": ({"mean": np.zeros(3), "std": np.zeros(3)}, "every channel needs a value above 0"),
    "constant channel": ({"x_train": np.zeros((50, 8, 8, 3), np.uint8)}, "same in all training images .* or give mean and std"),
    "flip": ({"horizontal_flip": np.asarray(1)}, "horizontal_flip is int64 .*expected a single bool"),
    "objects": ({"y_train": np.asarray([None] * 50, object)}, "array y_train cannot be read .* not Python objects"),
    "one image": (
        {"x_train": np.zeros((1, 8, 8, 3), np.uint8), "y_train": np.zeros(1, int), "class_names": np.asarray(["a", "b", "c", "d", "e"])},
        "too few to hold out a validation part",
    ),
}


@pytest.mark.parametrize(("changes", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_that_do_not_fit_are_refused_with_the_fix(tmp_path, changes, message):
    path = write(tmp_path, **changes)
    with pytest.raises(data.DataError, match=message) as caught:
        data.load(path)
    assert "mine.npz" in str(caught.value)


def test_files_that_are_not_npz_are_refused(tmp_path):
    path = tmp_path / "mine.npz"
    for content in (b"", b"hello", b"PK\x03\x04 broken", b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(data.DataError, match=r"not an .npz file, or a truncated one .*write or copy it again"):
            data.load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(data.DataError, match="holds a single array"):
        data.load(path)
    with pytest.raises(data.DataError, match="no such file"):
        data.load(tmp_path / "absent.npz")
    with pytest.raises(data.DataError, match="holds 0 class folders"):
        data.load(tmp_path)


WHOLE = io.BytesIO()
np.savez_compressed(WHOLE, **{**arrays(), "x_train": arrays()["x_train"] // 64})
WHOLE = WHOLE.getvalue()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_file_is_always_a_data_error(length):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.npz"
        path.write_bytes(WHOLE[:length])
        with pytest.raises(data.DataError, match=r"mine\.npz: "):
            data.load(path)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_a_data_error_or_does_not_matter(place, change):
    content = bytearray(WHOLE)
    content[place] ^= change
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.npz"
        path.write_bytes(content)
        try:
            dataset = data.load(path)
        except data.DataError as error:
            assert "mine.npz: " in str(error)  # noqa: PT017 - both outcomes are right
        else:
            assert len(dataset.y_test) == 10


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([np.uint8, np.int8, np.int64, np.float32, np.bool_, np.complex64, "S3", "M8[s]"]),
    st.lists(st.integers(0, 5), max_size=5),
    st.sampled_from(
        ["x_train", "y_train", "x_test", "y_test", "mean", "std", "x_validation", "y_validation", "class_names", "horizontal_flip"]
    ),
)
def test_any_array_in_any_place_loads_or_is_a_data_error(dtype, shape, name):
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), **{name: np.zeros(shape, dtype)})
        try:
            dataset = data.load(path)
        except data.DataError as error:
            assert "mine.npz" in str(error)  # noqa: PT017 - both outcomes are right
        else:
            assert dataset.x_train.dtype == np.uint8


def test_other_arrays_are_allowed_and_class_names_count_the_classes(tmp_path):
    """Converted benchmark data sets keep what else they know, such as the names of the classes."""
    names = np.asarray(["airplane", "automobile", "bird", "cat", "deer"])
    dataset = data.load(write(tmp_path, class_names=names, index=np.arange(50), comment=np.asarray("converted")))
    assert dataset.digest == data.load(write(tmp_path, "plain.npz")).digest
    assert dataset.num_classes == 5


def test_what_looks_like_a_data_set_by_name_is_not_taken_for_it(tmp_path):
    write(tmp_path, "cifar10.npz")
    with pytest.raises(data.DataError, match=r"cifar10: not found: the folder .* holds no file of it"):
        data.load("cifar10", folder=tmp_path)
    assert data.load("cifar10.npz", folder=tmp_path).name == "cifar10.npz"
