import dataclasses
import shutil

import numpy as np
import pytest
from image_folder import CLASSES, make_image_folder
from PIL import Image

from jknas import data
from jknas.data.images import FolderImages, centre_crop, random_view, read_image
from jknas.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp("images") / "pictures")


def counted(monkeypatch):
    """Count the files that are decoded."""
    opened = []
    monkeypatch.setattr("jknas.data.images.read_image", lambda file: opened.append(file) or read_image(file))
    return opened


class TestLoading:
    def test_classes_are_folders_and_val_is_halved(self, folder):
        dataset = data.load(folder, resolution=32)
        assert dataset.name == "pictures"
        assert dataset.num_classes == len(CLASSES)
        assert [dataset.split(split)[0].shape for split in data.SPLITS] == [(18, 32, 32, 3), (6, 32, 32, 3), (6, 32, 32, 3)]
        assert np.bincount(dataset.y_train).tolist() == [6, 6, 6]
        assert np.bincount(dataset.y_test, minlength=3).sum() == 6
        held_out = {*dataset.x_validation.files, *dataset.x_test.files}
        assert len(held_out) == 12
        assert all(file.is_relative_to(folder / "val") for file in held_out)

    def test_a_test_folder_is_the_test_split(self, folder, tmp_path):
        whole = tmp_path / "whole"
        shutil.copytree(folder, whole)
        (whole / "test").mkdir()
        (whole / "test" / "1.png").write_bytes((folder / "train" / CLASSES[0] / "1.png").read_bytes())
        assert len(data.load(whole, resolution=16).y_validation) == 6  # images without a class, as ImageNet's, are no split
        shutil.copytree(folder / "train", whole / "test", dirs_exist_ok=True)
        dataset = data.load(whole, resolution=16)
        assert [len(dataset.split(split)[1]) for split in data.SPLITS] == [18, 12, 18]
        assert all(file.is_relative_to(whole / "test") for file in dataset.x_test.files)
        assert "splits as in the folder" in dataset.source
        shutil.rmtree(whole / "test" / CLASSES[1])
        with pytest.raises(
            DataError, match=f"the class '{CLASSES[1]}' is only in train; expected the same class folders in train and test"
        ):
            data.load(whole, resolution=16)

    def test_224_pixels_by_default(self, folder):
        assert data.load(folder).resolution == 224

    def test_without_train_a_fifth_is_held_out(self, folder):
        dataset = data.load(folder / "train", resolution=32)
        parts = [set(dataset.split(split)[0].files) for split in data.SPLITS]
        assert [len(part) for part in parts] == [14, 2, 2]
        assert len(set.union(*parts)) == 18

    def test_the_label_of_an_image_is_its_folder(self, folder):
        dataset = data.load(folder, resolution=32)
        for split in data.SPLITS:
            images, labels = dataset.split(split)
            assert [file.parent.name for file in images.files] == [CLASSES[label] for label in labels]

    def test_a_limit_takes_images_of_all_classes(self, folder):
        dataset = data.load(folder, resolution=32, limit=(2 * len(CLASSES), 2))
        assert [len(dataset.split(split)[1]) for split in data.SPLITS] == [2 * len(CLASSES), 6, 2]
        assert np.bincount(dataset.y_train).tolist() == [2] * len(CLASSES)

    def test_a_batch_decodes_its_images_alone(self, folder, monkeypatch):
        dataset = data.load(folder, resolution=16)
        opened = counted(monkeypatch)
        x, labels = data.batch(dataset, 4, seed=0)
        assert len(opened) == 4
        assert x.shape == (4, 16, 16, 3)
        rows = np.random.default_rng(0).choice(18, size=4, replace=False)
        np.testing.assert_array_equal(labels, dataset.y_train[rows])
        for image, row in zip(x, rows, strict=True):
            own = np.asarray(centre_crop(Image.open(dataset.x_train.files[row]).convert("RGB"), 16))
            np.testing.assert_allclose(image, (own / 255 - dataset.mean) / dataset.std, atol=1e-5)

    def test_the_digest_follows_files_and_resolution(self, folder, tmp_path):
        one = data.load(folder, resolution=32)
        same, other = data.load(make_image_folder(tmp_path / "pictures"), resolution=32), data.load(folder, resolution=16)
        assert one.digest == same.digest
        assert one.digest != other.digest
        next((tmp_path / "pictures" / "train" / "ant").iterdir()).rename(tmp_path / "pictures" / "train" / "ant" / "9.png")
        assert data.load(tmp_path / "pictures", resolution=32).digest != one.digest

    def test_check_decodes_every_file(self, folder, monkeypatch):
        monkeypatch.setattr("jknas.data.folder.CHECKED", 0)
        opened = counted(monkeypatch)
        report = data.check(folder)
        assert report.problem is None
        assert len(opened) == 30
        assert report.class_counts["train"] == (6, 6, 6)


