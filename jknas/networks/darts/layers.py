"""The layers of a DARTS network's gradient: every convolution kernel, and the classifier.

A run's arrays stack its cells and, where every operation of every edge has parameters, the edges; here they come apart again. A separable
convolution is two layers, a depthwise and a pointwise one; a factorised reduction is two of half the channels.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jknas.networks.darts.parameters import GROUPS, ROWS, restrict
from jknas.networks.darts.wiring import live_mixture, resolve_wiring
from jknas.networks.wiring import Wiring
from jknas.spaces.darts.genotype import EDGES, OPERATIONS


def kernel_layers(wiring: Wiring) -> Callable[[PyTree], list[tuple[jax.Array, jax.Array]]]:
    """Return the function that cuts a gradient into its layers for Eq. (16) of KNAS: every convolution and the classifier.

    Args:
        wiring: genotype, code or mixture weights (traced or not); candidates that it does not choose get weight zero.
    """
    genotype, traced = resolve_wiring(wiring)
    live = None if traced is None else (live_mixture(traced, above=0.0) != 0).reshape(2, len(EDGES), len(OPERATIONS))

    def cut(gradient: PyTree) -> list[tuple[jax.Array, jax.Array]]:
        chosen = gradient if genotype is None else restrict(gradient, genotype)
        layers = [_all(kernel[None]) for kernel in _kernels(chosen["stem"])]
        for name, cell in chosen["cells"].items():
            for part, tree in cell.items():
                if part not in GROUPS:
                    layers.extend(map(_all, _kernels(tree)))
                    continue
                assert live is not None  # a genotype's tree holds no groups
                rows = live[int(name.startswith("reduction")), np.array(ROWS[part])]
                for operation, blocks in tree.items():
                    used = rows[:, OPERATIONS.index(operation)]
                    for kernel in _kernels(blocks):
                        weights = jnp.tile(used.astype(kernel.dtype), kernel.shape[0])
                        layers.append((kernel.reshape(-1, *kernel.shape[2:]), weights))
        return [*layers, _all(chosen["classifier"][None])]

    return cut


def _all(stack: jax.Array) -> tuple[jax.Array, jax.Array]:
    return stack, jnp.ones((len(stack),), stack.dtype)


def _kernels(tree: Mapping[str, Any]) -> Iterator[jax.Array]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _kernels(value)
        elif name == "kernel":
            yield value
