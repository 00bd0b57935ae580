"""What a NAS-Bench-201 cell looks like: four nodes, and six edges of which the one from the input to the output arches over the others."""

from jknas.spaces.graph import COLOURS, CellGraph, Edge, Node, Operation
from jknas.spaces.nasbench201.genotype import EDGES, CellGenotype

_OPERATIONS = {
    "none": Operation("none", absent=True),
    "skip_connect": Operation("skip", COLOURS["green"]),
    "nor_conv_1x1": Operation("conv 1\u00d71", COLOURS["pink"]),
    "nor_conv_3x3": Operation("conv 3\u00d73", COLOURS["blue"]),
    "avg_pool_3x3": Operation("avg pool 3\u00d73", COLOURS["orange"]),
}
_NODES = (Node("input", (0.0, 0.0)), Node("", (2.3, 0.65)), Node("", (4.45, -0.65)), Node("output", (6.75, 0.0)))
_BENDS = (-0.09, -0.15, 0.0, 0.55, 0.09, -0.09)  # in the order of the edges


def cell_graphs(genotype: CellGenotype) -> tuple[CellGraph, ...]:
    """Return the cell as a graph; its edges are in the order of the code."""
    edges = (
        Edge(source, node, _OPERATIONS[name], bend) for (node, source), name, bend in zip(EDGES, genotype.operations, _BENDS, strict=True)
    )
    return (CellGraph(_NODES, tuple(edges), outputs=(3,)),)
