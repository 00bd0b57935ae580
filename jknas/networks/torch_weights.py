"""Exchange of weights with the reference network in PyTorch (``TinyNetwork`` of AutoDL-Projects), and its order of parameters.

The reference registers its modules in a fixed order: stem, blocks, last normalisation, classifier; inside a cell the edges in string
order. Two things hang on that order: which tensors the released KNAS estimator looks at, and every published test vector.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jknas.genotype import CellGenotype
from jknas.networks.cell import KERNEL_SIZES, edge_name
from jknas.networks.cell_network import CellNetwork, Variables

_NORM = (
    ("weight", "params", "scale"),
    ("bias", "params", "bias"),
    ("running_mean", "batch_stats", "mean"),
    ("running_var", "batch_stats", "var"),
)


class Tensor(NamedTuple):
    """Where one PyTorch tensor lives in our variables.

    Attributes:
        name: key in the ``state_dict``.
        collection: ``"params"`` or ``"batch_stats"``.
        path: keys into the collection.
        cell: row of the stacked stage, or None outside the stages.
        edge: edge of the cell that owns it, or None.
    """

    name: str
    collection: str
    path: tuple[str, ...]
    cell: int | None
    edge: int | None = None

    def read(self, variables: Mapping[str, Any]) -> jax.Array:
        """Return the tensor in our layout (kernels height, width, in, out; linear in, out)."""
        value: Any = variables[self.collection]
        for key in self.path:
            value = value[key]
        return value if self.cell is None else value[self.cell]

    def read_torch(self, variables: Mapping[str, Any]) -> jax.Array:
        """Return the tensor in PyTorch's layout (kernels out, in, height, width; linear out, in)."""
        value = self.read(variables)
        return jnp.transpose(value, _TO_TORCH[value.ndim])


_TO_TORCH: dict[int, tuple[int, ...]] = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
_FROM_TORCH: dict[int, tuple[int, ...]] = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}


def tensors(network: CellNetwork, genotype: CellGenotype) -> list[Tensor]:
    """List every parameter and running average of the reference network, in its registration order."""
    found: list[Tensor] = []

    def norm(name: str, path: tuple[str, ...], cell: int | None = None, edge: int | None = None) -> None:
        found.extend(Tensor(f"{name}.{torch}", collection, (*path, ours), cell, edge) for torch, collection, ours in _NORM)

    found.append(Tensor("stem.0.weight", "params", ("stem",), None))
    norm("stem.1", ("stem_norm",))
    block = 0
    for level in (1, 2, 3):
        if level > 1:
            reduction = f"reduction{level - 1}"
            for part in ("conv_a", "conv_b"):
                found.append(Tensor(f"cells.{block}.{part}.op.1.weight", "params", (reduction, part, "kernel"), None))
                norm(f"cells.{block}.{part}.op.2", (reduction, part, "norm"))
            found.append(Tensor(f"cells.{block}.downsample.1.weight", "params", (reduction, "downsample"), None))
            block += 1
        for cell in range(network.cells):
            for edge, operation in enumerate(genotype.operations):
                if operation in KERNEL_SIZES:
                    path, name = (f"stage{level}", f"{edge_name(edge)}_{operation}"), f"cells.{block}.layers.{edge}.op"
                    found.append(Tensor(f"{name}.1.weight", "params", (*path, "kernel"), cell, edge))
                    norm(f"{name}.2", (*path, "norm"), cell, edge)
            block += 1
    norm("lastact.0", ("last_norm",))
    found.append(Tensor("classifier.weight", "params", ("classifier",), None))
    found.append(Tensor("classifier.bias", "params", ("classifier_bias",), None))
    return found


def from_state_dict(network: CellNetwork, genotype: CellGenotype, state: Mapping[str, Any]) -> Variables:
    """Convert a reference ``state_dict`` into our variables for one genotype.

    Args:
        network: its channels, cells and classes must be those of the state.
        genotype: the cell that the state was made for.
        state: tensors by name; anything ``np.asarray`` takes (call ``.numpy()`` on GPU tensors first). ``num_batches_tracked`` is ignored.

    Returns:
        ``{"params", "batch_stats"}`` in the dtype of the state.

    Raises:
        ValueError: names that are missing or left over, or a tensor of another shape; the message lists them.
    """
    wanted = tensors(network, genotype)
    given = {name for name in state if not name.endswith("num_batches_tracked")}
    missing, extra = [t.name for t in wanted if t.name not in given], sorted(given - {t.name for t in wanted})
    if missing or extra:
        raise ValueError(
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
            raise ValueError(
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
