"""The NAS-Bench-201 network as a chain of blocks, written once: what a layer does, and what is kept of a block, is the caller's choice.

    stem, cells of stage 1, reduction 1, cells of stage 2, reduction 2, cells of stage 3, last normalisation and ReLU, classifier

Logits, training, observation and TE-NAS's thin network all run what is here and in :mod:`.cell`.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import lax
from jaxtyping import Array, PyTree

from jknas.networks.layers.pooling import average_pool_2x2
from jknas.networks.nasbench201.cell import run_cell
from jknas.networks.observation import Layer, LayerWeights, Observation, RunBlock, Seen, Source, Visit, classifier, single
from jknas.networks.parameters import WeightTree

BLOCKS = ("stem", "stage1", "reduction1", "stage2", "reduction2", "stage3", "last_norm", "classifier")
"""The blocks in their order; a stage is as many as it has cells."""


def kind_of(block: str) -> str:
    """Return the kind of a block: its name, ``cell`` for a stage, ``reduction`` for both reductions."""
    return "cell" if block.startswith("stage") else block.rstrip("12")


def walk_blocks(  # noqa: PLR0917
    weights: WeightTree, x: Array, wiring: Any, visit: Visit, extras: Mapping[str, PyTree], cells: int, cell: Callable[..., Seen] = run_cell
) -> Observation:
    """Run the network block by block, the cells of a stage in one loop.

    Args:
        weights: the network's, joined with its running averages.
        x: images ``[n, h, w, c]``.
        wiring: genotype, code, mixture weights, or a code for each cell, ``[3, cells, 6]``.
        visit: called once per block, and once for all the cells of a stage, inside their loop.
        extras: what ``visit`` gets, by block.
        cells: cells per stage.
        cell: runs one cell.
    """
    summaries = {}
    for name in BLOCKS:
        if not name.startswith("stage"):
            x, summaries[name] = visit(kind_of(name), _block(name, weights), x, extras.get(name))
            continue

        def one(x: Array, item: tuple[PyTree, PyTree, Array | None]) -> tuple[Array, PyTree]:
            return visit("cell", functools.partial(cell, item[0], wiring if item[2] is None else item[2]), x, item[1])

        codes = wiring[int(name.removeprefix("stage")) - 1] if getattr(wiring, "ndim", 0) == 3 else None
        x, summaries[name] = lax.scan(one, x, (weights[name], extras.get(name), codes), length=cells)
    return Observation(x, summaries)


def _block(name: str, weights: WeightTree) -> RunBlock:
    """Return a block that is not a cell."""
    if name.startswith("reduction"):
        return functools.partial(reduction, weights[name])
    if name == "last_norm":
        return functools.partial(_last, weights["last_norm"])
    own = classifier(weights) if name == "classifier" else LayerWeights(weights["stem"], weights["stem_norm"])
    return functools.partial(single, name, own)


def _last(norm: Any, layer: Layer, x: Array, given: Mapping[str, PyTree]) -> Seen:
    """Run the last normalisation and ReLU; the output is the feature map before pooling."""
    y, record = layer("last_norm", x, LayerWeights(norm=norm), given.get("last_norm"))
    return Seen(jax.nn.relu(y), (Source(y, 1, 0),), {"last_norm": record})


def reduction(weights: WeightTree, layer: Layer, x: Array, given: Mapping[str, PyTree]) -> Seen:
    """Run the residual block that halves the resolution: two 3x3 convolutions, added to average pooling and a 1x1 convolution."""
    records: dict[str, PyTree] = {}

    def run(kind: str, x: Array, own: LayerWeights) -> Array:
        y, records[kind] = layer(kind, x, own, given.get(kind))
        return y

    inner = run("conv_a", x, LayerWeights(**weights["conv_a"], relu=True, stride=2))
    y = run("conv_b", inner, LayerWeights(**weights["conv_b"], relu=True))
    short = run("downsample", x, LayerWeights(weights["downsample"], before=average_pool_2x2))
    return Seen(short + y, (Source(x, 1, 0), Source(inner, 1, 0)), records)
