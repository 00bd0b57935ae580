"""Draw the cells of a genotype.

A NAS-Bench-201 cell has four nodes, six labelled edges, and shows at a glance which of them reach the output; for a DARTS genotype see
``jknas.report.darts_drawing``.
"""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch
from matplotlib.path import Path as Curve

from jknas.errors import DrawingError
from jknas.report import darts_drawing
from jknas.report.page import FADED, FAINT, FONT, INK, NODE, check_target, fit, save
from jknas.spaces.darts.genotype import DartsGenotype
from jknas.spaces.nasbench201.genotype import EDGES

__all__ = ["DrawingError", "draw_cell"]

_WIDTH, _HEIGHT, _TITLE_HEIGHT, _NOTE_HEIGHT = 9.0, 3.85, 0.45, 0.35  # inches, and the unit of all coordinates below
_RADIUS = 0.33
_NODES = np.array([(0.75, 1.4), (3.3, 2.12), (5.7, 0.68), (8.25, 1.4)])


class _Style(NamedTuple):
    label: str
    colour: str


_STYLES = {
    "none": _Style("none", FAINT),
    "skip_connect": _Style("skip", "#009E73"),
    "nor_conv_1x1": _Style("conv 1\u00d71", "#CC79A7"),
    "nor_conv_3x3": _Style("conv 3\u00d73", "#0072B2"),
    "avg_pool_3x3": _Style("avg pool 3\u00d73", "#E69F00"),
}


class _Bend(NamedTuple):
    """How an edge runs: the control point's distance to the left of its chord, and where along the curve its label stands."""

    offset: float
    label: float


_BENDS = {
    (1, 0): _Bend(-0.25, 0.5),
    (2, 0): _Bend(-0.75, 0.5),
    (2, 1): _Bend(0.0, 0.5),
    (3, 0): _Bend(4.1, 0.5),
    (3, 1): _Bend(0.4, 0.5),
    (3, 2): _Bend(-0.25, 0.5),
}


class Cell(Protocol):
    """Anything with the six operations of a NAS-Bench-201 cell, for example `jknas.spaces.nasbench201.genotype.CellGenotype`."""

    @property
    def operations(self) -> tuple[str, ...]:
        """Operation names of the edges 1<-0, 2<-0, 2<-1, 3<-0, 3<-1, 3<-2."""
        ...


def draw_cell(genotype: Cell | DartsGenotype, path: str | Path, *, title: str | None = None) -> Path:
    """Draw a cell, or the two cells of a DARTS genotype, into an SVG or PNG file.

    In a NAS-Bench-201 cell, edges whose operation is "none" are faint and dashed. Nodes and edges that lie on no way from the input to the
    output are pale, and a note says so when this is true of all of them.

    Args:
        genotype: the cell, or a DARTS genotype.
        path: the file, which ends in .svg or .png; its folder must be there. A file of that name is replaced.
        title: a line above the drawing, shown as it is (no mathematics); made smaller until it fits.

    Returns:
        The path.

    Raises:
        DrawingError: another suffix, a folder that is not there or cannot be written, or operations that are not six names of
            NAS-Bench-201.
    """
    target = check_target(Path(path))
    if isinstance(genotype, DartsGenotype):
        save(darts_drawing.compose(genotype, title), target, str(genotype))
        return target
    operations = _check_operations(genotype)
    save(_compose(operations, title), target, "+".join(operations))
    return target


def _compose(operations: tuple[str, ...], title: str | None) -> Figure:
    live = _live_nodes(operations)
    note = None if live else "The output does not depend on the input."
    below, above = (_NOTE_HEIGHT if note else 0.0), (_TITLE_HEIGHT if title else 0.0)
    figure = Figure(figsize=(_WIDTH, below + _HEIGHT + above), dpi=150, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH), ylim=(-below, _HEIGHT + above))
    axes.set_axis_off()
    for edge, operation in zip(EDGES, operations, strict=True):
        _draw_edge(axes, edge, operation, pale=not set(edge) <= live)
    for node in range(len(_NODES)):
        _draw_node(axes, node, pale=node not in live)
    if note:
        axes.text(_WIDTH / 2, -0.1, note, ha="center", va="center", fontsize=11, style="italic", color=INK, family=FONT)
    if title:
        text = axes.text(_WIDTH / 2, _HEIGHT + 0.08, title, ha="center", va="center", color=INK, family=FONT, parse_math=False)
        fit(text, canvas, _WIDTH - 0.5)
    return figure


