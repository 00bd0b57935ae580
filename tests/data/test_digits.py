import shutil

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jknas import data
from jknas.data import digits, files

# The split is part of every result on digits: a change of these is a change of the data set.
EXPECTED_FIRST_LABELS = [8, 3, 9, 1, 2, 6, 7, 0, 4, 5, 0, 3]
EXPECTED_DIGEST = "992cb6feb970d38ac90061be53cc4fbcb4cbe33a8296b7bc4c6d2d1a1c59607f"


def test_the_embedded_digits_are_scikit_learns():
    bunch = load_digits()
    expected = {}
    for image, label in zip(bunch.images, bunch.target, strict=True):
        expected.setdefault(np.floor(image * 255 / 16 + 0.5).astype(np.uint8).tobytes(), set()).add(int(label))
    dataset = data.load("digits")
    seen = 0
    for split in data.SPLITS:
        images, labels = dataset.split(split)
        assert (images[..., 0] == images[..., 1]).all()
        assert (images[..., 0] == images[..., 2]).all()
        for image, label in zip(images, labels, strict=True):
            assert int(label) in expected[image[..., 0].tobytes()]
            seen += 1
    assert seen == len(bunch.target) == 1797
    everything = np.concatenate([dataset.split(split)[0][..., 0] for split in data.SPLITS])
    assert everything.astype(int).sum() == np.floor(bunch.images * 255 / 16 + 0.5).astype(int).sum()


def test_the_splits_are_stratified_and_fixed():
    dataset = data.load("digits")
    assert [len(dataset.split(split)[1]) for split in data.SPLITS] == [1000, 297, 500]
    for split in data.SPLITS:
        shares = np.bincount(dataset.split(split)[1], minlength=10) / len(dataset.split(split)[1])
        np.testing.assert_allclose(shares, 0.1, atol=0.012)
    assert dataset.y_train[:12].tolist() == EXPECTED_FIRST_LABELS
    assert dataset.digest == EXPECTED_DIGEST


def test_digits_are_not_flipped_and_the_padding_scales():
    assert not data.load("digits").horizontal_flip
    assert data.load("digits").crop_padding == 1
    larger = data.load("digits", resolution=32, limit=(40, 20))
    assert (larger.x_train.shape, larger.x_validation.shape, larger.x_test.shape) == ((40, 32, 32, 3), (40, 32, 32, 3), (20, 32, 32, 3))
    assert larger.crop_padding == 4


def test_a_limit_takes_the_first_images_and_leaves_the_constants():
    whole, part = data.load("digits"), data.load("digits", limit=(30, 7))
    np.testing.assert_array_equal(part.x_train, whole.x_train[:30])
    np.testing.assert_array_equal(part.y_validation, whole.y_validation[:30])
    np.testing.assert_array_equal(part.x_test, whole.x_test[:7])
    assert (part.mean, part.std) == (whole.mean, whole.std)
    assert data.load("digits", limit=(10_000, 10_000)).digest == whole.digest


def test_normalised_training_digits_have_mean_zero_and_deviation_one():
    dataset = data.load("digits")
    x = dataset.normalise(dataset.x_train)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-4)


def test_a_changed_file_is_noticed(tmp_path, monkeypatch):
    copy = tmp_path / "digits.npz"
    shutil.copy(digits._FILE.path, copy)
    content = bytearray(copy.read_bytes())
    content[1000] ^= 1
    copy.write_bytes(content)
    monkeypatch.setattr(digits, "_FILE", files.DataFile(copy, digits._FILE.digest))
    with pytest.raises(data.DataError, match=r"sha256 digest .* the original has b2dab7b5"):
        data.load("digits")
    assert data.check("digits").digest_ok is False
