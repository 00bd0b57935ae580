"""The readers on real local files; they run when the environment variable JKNAS_DATA names a folder that holds them."""

import os
from pathlib import Path

import numpy as np
import pytest

from jknas import data
from jknas.data.dataset import channel_constants
from jknas.data.jpeg import read_jpeg

FILES = {
    "cifar10-jpeg": "cifar10_jpeg.npz",
    "cifar100-subset": "cifar100_subset.npz",
    "imagenet16-standin": "imagenet16_standin.npz",
    "cifar10": "cifar-10-python.tar.gz",
    "cifar100": "cifar-100-python.tar.gz",
}


def load(name, **options):
    folder = os.environ.get("JKNAS_DATA")
    if not folder or not os.path.isfile(os.path.join(folder, FILES[name])):  # noqa: PTH113, PTH118
        pytest.skip(f"JKNAS_DATA names no folder with {FILES[name]}")
    return data.load(name, folder=folder, **options)


@pytest.mark.parametrize(
    ("name", "classes", "resolution"), [("cifar10-jpeg", 10, 32), ("cifar100-subset", 100, 32), ("imagenet16-standin", 120, 16)]
)
def test_a_part_has_plausible_pixels_and_balanced_classes(name, classes, resolution):
    dataset = load(name, limit=(4 * classes, 2 * classes))
    assert (dataset.name, dataset.num_classes, dataset.x_train.shape) == (name, classes, (4 * classes, resolution, resolution, 3))
    if name != "cifar10-jpeg":
        assert len(dataset.y_validation) == min(4 * classes, {"cifar100-subset": 1000, "imagenet16-standin": 600}[name])
    # Normalised by the constants of the whole data set, a part has about mean 0 and deviation 1.
    x, y = data.batch(dataset, 40, seed=0)
    assert abs(x.mean()) < 0.3
    assert 0.7 < x.std() < 1.3
    # Neighbouring pixels of photographs agree: a wrong axis order or channel layout fails here.
    rows = dataset.normalise(dataset.x_train)
    assert np.abs(np.diff(rows, axis=1)).mean() < 0.6 * np.abs(rows - rows[:, ::-1, ::-1]).mean()
    assert np.abs(np.diff(rows, axis=2)).mean() < 0.6 * np.abs(rows - rows[:, ::-1, ::-1]).mean()
    assert y.dtype == np.int32


def test_cifar100_subset_has_its_stated_counts():
    dataset = load("cifar100-subset")
    assert np.bincount(dataset.y_train).tolist() == [100] * 100
    assert (np.bincount(dataset.y_test) + np.bincount(dataset.y_validation)).tolist() == [20] * 100


def test_imagenet16_standin_has_its_stated_counts():
    dataset = load("imagenet16-standin")
    assert np.bincount(dataset.y_train).tolist() == [80] * 120
    assert (np.bincount(dataset.y_test) + np.bincount(dataset.y_validation)).tolist() == [10] * 120


def test_cifar10_as_jpeg_is_whole_and_its_constants_are_the_published_ones():
    dataset = load("cifar10-jpeg", limit=(2000, 1))
    images = read_jpeg(Path(os.environ["JKNAS_DATA"]) / FILES["cifar10-jpeg"], num_classes=10, resolution=32)
    assert np.bincount(images.labels[images.is_test]).tolist() == [1000] * 10
    assert np.bincount(images.labels[~images.is_test]).tolist() == [5000] * 10
    mean, std = channel_constants(dataset.x_train)
    np.testing.assert_allclose(mean, dataset.mean, atol=0.01)
    np.testing.assert_allclose(std, dataset.std, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_the_canonical_archive_is_the_published_data(name, classes):
    dataset = load(name)
    sizes = [25_000, 25_000, 10_000] if classes == 10 else [50_000, 5_000, 5_000]
    assert [len(dataset.split(split)[1]) for split in data.SPLITS] == sizes
    assert "digests not checked" not in dataset.source
