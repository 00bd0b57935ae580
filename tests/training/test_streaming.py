import dataclasses

import jax
import numpy as np
import pytest
from image_folder import make_image_folder

from jknas import data, spaces
from jknas.errors import TrainingError
from jknas.networks.families import network_for
from jknas.training import Recipe, evaluate, preset, train
from jknas.training.streaming import batches

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return data.load(make_image_folder(tmp_path_factory.mktemp("images") / "pictures"), resolution=8)


def in_memory(dataset):
    """Return the same data set, decoded."""
    arrays = {f"x_{split}": images[np.arange(len(images))] for split in data.SPLITS for images in [dataset.split(split)[0]]}
    return dataclasses.replace(dataset, **arrays)


class TestBatches:
    def test_in_order_they_are_the_split(self, files):
        found = list(batches(files, "train", 4))
        assert [len(pixels.labels) for pixels in found] == [4, 4, 4, 4, 2]
        np.testing.assert_array_equal(np.concatenate([pixels.images for pixels in found]), in_memory(files).x_train)
        np.testing.assert_array_equal(np.concatenate([pixels.labels for pixels in found]), files.y_train)

    def test_an_epoch_has_every_image_once_in_an_order_of_its_own(self, files):
        one, same, other = (
            np.concatenate([pixels.images for pixels in batches(files, "train", 4, key=key)]) for key in (KEY, KEY, jax.random.key(4))
        )
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()
        assert sorted(image.tobytes() for image in one) == sorted(image.tobytes() for image in in_memory(files).x_train)

    def test_random_views_differ_between_epochs(self, files):
        one, other = (next(batches(files, "train", 18, key=key, resized_crop=True)).images for key in (KEY, jax.random.key(4)))
        assert one.shape == other.shape == (18, 8, 8, 3)
        assert not {image.tobytes() for image in np.asarray(one)} & {image.tobytes() for image in np.asarray(other)}


class TestTraining:
    cell = spaces.get("nasbench201").parse("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")

    def run(self, dataset, **changes):
        recipe = Recipe(epochs=1, learning_rate=0.05, random_crop=False, **{"batch_size": 18} | changes)
        network = network_for(spaces.get("nasbench201"), dataset, channels=4, cells=1)
        return network, train(network, self.cell, dataset, recipe=recipe, seed=0, wiring="static", splits=("train", "validation"))

    @pytest.mark.slow
    def test_a_full_batch_step_is_that_of_the_images_in_memory(self, files):
        """One batch per epoch does not depend on the order; without the flip nothing else is drawn."""
        still = dataclasses.replace(files, horizontal_flip=False)
        (network, streamed), (_, whole) = self.run(still), self.run(in_memory(still))
        for one, other in zip(streamed.curves, whole.curves, strict=True):
            assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
            assert one.splits["validation"].loss == pytest.approx(other.splits["validation"].loss, rel=1e-3)
        scores = [evaluate(network, whole.variables, self.cell, dataset, "test") for dataset in (still, in_memory(still))]
        assert scores[0].loss == pytest.approx(scores[1].loss, rel=1e-5)
        assert scores[0].accuracy == scores[1].accuracy

    @pytest.mark.slow
    def test_the_parts_of_a_split_are_weighted_by_their_size(self, files):
        """18 images in batches of 4 leave one of 2; the curve's score is that of the whole split."""
        network, trained = self.run(files, batch_size=4)
        own = evaluate(network, trained.variables, self.cell, in_memory(files), "train")
        assert trained.final["train"].loss == pytest.approx(own.loss, rel=1e-4)
        assert (trained.final["train"].accuracy, trained.final["train"].n) == (own.accuracy, 18)

    @pytest.mark.slow
    def test_resized_crops_are_for_files(self, files):
        assert self.run(files, resized_crop=True)[1].status == "ok"
        with pytest.raises(TrainingError, match="resized_crop=True, which cuts training images out of files"):
            self.run(in_memory(files), resized_crop=True)


class TestRecipe:
    def test_that_of_imagenet(self):
        recipe = preset("tenas-imagenet")
        assert (recipe.epochs, recipe.batch_size, recipe.weight_decay, recipe.momentum, recipe.nesterov) == (250, 768, 3e-5, 0.9, False)
        assert (recipe.clip_norm, recipe.label_smoothing, recipe.auxiliary_weight, recipe.drop_path) == (5, 0.1, 0.4, 0)
        assert (recipe.resized_crop, recipe.random_crop, recipe.cutout) == (True, False, 0)

    def test_it_warms_up_and_falls_along_a_line(self):
        recipe = preset("tenas-imagenet")
        rates = [recipe.learning_rate_at(epoch) for epoch in range(250)]
        np.testing.assert_allclose(rates[:5], [0.1, 0.2, 0.3, 0.4, 0.5])
        np.testing.assert_allclose(rates[5:], 0.5 * (1 - np.arange(5, 250) / 250))

    def test_the_defaults_are_not_written(self):
        assert Recipe().as_dict().keys().isdisjoint({"schedule", "warmup", "resized_crop"})

    @pytest.mark.parametrize(
        ("change", "message"),
        [({"schedule": "step"}, "schedule"), ({"warmup": -1}, "warmup is -1"), ({"resized_crop": 1}, "resized_crop is 1")],
    )
    def test_refusals(self, change, message):
        with pytest.raises(TrainingError, match=message):
            Recipe(**change)
