"""The suite checks the arrays of jknas itself; without this test a broken import hook would go unnoticed."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jknas.errors import MetricError
from jknas.ranking import aggregates, metrics


def test_a_result_of_the_wrong_dtype_is_an_error():
    with pytest.raises(TypeCheckError, match=r"return value of jknas.ranking.aggregates"):
        aggregates._with_nan_below(np.arange(3))


def test_a_function_may_refuse_a_wrong_array_itself():
    with pytest.raises(MetricError, match="must be a 1-D array"):
        metrics.spearman(np.zeros((2, 2)), np.zeros((2, 2)))
