"""SWAP against a count of columns in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import search_stubs as stubs
from compiling import quick_jit
from random_variables import random_variables

from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.observation import look
from jknas.proxies import Batch, get
from jknas.proxies.swap import Patterns, SampleWise, count_patterns, measure
from jknas.scoring.scorer import make_scorer
from jknas.spaces.nasbench201.genotype import CellGenotype

TINY = CellNetwork(2, 1, 3)
CELL = CellGenotype.from_code((3, 1, 0, 4, 0, 3))
"""Convolutions read nodes 0 and 2, and not node 1."""


@pytest.mark.usefixtures("float64")
def test_distinct_columns_of_the_sign_matrix():
    params = random_variables(TINY)["params"]
    x = jnp.asarray(np.random.default_rng(2).standard_normal((9, 8, 8, 3)))

    @quick_jit
    def both(params):
        values = look(TINY, params, x, CELL, lambda kind, seen: [source.value for source in seen.sources]).summaries
        return values, measure(TINY, params, CELL, Batch(x, jnp.zeros(9, int)), jax.random.key(0))

    values, found = both(params)
    columns = []
    for name, sources in values.items():
        for node, source in enumerate(sources):
            if not (name.startswith("stage") and node == 1):
                columns.append(np.asarray(source).reshape(9, -1) > 0)  # a stage has one cell here
    signs = np.concatenate(columns, axis=1)
    outcome = count_patterns(found)
    assert outcome.score == len({column.tobytes() for column in signs.T})
    assert outcome.extras == {"samples": 9, "units": signs.shape[1]}
    assert outcome.status == "ok"


def words(*numbers):
    return np.array(numbers, np.uint32)[:, None]


def test_limits_and_statuses():
    two = SampleWise([Patterns(words(0, 1, 2, 3, 3), np.True_, np.True_)], 2)
    assert count_patterns(two)[:2] == (4.0, "saturated")
    assert count_patterns(two._replace(samples=3))[:2] == (4.0, "ok")
    stacked = Patterns(np.stack([words(0, 1), words(5, 6)]), np.array([True, False]), np.array([True, False]))
    assert count_patterns(SampleWise([stacked], 3))[:2] == (2.0, "ok"), "what nothing reads does not count, not even as broken"
    broken = count_patterns(SampleWise([stacked._replace(used=np.array([True, True]))], 3))
    assert math.isnan(broken.score)
    assert broken.status == "non_finite"
    wide = Patterns(np.array([[1, 0], [1, 1], [1, 0]], np.uint32), np.True_, np.True_)
    assert count_patterns(SampleWise([wide], 40)).score == 2.0


def test_the_definition_fixes_weights():
    scorer = make_scorer(get("swap"), stubs.tiny_digits(), stubs.SPACE, channels=2, cells=1)
    params, batch, _ = scorer._draw()
    assert batch.x.shape == (16, 8, 8, 3)
    assert np.asarray(params["stage3"]["edge_2_0_nor_conv_3x3"]["kernel"]).std() == pytest.approx(1, rel=0.1)
