"""Exchange of weights with the reference network in PyTorch (``TinyNetwork`` of AutoDL-Projects)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jknas.errors import NetworkError
from jknas.networks.nasbench201.network import CellNetwork, Variables
from jknas.networks.nasbench201.torch_order import tensors
from jknas.spaces.nasbench201.genotype import CellGenotype

_FROM_TORCH: dict[int, tuple[int, ...]] = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}


def from_state_dict(network: CellNetwork, genotype: CellGenotype, state: Mapping[str, Any]) -> Variables:
    """Convert a reference ``state_dict`` into our variables for one genotype.

    Args:
        network: its channels, cells and classes must be those of the state.
        genotype: the cell that the state was made for.
        state: tensors by name; anything ``np.asarray`` takes (call ``.numpy()`` on GPU tensors first). ``num_batches_tracked`` is ignored.

    Returns:
        ``{"params", "batch_stats"}`` in the dtype of the state (float64 only where JAX has it enabled).

    Raises:
        ValueError: names that are missing or left over, or a tensor of another shape; the message lists them.
    """
    wanted = tensors(network, genotype)
    given = {name for name in state if not name.endswith("num_batches_tracked")}
    missing, extra = [t.name for t in wanted if t.name not in given], sorted(given - {t.name for t in wanted})
    if missing or extra:
        raise NetworkError(
            f"state_dict does not belong to {genotype} with {network.cells} cells a stage: "
            f"missing {missing[:3] or 'nothing'} ({len(missing)}), left over {extra[:3] or 'nothing'} ({len(extra)})"
        )
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), genotype))
    # Stages hold their cells stacked, so their rows are collected first and stacked at the end.
    rows: dict[tuple[str, tuple[str, ...]], list[np.ndarray]] = {}
    for tensor in wanted:
        value = np.asarray(state[tensor.name])
        value = value.transpose(_FROM_TORCH.get(value.ndim, tuple(range(value.ndim))))
        expected = tensor._replace(cell=None).read(shapes).shape
        expected = expected if tensor.cell is None else expected[1:]
        if value.shape != expected:
            raise NetworkError(
                f"{tensor.name}: shape {value.shape} in our layout, but {network} needs {expected}; check channels and classes"
            )
        rows.setdefault((tensor.collection, tensor.path), []).append(value)
    variables: Variables = {"params": {}, "batch_stats": {}}
    for (collection, path), values in rows.items():
        node = variables[collection]
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = jnp.asarray(np.stack(values) if path[0].startswith("stage") else values[0])
    # Stages without parameters are empty dictionaries in our trees.
    for collection, tree in shapes.items():
        for name, value in tree.items():
            if isinstance(value, Mapping) and not value:
                variables[collection].setdefault(name, {})
    return variables


def to_state_dict(network: CellNetwork, genotype: CellGenotype, variables: Variables) -> dict[str, np.ndarray]:
    """Convert our variables for one genotype (or the full set) into a reference ``state_dict`` of NumPy arrays."""
    return {tensor.name: np.asarray(tensor.read_torch(variables)) for tensor in tensors(network, genotype)}
