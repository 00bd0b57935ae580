"""Where the nodes and edges of a cell go on the page; all coordinates are inches."""

import math
from typing import Any, NamedTuple

import numpy as np
from matplotlib.path import Path as Line

from jknas.spaces.graph import CellGraph, Operation

RADIUS = 0.26  # of a node
LETTER = 0.08  # width of a letter
_GAPS = {"shrinkA": 72 * (RADIUS + 0.03), "shrinkB": 72 * (RADIUS + 0.05)}  # between the middle of a node and a curve, in points
_STEP = 0.78  # from the line of a node down to the next, at least
_RISE = 0.46  # from a node up to the labels of its edges, at least
_BELOW = 0.32  # from the line of a node down to the labels of the next, at least
_FIRST = 0.36  # from the inputs to the first column


class Way(NamedTuple):
    """How an edge runs.

    Attributes:
        ends: the numbers of its source and its target.
        operation: its operation.
        shape: the arguments of ``matplotlib.patches.FancyArrowPatch`` for its line.
        label: the middle of its label.
        dot: where it starts on the line of its source; None for an edge that starts at the node.
    """

    ends: tuple[int, int]
    operation: Operation
    shape: dict[str, Any]
    label: tuple[float, float]
    dot: tuple[float, float] | None = None


class Layout(NamedTuple):
    """Where everything goes.

    Attributes:
        nodes: the middles of the nodes, [n, 2].
        ways: the edges that have an operation.
        rails: how far to the right the line of a node runs, by node.
        bar: the x of the bar in which several outputs end; None without one.
    """

    nodes: np.ndarray
    ways: list[Way]
    rails: dict[int, float]
    bar: float | None


def lay_out(graph: CellGraph) -> Layout:
    """Return the layout of a cell: curves between the positions of the nodes if they have any, else a staircase."""
    return _staircase(graph) if graph.nodes[0].position is None else _curves(graph)


def _curves(graph: CellGraph) -> Layout:
    nodes, ways = np.array([node.position for node in graph.nodes]), []
    for edge in graph.edges:
        if edge.operation:
            start, end = nodes[edge.source], nodes[edge.target]
            (x, y), (middle_x, middle_y) = end - start, (start + end) / 2
            shape = {"posA": tuple(start), "posB": tuple(end), "connectionstyle": f"arc3,rad={-edge.bend}", **_GAPS}
            label = middle_x - edge.bend * y / 2, middle_y + edge.bend * x / 2
            ways.append(Way((edge.source, edge.target), edge.operation, shape, label))
    return Layout(nodes, ways, {}, None)


def _staircase(graph: CellGraph) -> Layout:
    """Give each node a line and a column: wide enough for the labels of its edges, far enough down for its outermost edge to pass them."""
    nodes, ways, rails = np.zeros((len(graph.nodes), 2)), list[Way](), dict[int, float]()
    letters = max((len(edge.operation.label) for edge in graph.edges if edge.operation), default=0)
    spacing = max(0.24 + LETTER * letters, 0.6 + LETTER / 2 * letters)  # the second keeps outer edges clear of short labels
    right = max(_FIRST, *(LETTER / 2 * len(node.role) for node in graph.nodes))
    for node in range(len(nodes)):
        incoming = [(edge.source, edge.operation) for edge in graph.edges if edge.target == node and edge.operation]
        half = spacing * (len(incoming) - 1) / 2  # from the middle of the column to its outermost edge
        rise = max(_RISE, 0.27 * half)
        y = nodes[node - 1, 1] - max(_STEP, rise + _BELOW) if node else 0.0
        nodes[node] = (right + half + spacing / 2 if incoming else 0.0, y)
        for place, (source, operation) in enumerate(sorted(incoming, key=lambda pair: pair[0])):
            offset = place * spacing - half
            x, start = nodes[node, 0] + offset, nodes[source, 1]
            end = nodes[node] + 1.05 * RADIUS / math.hypot(offset, rise) * np.array([offset, rise])
            ways.append(Way((source, node), operation, {"path": Line([(x, start), (x, y + rise), end])}, (x, y + rise), (x, start)))
            rails[source] = max(rails.get(source, x), x)
        right += spacing * len(incoming)
    bar = right + 0.42 if len(graph.outputs) > 1 else None
    return Layout(nodes, ways, rails if bar is None else rails | dict.fromkeys(graph.outputs, bar), bar)
