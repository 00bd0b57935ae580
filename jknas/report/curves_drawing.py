"""Draw lines of training: the validation accuracy of every trained candidate, epoch by epoch, the winner's in front."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from jknas.errors import DrawingError
from jknas.report.page import FADED, STYLE, check_target, new_page, plain, save, write_title
from jknas.spaces.graph import COLOURS


def draw_curves(curves: Mapping[str, Sequence[float]], path: str | Path, *, winner: str, title: str = "") -> Path:
    """Write a picture of trainings.

    Args:
        curves: by name, the accuracy (0..1) after each epoch.
        path: file to write, ending in .png or .svg, in an existing folder.
        winner: the name of the curve in front.
        title: a line above the picture.

    Raises:
        DrawingError: no curve, no such winner, or a path that cannot be written.
    """
    target = check_target(path)
    if winner not in curves or not all(curves.values()):
        raise DrawingError(f"{len(curves)} curves were given, and the winner is {winner!r}: give at least its own, each with an epoch.")
    with mpl.rc_context(STYLE):
        figure = new_page(7.2, 3.6)
        axes = figure.subplots()
        for name, values in curves.items():
            front: dict[str, Any] = {"color": COLOURS["blue"], "lw": 2, "zorder": 3, "label": "winner"}
            style = front if name == winner else {"color": FADED, "lw": 0.8, "alpha": 0.7, "zorder": 2}
            axes.plot(range(1, len(values) + 1), [100 * value for value in values], marker="o" if len(values) == 1 else "", **style)
        write_title(figure, title or None)
        axes.set(xlabel="epoch", ylabel="validation accuracy (%)")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.legend(loc="lower right")
        plain(axes)
        save(figure, target, "training curves")
    return target
