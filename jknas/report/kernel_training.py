"""Draw the tangent kernel through training: eigenvalues, and alignment and distance, by epoch."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.ticker import MaxNLocator

from jknas.report.page import STYLE, check_target, new_page, plain, save, write_powers, write_title
from jknas.training.kernel_recorder import KernelHistory


def draw_kernel_training(history: KernelHistory, path: str | Path, *, title: str = "") -> None:
    """Write a picture of a kernel's history, see :class:`jknas.training.kernel_recorder.KernelRecorder`.

    Args:
        history: ``recorder.history``, or ``KernelHistory.load(path)``.
        path: file to write, ending in .png, .svg or .pdf, in an existing folder.
        title: a line above the picture.

    Raises:
        DrawingError: another ending, a folder that does not exist, or a file that cannot be written.
    """
    target = check_target(path, (".png", ".svg", ".pdf"))
    with mpl.rc_context(STYLE):
        figure = new_page(9.0, 3.7)
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _eigenvalues(figure, left, history)
        _cosines(right, history)
        for axes in (left, right):
            axes.set_xlabel("epochs trained")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid()
            plain(axes)
        write_title(figure, title)
        save(figure, target, title or "kernel through training")


def _eigenvalues(figure: Any, axes: Any, history: KernelHistory) -> None:
    """Draw a line per eigenvalue, the largest darkest; what is not positive has no place on the scale."""
    values = history.eigenvalues[:, ::-1]
    shown = np.where(values > 0, values, np.nan)
    axes.set(title="eigenvalues")
    if np.isnan(shown).all():
        axes.text(0.5, 0.5, "no positive eigenvalue", ha="center", va="center", transform=axes.transAxes)
        return
    count = values.shape[1]
    norm, colours = LogNorm(1, max(count, 2)), ListedColormap(mpl.colormaps["viridis"](np.linspace(0, 0.92, 256)))
    for rank in range(count, 0, -1):
        axes.semilogy(history.epochs, shown[:, rank - 1], "-", marker=".", ms=3, lw=1, color=colours(norm(rank)))
    write_powers(axes.yaxis)
    ticks = [2**power for power in range(count.bit_length())]
    figure.colorbar(ScalarMappable(norm, colours), ax=axes, label="rank", ticks=ticks, format="%d").minorticks_off()


def _cosines(axes: Any, history: KernelHistory) -> None:
    axes.plot(history.epochs, history.alignment, "o-", ms=3.5, lw=1.3, color="#0072B2", label="alignment with the labels")
    axes.plot(history.epochs, history.distance, "s--", ms=3.5, lw=1.3, color="#D55E00", label="distance from the first kernel")
    axes.set(title="alignment and distance", ylim=(-0.02, 1.02))
    axes.legend()
