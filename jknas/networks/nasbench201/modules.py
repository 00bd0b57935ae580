"""The modules of the benchmark's own network whose outputs MeCo's released code reads, containers included.

A convolution with its ReLU, normalisation and wrappers counts four times and its ReLU once, a pooling twice, a skip connection, a cell and
a reduction once each, the stem three times.
"""

from typing import Any

import jax

from jknas.networks.layers.pooling import average_pool_2x2
from jknas.networks.observation import Seen

_TIMES = {"stem": 3, "downsample": 2, "avg_pool_3x3": 2, "last_norm": 1}
_CONVOLUTION = 4


def times_hooked(kind: str) -> int:
    """Return how many modules have the output of a layer of this kind for theirs."""
    return _TIMES.get(kind, _CONVOLUTION)


def module_outputs(kind: str, x: jax.Array, seen: Seen) -> list[tuple[jax.Array, Any]]:
    """Return the outputs of a block's other modules, and how often each counts: ReLUs, skip connections, containers, a pooling.

    Args:
        kind: of the block.
        x: what it reads.
        seen: the block after its run.
    """
    if kind in {"stem", "classifier"}:
        return []
    relus = [(jax.nn.relu(source.value), source.convolutions) for source in seen.sources]
    if kind == "last_norm":  # the ReLU, and the container of normalisation and ReLU
        return [(seen.output, 2)]
    inner = [(source.value, source.skips) for source in seen.sources] if kind == "cell" else [(average_pool_2x2(x), 1)]
    return [*relus, *inner, (seen.output, 1)]
