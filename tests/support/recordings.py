"""Numbers recorded from the reference network in PyTorch, one file a network."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.torch_state import from_state_dict
from jknas.spaces.nasbench201.genotype import CellGenotype

CELLS = ("g00_allconv3", "g01_allskip", "g04_allnone", "g05_cutout", "g06_mix5ops", "g08_deadbranch")
SMALL = tuple(f"A_{cell}" for cell in CELLS)
"""Four channels, every scale, shift and running average random."""
WIDE = tuple(f"B_{cell}" for cell in CELLS)
"""Sixteen channels, PyTorch's default initialisation."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One network: what it is, its weights, and what PyTorch computed with it."""

    network: CellNetwork
    genotype: CellGenotype
    arrays: Mapping[str, np.ndarray]

    def state_dict(self, prefix="sd/"):
        return {name.removeprefix(prefix): value for name, value in self.arrays.items() if name.startswith(prefix)}

    def variables(self):
        """Return the network's variables in the float type in force."""
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), from_state_dict(self.network, self.genotype, self.state_dict()))

    def images(self):
        return jnp.asarray(self.arrays["x_nhwc"], float)


@functools.cache
def recording(folder: Path, name: str) -> Recording:
    with np.load(folder / f"{name}.npz") as file:
        arrays = dict(file)
    network = CellNetwork(*(int(arrays[f"meta/{field}"]) for field in ("C", "N", "num_classes")))
    return Recording(network, CellGenotype.parse(str(arrays["genotype"])), arrays)


def fifty_examples(folder: Path):
    """Return the images and labels of the gradient kernels."""
    with np.load(folder / "_knas50.npz") as file:
        return jnp.asarray(file["x_nhwc"], float), jnp.asarray(file["y"], jnp.int32)
