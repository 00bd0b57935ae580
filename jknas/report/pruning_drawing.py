"""Draw how a search by pruning went: the supernet's way through its two measures, and which operation went in which round.

Reference: Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
arXiv:2102.11535, figure 3 (the way of the supernet).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jknas.errors import DrawingError, choose
from jknas.report.page import FADED, FAINT, FONT, INK, check_target, fit, save
from jknas.report.trajectory_drawing import Box, Point, draw_trajectory, ink_on
from jknas.spaces import Space
from jknas.spaces.darts import genotype as darts_genotype
from jknas.spaces.nasbench201 import genotype

__all__ = ["draw_pruning"]

_FIRST, _LAST, _LEFT = "#D8E8F4", "#003F6B", "#E69F00"  # shades of the first and of the last round, and what is left
_TITLE_HEIGHT = 0.5  # inches, and the unit of all coordinates below
_CELL_GAP = 0.3  # between two cells
_KINDS = ("operations", "edges")
_LEFT_MARK, _NEVER_MARK = "\u2713", "\u2013"


class _Layout(NamedTuple):
    """Where things stand on the page of a space."""

    cells: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]  # the caption and the edges of each cell
    width: float
    height: float
    plane: Box
    grid: tuple[float, float]  # upper left corner of the first square
    square: tuple[float, float]  # width and height
    name_size: float  # of the edges
    grid_start: float  # where the caption and the legend of the grid begin


_LAYOUTS = {
    "nasbench201": _Layout((("", genotype.EDGES),), 12.0, 4.9, Box(1.05, 0.8, 6.6, 4.45), (8.4, 4.05), (0.55, 0.56), 9.5, 7.1),
    "darts": _Layout(
        (("normal cell", darts_genotype.EDGES), ("reduction cell", darts_genotype.EDGES)),
        12.4,
        8.9,
        Box(1.45, 4.9, 12.15, 8.45),
        (1.45, 3.3),
        (0.371, 0.32),
        8.5,
        1.45,
    ),
}


class _Round(NamedTuple):
    kind: str
    condition: float
    regions: float
    live: np.ndarray  # [edges, operations], before the round
    removed: tuple[tuple[int, int], ...]


def draw_pruning(
    rounds: Sequence[Mapping[str, Any]], left: Sequence[Sequence[bool]], path: str | Path, *, space: Space[Any], title: str | None = None
) -> Path:
    """Draw a pruning search into an SVG or PNG file.

    One panel shows condition number (logarithmic) and linear regions of the supernet before each round. What the last round left was not
    measured and has no point. A condition number that is not finite or not positive stands in a strip at the right, region counts that are
    not finite at the bottom, each with its value. The other panel has a square for every operation of every edge, with the number and
    the shade of the round in which it went; what is left is outlined.

    Args:
        rounds: ``state["rounds"]`` of a TE-NAS search, from its first round on; it need not be finished. Of each round are read ``"kind"``
            ("operations" or "edges"), ``"live"`` ([edge][operation], before the round), ``"condition"``, ``"regions"`` and ``"removed"``
            (pairs of edge and operation).
        left: ``state["live"]`` of the same search: what these rounds left, [edge][operation].
        path: the file, which ends in .svg or .png; its folder must be there. A file of that name is replaced.
        space: the space that was searched, "nasbench201" or "darts".
        title: a line above the drawing, shown as it is (no mathematics); made smaller until it fits.

    Returns:
        The path.

    Raises:
        DrawingError: another suffix, a folder that is not there or cannot be written, a space that has no layout, no rounds, or rounds
            that do not fit the space, each other or what is left.

    Deviations:
        Figure 3 of the paper shows the mean of several searches; this is one search.
    """
    target = check_target(Path(path))
    choose("space of a pruning", space.name, tuple(_LAYOUTS), error=DrawingError)
    checked, final = _check(rounds, left, space)
    name = f"pruning of {space.name}, {len(checked)} round{'s' * (len(checked) > 1)}"
    save(_compose(checked, final, space, title), target, name)
    return target


def _check(rounds: Any, left: Any, space: Space[Any]) -> tuple[list[_Round], np.ndarray]:
    if not isinstance(rounds, Sequence) or isinstance(rounds, str) or not rounds:
        came = "an empty list" if isinstance(rounds, Sequence) and not rounds else type(rounds).__name__
        raise DrawingError(f'a drawing of a pruning needs one round or more, got {came}: pass state["rounds"] of a search that has pruned.')
    found: list[_Round] = []
    for number, entry in enumerate(rounds, start=1):
        checked = _check_round(entry, f"round {number}", space)
        if found and (checked.live != _after(found[-1])).any():
            raise DrawingError(
                f"round {number} does not begin with what round {number - 1} left: pass all rounds of one search, in their order."
            )
        found.append(checked)
    final = _check_live(left, "what is left", space)
    if (final != _after(found[-1])).any():
        raise DrawingError(
            f"what is left is not what round {len(found)}, the last one, left: pass the rounds and the live operations of one state."
        )
    return found, final


def _check_round(entry: Any, where: str, space: Space[Any]) -> _Round:
    names = _Round._fields
    if not isinstance(entry, Mapping) or not set(names) <= set(entry):
        came = f"a mapping of {', '.join(map(str, entry)) or 'nothing'}" if isinstance(entry, Mapping) else type(entry).__name__
        raise DrawingError(f"{where} is {came}; expected a mapping with {', '.join(names)}.")
    choose(f"kind of {where}", entry["kind"], _KINDS, error=DrawingError)
    live = _check_live(entry["live"], f"live of {where}", space)
    condition, regions = (_check_number(entry[name], f"{name} of {where}") for name in ("condition", "regions"))
    try:
        removed = tuple((int(edge), int(operation)) for edge, operation in entry["removed"])
    except (TypeError, ValueError) as error:
        raise DrawingError(f"removed of {where} is {entry['removed']!r:.80}; expected a list of pairs (edge, operation).") from error
    for edge, operation in removed:
        if not (0 <= edge < space.num_edges and 0 <= operation < len(space.operations)) or not live[edge, operation]:
            raise DrawingError(
                f"{where} removes operation {operation} of edge {edge}, which was not live before it; expected a live one among edges "
                f"0..{space.num_edges - 1} and operations 0..{len(space.operations) - 1} of {space.name}."
            )
    return _Round(entry["kind"], condition, regions, live, removed)


def _check_number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DrawingError(f"{where} is {value!r:.60}; expected a number (it may be infinite or NaN).") from error


def _check_live(live: Any, where: str, space: Space[Any]) -> np.ndarray:
    try:
        found = np.asarray(live)
    except ValueError:  # rows of different lengths
        found = np.empty(0)
    wanted = (space.num_edges, len(space.operations))
    if found.shape != wanted or not np.isin(found, (False, True)).all():
        came = f"an array of shape {found.shape}" if found.ndim and found.size and found.shape != wanted else type(live).__name__
        raise DrawingError(
            f"{where} is {came}; expected true or false for each of the {wanted[0]} edges and {wanted[1]} operations of {space.name}: "
            "pass the space that was searched."
        )
    return found.astype(bool)


def _after(entry: _Round) -> np.ndarray:
    live = entry.live.copy()
    for removal in entry.removed:
        live[removal] = False
    return live


def _compose(rounds: Sequence[_Round], left: np.ndarray, space: Space[Any], title: str | None) -> Figure:
    layout = _LAYOUTS[space.name]
    height = layout.height + (_TITLE_HEIGHT if title else 0.0)
    figure = Figure(figsize=(layout.width, height), dpi=150, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, layout.width), ylim=(0, height))
    page.set_axis_off()
    shades = _shades(len(rounds))
    points = [Point(r.condition, r.regions, str(n + 1), shades[n]) for n, r in enumerate(rounds)]
    _caption(page, layout.plane.left, layout.plane.top + 0.22, "the supernet before each round")
    draw_trajectory(page, canvas, layout.plane, points)
    gone = {removal: number for number, entry in enumerate(rounds) for removal in entry.removed}
    _draw_grid(page, layout, space.operations, gone=gone, left=left, shades=shades)
    _draw_legend(page, canvas, layout, rounds=rounds, shades=shades, never=len(gone) + left.sum() < left.size)
    if title:
        text = page.text(layout.width / 2, layout.height + 0.2, title, ha="center", va="center", color=INK, family=FONT, parse_math=False)
        fit(text, canvas, layout.width - 0.5)
    return figure


def _shades(count: int) -> list[str]:
    parts = np.linspace(0, 1, count) if count > 1 else np.array([0.5])
    return [to_hex((1 - part) * np.array(to_rgb(_FIRST)) + part * np.array(to_rgb(_LAST))) for part in parts]


def _caption(page: Axes, x: float, y: float, text: str) -> None:
    page.text(x, y, text, ha="left", va="center", fontsize=12, weight="bold", color=INK, family=FONT)


def _draw_grid(
    page: Axes,
    layout: _Layout,
    operations: Sequence[str],
    *,
    gone: Mapping[tuple[int, int], int],
    left: np.ndarray,
    shades: Sequence[str],
) -> None:
    (x, top), (width, height) = layout.grid, layout.square
    for row, name in enumerate(operations):
        y = top - (row + 0.5) * height
        page.text(x - 0.1, y, name, ha="right", va="center_baseline", fontsize=9.5, color=INK, family=FONT)
    edge = 0
    for caption, edges in layout.cells:
        if caption:
            page.text(x, top + 0.42, caption, ha="left", va="center", fontsize=10.5, color=INK, family=FONT)
        for node, source in edges:
            colour = INK if left[edge].any() else FADED
            label = f"{node}<-{source}"
            page.text(x + width / 2, top + 0.14, label, ha="center", va="center", fontsize=layout.name_size, color=colour, family=FONT)
            for operation in range(len(operations)):
                corner = (x, top - (operation + 1) * height)
                number = gone.get((edge, operation))
                if left[edge, operation]:
                    _draw_square(page, corner, layout.square, _LEFT_MARK, _LEFT)
                elif number is None:
                    _draw_square(page, corner, layout.square, _NEVER_MARK, None)
                else:
                    _draw_square(page, corner, layout.square, str(number + 1), shades[number])
            x += width
            edge += 1
        x += _CELL_GAP
    y = top + 0.74 if layout.cells[0][0] else layout.plane.top + 0.22
    _caption(page, layout.grid_start, y, "the round in which each operation went")


def _draw_square(page: Axes, corner: tuple[float, float], size: tuple[float, float], mark: str, colour: str | None) -> None:
    """Draw a square with its mark; without a colour it is an operation that never was there."""
    x, y = corner[0] + 0.02, corner[1] + 0.02
    outlined = mark == _LEFT_MARK
    page.add_patch(
        Rectangle(
            (x, y),
            size[0] - 0.04,
            size[1] - 0.04,
            facecolor=colour or "white",
            edgecolor=INK if outlined else FAINT,
            linewidth=1.8 if outlined else 0.8,
            zorder=3 if outlined else 2,
        )
    )
    ink = ink_on(colour) if colour else FADED
    x, y = corner[0] + size[0] / 2, corner[1] + size[1] / 2
    weight = "bold" if outlined else "normal"
    page.text(
        x, y, mark, ha="center", va="center_baseline", fontsize=13 if outlined else 10, weight=weight, color=ink, family=FONT, zorder=4
    )


def _draw_legend(
    page: Axes, canvas: FigureCanvasAgg, layout: _Layout, *, rounds: Sequence[_Round], shades: Sequence[str], never: bool
) -> None:
    """Below the grid: what the squares mean, from left to right, and on the next line where one is full."""
    items: list[tuple[list[tuple[str, str | None]], str]] = []
    for kind, meaning in zip(_KINDS, ("operation removed in this round", "edge removed in this round"), strict=True):
        chips: list[tuple[str, str | None]] = [(str(n + 1), shades[n]) for n, entry in enumerate(rounds) if entry.kind == kind]
        if chips:
            items.append((chips if len(chips) <= 6 else [*chips[:2], ("\u2026", None), chips[-1]], meaning))
    items.append(([(_LEFT_MARK, _LEFT)], "left"))
    if never:
        items.append(([(_NEVER_MARK, None)], "never there"))
    size = (0.3, 0.28)
    start = layout.grid_start
    x, y = start, layout.grid[1] - rounds[0].live.shape[1] * layout.square[1] - 0.45
    for chips, meaning in items:
        text = page.text(x, y + size[1] / 2, meaning, ha="left", va="center_baseline", fontsize=9.5, color=INK, family=FONT)
        width = len(chips) * size[0] + 0.08 + text.get_window_extent(canvas.get_renderer()).width / canvas.figure.dpi
        if x > start and x + width > layout.width - 0.2:
            x, y = start, y - size[1] - 0.06
        for place, (mark, colour) in enumerate(chips):
            _draw_square(page, (x + place * size[0], y), size, mark, colour)
        text.set_position((x + len(chips) * size[0] + 0.08, y + size[1] / 2))
        x += width + 0.35
