"""A search space that the package does not know: three edges, three operations, a Flax network and its cost."""

import flax.linen as nn
import jax.numpy as jnp

from jknas.networks.flax_network import FlaxNetwork
from jknas.spaces import edge_space

OPERATIONS = ("skip", "conv1", "conv3")


class Chain(nn.Module):
    """A stem, then one residual edge after the other; each edge runs all its candidates and keeps the chosen one."""

    channels: int
    cells: int
    classes: int

    @nn.compact
    def __call__(self, x, code, train):
        x = nn.Conv(self.channels, (3, 3), use_bias=False)(x)
        for _ in range(self.cells):
            for edge in range(3):
                read = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
                convolved = [nn.Conv(self.channels, (size, size), use_bias=False)(read) for size in (1, 3)]
                x = x + jnp.stack([jnp.zeros_like(x), *convolved])[code[edge]]
        return nn.Dense(self.classes)(nn.relu(x).mean((1, 2)))


class ChainNetwork(FlaxNetwork):
    num_edges = 3

    def definition(self):
        return Chain(self.channels, self.cells, self.classes)


def parameters(genotype, *, channels=16, cells=2, classes=10, image_channels=3):
    weights = sum({"skip": 0, "conv1": 1, "conv3": 9}[name] * channels**2 for name in genotype.operations)
    return 9 * image_channels * channels + cells * (weights + 3 * 2 * channels) + (channels + 1) * classes


def macs(genotype, *, channels=16, cells=2, classes=10, resolution=32, image_channels=3):
    weights = sum({"skip": 0, "conv1": 1, "conv3": 9}[name] * channels**2 for name in genotype.operations)
    return resolution**2 * (9 * image_channels * channels + cells * weights) + (channels + 1) * classes


SPACE = edge_space(
    name="chain", operations=OPERATIONS, num_edges=3, networks=ChainNetwork, cells=2, parameters=parameters, macs=macs,

)  # fmt: skip
