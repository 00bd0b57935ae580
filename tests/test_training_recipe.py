import dataclasses
import json
import math

import numpy as np
import pytest

from jknas.training import PRESETS, Recipe, TrainingError, preset


class TestPresets:
    @pytest.mark.parametrize(("name", "epochs"), [("nasbench201-12", 12), ("nasbench201-200", 200)])
    def test_the_published_recipes(self, name, epochs):
        recipe = preset(name)
        assert recipe == Recipe(
            epochs=epochs, batch_size=256, learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, precision="float32"
        )

    def test_an_unknown_name_lists_the_known_ones(self):
        with pytest.raises(TrainingError, match=r"'nasbench201' is not known; choose one of nasbench201-12, nasbench201-200"):
            preset("nasbench201")

    def test_a_recipe_is_json(self):
        for recipe in PRESETS.values():
            assert Recipe(**json.loads(json.dumps(recipe.as_dict()))) == recipe


class TestSchedule:
    def test_cosine_to_zero_stepped_by_epoch(self):
        recipe = preset("nasbench201-12")
        rates = [recipe.learning_rate_at(epoch) for epoch in range(12)]
        np.testing.assert_allclose(rates, [0.05 * (1 + math.cos(math.pi * e / 12)) for e in range(12)], rtol=1e-5)
        assert 0 < rates[-1] < 0.002

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
            ({"precision": "float16"}, r"precision is 'float16'; choose one of 'float32', 'bfloat16'"),
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
