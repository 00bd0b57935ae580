"""Draw how a search by weight sharing went: the weights of the operations of every edge, epoch by epoch, and what the cells are worth."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from jknas.errors import DrawingError
from jknas.report.page import FADED, INK, STYLE, check_target, new_page, plain, save, write_title
from jknas.report.pruning_drawing import cells_of
from jknas.spaces import Space
from jknas.spaces.graph import COLOURS

_COLUMNS = 7
_PANEL = 1.55  # inches, the width and height of an edge's panel
_BELOW = 2.6


def draw_supernet(
    epochs: Sequence[Mapping[str, Any]],
    path: str | Path,
    *,
    space: Space[Any],
    accuracies: Sequence[float] | None = None,
    of_what: str = "",
    title: str | None = None,
) -> Path:
    """Draw a search by weight sharing into an SVG or PNG file.

    Each edge has a panel with a line for every operation: its weight after each epoch. Below are the accuracy of the weight steps, that of
    the architecture steps, that of the chosen cell with the supernet's weights, and, if they are given, the accuracies of the cells when
    trained.

    Args:
        epochs: ``result["supernet"]`` of a search; at least one. A search without weights of operations (RSPS) has no panels.
        path: the file, ending in .svg or .png, in an existing folder. A file of that name is replaced.
        space: the space of the search.
        accuracies: of the cell of each epoch when trained, 0..1, for example from a table.
        of_what: what these are, for the legend.
        title: a line above the drawing.

    Returns:
        The path.

    Raises:
        DrawingError: another ending, a folder that does not exist, a file that cannot be written, no epochs, epochs that do not fit the
            space, or another number of accuracies.
    """
    target = check_target(path)
    if not epochs:
        raise DrawingError("the search has no epochs; expected result['supernet'] of a search by weight sharing.")
    if accuracies is not None and len(accuracies) != len(epochs):
        raise DrawingError(f"there are {len(accuracies)} accuracies of {len(epochs)} epochs; expected one for each.")
    weights = None
    if epochs[0]["weights"] is not None:
        weights = np.array([one["weights"] for one in epochs], float)
        if weights.shape[1:] != (wanted := (space.num_edges, len(space.operations))):
            raise DrawingError(
                f"the weights are {list(weights.shape[1:])}; the space {space.name} has edges and operations {list(wanted)}."
            )
    with mpl.rc_context(STYLE):
        save(_compose(epochs, weights, space, accuracies, of_what, title), target, title or "weight sharing")
    return target


def _compose(  # noqa: PLR0917
    epochs: Sequence[Mapping[str, Any]],
    weights: np.ndarray | None,
    space: Space[Any],
    accuracies: Sequence[float] | None,
    of_what: str,
    title: str | None,
) -> Figure:
    edges = 0 if weights is None else weights.shape[1]
    columns = min(_COLUMNS, edges) or 1
    rows = math.ceil(edges / columns)
    figure = new_page(max(7.0, columns * _PANEL + 0.6), rows * _PANEL + _BELOW + 0.9)
    write_title(figure, title)
    grid = figure.add_gridspec(rows + 1, 1, height_ratios=[_PANEL] * rows + [_BELOW])
    at = np.arange(1, len(epochs) + 1)
    if weights is not None:
        names = [(cell.title, str(edge)) for cell in cells_of(space) for edge in cell.edges]
        top = grid[:rows].subgridspec(rows, columns)
        first: Axes | None = None
        for place, (cell, edge) in enumerate(names):
            axes = figure.add_subplot(top[place // columns, place % columns], sharex=first, sharey=first)
            first = first or axes
            _draw_edge(axes, at, weights[:, place], f"{cell} {edge}".strip(), space)
            axes.tick_params(labelbottom=False, labelleft=place % columns == 0)
        low, high = float(weights.min()), float(weights.max())
        margin = max(0.06 * (high - low), 0.001)
        first.set_ylim(max(low - margin, 0.0), min(high + margin, 1.0))  # type: ignore[union-attr] # there is an edge
        figure.legend(handles=_legend(space), loc="outside upper center" if not title else "outside lower center", ncols=5, fontsize=8.5)
    _draw_accuracies(figure.add_subplot(grid[-1]), at, epochs, accuracies, of_what)
    return figure


def _style(space: Space[Any], digit: int) -> dict[str, Any]:
    absent = space.pruning is not None and digit == space.pruning.absent
    return {"color": FADED, "linestyle": (0, (3, 2))} if absent else {"color": list(COLOURS.values())[digit % len(COLOURS)]}


def _legend(space: Space[Any]) -> list[Line2D]:
    return [Line2D([], [], label=name, linewidth=1.6, **_style(space, digit)) for digit, name in enumerate(space.operations)]


def _draw_edge(axes: Axes, at: np.ndarray, weights: np.ndarray, name: str, space: Space[Any]) -> None:
    plain(axes)
    axes.set_title(name, fontsize=9.0, color=INK)
    for digit, line in enumerate(weights.T):
        axes.plot(at, line, linewidth=1.6, marker="o" if len(at) == 1 else None, markersize=3, **_style(space, digit))
    axes.grid(axis="y")


def _draw_accuracies(
    axes: Axes, at: np.ndarray, epochs: Sequence[Mapping[str, Any]], accuracies: Sequence[float] | None, of_what: str
) -> None:
    plain(axes)
    lines = (
        ("accuracy", "supernet, training images", COLOURS["blue"], "-"),
        ("architecture_accuracy", "supernet, validation images", COLOURS["orange"], "-"),
        ("candidate_accuracy", "the chosen cell with the supernet's weights, a batch", COLOURS["pink"], ":"),
    )
    for field, label, colour, style in lines:
        values = [one[field] for one in epochs]
        if values[0] is not None:
            axes.plot(at, values, style, color=colour, label=label, linewidth=1.6, marker="o", markersize=3)
    if accuracies is not None:
        label = f"the chosen cell, {of_what}" if of_what else "the chosen cell when trained"
        axes.plot(at, accuracies, color=INK, label=label, linewidth=1.8, marker="s", markersize=3.5)
    axes.set(xlabel="epoch of the supernet", ylabel="accuracy", ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.22), ncols=2, fontsize=8.5)
