"""The suite checks the arrays of jknas itself; without this test a broken import hook would go unnoticed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jknas.errors import MetricError
from jknas.kernels.gram import gram
from jknas.ranking import combinations, metrics


def test_a_result_of_the_wrong_dtype_is_an_error():
    with pytest.raises(TypeCheckError, match=r"return value of jknas.ranking.combinations"):
        combinations._with_nan_below(np.arange(3))


def test_a_function_may_refuse_a_wrong_array_itself():
    with pytest.raises(MetricError, match="must be a 1-D array"):
        metrics.spearman(np.zeros((2, 2)), np.zeros((2, 2)))


def test_a_record_of_a_wrong_array_is_an_error_and_jax_may_rebuild_one_of_other_objects():
    found = gram(lambda w, x: x @ w, jnp.ones((2, 1)), jnp.ones((3, 2)))
    assert jax.tree.map(np.shape, found).matrix == (3, 3)
    with pytest.raises(TypeCheckError, match=r"Gram.__init__"):
        dataclasses.replace(found, matrix=found.matrix[0])
