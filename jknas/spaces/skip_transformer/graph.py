"""What a skip-connection encoder looks like: the embeddings and the layers in a row, the connections that skip layers as arcs."""

from jknas.spaces.graph import COLOURS, CellGraph, Edge, Node, Operation
from jknas.spaces.skip_transformer.genotype import SkipGenotype, edges

_READ = Operation("read", COLOURS["blue"])
_STEP = 1.5  # inches from one layer to the next


def cell_graphs(genotype: SkipGenotype) -> tuple[CellGraph, ...]:
    """Return the encoder as one graph; its edges are in the order of the code, and the absent ones are left out."""
    roles = ["embeddings", *(f"layer {layer}" for layer in range(1, genotype.layers + 1))]
    nodes = tuple(Node(role, (_STEP * place, 0.0)) for place, role in enumerate(roles))
    found = []
    for (layer, source), digit in zip(edges(genotype.layers), genotype.code, strict=True):
        bend = 0.0 if layer - source == 1 else 0.35
        found.append(Edge(source, layer, _READ if digit else None, bend))
    return (CellGraph(nodes, tuple(found), outputs=(genotype.layers,)),)
