"""The classes that a trained network gives, against the accuracy that evaluation counts."""

import jax
import numpy as np
import pytest
from training_stubs import coloured_dataset

from jknas.errors import TrainingError
from jknas.networks import CellNetwork
from jknas.spaces.nasbench201.index import genotype_at
from jknas.training import evaluate
from jknas.training.prediction import predict


def test_the_classes_of_a_cell_are_those_that_its_accuracy_counts():
    dataset, cell = coloured_dataset(), genotype_at(1)
    network = CellNetwork(channels=4, cells=1, classes=dataset.num_classes)
    variables = network.init(jax.random.key(0), cell)
    for split in ("validation", "test"):
        labels = dataset.split(split)[1]
        found = predict(network, variables, cell, dataset, split)
        assert found.shape == labels.shape
        assert (found == labels).mean() == pytest.approx(evaluate(network, variables, cell, dataset, split).accuracy)
    everything = network.init(jax.random.key(0))
    np.testing.assert_array_equal(
        predict(network, everything, cell, dataset, "test"),
        predict(network, network_part(network, everything, cell), cell, dataset, "test"),
    )
    with pytest.raises(TrainingError, match="there is no split"):
        predict(network, variables, cell, dataset, "tests")


def network_part(network, variables, cell):
    return {name: network.restrict(tree, cell) for name, tree in variables.items()}
