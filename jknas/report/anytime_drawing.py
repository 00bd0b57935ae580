"""Draw anytime curves: mean test accuracy of the incumbent against the cost of the search so far, with its confidence band."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jknas.errors import DrawingError
from jknas.report.page import FADED, FONT, INK, check_target, save
from jknas.search.anytime import Band

__all__ = ["draw_anytime"]

_STYLES = (
    ("#0072B2", "-"),
    ("#D55E00", "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#56B4E9", (0, (5, 1, 1, 1, 1, 1))),
    ("#E69F00", (0, (1, 1))),
    ("#000000", (0, (7, 3))),
)
"""Colours of Okabe and Ito with a dash of their own each, for print without colour."""

_LINE = 0.2  # inches of a line of the legend, which stands below the axes
_SHOWN_SHARE = 0.12  # of the time: the axis begins where the slowest start is over, or the first random architectures fill the page


def draw_anytime(bands: Mapping[str, Band], path: str | Path, *, title: str = "", optimum: float | None = None) -> None:
    """Write a picture of one or more searches.

    Args:
        bands: from :func:`jknas.search.anytime.band`, by the name that the legend gives them; at most seven.
        path: file to write, ending in .png or .svg.
        title: a line above the picture.
        optimum: the best test accuracy there is, 0..1; a line.

    Raises:
        DrawingError: an unknown file type, no curve or too many, or one that is undefined everywhere.
    """
    target = check_target(Path(path))
    if not 1 <= len(bands) <= len(_STYLES):
        raise DrawingError(f"{len(bands)} curves were given; expected 1 to {len(_STYLES)}: more cannot be told apart in one picture.")
    for name, band in bands.items():
        if not np.isfinite(band.mean).any():
            raise DrawingError(f"{name!r} has no result at any of its times: give times after the first evaluation.")
    with mpl.rc_context({"font.family": FONT, "font.size": 9.5}):
        figure = Figure(figsize=(7.2, 4.0 + _LINE * len(bands)), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for (name, band), style in zip(bands.items(), _STYLES, strict=False):
            _draw_band(axes, name, band, *style)
        if optimum is not None:
            axes.axhline(100 * optimum, color=FADED, lw=1, ls=(0, (2, 2)), label=f"optimum, {100 * optimum:.2f}", zorder=1)
        _finish(figure, axes, bands, title, optimum)
        save(figure, target, title or "anytime curves")


def _draw_band(axes: Axes, name: str, band: Band, colour: str, dashes: object) -> None:
    mean, low, high = (100 * values for values in (band.mean, band.low, band.high))
    label = f"{name}: {mean[np.isfinite(mean)][-1]:.2f} ({band.n} seed{'' if band.n == 1 else 's'})"
    axes.step(band.seconds, mean, where="post", color=colour, linestyle=dashes, lw=1.6, label=label, zorder=3)
    axes.fill_between(band.seconds, low, high, step="post", color=colour, alpha=0.18, lw=0, zorder=2)


def _finish(figure: Figure, axes: Axes, bands: Mapping[str, Band], title: str, optimum: float | None) -> None:
    axes.set_xlabel("cost of the search so far (s)", color=INK)
    axes.set_ylabel("test accuracy of the incumbent (%)", color=INK)
    axes.set_ylim(*_limits(bands, optimum))
    axes.set_xlim(0, max(float(band.seconds.max()) for band in bands.values()))
    axes.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
    axes.grid(color="#E4E4E4", lw=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    confidence = next(iter(bands.values())).confidence
    words = f"mean, {confidence:.0%} confidence band" if any(band.n > 1 for band in bands.values()) else None
    figure.legend(frameon=False, loc="outside lower center", title=words, title_fontsize=9)
    if title:
        axes.set_title(title, loc="left", color=INK)


def _limits(bands: Mapping[str, Band], optimum: float | None) -> tuple[float, float]:
    """Return between what the axis runs: the means, and their bands' upper ends, after the first part of the time."""
    late = [band.seconds >= _SHOWN_SHARE * band.seconds.max() for band in bands.values()]
    means, highs = (
        np.concatenate([getattr(band, name)[shown] for band, shown in zip(bands.values(), late, strict=True)]) for name in ("mean", "high")
    )
    shown = 100 * np.concatenate([means, highs, [] if optimum is None else [optimum]])
    low, high = 100 * float(np.nanmin(means)), float(np.nanmax(shown))
    margin = 0.05 * max(high - low, 0.1)
    return low - margin, high + margin
