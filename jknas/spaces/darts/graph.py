"""What a DARTS genotype looks like: two cells, each with two inputs and four nodes whose channels are concatenated."""

from jknas.spaces.darts.genotype import EDGES, NODES, OPERATIONS, DartsGenotype
from jknas.spaces.graph import COLOURS, CellGraph, Edge, Node, Operation

_OPERATIONS = {
    "max_pool_3x3": Operation("max pool 3\u00d73", COLOURS["vermilion"]),
    "avg_pool_3x3": Operation("avg pool 3\u00d73", COLOURS["orange"]),
    "skip_connect": Operation("skip", COLOURS["green"]),
    "sep_conv_3x3": Operation("sep conv 3\u00d73", COLOURS["blue"]),
    "sep_conv_5x5": Operation("sep conv 5\u00d75", COLOURS["sky"]),
    "dil_conv_3x3": Operation("dil conv 3\u00d73", COLOURS["pink"]),
    "dil_conv_5x5": Operation("dil conv 5\u00d75", COLOURS["wine"]),
}
_NODES = (Node("cell k\u22122"), Node("cell k\u22121"), *(Node() for _ in NODES))
_CELLS = (("normal cell", ""), ("reduction cell", "the operations on nodes 0 and 1 have stride 2"))


def cell_graphs(genotype: DartsGenotype) -> tuple[CellGraph, ...]:
    """Return the normal and the reduction cell as graphs; their edges are in the order of the code, six of each cell left out."""
    operations = [_OPERATIONS.get(OPERATIONS[digit]) for digit in genotype.code]
    edges = [Edge(source, node, operation) for (node, source), operation in zip(EDGES * 2, operations, strict=True)]
    normal, reduction = tuple(edges[: len(EDGES)]), tuple(edges[len(EDGES) :])
    return tuple(CellGraph(_NODES, cell, NODES, *words) for cell, words in zip((normal, reduction), _CELLS, strict=True))
