"""What a FlexiBERT encoder looks like: a row of layers, each under its declared name."""

from jknas.spaces.flexibert.genotype import FIRST_LAYER, OPERATIONS, FlexibertGenotype
from jknas.spaces.graph import COLOURS, CellGraph, Edge, Node, Operation

_STEP = 2.0  # inches from one layer to the next
_COLOURS = {"width": "wine", "SDP": "blue", "WMA": "sky", "DFT": "orange", "DCT": "vermilion", "DSC5": "green", "DSC9": "pink"}


def cell_graphs(genotype: FlexibertGenotype) -> tuple[CellGraph, ...]:
    """Return the encoder as one graph; its edges are in the order of the code, and layers that are not there are left out."""
    depth = len(genotype.layers)
    roles = ["embeddings", "states", *(f"layer {number}" for number in range(1, depth + 1))]
    nodes = tuple(Node(role, (_STEP * place, 0.0)) for place, role in enumerate(roles))
    edges = tuple(Edge(place, place + 1, _operation(digit)) if digit else Edge(0, 1, None) for place, digit in enumerate(genotype.code))
    note = "the operators very probably had no effect in training"
    return (CellGraph(nodes, edges, outputs=(depth + 1,), title="as declared", note=note),)


def _operation(digit: int) -> Operation:
    name = OPERATIONS[digit]
    kind = name.split("-")[0] if digit >= FIRST_LAYER else "width"
    return Operation(name, COLOURS[_COLOURS[kind]])
