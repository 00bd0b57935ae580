"""The NAS-Bench-201 space: five operations on six edges, 15,625 cells.

Also called the topology search space of NATS-Bench. 341 of the cells are dead: no path of operations other than "none" leads from the
input to the output.

References:
    Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", arXiv:2001.00326.
    Real, Aggarwal, Huang and Le, "Regularized Evolution for Image Classifier Architecture Search", arXiv:1802.01548 (mutation).
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from jknas.errors import SpaceError, choose
from jknas.spaces.edges import edge_space, replace_one
from jknas.spaces.nasbench201.canonical import RULES, canonical
from jknas.spaces.nasbench201.cost import macs, parameters
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype
from jknas.spaces.nasbench201.graph import cell_graphs
from jknas.spaces.nasbench201.index import genotype_at, index_of
from jknas.spaces.nasbench201.reachable import reachable
from jknas.spaces.pruning import PruningPlan
from jknas.spaces.sampling import check_generator
from jknas.spaces.space import Index, Space

MUTATION_RULES = ("node", "edge")

NAMED: Mapping[str, CellGenotype] = MappingProxyType(
    {
        "resnet": CellGenotype(("nor_conv_3x3", "none", "nor_conv_3x3", "skip_connect", "none", "skip_connect")),
        "all_nor_conv_3x3": CellGenotype(("nor_conv_3x3",) * 6),
        "all_nor_conv_1x1": CellGenotype(("nor_conv_1x1",) * 6),
        "all_skip_connect": CellGenotype(("skip_connect",) * 6),
    }
)
"""Well-known cells by name. "resnet" is the residual block: two 3x3 convolutions in a row, and a skip connection around them."""


def is_dead(genotype: CellGenotype) -> bool:
    """Say whether the cell's output does not depend on its input.

    That is the case when every path from node 0 to node 3 has an edge "none". 341 of the 15,625 cells are dead.

    Args:
        genotype: the cell.

    Returns:
        True for a dead cell.
    """
    fed = {0}
    for name, (node, source) in zip(genotype.operations, EDGES, strict=True):
        if name != "none" and source in fed:
            fed.add(node)
    return 3 not in fed


def mutate(genotype: CellGenotype, rng: np.random.Generator, *, rule: str = "node") -> CellGenotype:
    """Replace the operation of one random edge by a different one, drawn uniformly from the other four.

    Args:
        genotype: the cell.
        rng: the source of randomness; it advances.
        rule: how the edge is drawn. "node", the rule of the field's regularised evolution: one of the three nodes uniformly, then one of
            its incoming edges uniformly, so that the edges have probability 1/3, 1/6, 1/6, 1/9, 1/9, 1/9. "edge": one of the six uniformly.

    Returns:
        A cell that differs on exactly one edge.

    Raises:
        SpaceError: unknown rule.
        TypeError: ``rng`` is not a ``numpy.random.Generator``.
    """
    choose("mutation rule", rule, MUTATION_RULES, error=SpaceError)
    check_generator(rng)
    if rule == "node":
        node = int(rng.integers(1, 4))
        edge = EDGES.index((node, int(rng.integers(node))))
    else:
        edge = int(rng.integers(len(EDGES)))
    return replace_one(genotype, edge, rng, CellGenotype.from_code, len(OPERATIONS))


NASBENCH201: Space[CellGenotype] = edge_space(
    name="nasbench201",
    operations=OPERATIONS,
    num_edges=len(EDGES),
    cells=5,
    cells_unit="cells per stage",
    named=NAMED,
    mutation_rules=MUTATION_RULES,
    canonical_rules=RULES,
    parse=CellGenotype.parse,
    from_code=CellGenotype.from_code,
    mutate=mutate,
    canonical=canonical,
    is_dead=is_dead,
    parameters=parameters,
    macs=macs,
    pruning=PruningPlan(
        cells=(tuple(range(len(EDGES))),),
        order=tuple(range(1, len(OPERATIONS))),
        absent=0,
        absent_competes=True,
        kept=None,
        pruned=1,
        genotype=CellGenotype.from_code,
    ),
    networks="jknas.networks.nasbench201.network:CellNetwork",
    index=Index(genotype_at, index_of),
    graph=cell_graphs,
    convolutions=("nor_conv_1x1", "nor_conv_3x3"),
    parts={"reachable": reachable},
)
