"""The supernets that TE-NAS prunes, one a search space: which operations they start from, what is computed of them, what they end as."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas import spaces
from jknas.errors import SearchError, choose
from jknas.networks.families import macro_of
from jknas.networks.network import initial_params
from jknas.spaces.darts import genotype as darts_genotype
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype

Mixture = Float[Array, "edges operations"]


@dataclass(frozen=True, kw_only=True)
class Supernet:
    """A supernet in two sizes: one for the tangent kernel, a thin one for the linear regions.

    Attributes:
        cells: the edges of each kind of cell.
        order: the operations in the order of the released code, which decides ties; the absent operation is not among them.
        absent: the operation that stands for no edge.
        absent_competes: whether the paper's space counts it among the candidates.
        kept: None, or for each kind of cell the groups of edges of which two are kept after pruning.
        batch: images of a kernel in the released code.
        pruned: operations that an edge loses a round.
        init: ``init(key, scheme) -> params`` of the kernel's network.
        apply: ``apply(params, x, mixture, statistics) -> logits``.
        init_thin: ``init_thin(key, scheme) -> params`` of the thin network.
        activations: ``activations(params, patches, mixture)``, what :func:`jknas.kernels.linear_regions.count_patterns` takes.
        genotype: what a supernet with at most one operation an edge is: operation numbers by edge, -1 for a lost edge.
    """

    cells: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]
    absent: int
    absent_competes: bool
    kept: tuple[tuple[tuple[int, ...], ...], ...] | None
    batch: int
    pruned: int
    init: Callable[[PRNGKeyArray, Any], PyTree]
    apply: Callable[[PyTree, jax.Array, Mixture, Any], jax.Array]
    init_thin: Callable[[PRNGKeyArray, Any], PyTree]
    activations: Callable[[PyTree, jax.Array, Mixture], Any]
    genotype: Callable[[Sequence[int]], Any]

    @property
    def edges(self) -> tuple[int, ...]:
        """All edges, kind by kind."""
        return tuple(edge for cell in self.cells for edge in cell)


def _nasbench201() -> dict[str, Any]:
    return {
        "cells": (tuple(range(len(EDGES))),),
        "order": tuple(range(1, len(OPERATIONS))),
        "absent": 0,
        "absent_competes": True,
        "kept": None,
        "batch": 72,
        "pruned": 1,
        "genotype": CellGenotype.from_code,
    }


def _darts() -> dict[str, Any]:
    names = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
    cells = tuple(tuple(range(first, first + len(darts_genotype.EDGES))) for first in (0, len(darts_genotype.EDGES)))
    nodes = sorted({node for node, _ in darts_genotype.EDGES})
    kept = tuple(
        tuple(tuple(edge for edge, end in zip(cell, darts_genotype.EDGES, strict=True) if end[0] == node) for node in nodes)
        for cell in cells
    )
    return {
        "cells": cells,
        "order": tuple(darts_genotype.OPERATIONS.index(name) for name in names),
        "absent": 0,
        "absent_competes": False,
        "kept": kept,
        "batch": 14,
        "pruned": 3,
        "genotype": lambda code: darts_genotype.DartsGenotype.from_code([max(digit, 0) for digit in code]),
    }


_STRUCTURES: dict[str, Callable[[], dict[str, Any]]] = {"nasbench201": _nasbench201, "darts": _darts}


def supernet(space: str, *, classes: int, input_channels: int) -> Supernet:
    """Return the supernet of a search space.

    Args:
        space: name of the space.
        classes: number of outputs.
        input_channels: channels of the images.

    Raises:
        SearchError: there is none for that space.
    """
    structure = _STRUCTURES[choose("space with a supernet", space, tuple(_STRUCTURES), error=SearchError)]()
    macro = macro_of(spaces.get(space))(classes=classes, input_channels=input_channels)
    network, thin = macro.tenas_network(), macro.thin_network()
    return Supernet(
        **structure,
        init=lambda key, scheme: initial_params(network, key, scheme),
        apply=lambda params, x, mixture, statistics: network.apply(params, x, mixture, statistics=statistics),
        init_thin=lambda key, scheme: thin.init(key, scheme=scheme),
        activations=thin.activations,
    )