def _check_operations(genotype: Cell) -> tuple[str, ...]:
    operations = getattr(genotype, "operations", None)
    if not isinstance(operations, tuple) or len(operations) != len(EDGES):
        raise DrawingError(
            f"a drawing needs the {len(EDGES)} operations of a NAS-Bench-201 cell, got {genotype!r}: "
            "pass a CellGenotype, for example CellGenotype.parse(text), or a DartsGenotype."
        )
    for operation in operations:
        if operation not in _STYLES:
            raise DrawingError(f"unknown operation {operation!r}: expected one of {', '.join(_STYLES)}.")
    return operations


def _live_nodes(operations: tuple[str, ...]) -> set[int]:
    """Return the nodes on a way from node 0 to node 3 that has no "none" edge; an empty set for a dead cell."""
    edges = [edge for edge, operation in zip(EDGES, operations, strict=True) if operation != "none"]
    reached, needed = {0}, {3}
    for node, source in edges:  # in the order of the nodes: one pass is enough
        if source in reached:
            reached.add(node)
    for node, source in reversed(edges):
        if node in needed:
            needed.add(source)
    return reached & needed if 3 in reached else set()


def _draw_edge(axes: Axes, edge: tuple[int, int], operation: str, *, pale: bool) -> None:
    node, source = edge
    bend, style, absent = _BENDS[edge], _STYLES[operation], operation == "none"
    start, end = _NODES[source], _NODES[node]
    chord = end - start
    left = np.array([-chord[1], chord[0]]) / np.hypot(*chord)
    curve = _between_circles(np.array([start, (start + end) / 2 + bend.offset * left, end]))
    colour = _pale(style.colour) if pale and not absent else style.colour
    arrow = FancyArrowPatch(
        path=Curve(curve, [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3]),
        arrowstyle="-" if absent else "-|>,head_length=0.55,head_width=0.28",
        mutation_scale=18,
        linewidth=1.3 if absent else 2.6,
        linestyle=(0, (4, 3)) if absent else "solid",
        color=colour,
        capstyle="butt",
        joinstyle="miter",
        zorder=1 if absent else 2,
    )
    axes.add_patch(arrow)
    x, y = _on_curve(curve, bend.label)
    axes.text(
        x,
        y,
        style.label,
        ha="center",
        va="center_baseline",
        fontsize=9.5 if absent else 11,
        color=FADED if absent or pale else INK,
        family=FONT,
        zorder=4,
        bbox={
            "boxstyle": "round,pad=0.38,rounding_size=0.7",
            "facecolor": "white",
            "edgecolor": "none" if absent else colour,
            "linewidth": 1.6,
        },
    )


def _draw_node(axes: Axes, node: int, *, pale: bool) -> None:
    x, y = _NODES[node]
    ink = FADED if pale else "white"
    axes.add_patch(
        Circle((x, y), _RADIUS, facecolor="#EFEFEF" if pale else NODE, edgecolor=FAINT if pale else NODE, linewidth=1.5, zorder=5)
    )
    axes.text(x, y, str(node), ha="center", va="center_baseline", fontsize=15, weight="bold", color=ink, family=FONT, zorder=6)
    role = {0: "input", 3: "output"}.get(node)
    if role:
        axes.text(x, y - _RADIUS - 0.22, role, ha="center", va="center", fontsize=11, color=FADED if pale else INK, family=FONT, zorder=6)


def _on_curve(curve: np.ndarray, t: float | np.ndarray) -> np.ndarray:
    """Return the points of a quadratic Bezier curve ([3, 2]) at t in [0, 1]; t of shape [m, 1] gives [m, 2]."""
    return (1 - t) ** 2 * curve[0] + 2 * t * (1 - t) * curve[1] + t**2 * curve[2]


def _between_circles(curve: np.ndarray) -> np.ndarray:
    """Cut a quadratic Bezier curve where it leaves the circle of its first node and where it meets that of its last."""
    t = np.linspace(0, 1, 2001)[:, None]
    points = _on_curve(curve, t)
    outside = (np.hypot(*(points - curve[0]).T) > _RADIUS + 0.03) & (np.hypot(*(points - curve[2]).T) > _RADIUS + 0.05)
    first, last = t[outside][0, 0], t[outside][-1, 0]
    blend = (1 - first) * (1 - last) * curve[0] + (first * (1 - last) + last * (1 - first)) * curve[1] + first * last * curve[2]
    return np.array([_on_curve(curve, first), blend, _on_curve(curve, last)])


def _pale(colour: str) -> tuple[float, ...]:
    # Mixed with white, not made transparent: where an arrow's head covers its shaft, transparency would add up.
    return tuple(1 - 0.35 * (1 - part) for part in to_rgb(colour))
