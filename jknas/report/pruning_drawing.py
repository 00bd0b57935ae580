"""Draw how a search by pruning went: the supernet's path through its two measures, and the round in which each operation was removed.

Reference: Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
arXiv:2102.11535, figure 3 (the path of the supernet).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Rectangle

from jknas.errors import DrawingError, choose
from jknas.report.cell_drawing import graphs_of
from jknas.report.page import FADED, FAINT, INK, STYLE, check_target, new_page, save, write_title
from jknas.report.trajectory_drawing import Point, draw_trajectory, ink_on
from jknas.spaces import Space
from jknas.spaces.graph import CellGraph

T = TypeVar("T")

_FIRST, _LAST, _LEFT = "#D8E8F4", "#003F6B", "#E69F00"  # shades of the first and of the last round, and of what is left
_KINDS = ("operations", "edges")
_LEFT_MARK, _NEVER_MARK = "\u2713", "\u2013"
_CENTRED: dict[str, Any] = {"ha": "center", "va": "center_baseline", "in_layout": False}  # a grid has room for all that is in it
_CAPTION: dict[str, Any] = {"fontsize": 12, "weight": "bold"}


class _Round(NamedTuple):
    kind: str
    condition: float
    regions: float
    live: np.ndarray  # [edges, operations], before the round
    removed: tuple[tuple[int, int], ...]

    def after(self) -> np.ndarray:
        live = self.live.copy()
        for removal in self.removed:
            live[removal] = False
        return live


def draw_pruning(
    rounds: Sequence[Mapping[str, Any]], left: Sequence[Sequence[bool]], path: str | Path, *, space: Space[Any], title: str | None = None
) -> Path:
    """Draw a pruning search into an SVG or PNG file.

    One panel shows the condition number (logarithmic) and the linear regions of the supernet before each round. What the last round left
    was not measured and has no point. A condition number that is not finite or not positive goes to a strip at the right, a region count
    that is not finite to a strip at the bottom, each with its value. The other panel has a square for every operation of every edge, with
    the number and the shade of the round that removed it; what is left is outlined.

    Args:
        rounds: ``state["rounds"]`` of a TE-NAS search, from its first round on; it need not be complete. The drawing reads from each round
            ``"kind"`` ("operations" or "edges"), ``"live"`` ([edge][operation], before the round), ``"condition"``, ``"regions"`` and
            ``"removed"`` (pairs of edge and operation).
        left: ``state["live"]`` of the same search: what these rounds left, [edge][operation].
        path: the file, ending in .svg or .png, in an existing folder. A file of that name is replaced.
        space: the space that was searched; the graphs of its cells (``Space.graph``) name the edges.
        title: a line above the drawing, shown as it is (no mathematics); it shrinks until it fits.

    Returns:
        The path.

    Raises:
        DrawingError: another ending, a folder that does not exist, a file that cannot be written, a space that does not describe its
            cells edge by edge, no rounds, or rounds that do not fit the space, each other or what is left.

    Deviations:
        Figure 3 of the paper shows the mean of several searches; this is one search.
    """
    target = check_target(path)
    cells = cells_of(space)
    checked, final = _check(rounds, left, space)
    with mpl.rc_context(STYLE):
        name = f"pruning of {space.name}, {len(checked)} round{'s' * (len(checked) > 1)}"
        save(_compose(checked, final, cells, space.operations, title), target, name)
    return target


def cells_of(space: Space[Any]) -> tuple[CellGraph, ...]:
    """Return the cells of some genotype: they have all edges, whatever operations it puts there."""
    cells = graphs_of(next(space.enumerate()), space)
    count = sum(len(cell.edges) for cell in cells)
    if count != space.num_edges:
        raise DrawingError(
            f"the graphs of {space.name} have {count} edges and its code has {space.num_edges}: list every edge, with the operation None "
            "where a genotype has none."
        )
    return cells


def _check(rounds: Any, left: Any, space: Space[Any]) -> tuple[list[_Round], np.ndarray]:
    if not isinstance(rounds, Sequence) or isinstance(rounds, str) or not rounds:
        came = "an empty list" if isinstance(rounds, Sequence) and not rounds else type(rounds).__name__
        raise DrawingError(f'a drawing of a pruning needs one round or more, got {came}: pass state["rounds"] of a search that has pruned.')
    found: list[_Round] = []
    for number, entry in enumerate(rounds, start=1):
        found.append(_check_round(entry, f"round {number}", space))
        if number > 1 and (found[-1].live != found[-2].after()).any():
            raise DrawingError(
                f"round {number} does not begin with what round {number - 1} left: pass all rounds of one search, in their order."
            )
    final = _check_live(left, "what is left", space)
    if (final != found[-1].after()).any():
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
    condition, regions = (_read(entry, name, where, float, "a number (it may be infinite or NaN)") for name in ("condition", "regions"))
    removed = _read(entry, "removed", where, lambda pairs: tuple((int(e), int(o)) for e, o in pairs), "a list of pairs (edge, operation)")
    for edge, operation in removed:
        if not (0 <= edge < space.num_edges and 0 <= operation < len(space.operations)) or not live[edge, operation]:
            raise DrawingError(
                f"{where} removes operation {operation} of edge {edge}, which was not live before it; expected a live one among edges "
                f"0..{space.num_edges - 1} and operations 0..{len(space.operations) - 1} of {space.name}."
            )
    return _Round(entry["kind"], condition, regions, live, removed)


def _read(entry: Mapping[str, Any], name: str, where: str, convert: Callable[[Any], T], expected: str) -> T:
    try:
        return convert(entry[name])
    except (TypeError, ValueError) as error:
        raise DrawingError(f"{name} of {where} is {entry[name]!r:.80}; expected {expected}.") from error


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


def _compose(
    rounds: Sequence[_Round], left: np.ndarray, cells: Sequence[CellGraph], operations: Sequence[str], title: str | None
) -> Figure:
    """Draw the path beside the grid of squares, or above it if the grid is wide."""
    wide = len(left) > 10
    size = (max(12.4, 2 + 0.37 * len(left)), 6.02 + 0.36 * len(operations)) if wide else (12.0, 2.1 + 0.56 * len(operations))
    figure = new_page(size[0], size[1] + (0.5 if title else 0.0))
    write_title(figure, title)
    shape: dict[str, Any] = {"nrows": 2, "height_ratios": (1, 0.85)} if wide else {"ncols": 2, "width_ratios": (1.35, 1)}
    first, second = figure.subfigures(squeeze=False, **shape).flat
    plane = first.subplots()
    plane.set_title("the supernet before each round", loc="left", **_CAPTION)
    grids = second.subplots(1, len(cells), squeeze=False, width_ratios=[len(cell.edges) for cell in cells])[0]
    second.suptitle("the round in which each operation was removed", x=0.01, ha="left", **_CAPTION)
    shades = [to_hex((1 - part) * np.array(to_rgb(_FIRST)) + part * np.array(to_rgb(_LAST))) for part in np.linspace(0, 1, len(rounds))]
    marks = np.where(left, _LEFT_MARK, _NEVER_MARK).astype(object)
    for number, entry in enumerate(rounds, start=1):
        for removal in entry.removed:
            marks[removal] = str(number)
    colours = {_LEFT_MARK: _LEFT, _NEVER_MARK: "white"} | {str(number): shade for number, shade in enumerate(shades, start=1)}
    _draw_grids(grids, cells, operations, marks, colours)
    _draw_legend(second, rounds, shades, never=(marks == _NEVER_MARK).any(), columns=4 if wide else 1)
    path = [Point(r.condition, r.regions, str(n), shade) for n, (r, shade) in enumerate(zip(rounds, shades, strict=True), start=1)]
    draw_trajectory(plane, path)
    return figure


def _draw_grids(
    grids: Sequence[Axes], cells: Sequence[CellGraph], operations: Sequence[str], marks: np.ndarray, colours: Mapping[str, str]
) -> None:
    """Draw a square for each operation of each edge: a grid for each cell, a column for each edge."""
    ends = np.cumsum([len(cell.edges) for cell in cells])
    for axes, cell, part in zip(grids, cells, np.split(marks, ends[:-1]), strict=True):
        axes.set(xlim=(0, len(part)), ylim=(len(operations), 0))
        axes.set_xticks(np.arange(len(part)) + 0.5, labels=[str(edge) for edge in cell.edges], fontsize=8.5)
        axes.set_yticks(np.arange(len(operations)) + 0.5, labels=operations if axes is grids[0] else [])
        axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        axes.set_title(cell.title, loc="left", fontsize=10.5)
        for label, column in zip(axes.get_xticklabels(), part, strict=True):
            label.set_color(INK if _LEFT_MARK in column else FADED)
        for (column, row), mark in np.ndenumerate(part):
            axes.add_patch(_square((column + 0.04, row + 0.04), colours[mark], outlined=mark == _LEFT_MARK))
            ink, weight = ink_on(colours[mark]) if mark != _NEVER_MARK else FADED, "bold" if mark == _LEFT_MARK else "normal"
            axes.text(column + 0.5, row + 0.5, mark, fontsize=10, color=ink, weight=weight, zorder=4, **_CENTRED)


def _square(corner: tuple[float, float], colour: str, *, outlined: bool = False) -> Rectangle:
    edge, width, level = (INK, 1.8, 3) if outlined else (FAINT, 0.8, 2)
    return Rectangle(corner, 0.92, 0.92, facecolor=colour, edgecolor=edge, linewidth=width, zorder=level, in_layout=False)


def _draw_legend(figure: Any, rounds: Sequence[_Round], shades: Sequence[str], *, never: bool, columns: int) -> None:
    entries: dict[str, tuple[Rectangle, ...]] = {}
    for kind, meaning in zip(_KINDS, ("operation removed in this round", "edge removed in this round"), strict=True):
        of_kind = [shade for shade, entry in zip(shades, rounds, strict=True) if entry.kind == kind]
        if of_kind:
            entries[meaning] = tuple(_square((0, 0), shade) for shade in of_kind)
    entries["left"] = (_square((0, 0), _LEFT, outlined=True),)
    if never:
        entries["never there"] = (_square((0, 0), "white"),)
    handlers = {tuple: HandlerTuple(ndivide=None, pad=0.0)}
    figure.legend(entries.values(), entries, loc="outside lower left", ncols=columns, handler_map=handlers, handlelength=3)
