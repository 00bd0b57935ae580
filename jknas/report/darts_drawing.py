"""Draw a DARTS genotype: its normal and its reduction cell, each as a staircase of nodes.

The value of every node runs to the right along a line of its own, so that two operations never cross except at right angles, whatever the
genotype: an operation starts at a dot on the line of its source and ends in its node.
"""

from __future__ import annotations

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from jknas.report.page import FONT, INK, NODE, fit
from jknas.spaces.darts.genotype import NODES, DartsGenotype, Pair

__all__ = ["compose"]

_WIDTH, _PANEL_HEIGHT, _TITLE_HEIGHT = 12.0, 5.05, 0.5  # inches, and the unit of all coordinates below
_RADIUS = 0.25
_STEP = 0.75  # from the line of one node to that of the next
_TOP = 4.25  # the line of node 0
_INPUT_X, _FIRST_X, _COLUMN = 0.55, 2.1, 2.4
_BESIDE = 0.6  # from the middle of a node's column to each of its two operations
_LABEL_ABOVE = 0.44  # from the middle of a node to the labels of its operations
_OUTPUT_X = 11.05
_RAIL = "#8A949D"


class _Style(NamedTuple):
    label: str
    colour: str


_STYLES = {
    "max_pool_3x3": _Style("max pool 3\u00d73", "#D55E00"),
    "avg_pool_3x3": _Style("avg pool 3\u00d73", "#E69F00"),
    "skip_connect": _Style("skip", "#009E73"),
    "sep_conv_3x3": _Style("sep conv 3\u00d73", "#0072B2"),
    "sep_conv_5x5": _Style("sep conv 5\u00d75", "#56B4E9"),
    "dil_conv_3x3": _Style("dil conv 3\u00d73", "#CC79A7"),
    "dil_conv_5x5": _Style(
        "dil conv 5\u00d75", "#882255"
    ),  # of Tol's colours: the seventh of Okabe and Ito, yellow, is too pale for a line
}


def compose(genotype: DartsGenotype, title: str | None) -> Figure:
    """Return the figure of a genotype: the normal cell above, the reduction cell below."""
    height = 2 * _PANEL_HEIGHT + (_TITLE_HEIGHT if title else 0.0)
    figure = Figure(figsize=(_WIDTH, height), dpi=150, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    captions = ("normal cell", "reduction cell: the operations on nodes 0 and 1 have stride 2")
    for row, (pairs, caption) in enumerate(zip((genotype.reduce, genotype.normal), reversed(captions), strict=True)):
        axes = figure.add_axes((0, row * _PANEL_HEIGHT / height, 1, _PANEL_HEIGHT / height))
        axes.set(xlim=(0, _WIDTH), ylim=(0, _PANEL_HEIGHT))
        axes.set_axis_off()
        _draw_cell(axes, pairs, caption)
    if title:
        x, y = 0.5, 1 - _TITLE_HEIGHT / 2 / height
        text = figure.text(x, y, title, ha="center", va="center", color=INK, family=FONT, parse_math=False)
        fit(text, canvas, _WIDTH - 0.5)
    return figure


def _draw_cell(axes: Axes, pairs: tuple[Pair, ...], caption: str) -> None:
    axes.text(0.3, _PANEL_HEIGHT - 0.22, caption, ha="left", va="center", fontsize=12, weight="bold", color=INK, family=FONT)
    reach = dict.fromkeys(NODES, _OUTPUT_X)  # how far to the right the line of a node runs
    for place, (name, source) in enumerate(_sorted_by_source(pairs)):
        node = NODES[place // 2]
        side = 1 if place % 2 else -1
        _draw_operation(axes, name, source, node, side)
        if source not in NODES:
            reach[source] = max(reach.get(source, 0.0), _column(node) + side * _BESIDE)
    for node, end in reach.items():
        axes.plot([_column(node), end], [_line(node)] * 2, color=_RAIL, linewidth=2.2, solid_capstyle="round", zorder=1)
    for node in range(len(NODES) + 2):
        _draw_node(axes, node)
    _draw_output(axes)


def _sorted_by_source(pairs: tuple[Pair, ...]) -> list[Pair]:
    """The inputs of the nodes, the two of a node in the order of their sources."""
    return [pair for place in range(0, len(pairs), 2) for pair in sorted(pairs[place : place + 2], key=lambda pair: pair[1])]


def _line(node: int) -> float:
    """The height of a node and of its line."""
    return _TOP - _STEP * node


def _column(node: int) -> float:
    """The middle of a node, from the left."""
    return _INPUT_X if node < NODES[0] else _FIRST_X + _COLUMN * (node - NODES[0])


def _draw_operation(axes: Axes, name: str, source: int, node: int, side: int) -> None:
    """From a dot on the line of the source straight down through the label, then aslant into the node."""
    label, colour = _STYLES[name]
    x, start, label_y = _column(node) + side * _BESIDE, _line(source), _line(node) + _LABEL_ABOVE
    axes.plot([x, x], [start, label_y], color="white", linewidth=6, solid_capstyle="butt", zorder=2)  # lines that it crosses pass behind
    axes.plot([x, x], [start, label_y], color=colour, linewidth=2.4, solid_capstyle="butt", zorder=3)
    axes.add_patch(Circle((x, start), 0.07, facecolor=colour, edgecolor="white", linewidth=0.8, zorder=4))
    axes.add_patch(
        FancyArrowPatch(
            (x, label_y),
            (_column(node) + side * 0.75 * _RADIUS, _line(node) + 0.75 * _RADIUS),
            arrowstyle="-|>,head_length=0.5,head_width=0.25",
            mutation_scale=16,
            shrinkA=0,
            shrinkB=0,
            linewidth=2.4,
            color=colour,
            zorder=3,
        )
    )
    axes.text(
        x,
        label_y,
        label,
        ha="center",
        va="center_baseline",
        fontsize=9.5,
        color=INK,
        family=FONT,
        zorder=5,
        bbox={"boxstyle": "round,pad=0.3,rounding_size=0.6", "facecolor": "white", "edgecolor": colour, "linewidth": 1.6},
    )


def _draw_node(axes: Axes, node: int) -> None:
    x, y = _column(node), _line(node)
    axes.add_patch(Circle((x, y), _RADIUS, facecolor=NODE, edgecolor=NODE, linewidth=1.5, zorder=6))
    axes.text(x, y, str(node), ha="center", va="center_baseline", fontsize=13, weight="bold", color="white", family=FONT, zorder=7)
    if node < NODES[0]:
        role = "cell k\u22121" if node else "cell k\u22122"
        axes.text(x, y - _RADIUS - 0.13, role, ha="center", va="center", fontsize=9.5, color=INK, family=FONT, zorder=7)


def _draw_output(axes: Axes) -> None:
    top, bottom = _line(NODES[0]) + 0.22, _line(NODES[-1]) - 0.22
    axes.add_patch(
        FancyBboxPatch(
            (_OUTPUT_X, bottom), 0.3, top - bottom, boxstyle="round,pad=0,rounding_size=0.1", facecolor=NODE, edgecolor=NODE, zorder=6
        )
    )
    middle = (top + bottom) / 2
    axes.text(
        _OUTPUT_X + 0.15, middle, "concatenation", ha="center", va="center", rotation=90, fontsize=11, color="white", family=FONT, zorder=7
    )
    axes.text(_OUTPUT_X + 0.15, top + 0.16, "output", ha="center", va="center", fontsize=9.5, color=INK, family=FONT, zorder=7)
