"""The NAS-Bench-201 network as anybody would write it in JAX: library convolutions, no reverse rules of its own, on the same parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jknas.networks.nasbench201.cell import edge_name
from jknas.spaces.nasbench201.genotype import EDGES, CellGenotype


def _convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    pads = [(kernel.shape[0] // 2,) * 2] * 2
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _normalise(x: jax.Array, norm: dict[str, jax.Array]) -> jax.Array:
    mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * norm["scale"] + norm["bias"]


def _layer(x: jax.Array, layer: dict[str, Any], stride: int = 1) -> jax.Array:
    return _normalise(_convolve(jax.nn.relu(x), layer["kernel"], stride), layer["norm"])


def _average(x: jax.Array) -> jax.Array:
    def sums(x: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")

    count = np.minimum(np.arange(x.shape[1]) + 1, x.shape[1] - 1) - np.maximum(np.arange(x.shape[1]) - 1, 0) + 1
    return sums(x) / jnp.asarray(np.outer(count, count)[:, :, None], x.dtype)


def plain_network(genotype: CellGenotype, cells: int) -> Callable[[Any, jax.Array], jax.Array]:
    """Return ``apply(params, x) -> logits``, every example normalised by itself; ``params`` from ``CellNetwork.init(key, genotype)``."""

    def cell(x: jax.Array, stage: dict[str, Any], at: int) -> jax.Array:
        nodes = [x, *(jnp.zeros_like(x) for _ in range(3))]
        for edge, (target, source) in enumerate(EDGES):
            name, value = genotype.operations[edge], nodes[source]
            if name == "skip_connect":
                nodes[target] += value
            elif name == "avg_pool_3x3":
                nodes[target] += _average(value)
            elif name != "none":
                nodes[target] += _layer(value, jax.tree.map(lambda a: a[at], stage[f"{edge_name(edge)}_{name}"]))
        return nodes[3]

    def apply(params: Any, x: jax.Array) -> jax.Array:
        x = _normalise(_convolve(x, params["stem"]), params["stem_norm"])
        for level in (1, 2, 3):
            if level > 1:
                block = params[f"reduction{level - 1}"]
                n, height, width, channels = x.shape
                halved = x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
                x = _convolve(halved, block["downsample"]) + _layer(_layer(x, block["conv_a"], 2), block["conv_b"])
            for at in range(cells):
                x = cell(x, params[f"stage{level}"], at)
        pooled = jax.nn.relu(_normalise(x, params["last_norm"])).mean((1, 2))
        return pooled @ params["classifier"] + params["classifier_bias"]

    return apply
