"""Numbers recorded from the reference code in PyTorch; ``tests/recorded/README.md`` says what each file holds."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from torch_draws import default_state

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

    def labels(self):
        return jnp.asarray(self.arrays["y"], jnp.int32)


def normalised(images: np.ndarray) -> np.ndarray:
    """Return CIFAR-10 images as the networks saw them: in float32, channels last."""
    return ((images / 255.0 - np.divide([125.3, 123.0, 113.9], 255)) / np.divide([63.0, 62.1, 66.7], 255)).astype(np.float32)


def load(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Return the arrays of one file, with the images ``x_nhwc`` and the weights ``sd/NAME`` that it holds as bytes and as a seed."""
    with np.load(folder / f"{name}.npz") as file:
        arrays = dict(file)
    if "u8_nhwc" in arrays:
        arrays["x_nhwc"] = normalised(arrays["u8_nhwc"])
    if "sd_shapes" in arrays:
        listed = (str(line).rsplit(" ", 1) for line in arrays["sd_shapes"])
        shapes = {key: tuple(int(extent) for extent in shape.split(",")) for key, shape in listed}
        state = default_state(int(arrays["meta/seed"]), shapes)
        arrays = {f"sd/{key}": value for key, value in state.items()} | arrays
    return arrays


@functools.cache
def recording(folder: Path, name: str) -> Recording:
    arrays = load(folder, name)
    network = CellNetwork(*(int(arrays[f"meta/{field}"]) for field in ("C", "N", "num_classes")))
    return Recording(network, CellGenotype.parse(str(arrays["genotype"])), arrays)


def fifty_examples(folder: Path):
    """Return the images and labels of the gradient kernels."""
    arrays = load(folder, "_knas50")
    return jnp.asarray(arrays["x_nhwc"], float), jnp.asarray(arrays["y"], jnp.int32)