class TestCrops:
    def test_the_centre_is_what_resize_and_crop_give(self):
        """The slow way: resize all of the image, then cut."""
        rng = np.random.default_rng(1)
        smooth = np.clip(np.linspace(0, 200, 300)[:, None, None] + rng.integers(0, 40, (300, 400, 3)), 0, 255).astype(np.uint8)
        image = Image.fromarray(smooth)
        whole = image.resize((341, 256), Image.Resampling.BILINEAR)
        left, top = (341 - 224) // 2, (256 - 224) // 2
        expected = np.asarray(whole.crop((left, top, left + 224, top + 224)), float)
        # The cut's edge lacks the neighbours outside it, and Pillow rounds in a different order.
        np.testing.assert_allclose(np.asarray(centre_crop(image, 224), float)[2:-2, 2:-2], expected[2:-2, 2:-2], atol=2)

    def test_random_views_follow_their_seed(self, folder):
        images = data.load(folder, resolution=16).x_train
        rows, seeds = np.asarray([0, 0, 1]), np.asarray([7, 8, 7])
        views = images.augmented(rows, seeds)
        assert views.shape == (3, 16, 16, 3)
        assert (views[0] != views[1]).any()
        np.testing.assert_array_equal(views, images.augmented(rows, seeds))

    def test_random_views_keep_to_the_image(self):
        """A constant grey image has no hue or saturation, so that only brightness moves it, by at most 40 %."""
        image = Image.new("RGB", (50, 30), (100, 100, 100))
        levels = [np.asarray(random_view(image, 8, np.random.default_rng(seed))) for seed in range(30)]
        assert all(level.min() == level.max() and 59 <= level.max() <= 141 for level in levels)
        assert len({level.max() for level in levels}) > 10

    @pytest.mark.parametrize("size", [(400, 4), (4, 400), (1, 1)])
    def test_extreme_shapes(self, size):
        assert random_view(Image.new("RGB", size), 8, np.random.default_rng(0)).size == (8, 8)
        assert centre_crop(Image.new("RGB", size), 8).size == (8, 8)


class TestRefusals:
    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(DataError, match="holds 0 class folders; expected at least 2"):
            data.load(tmp_path)

    def test_a_class_without_images(self, tmp_path):
        make_image_folder(tmp_path / "set")
        (tmp_path / "set" / "train" / "dog").mkdir()
        with pytest.raises(DataError, match=r"dog: the class has no images; expected files that end in \.jpg"):
            data.load(tmp_path / "set")

    def test_a_text_file_by_another_name(self, tmp_path):
        root = make_image_folder(tmp_path / "set")
        (root / "train" / "ant" / "x.jpg").write_text("no image")
        with pytest.raises(DataError, match=r"x\.jpg: not an image that can be decoded \(cannot identify image file\); copy"):
            data.load(root)

    def test_a_truncated_file(self, tmp_path):
        root = make_image_folder(tmp_path / "set")
        file = root / "train" / "ant" / "0.JPEG"
        file.write_bytes(file.read_bytes()[:-200])
        with pytest.raises(DataError, match=r"0\.JPEG: not an image that can be decoded \(image file is truncated"):
            data.load(root)

    def test_too_many_pixels(self, tmp_path, monkeypatch):
        root = make_image_folder(tmp_path / "set")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(DataError, match="decompression bomb"):
            data.load(root)

    def test_classes_that_differ(self, tmp_path):
        root = make_image_folder(tmp_path / "set")
        (root / "val" / "cat").rename(root / "val" / "dog")
        with pytest.raises(DataError, match="the class 'cat' is only in train; expected the same class folders in train and val"):
            data.load(root)

    def test_train_without_val(self, tmp_path):
        (make_image_folder(tmp_path / "set") / "val").rename(tmp_path / "elsewhere")
        with pytest.raises(DataError, match="has train but no val"):
            data.load(tmp_path / "set")

    def test_a_large_folder_is_not_decoded_when_it_is_loaded(self, tmp_path, monkeypatch):
        root = make_image_folder(tmp_path / "set")
        (root / "train" / "ant" / "x.jpg").write_text("no image")
        monkeypatch.setattr("jknas.data.folder.CHECKED", 3)
        dataset = data.load(root, resolution=16)
        with pytest.raises(DataError, match=r"x\.jpg"):
            dataset.x_train[np.arange(19)]
        assert "x.jpg" in data.check(root).problem


def test_a_slice_decodes_nothing(folder, monkeypatch):
    dataset = data.load(folder, resolution=16)
    opened = counted(monkeypatch)
    part = dataset.x_train[:3]
    assert isinstance(part, FolderImages)
    assert (len(part), part.shape, opened) == (3, (3, 16, 16, 3), [])
    assert dataclasses.replace(dataset, name="other").x_train is dataset.x_train


class TestMoreThanEightBits:
    def test_grey_images_of_16_bits_keep_their_shades(self, tmp_path):
        shades = np.linspace(0, 2**16 - 1, 24 * 24).astype(np.uint16).reshape(24, 24)
        Image.fromarray(shades).save(tmp_path / "16.png")
        pixels = np.asarray(read_image(tmp_path / "16.png"))
        assert pixels.shape == (24, 24, 3)
        np.testing.assert_allclose(pixels, np.repeat(shades[..., None] / 257, 3, -1), atol=1)

    def test_other_numbers_are_refused(self, tmp_path):
        Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tiff")
        Image.fromarray(np.full((4, 4), 2**20, np.int32)).save(tmp_path / "large.tiff")
        for name in ("float", "large"):
            with pytest.raises(DataError, match=rf"{name}.tiff: not an image that can be decoded \(its pixels are .*not of 8 or 16 bits"):
                read_image(tmp_path / f"{name}.tiff")
