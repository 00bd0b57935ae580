"""Exchange of weights with reference networks in PyTorch, by the names and layouts of their ``state_dict``.

A network lists its tensors (``torch_tensors(genotype)``) in the reference's order of registration. Our networks stack equal cells along
the first axis of every array; in a ``state_dict`` each cell has tensors of its own.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jknas.errors import NetworkError
from jknas.networks.parameters import Variables

TO_TORCH: dict[int, tuple[int, ...]] = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}
"""By number of axes, the permutation from our layout (height, width, in, out; in, out) to PyTorch's (out, in, height, width; out, in)."""

_NORM = (
    ("weight", "params", "scale"),
    ("bias", "params", "bias"),
    ("running_mean", "batch_stats", "mean"),
    ("running_var", "batch_stats", "var"),
)


class Tensor(NamedTuple):
    """Where one PyTorch tensor is in our variables.

    Attributes:
        name: key in the ``state_dict``.
        collection: ``"params"`` or ``"batch_stats"``.
        path: keys into the collection.
        cell: row of the stacked array, or None where nothing is stacked.
        edge: edge of the cell that owns it, or None.
        operation: the operation on that edge, or None.
    """

    name: str
    collection: str
    path: tuple[str, ...]
    cell: int | None = None
    edge: int | None = None
    operation: str | None = None

    def read(self, variables: Mapping[str, Any]) -> jax.Array:
        """Return the tensor in our layout."""
        value: Any = variables[self.collection]
        for key in self.path:
            value = value[key]
        return value if self.cell is None else value[self.cell]

    def read_torch(self, variables: Mapping[str, Any]) -> jax.Array:
        """Return the tensor in PyTorch's layout."""
        value = self.read(variables)
        return jnp.transpose(value, TO_TORCH[value.ndim])


def norm_tensors(name: str, path: tuple[str, ...], *where: Any) -> list[Tensor]:
    """List the four tensors of a ``BatchNorm2d``; ``where`` is the rest of :class:`Tensor`."""
    return [Tensor(f"{name}.{theirs}", collection, (*path, ours), *where) for theirs, collection, ours in _NORM]


def linear_tensors(name: str, *path: str) -> list[Tensor]:
    """List the two tensors of the classifier below ``path``."""
    return [
        Tensor(f"{name}.weight", "params", (*path, "classifier")),
        Tensor(f"{name}.bias", "params", (*path, "classifier_bias")),
    ]


def to_state_dict(network: Any, genotype: Any, variables: Variables) -> dict[str, np.ndarray]:
    """Return variables as the reference network's ``state_dict`` of NumPy arrays, in the order of registration.

    Args:
        network: the network.
        genotype: the architecture.
        variables: of this genotype, or of all candidate operations.
    """
    own = {name: network.restrict(tree, genotype) for name, tree in variables.items()}
    return {tensor.name: np.asarray(tensor.read_torch(own)) for tensor in network.torch_tensors(genotype)}


def from_state_dict(network: Any, genotype: Any, state: Mapping[str, Any]) -> Variables:
    """Convert a reference ``state_dict`` into our variables for one genotype.

    Args:
        network: its size must be the state's.
        genotype: the architecture that the state was made for.
        state: tensors by name; anything ``np.asarray`` takes (move GPU tensors to the host first). ``num_batches_tracked`` is ignored.

    Returns:
        ``{"params", "batch_stats"}`` in the dtype of the state (float64 only where JAX has it enabled).

    Raises:
        NetworkError: names that are missing or left over, or a tensor of another shape; the message lists them.
    """
    wanted = network.torch_tensors(genotype)
    given = {name for name in state if not name.endswith("num_batches_tracked")}
    missing, extra = [t.name for t in wanted if t.name not in given], sorted(given - {t.name for t in wanted})
    if missing or extra:
        raise NetworkError(
            f"state_dict does not belong to {genotype} with {network.cells} cells: "
            f"missing {missing[:3] or 'nothing'} ({len(missing)}), left over {extra[:3] or 'nothing'} ({len(extra)})"
        )
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), genotype))
    rows: dict[tuple[str, ...], list[np.ndarray]] = {}
    for tensor in wanted:
        value = np.asarray(state[tensor.name])
        value = value.transpose(np.argsort(TO_TORCH[value.ndim]))
        expected = tensor._replace(cell=None).read(shapes).shape
        expected = expected if tensor.cell is None else expected[1:]
        if value.shape != expected:
            raise NetworkError(
                f"{tensor.name}: shape {value.shape} in our layout, but {network} needs {expected}; check channels and classes"
            )
        rows.setdefault((tensor.collection, *tensor.path), []).append(value if tensor.cell is None else value[None])

    def gathered(path: Any, _leaf: Any) -> jax.Array:
        return jnp.asarray(np.concatenate(rows[tuple(key.key for key in path)]))

    return jax.tree_util.tree_map_with_path(gathered, shapes)
