import dataclasses

import numpy as np
import pytest
import search_tables as tables

from jknas import search
from jknas.errors import SearchError
from jknas.search.anytime import Curve, band, curve_of
from jknas.search.methods.bohb import Bohb
from jknas.search.state import Candidate, State, Trained


def state_of(accuracies, seconds=10.0, statuses=None):
    statuses = statuses or ["ok"] * len(accuracies)
    trainings = [Trained(status, accuracy, np.nan, seconds) for accuracy, status in zip(accuracies, statuses, strict=True)]
    listed = tuple(Candidate(place, training=training) for place, training in enumerate(trainings))
    return State(chosen=tuple(range(len(listed))), candidates=listed)


def test_the_incumbent_is_chosen_by_validation_and_its_test_is_shown():
    curve = curve_of(state_of([0.5, 0.7, 0.6, 0.8]), lambda genotype: [0.9, 0.2, 0.99, 0.3][genotype])
    np.testing.assert_array_equal(curve.seconds, [10, 20, 30, 40])
    np.testing.assert_array_equal(curve.validation, [0.5, 0.7, 0.7, 0.8])
    np.testing.assert_array_equal(curve.test, [0.9, 0.2, 0.2, 0.3])


def test_it_is_a_step_function_that_begins_when_the_first_evaluation_is_paid_for():
    curve = curve_of(state_of([0.5, 0.7]), lambda genotype: 0.25 * genotype)
    validation, test = curve.at(np.array([0.0, 9.9, 10.0, 19.9, 20.0, 1e9]))
    np.testing.assert_array_equal(validation, [np.nan, np.nan, 0.5, 0.5, 0.7, 0.7])
    np.testing.assert_array_equal(test, [np.nan, np.nan, 0.0, 0.0, 0.25, 0.25])


def test_a_diverged_training_costs_and_does_not_lead():
    curve = curve_of(state_of([0.9, 0.3], statuses=["diverged", "ok"]), float)
    np.testing.assert_array_equal(curve.validation, [0.9, 0.3])
    np.testing.assert_array_equal(curve.seconds, [10, 20])


def test_an_architecture_that_is_evaluated_twice_costs_twice():
    state = state_of([0.5, 0.7])
    curve = curve_of(dataclasses.replace(state, chosen=(0, 1, 1, 0)), float)
    assert curve.seconds[-1] == 40


def test_the_end_of_a_curve_is_the_result_of_the_search():
    problem = tables.problem()
    result = search.run(Bohb(evaluations=30), problem)
    curve = curve_of(result.state, lambda genotype: 2 * len(str(genotype)))
    assert curve.seconds[-1] == result.state.train_seconds
    winner = result.winner
    assert (curve.validation[-1], curve.test[-1]) == (winner.training.validation_accuracy, 2 * len(str(winner.genotype)))


def test_a_band_is_the_interval_of_a_mean():
    rng = np.random.default_rng(0)
    curves = [Curve(np.array([1.0, 2.0]), np.array([0.1, 0.2]), rng.normal(0.5, 0.1, 2)) for _ in range(50)]
    found = band(curves, np.array([0.5, 1.0, 3.0]))
    values = np.array([curve.test for curve in curves])
    np.testing.assert_allclose(found.mean[1:], values.mean(axis=0))
    np.testing.assert_allclose(found.sd[1:], values.std(axis=0, ddof=1))
    np.testing.assert_allclose(found.high[1:] - found.mean[1:], 2.0096 * found.sd[1:] / np.sqrt(50), rtol=1e-4)
    assert np.isnan(found.mean[0])
    np.testing.assert_allclose(band(curves, np.array([2.0]), split="validation").mean, 0.2)


def test_the_band_of_one_search_has_no_width_to_tell():
    found = band([Curve(np.array([1.0]), np.array([0.1]), np.array([0.3]))], np.array([1.0]))
    assert found.mean[0] == 0.3
    assert np.isnan([found.low[0], found.high[0], found.sd[0]]).all()


def test_refusals():
    with pytest.raises(SearchError, match="has evaluated no architecture"):
        curve_of(State(chosen=()), lambda genotype: 0.0)
    with pytest.raises(SearchError, match="no curve to average"):
        band([], np.array([1.0]))
    with pytest.raises(SearchError, match="split is 'train'"):
        band([Curve(*np.ones((3, 1)))], np.array([1.0]), split="train")
