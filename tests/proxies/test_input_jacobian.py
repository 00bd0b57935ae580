"""jacob_cov and EPE-NAS against NumPy, on any model and on the networks."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit

from jknas import proxies
from jknas.networks import CellNetwork
from jknas.proxies import Batch
from jknas.proxies.epe_nas import LabelledJacobian, class_correlation_score, measure
from jknas.proxies.jacob_cov import correlation_score
from jknas.proxies.measurements.input_jacobian import input_jacobian, row_correlations
from jknas.spaces.nasbench201.genotype import CellGenotype


def test_rows_are_the_gradients_of_the_sum_of_all_outputs(float64, rng):
    """Here every example's output depends on all examples, as in training mode."""
    weights, x = (jnp.asarray(rng.standard_normal(shape)) for shape in ((6, 3), (4, 2, 3)))

    def apply(weights, x):
        flat = x.reshape(4, 6)
        return jnp.tanh((flat - flat.mean(0, keepdims=True)) @ weights)

    found = quick_jit(functools.partial(input_jacobian, apply))(weights, x)
    step, total = 1e-6, quick_jit(lambda x: apply(weights, x).sum())
    for example, row in enumerate(np.asarray(found)):
        for place in range(6):
            shift = step * np.eye(24)[6 * example + place].reshape(4, 2, 3)
            slope = (total(np.asarray(x) + shift) - total(np.asarray(x) - shift)) / (2 * step)
            assert row[place] == pytest.approx(float(slope), abs=1e-8)


def test_correlations_are_those_of_numpy(rng):
    rows = rng.standard_normal((5, 40)) + rng.standard_normal(40)
    np.testing.assert_allclose(row_correlations(rows), np.corrcoef(rows), rtol=1e-12)
    np.testing.assert_allclose(row_correlations(1e-200 * rows), np.corrcoef(rows), rtol=1e-12)
    values, _ = np.linalg.eig(np.corrcoef(rows))
    score, eigenvalues = correlation_score(rows)
    assert score == pytest.approx(-np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5)), rel=1e-10)
    np.testing.assert_allclose(eigenvalues, np.sort(values), rtol=1e-10)


def test_equal_rows_have_the_least_score():
    rows = np.tile(np.array([1.0, -1.0, 2.0]), (3, 1))
    score, _ = correlation_score(rows)
    expected = -(2 * (math.log(1e-5) + 1e5) + math.log(3 + 1e-5) + 1 / (3 + 1e-5))
    assert score == pytest.approx(expected, rel=1e-6)


def epe_by_hand(rows, labels, classes):
    """EPE-NAS, written out pair by pair."""
    sums = {}
    for label in set(labels.tolist()):
        own = [row for row, other in zip(rows, labels, strict=True) if other == label]
        if classes > 100 and len(own) == 1:
            continue
        total = sum(math.log(abs(np.corrcoef(a, b)[0, 1]) + 1e-5) for a in own for b in own)
        sums[label] = total / len(own) if classes > 100 else total
    if classes <= 100:
        return sum(abs(value) for value in sums.values())
    return sum(abs(a - b) for a in sums.values() for b in sums.values()) / len(sums)


@pytest.mark.parametrize("classes", [10, 100, 101, 120])
def test_the_class_score_is_the_written_out_one(rng, classes):
    rows, labels = rng.standard_normal((9, 20)) + rng.standard_normal(20), np.array([0, 0, 0, 2, 2, 5, 5, 5, 7])
    expected = epe_by_hand(rows, labels, classes)
    assert class_correlation_score(rows, labels, classes=classes) == pytest.approx(expected, rel=1e-10)


def test_a_class_of_one_image():
    rows = np.array([[1.0, -1.0, 0.0], [2.0, 0.0, 1.0]])
    assert class_correlation_score(rows, np.array([0, 1]), classes=10) == pytest.approx(2 * math.log(1 + 1e-5), rel=1e-6)
    assert math.isnan(class_correlation_score(rows, np.array([0, 1]), classes=120))


ZEROS, BROKEN = np.zeros((3, 4), np.float32), np.full((3, 4), math.nan, np.float32)
PARTLY = np.array([[1.0, -1.0, 0.0, 2.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 0.0]])


@pytest.mark.parametrize(("rows", "status"), [(ZEROS, "dead"), (BROKEN, "non_finite"), (PARTLY, "non_finite")])
def test_rows_without_correlations_have_no_score(rows, status):
    for name, found in (("jacob_cov", rows), ("epe_nas", LabelledJacobian(rows, np.array([0, 0, 1]), np.asarray(10)))):
        score, given, extras = proxies.get(name).read(found)
        assert math.isnan(score)
        assert given == status
        json.dumps(extras)


@pytest.mark.parametrize(("setting", "network_classes", "chosen"), [("network", 120, 120), ("ten", 120, 10), ("network", 10, 10)])
def test_which_number_of_classes_counts(setting, network_classes, chosen, monkeypatch):
    monkeypatch.setattr("jknas.proxies.epe_nas.input_jacobian", lambda *_, **__: jnp.ones((2, 3)))
    batch = Batch(jnp.zeros((2, 8, 8, 3)), jnp.zeros(2, int))
    found = measure(CellNetwork(2, 1, network_classes), {}, None, batch, jax.random.key(0), classes=setting)
    assert int(found.classes) == chosen
    with pytest.raises(ValueError, match="Unknown classes 'eleven'; expected one of network, ten"):
        measure(CellNetwork(2, 1), {}, None, batch, jax.random.key(0), classes="eleven")


def test_a_dead_cell_has_a_jacobian_of_zeros():
    network, batch, cell = CellNetwork(2, 1), Batch(jnp.ones((3, 8, 8, 3)), jnp.arange(3)), CellGenotype(("none",) * 6)
    params = network.init(jax.random.key(0), cell)["params"]
    compute = quick_jit(lambda params: proxies.get("jacob_cov").measure(network, params, cell, batch, jax.random.key(0)))
    score, status, _ = proxies.get("jacob_cov").read(np.asarray(compute(params)))
    assert (math.isnan(score), status) == (True, "dead")
