"""What a cell looks like as a graph: plain values that a space gives and a drawing reads.

A space outside the package gets its drawings by such values alone:

>>> convolution, skip = Operation("conv 3\u00d73"), Operation("skip", COLOURS["green"])
>>> cell = CellGraph(
...     nodes=(Node("input"), Node(), Node("output")),
...     edges=(Edge(0, 1, convolution), Edge(0, 2, skip), Edge(1, 2, convolution)),
...     outputs=(2,),
... )
>>> sorted(live_nodes(cell))
[0, 1, 2]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from jknas.errors import SpaceError

COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "blue": "#0072B2",
        "vermilion": "#D55E00",
        "green": "#009E73",
        "pink": "#CC79A7",
        "sky": "#56B4E9",
        "orange": "#E69F00",
        "wine": "#882255",
    }
)
"""The colours of Okabe and Ito, which colour-blind readers can tell apart; in place of their yellow, too pale for a line, Tol's wine."""


@dataclass(frozen=True)
class Operation:
    """How an operation is shown.

    Attributes:
        label: the text on its edge.
        colour: the colour of its edge, "#RRGGBB".
        absent: True for an operation such as "none", through which nothing flows; its edge is faint and dashed.
    """

    label: str
    colour: str = COLOURS["blue"]
    absent: bool = False


@dataclass(frozen=True)
class Node:
    """A node of a cell.

    Attributes:
        role: the text below the node, for example "input"; may be empty.
        position: where the node is, in inches. Without positions, the nodes form a staircase, which suits any graph.
    """

    role: str = ""
    position: tuple[float, float] | None = None


@dataclass(frozen=True)
class Edge:
    """An edge of a cell.

    Attributes:
        source: the number of the node where the edge starts.
        target: the number of the node where it ends.
        operation: the operation that the genotype puts there; None if the genotype leaves the edge out, and so does the drawing.
        bend: how far the control point of the curve is to the left of the straight line, as a share of its length. Only edges between
            nodes with positions bend.
    """

    source: int
    target: int
    operation: Operation | None
    bend: float = 0.0

    def __str__(self) -> str:
        return f"{self.target}<-{self.source}"


@dataclass(frozen=True)
class CellGraph:
    """A cell as a graph.

    Attributes:
        nodes: the nodes; the numbers in edges count from 0, and every edge leads to a higher number.
        edges: the edges. Those of all cells of a genotype, one after the other, are the places of its code, in the same order: this is how
            the drawing of a pruning search names them.
        outputs: the numbers of the nodes whose values the cell returns.
        title: the name of the cell, shown above it; may be empty.
        note: a remark, shown after the title.
        combination: how several outputs become one.

    Raises:
        SpaceError: a number of no node, an edge that does not lead to a higher number, or positions for some of the nodes only.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    outputs: tuple[int, ...]
    title: str = ""
    note: str = ""
    combination: str = "concatenation"

    def __post_init__(self) -> None:
        count = len(self.nodes)
        for edge in self.edges:
            if not 0 <= edge.source < edge.target < count:
                raise SpaceError(f"edge {edge} of the graph: expected a source before its target, both among the nodes 0..{count - 1}.")
        if not self.outputs or not set(self.outputs) <= set(range(count)):
            raise SpaceError(f"the outputs of the graph are {self.outputs}; expected one or more of the nodes 0..{count - 1}.")
        if len({node.position is None for node in self.nodes}) > 1:
            raise SpaceError("some nodes of the graph have a position and some have none: give one to all of them, or to none.")


def live_nodes(graph: CellGraph) -> frozenset[int]:
    """Return the nodes on a path of present operations from an input, a node that no edge leads to, to an output.

    Args:
        graph: the cell.

    Returns:
        The numbers of the nodes; none of them if the output does not depend on the input.
    """
    present = sorted((edge.target, edge.source) for edge in graph.edges if edge.operation and not edge.operation.absent)
    reached = set(range(len(graph.nodes))) - {edge.target for edge in graph.edges}
    for target, source in present:
        if source in reached:
            reached.add(target)
    needed = reached & set(graph.outputs)
    for target, source in reversed(present):
        if target in needed:
            needed.add(source)
    return frozenset(reached & needed)
