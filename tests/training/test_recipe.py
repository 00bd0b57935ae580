import dataclasses
import json
import math

import numpy as np
import pytest

from jknas.errors import TrainingError
from jknas.training import PRESETS, Recipe, preset


class TestPresets:
    @pytest.mark.parametrize(("name", "epochs"), [("nasbench201-12", 12), ("nasbench201-200", 200)])
    def test_the_published_recipes(self, name, epochs):
        recipe = preset(name)
        assert recipe == Recipe(
            epochs=epochs, batch_size=256, learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, precision="float32"
        )

    def test_those_of_darts_and_te_nas(self):
        assert preset("darts") == Recipe(
            epochs=600,
            batch_size=96,
            learning_rate=0.025,
            momentum=0.9,
            nesterov=False,
            weight_decay=3e-4,
            clip_norm=5,
            cutout=16,
            auxiliary_weight=0.4,
            drop_path=0.2,
            label_smoothing=0,
        )
        assert dataclasses.replace(preset("tenas"), epochs=600, drop_path=0.2) == preset("darts")
        assert (preset("tenas").epochs, preset("tenas").drop_path) == (800, 0.3)

    def test_that_of_the_digits_does_not_crop(self):
        assert preset("digits") == Recipe(epochs=12, batch_size=25, learning_rate=0.02, random_crop=False)
        assert preset("digits").as_dict()["random_crop"] is False
        assert "random_crop" not in preset("nasbench201-12").as_dict()  # so that stored recipes stay what they were
        with pytest.raises(TrainingError, match="random_crop is 1; expected True or False"):
            Recipe(random_crop=1)

    def test_an_unknown_name_lists_the_known_ones(self):
        with pytest.raises(TrainingError, match=r"Unknown recipe 'nasbench201'; expected one of nasbench201-12, nasbench201-200"):
            preset("nasbench201")

    def test_a_recipe_is_json(self):
        for recipe in PRESETS.values():
            assert type(recipe)(**json.loads(json.dumps(recipe.as_dict()))) == recipe

    def test_a_recipe_is_written_without_the_regularisers_that_it_does_not_use(self):
        """This text is part of the identity of stored checkpoints."""
        text = "Recipe(epochs=12, batch_size=256, learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.0005, precision='float32'"
        assert repr(Recipe()) == text + ")"
        assert repr(Recipe(drop_path=0.5, clip_norm=5)) == text + ", clip_norm=5.0, drop_path=0.5)"
        assert Recipe().as_dict().keys().isdisjoint({"clip_norm", "cutout", "auxiliary_weight", "drop_path", "label_smoothing"})


class TestSchedule:
    def test_cosine_to_zero_stepped_by_epoch(self):
        recipe = preset("nasbench201-12")
        rates = [recipe.learning_rate_at(epoch) for epoch in range(12)]
        np.testing.assert_allclose(rates, [0.05 * (1 + math.cos(math.pi * e / 12)) for e in range(12)], rtol=1e-5)
        assert 0 < rates[-1] < 0.002

    def test_drop_path_grows_from_zero_and_does_not_arrive(self):
        recipe = Recipe(epochs=4, drop_path=0.2)
        np.testing.assert_allclose([recipe.drop_path_at(epoch) for epoch in range(4)], [0, 0.05, 0.1, 0.15])
        assert preset("darts").drop_path_at(0) == 0

    def test_darts_falls_to_zero_likewise(self):
        recipe = preset("darts")
        np.testing.assert_allclose([recipe.learning_rate_at(e) for e in (0, 300, 599)], [0.025, 0.0125, 1.7135e-7], rtol=1e-3)

    def test_darts_on_imagenet_falls_by_three_per_cent_an_epoch(self):
        recipe = preset("darts-imagenet")
        rates = [recipe.learning_rate_at(epoch) for epoch in range(recipe.epochs)]
        assert rates[0] == recipe.learning_rate == 0.1
        np.testing.assert_allclose(np.divide(rates[1:], rates[:-1]), 0.97)
        assert (recipe.batch_size, recipe.epochs, recipe.weight_decay, recipe.label_smoothing) == (128, 250, 3e-5, 0.1)
        assert recipe.as_dict()["schedule"] == "exponential"

    def test_twelve_epochs_are_not_the_beginning_of_two_hundred(self):
        assert preset("nasbench201-200").learning_rate_at(11) > 0.099


class TestValidation:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"epochs": 0}, r"epochs is 0; expected a whole number, 1 or more"),
            ({"epochs": True}, r"epochs is True; expected a whole number"),
            ({"batch_size": 2.0}, r"batch_size is 2.0; expected a whole number, 1 or more"),
            ({"learning_rate": 0}, r"learning_rate is 0.0; expected a finite number above 0"),
            ({"learning_rate": math.inf}, r"learning_rate is inf; expected a finite number above 0"),
            ({"learning_rate": "0.1"}, r"learning_rate is '0.1' of type str; expected a number"),
            ({"momentum": 1.0}, r"momentum is 1.0; expected 0 or more and below 1"),
            ({"weight_decay": -1e-4}, r"weight_decay is -0.0001; expected a finite number, 0 or more"),
            ({"weight_decay": math.nan}, r"weight_decay is nan; expected a finite number, 0 or more"),
            ({"nesterov": 1}, r"nesterov is 1; expected True or False"),
            ({"clip_norm": 0}, r"clip_norm is 0.0; expected a finite number above 0 or None"),
            ({"cutout": 15}, r"cutout is 15; expected an even whole number of pixels, 0 or more"),
            ({"cutout": -2}, r"cutout is -2; expected an even whole number"),
            ({"cutout": True}, r"cutout is True; expected an even whole number"),
            ({"auxiliary_weight": -0.4}, r"auxiliary_weight is -0.4; expected a finite number, 0 or more"),
            ({"drop_path": 1}, r"drop_path is 1.0; expected 0 or more and below 1"),
            ({"label_smoothing": math.nan}, r"label_smoothing is nan; expected 0 or more and below 1"),
            ({"precision": "float16"}, r"Unknown precision 'float16'; expected one of float32, bfloat16"),
        ],
    )
    def test_teaches(self, change, message):
        with pytest.raises(TrainingError, match=message):
            Recipe(**change)

    def test_whole_numbers_and_floats_are_one_recipe(self):
        assert hash(Recipe(learning_rate=1)) == hash(Recipe(learning_rate=1.0))
        assert str(Recipe(weight_decay=0)) == str(Recipe(weight_decay=0.0))

    def test_schedules_share_the_step_part(self):
        recipe = Recipe(momentum=0.5)
        assert dataclasses.replace(recipe, epochs=99, learning_rate=3.0).step_part() == recipe.step_part()
        assert dataclasses.replace(recipe, weight_decay=0.0).step_part() != recipe.step_part()
