"""The reference network's parameters in its order of registration, and the views of a gradient that hang on it.

The reference (``TinyNetwork`` of AutoDL-Projects) registers its modules in a fixed order: stem, blocks, last normalisation, classifier;
inside a cell the edges in string order. The exchange of weights, the published test vectors and the tensors that the released KNAS
estimator looks at all follow it. Our stages stack their cells along the first axis of every leaf; here they come apart again.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jknas.networks.nasbench201.cell import edge_name
from jknas.networks.network import Network
from jknas.networks.torch_state import TO_TORCH, Tensor, linear_tensors, norm_tensors
from jknas.networks.wiring import Wiring
from jknas.spaces.nasbench201.genotype import EDGES, KERNEL_SIZES, OPERATIONS, CellGenotype


def tensors(network: Network, genotype: CellGenotype | None = None) -> list[Tensor]:
    """List every parameter and running average of the reference network, in its registration order.

    Without a genotype, those of all candidate operations: the list of any genotype is a part of it, in the same order.
    """
    found: list[Tensor] = [Tensor("stem.0.weight", "params", ("stem",)), *norm_tensors("stem.1", ("stem_norm",))]

    def convolution(name: str, path: tuple[str, ...], *where: Any) -> None:
        found.append(Tensor(f"{name}.1.weight", "params", (*path, "kernel"), *where))
        found.extend(norm_tensors(f"{name}.2", (*path, "norm"), *where))

    block = 0
    for level in (1, 2, 3):
        if level > 1:
            reduction = f"reduction{level - 1}"
            for part in ("conv_a", "conv_b"):
                convolution(f"cells.{block}.{part}.op", (reduction, part))
            found.append(Tensor(f"cells.{block}.downsample.1.weight", "params", (reduction, "downsample")))
            block += 1
        for cell in range(network.cells):
            for edge in range(len(EDGES)):
                for operation in KERNEL_SIZES:
                    if genotype is None or genotype.operations[edge] == operation:
                        path = (f"stage{level}", f"{edge_name(edge)}_{operation}")
                        convolution(f"cells.{block}.layers.{edge}.op", path, cell, edge, operation)
            block += 1
    return [*found, *norm_tensors("lastact.0", ("last_norm",)), *linear_tensors("classifier")]


def _presence(listed: list[Tensor], wiring: Wiring) -> Float[Array, " m"]:
    """Return 1 for every listed tensor that the wiring uses, 0 for the candidates it does not."""
    if isinstance(wiring, CellGenotype):
        return jnp.ones((len(listed),))
    # The extra row and column are 1, for the tensors that belong to no edge.
    one_hot = jax.nn.one_hot(jnp.asarray(wiring), len(OPERATIONS), dtype=jnp.result_type(float))
    chosen = jnp.ones((len(EDGES) + 1, len(OPERATIONS) + 1)).at[:-1, :-1].set(one_hot)
    edges = np.array([len(EDGES) if tensor.edge is None else tensor.edge for tensor in listed])
    operations = np.array([len(OPERATIONS) if tensor.operation is None else OPERATIONS.index(tensor.operation) for tensor in listed])
    return chosen[edges, operations]


def _listed(network: Network, wiring: Wiring) -> list[Tensor]:
    return [t for t in tensors(network, wiring if isinstance(wiring, CellGenotype) else None) if t.collection == "params"]


def kernel_layers(network: Network, wiring: Wiring) -> Callable[[PyTree], list[tuple[jax.Array, jax.Array]]]:
    """Return the function that cuts a gradient into its layers for Eq. (16) of KNAS: every convolution and the classifier.

    Args:
        network: the network that the gradient belongs to.
        wiring: genotype, or code (traced or not); candidates that a code does not choose get weight zero.
    """

    def cut(gradient: PyTree) -> list[tuple[jax.Array, jax.Array]]:
        stacks: dict[tuple[str, ...], list[Tensor]] = {}
        for tensor in _listed(network, wiring):
            if tensor.path[-1] in {"kernel", "stem", "downsample", "classifier"}:
                stacks.setdefault(tensor.path, []).append(tensor)
        layers = []
        for cells in stacks.values():
            stack = cells[0]._replace(cell=None).read({"params": gradient})
            layers.append((stack if cells[0].cell is not None else stack[None], _presence(cells, wiring)))
        return layers

    return cut


def leading_entries(
    network: Network, gradient: PyTree, wiring: Wiring, *, entries: int, tensors_taken: int
) -> tuple[Float[Array, "m e"], Float[Array, " m"]]:
    """Return the first entries of every large enough tensor in registration order, and which of them the released KNAS code takes.

    Args:
        network: the network that the gradient belongs to.
        gradient: a gradient in the structure of ``params``.
        wiring: genotype or code.
        entries: entries per tensor, in PyTorch's flat order (kernels out, in, height, width); smaller tensors are not eligible.
        tensors_taken: the first so many eligible tensors that the wiring uses are taken.

    Returns:
        ``[m, entries]`` for all ``m`` eligible candidates, zero where not taken, and the indicator ``[m]``.
    """
    listed = [t for t in _listed(network, wiring) if t._replace(cell=t.cell and 0).read({"params": gradient}).size >= entries]
    stacks: dict[tuple[str, ...], jax.Array] = {}
    for tensor in listed:
        if tensor.path not in stacks:
            value = tensor._replace(cell=None).read({"params": gradient})
            value = value if tensor.cell is not None else value[None]
            order = (0, *(axis + 1 for axis in TO_TORCH[value.ndim - 1]))
            stacks[tensor.path] = value.transpose(order).reshape(value.shape[0], -1)[:, :entries]
    # One row per (leaf, cell), then into registration order by a constant permutation.
    starts = dict(zip(stacks, np.cumsum([0, *(len(stack) for stack in stacks.values())]), strict=False))
    rows = np.array([starts[tensor.path] + (tensor.cell or 0) for tensor in listed])
    used = _presence(listed, wiring)
    taken = jnp.where(jnp.cumsum(used) <= tensors_taken, used, 0.0)
    return jnp.concatenate(list(stacks.values()))[rows] * taken[:, None], taken
