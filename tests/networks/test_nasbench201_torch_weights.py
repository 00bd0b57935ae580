"""Exchange of weights with the reference network: there and back, and what does not fit."""

import re

import jax
import numpy as np
import pytest
from random_variables import random_variables

from jknas.networks.nasbench201.network import CellNetwork, restrict
from jknas.networks.nasbench201.torch_order import tensors
from jknas.networks.torch_state import from_state_dict, to_state_dict
from jknas.spaces.nasbench201.genotype import CellGenotype

NETWORK = CellNetwork(2, 2, 3)
GENOTYPE = CellGenotype.from_code((3, 2, 4, 1, 0, 3))


@pytest.fixture
def state():
    return to_state_dict(NETWORK, GENOTYPE, random_variables(NETWORK, GENOTYPE))


@pytest.mark.parametrize("code", [(3, 2, 4, 1, 0, 3), (0, 0, 0, 0, 0, 0)], ids=str)
def test_there_and_back_changes_nothing(code):
    genotype = CellGenotype.from_code(code)
    variables = random_variables(NETWORK, genotype)
    returned = from_state_dict(NETWORK, genotype, to_state_dict(NETWORK, genotype, variables))
    assert jax.tree.structure(returned) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, returned, variables)


def test_the_full_set_gives_its_part():
    full = random_variables(NETWORK)
    part = {name: restrict(tree, GENOTYPE) for name, tree in full.items()}
    full_state, part_state = (to_state_dict(NETWORK, GENOTYPE, variables) for variables in (full, part))
    assert list(full_state) == list(part_state) == [tensor.name for tensor in tensors(NETWORK, GENOTYPE)]
    for name, value in full_state.items():
        np.testing.assert_array_equal(value, part_state[name])


def test_layouts_are_those_of_pytorch(state):
    assert state["stem.0.weight"].shape == (2, 3, 3, 3)  # out, in, height, width
    assert state["cells.2.conv_a.op.1.weight"].shape == (4, 2, 3, 3)
    assert state["cells.2.downsample.1.weight"].shape == (4, 2, 1, 1)
    assert state["cells.7.layers.1.op.1.weight"].shape == (8, 8, 1, 1)
    assert state["classifier.weight"].shape == (3, 8)


def test_cells_of_a_stage_are_rows_in_order():
    variables = random_variables(NETWORK, GENOTYPE)
    state = to_state_dict(NETWORK, GENOTYPE, variables)
    for row, block in enumerate((3, 4)):  # stage 2: after two cells and a reduction
        kernel = variables["params"]["stage2"]["edge_1_0_nor_conv_3x3"]["kernel"][row]
        np.testing.assert_array_equal(state[f"cells.{block}.layers.0.op.1.weight"], np.transpose(kernel, (3, 2, 0, 1)))


def test_the_parameters_of_a_cell_know_their_edge():
    edges = {tensor.name.split(".op.")[0]: tensor.edge for tensor in tensors(NETWORK, GENOTYPE) if ".layers." in tensor.name}
    assert edges["cells.0.layers.5"] == 5
    assert set(edges.values()) == {0, 1, 5}


def test_batch_counters_are_ignored(state):
    state["stem.1.num_batches_tracked"] = np.asarray(3)
    from_state_dict(NETWORK, GENOTYPE, state)


def test_tensors_of_torch_are_taken(state):
    torch = pytest.importorskip("torch")
    variables = from_state_dict(NETWORK, GENOTYPE, {name: torch.tensor(value) for name, value in state.items()})
    np.testing.assert_array_equal(variables["params"]["stem"], np.transpose(state["stem.0.weight"], (2, 3, 1, 0)))


def test_missing_and_left_over_names_are_listed(state):
    del state["classifier.bias"]
    state["module.extra"] = np.zeros(1)
    message = f"state_dict does not belong to {GENOTYPE} with 2 cells: missing ['classifier.bias'] (1), left over ['module.extra'] (1)"
    with pytest.raises(ValueError, match=re.escape(message)):
        from_state_dict(NETWORK, GENOTYPE, state)


def test_the_state_of_another_genotype_is_refused(state):
    other = CellGenotype.from_code((3, 2, 4, 1, 0, 1))
    with pytest.raises(ValueError, match=r"missing nothing \(0\), left over \['cells\.0\.layers\.5\.op\.1\.weight', .* \(30\)"):
        from_state_dict(NETWORK, other, state)


@pytest.mark.parametrize(("name", "network"), [("stem.0.weight", CellNetwork(4, 2, 3)), ("classifier.weight", CellNetwork(2, 2, 5))])
def test_the_state_of_another_size_is_refused(state, name, network):
    message = f"{re.escape(name)}: shape .* in our layout, but {re.escape(str(network))} needs .*; check channels and classes"
    with pytest.raises(ValueError, match=message):
        from_state_dict(network, GENOTYPE, state)
