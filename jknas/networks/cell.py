"""The NAS-Bench-201 cell and the residual reduction block, with their parameters declared in Flax."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jknas.genotype import EDGES, OPERATIONS
from jknas.networks.convolution import convolution
from jknas.networks.initialisation import Scheme, kernel_initialiser
from jknas.networks.layers import ConvNorm, ConvNormWeights, Moments, relu_conv_norm
from jknas.networks.normalisation import Statistics
from jknas.networks.pooling import average_pool_2x2, average_pool_3x3

KERNEL_SIZES = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
"""Side of the kernel of every operation that has one."""


def edge_name(edge: int) -> str:
    """Return the parameter name of an edge: ``edge_<target>_<source>``."""
    return "edge_{}_{}".format(*EDGES[edge])


EdgeWeights = dict[str, ConvNormWeights]


def _switched_edge(
    total: jax.Array, x: jax.Array, weights: EdgeWeights, operation: jax.Array, statistics: Statistics
) -> tuple[jax.Array, Moments]:
    """Add to ``total`` the operation whose index is traced; only that branch runs, as long as the index is not batched."""
    like = next(iter(weights.values())).norm.running_mean
    unused = Moments(jnp.zeros_like(like), jnp.zeros_like(like))

    def none(total: jax.Array, x: jax.Array, weights: EdgeWeights) -> tuple[jax.Array, Moments]:
        return total, unused

    def skip_connect(total: jax.Array, x: jax.Array, weights: EdgeWeights) -> tuple[jax.Array, Moments]:
        return total + x, unused

    def convolve(total: jax.Array, x: jax.Array, weights: EdgeWeights, name: str) -> tuple[jax.Array, Moments]:
        y, moments = relu_conv_norm(x, weights[name], statistics)
        return total + y, moments

    def average(total: jax.Array, x: jax.Array, weights: EdgeWeights) -> tuple[jax.Array, Moments]:
        return total + average_pool_3x3(x), unused

    branches: list[Callable[..., tuple[jax.Array, Moments]]] = [
        none,
        skip_connect,
        functools.partial(convolve, name="nor_conv_1x1"),
        functools.partial(convolve, name="nor_conv_3x3"),
        average,
    ]
    return jax.lax.switch(operation, branches, total, x, weights)


class Cell(nn.Module):
    """One cell: four nodes, six edges, every node the sum of its incoming edges.

    Attributes:
        features: channels, the same in and out.
        scheme: initialisation of the kernels.
        statistics: what batch normalisation normalises over.
        chosen: six operation names (static wiring: only their parameters exist), or None for all candidates on every edge.
    """

    features: int
    scheme: Scheme
    statistics: Statistics
    chosen: tuple[str, ...] | None

    def setup(self) -> None:
        """Declare the layers that the wiring can use."""
        for edge in range(len(EDGES)):
            wanted = KERNEL_SIZES.keys() if self.chosen is None else KERNEL_SIZES.keys() & {self.chosen[edge]}
            layers = {
                name: ConvNorm(self.features, self.features, size, self.scheme) for name, size in KERNEL_SIZES.items() if name in wanted
            }
            setattr(self, edge_name(edge), layers)

    def _layers(self, edge: int) -> dict[str, ConvNorm]:
        return getattr(self, edge_name(edge))

    def _named(self, total: jax.Array | None, x: jax.Array, edge: int, name: str) -> jax.Array | None:
        if name == "none":
            return total
        if name == "skip_connect":
            y = x
        elif name == "avg_pool_3x3":
            y = average_pool_3x3(x)
        else:
            y = self._layers(edge)[name](x, self.statistics)
        return y if total is None else total + y

    def _traced(self, total: jax.Array | None, x: jax.Array, edge: int, operation: jax.Array) -> jax.Array:
        layers = self._layers(edge)
        weights = {name: layer.weights() for name, layer in layers.items()}
        # Recomputing a branch in the backward pass is cheaper than a conditional that carries every branch's residuals.
        run = jax.checkpoint(functools.partial(_switched_edge, statistics=self.statistics), prevent_cse=False)
        total, moments = run(jnp.zeros_like(x) if total is None else total, x, weights, operation)
        for name, layer in layers.items():
            layer.record(moments, operation == OPERATIONS.index(name))
        return total

    def _mixed(self, total: jax.Array | None, x: jax.Array, edge: int, weights: jax.Array) -> jax.Array:
        total = jnp.zeros_like(x) if total is None else total
        for index, name in enumerate(OPERATIONS):
            y = self._named(None, x, edge, name)
            if y is not None:
                total = total + weights[index].astype(x.dtype) * y
        return total

    def __call__(self, x: jax.Array, wiring: jax.Array | None) -> tuple[jax.Array, None]:
        """Map ``x`` [n, h, w, features] to the last node's value; the second result is for ``nn.scan``."""
        nodes: list[jax.Array | None] = [x, None, None, None]
        for edge, (target, source) in enumerate(EDGES):
            value = nodes[source]
            if value is None:
                # A node that nothing reaches is zero, and the operations behind it still run: a normalised zero is the layer's shift.
                value = nodes[source] = jnp.zeros_like(x)
            if self.chosen is not None:
                nodes[target] = self._named(nodes[target], value, edge, self.chosen[edge])
            elif wiring is None:
                raise ValueError("a cell with all candidate operations needs a code or mixture weights")
            elif wiring.ndim == 1:
                nodes[target] = self._traced(nodes[target], value, edge, wiring[edge])
            else:
                nodes[target] = self._mixed(nodes[target], value, edge, wiring[edge])
        return (jnp.zeros_like(x) if nodes[3] is None else nodes[3]), None


class Reduction(nn.Module):
    """Residual block that halves the resolution: two 3x3 convolutions beside average pooling and a 1x1 convolution."""

    in_features: int
    features: int
    scheme: Scheme
    statistics: Statistics

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [n, h, w, in_features] to [n, h/2, w/2, features]."""
        y = ConvNorm(self.in_features, self.features, 3, self.scheme, name="conv_a")(x, self.statistics, stride=2)
        y = ConvNorm(self.features, self.features, 3, self.scheme, name="conv_b")(y, self.statistics)
        kernel = self.param("downsample", kernel_initialiser(self.scheme), (1, 1, self.in_features, self.features))
        return convolution(average_pool_2x2(x), kernel.astype(x.dtype)) + y
