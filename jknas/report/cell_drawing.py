"""Draw the cells of a genotype of any space that describes them as graphs (``Space.graph``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.transforms import Bbox

from jknas.errors import DrawingError, JknasError
from jknas.report.cell_layout import LETTER, RADIUS, Layout, Way, lay_out
from jknas.report.page import FADED, FAINT, INK, NODE, STYLE, check_target, new_page, save, write_title
from jknas.spaces.graph import CellGraph, live_nodes
from jknas.spaces.space import Genotype, Space

G = TypeVar("G", bound=Genotype)

_MARGINS, _LINE = (0.4, 0.52), 0.4  # inches, and the unit of all coordinates below
_RAIL = "#8A949D"


def draw_cell(genotype: G, path: str | Path, *, space: Space[G], title: str | None = None) -> Path:
    """Draw the cells of a genotype into an SVG or PNG file.

    Nodes with positions are drawn there, joined by curves. Nodes without form a staircase: the value of a node runs to the right along its
    own line, and an operation drops from the line of its source to its node, so that lines cross at right angles only. Edges without an
    operation are left out, and those with an absent one ("none") are faint and dashed. Nodes and edges that are on no path from an input
    to an output are pale; a note says so if this is true of all.

    Args:
        genotype: the genotype.
        path: the file, ending in .svg or .png, in an existing folder. A file of that name is replaced.
        space: the space of the genotype.
        title: a line above the drawing, shown as it is (no mathematics); it shrinks until it fits.

    Returns:
        The path.

    Raises:
        DrawingError: another ending, a folder that does not exist, a file that cannot be written, a space that does not describe its
            cells, or a genotype that is not from the space.
    """
    target = check_target(path)
    graphs = graphs_of(genotype, space)
    with mpl.rc_context(STYLE):
        save(_compose(graphs, title), target, str(genotype))
    return target


def graphs_of(genotype: G, space: Space[G]) -> tuple[CellGraph, ...]:
    """Return the cells of a genotype as graphs.

    Raises:
        DrawingError: the space does not describe its cells, or the genotype is not from the space.
    """
    if space.graph is None:
        raise DrawingError(
            f"the space {space.name} does not say what its cells look like: give its Space record a function `graph` from a genotype to "
            "a tuple of jknas.spaces.graph.CellGraph."
        )
    try:
        known = space.parse(str(genotype)) == genotype
    except JknasError:
        known = False
    if not known:
        raise DrawingError(f"a drawing needs a genotype of the space {space.name}, got {genotype!r:.80}: read its text with space.parse.")
    return space.graph(genotype)


def _compose(graphs: Sequence[CellGraph], title: str | None) -> Figure:
    """Draw the cells one below the other."""
    panels = [(graph, layout, _box(graph, layout)) for graph, layout in ((graph, lay_out(graph)) for graph in graphs)]
    width = max(box.width for _, _, box in panels)
    bottom = sum(box.height for _, _, box in panels)
    height = bottom + (_LINE if title else 0.0)
    figure = new_page(width, height, layout=None)
    write_title(figure, title, y=1 - 0.1 / height)
    for graph, layout, box in panels:
        bottom -= box.height
        axes = figure.add_axes((0, bottom / height, 1, box.height / height))
        axes.set(xlim=(box.x0, box.x0 + width), ylim=(box.y0, box.y1))
        axes.set_axis_off()
        _draw(axes, graph, layout, box)
    return figure


def _box(graph: CellGraph, layout: Layout) -> Bbox:
    """Return the part of the page that a cell needs."""
    roles = zip(layout.nodes, (node.role for node in graph.nodes), strict=True)
    words = [*roles, *((way.label, way.operation.label) for way in layout.ways)]
    points = np.array([(x + side * LETTER * len(word), y) for (x, y), word in words for side in (-0.5, 0.5)])
    (left, bottom), (right, top) = points.min(axis=0) - _MARGINS, points.max(axis=0) + _MARGINS
    right = max(right, (layout.bar or 0.0) + 0.6)
    return Bbox.from_extents(left, bottom - (0.0 if live_nodes(graph) else _LINE), right, top + (_LINE if graph.title else 0.0))


def _draw(axes: Axes, graph: CellGraph, layout: Layout, box: Bbox) -> None:
    live = live_nodes(graph)
    caption = f"{graph.title}: {graph.note}" if graph.note else graph.title
    axes.text(box.x0 + 0.25, box.y1 - 0.25, caption, va="center", fontsize=12, weight="bold")
    if not live:
        axes.text(
            box.x0 + box.width / 2, box.y0 + 0.25, "The output does not depend on the input.", ha="center", fontsize=11, style="italic"
        )
    for node, end in layout.rails.items():
        x, y = layout.nodes[node]
        axes.plot([x, end], [y, y], color=_RAIL if node in live else FAINT, linewidth=2.2, solid_capstyle="round", zorder=1)
    for way in layout.ways:
        _draw_edge(axes, way, pale=not set(way.ends) <= live)
    for number, (x, y) in enumerate(layout.nodes):
        _draw_node(axes, (x, y), str(number), graph.nodes[number].role, pale=number not in live)
    if layout.bar is not None:
        _draw_bar(axes, layout.bar, layout.nodes[list(graph.outputs), 1], graph.combination)


def _draw_edge(axes: Axes, way: Way, *, pale: bool) -> None:
    operation = way.operation
    # Pale is mixed with white, not transparent: where an arrow's head covers its shaft, transparency would add up.
    colour = FAINT if operation.absent else tuple(1 - (0.35 if pale else 1.0) * (1 - part) for part in to_rgb(operation.colour))
    style: dict[str, Any] = {"arrowstyle": "-|>,head_length=0.55,head_width=0.27", "linewidth": 2.5}
    if operation.absent:
        style = {"arrowstyle": "-", "linewidth": 1.3, "linestyle": (0, (4, 3))}
    axes.add_patch(FancyArrowPatch(**way.shape, **style, mutation_scale=15, color=colour, capstyle="butt", joinstyle="miter", zorder=3))
    if way.dot:
        axes.plot([way.dot[0], way.label[0]], [way.dot[1], way.label[1]], color="white", linewidth=6, zorder=2)  # what it crosses is behind
        axes.add_patch(Circle(way.dot, 0.07, facecolor=colour, edgecolor="white", linewidth=0.8, zorder=4))
    ink, frame = FADED if operation.absent or pale else INK, "none" if operation.absent else colour
    box = {"boxstyle": "round,pad=0.32,rounding_size=0.6", "facecolor": "white", "edgecolor": frame, "linewidth": 1.6}
    axes.text(*way.label, operation.label, ha="center", va="center_baseline", color=ink, zorder=5, bbox=box)


def _draw_node(axes: Axes, place: tuple[float, float], name: str, role: str, *, pale: bool) -> None:
    face, edge, ink = ("#EFEFEF", FAINT, FADED) if pale else (NODE, NODE, "white")
    axes.add_patch(Circle(place, RADIUS, facecolor=face, edgecolor=edge, linewidth=1.5, zorder=6))
    axes.text(*place, name, ha="center", va="center_baseline", fontsize=14, weight="bold", color=ink, zorder=7)
    axes.text(place[0], place[1] - RADIUS - 0.14, role, ha="center", va="center", color=FADED if pale else INK, zorder=7)


def _draw_bar(axes: Axes, x: float, heights: np.ndarray, combination: str) -> None:
    """Draw the bar in which the lines of several outputs end."""
    top, bottom = heights.max() + 0.22, heights.min() - 0.22
    shape = "round,pad=0,rounding_size=0.1"
    axes.add_patch(FancyBboxPatch((x, bottom), 0.3, top - bottom, boxstyle=shape, facecolor=NODE, edgecolor=NODE, zorder=6))
    axes.text(x + 0.15, (top + bottom) / 2, combination, ha="center", va="center", rotation=90, fontsize=11, color="white", zorder=7)
    axes.text(x + 0.15, top + 0.16, "output", ha="center", va="center", zorder=7)
