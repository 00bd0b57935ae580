"""The supernets that TE-NAS prunes, one a search space: which operations they start from, what is computed of them, what they end as."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas import darts_genotype
from jknas.choosing import choose
from jknas.genotype import EDGES, OPERATIONS, CellGenotype
from jknas.networks.cell_network import CellNetwork
from jknas.networks.darts import TenasDartsNetwork, TenasDartsThinNetwork
from jknas.networks.thin_cell import ThinCellNetwork
from jknas.search.errors import SearchError

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


def nasbench201(*, classes: int, input_channels: int) -> Supernet:
    """Return TE-NAS's supernet of the NAS-Bench-201 space: 3 channels and one cell a stage; thin: one cell of one channel."""
    network, thin = CellNetwork(3, 1, classes, input_channels), ThinCellNetwork(classes=classes)
    return Supernet(
        cells=(tuple(range(len(EDGES))),),
        order=tuple(range(1, len(OPERATIONS))),
        absent=0,
        absent_competes=True,
        kept=None,
        batch=72,
        pruned=1,
        init=lambda key, scheme: network.init(key, scheme=scheme)["params"],
        apply=lambda params, x, mixture, statistics: network.apply(params, x, mixture, statistics=statistics),
        init_thin=lambda key, scheme: thin.init(key, scheme=scheme),
        activations=thin.activations,
        genotype=CellGenotype.from_code,
    )


def darts(*, classes: int, input_channels: int) -> Supernet:
    """Return TE-NAS's supernet of the DARTS space: a normal cell of one channel and a reduction cell of two."""
    network, thin = TenasDartsNetwork(classes, input_channels), TenasDartsThinNetwork(classes)
    names = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
    cells = tuple(tuple(range(first, first + len(darts_genotype.EDGES))) for first in (0, len(darts_genotype.EDGES)))
    nodes = sorted({node for node, _ in darts_genotype.EDGES})
    kept = tuple(
        tuple(tuple(edge for edge, end in zip(cell, darts_genotype.EDGES, strict=True) if end[0] == node) for node in nodes)
        for cell in cells
    )
    return Supernet(
        cells=cells,
        order=tuple(darts_genotype.OPERATIONS.index(name) for name in names),
        absent=0,
        absent_competes=False,
        kept=kept,
        batch=14,
        pruned=3,
        init=lambda key, scheme: network.init(key, scheme=scheme),
        apply=lambda params, x, mixture, statistics: network.apply(params, x, mixture, statistics=statistics),
        init_thin=lambda key, scheme: thin.init(key, scheme=scheme),
        activations=thin.activations,
        genotype=lambda code: darts_genotype.DartsGenotype.from_code([max(digit, 0) for digit in code]),
    )


_SUPERNETS: dict[str, Callable[..., Supernet]] = {"nasbench201": nasbench201, "darts": darts}


def supernet(space: str, *, classes: int, input_channels: int) -> Supernet:
    """Return the supernet of a search space.

    Args:
        space: name of the space.
        classes: number of outputs.
        input_channels: channels of the images.

    Raises:
        SearchError: there is none for that space.
    """
    make = _SUPERNETS[choose("space with a supernet", space, tuple(_SUPERNETS), error=SearchError)]
    return make(classes=classes, input_channels=input_channels)
