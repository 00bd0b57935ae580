"""Draw anytime curves: the mean test accuracy of the incumbent against the cost of the search so far, with its confidence band."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from jknas.errors import DrawingError
from jknas.report.page import FADED, STYLE, check_target, new_page, plain, save
from jknas.search.anytime import Band
from jknas.spaces.graph import COLOURS

_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 3)))  # one per colour, for print in black and white
_LINES = tuple(zip(("blue", "vermilion", "green", "pink", "sky", "orange", "wine"), _DASHES, strict=True))
_LEGEND_LINE = 0.2  # inches
_SKIPPED_SHARE = 0.12  # of the time: the y axis ignores this start, in which the first random architectures would fill the page


def draw_anytime(bands: Mapping[str, Band], path: str | Path, *, title: str = "", optimum: float | None = None) -> None:
    """Write a picture of one or more searches.

    Args:
        bands: from :func:`jknas.search.anytime.band`, by the name that the legend gives them; at most seven.
        path: file to write, ending in .png or .svg, in an existing folder.
        title: a line above the picture.
        optimum: the best test accuracy that exists, 0..1, drawn as a line; None for no line.

    Raises:
        DrawingError: another ending, a folder that does not exist, a file that cannot be written, no curve or too many, or a curve that is
            undefined everywhere.
    """
    target = check_target(path)
    if not 1 <= len(bands) <= len(_LINES):
        raise DrawingError(f"{len(bands)} curves were given; expected 1 to {len(_LINES)}: more cannot be told apart in one picture.")
    for name, band in bands.items():
        if not np.isfinite(band.mean).any():
            raise DrawingError(f"{name!r} has no result at any of its times: give times after the first evaluation.")
    confidences = {band.confidence for band in bands.values()}
    if len(confidences) > 1:
        raise DrawingError(f"bands of the confidences {sorted(confidences)} were given; one legend speaks of all: compute them alike.")
    with mpl.rc_context(STYLE):
        figure = new_page(7.2, 4.0 + _LEGEND_LINE * len(bands))
        axes = figure.subplots()
        for (name, band), (colour, dashes) in zip(bands.items(), _LINES, strict=False):
            _draw_band(axes, name, band, COLOURS[colour], dashes)
        if optimum is not None:
            axes.axhline(100 * optimum, color=FADED, lw=1, ls=(0, (2, 2)), label=f"optimum, {100 * optimum:.2f}", zorder=1)
        axes.set_title(title, loc="left")
        axes.set(xlabel="cost of the search so far (s)", ylabel="test accuracy of the incumbent (%)", ylim=_limits(bands, optimum))
        axes.set_xlim(0, max(float(band.seconds.max()) for band in bands.values()))
        axes.xaxis.set_major_formatter(mpl.ticker.StrMethodFormatter("{x:,.0f}"))
        axes.grid()
        plain(axes)
        (confidence,) = confidences
        words = f"mean, {confidence:.0%} confidence band" if any(band.n > 1 for band in bands.values()) else None
        figure.legend(loc="outside lower center", title=words, title_fontsize=9)
        save(figure, target, title or "anytime curves")


def _draw_band(axes: Axes, name: str, band: Band, colour: str, dashes: object) -> None:
    mean, low, high = (100 * values for values in (band.mean, band.low, band.high))
    label = f"{name}: {mean[np.isfinite(mean)][-1]:.2f} ({band.n} seed{'' if band.n == 1 else 's'})"
    axes.step(band.seconds, mean, where="post", color=colour, linestyle=dashes, lw=1.6, label=label, zorder=3)
    axes.fill_between(band.seconds, low, high, step="post", color=colour, alpha=0.18, lw=0, zorder=2)


def _limits(bands: Mapping[str, Band], optimum: float | None) -> tuple[float, float]:
    """Return the limits of the y axis in percent: from the lowest mean to the highest end of a band, after the skipped start."""
    late = [(band, band.seconds >= _SKIPPED_SHARE * band.seconds.max()) for band in bands.values()]
    means, highs = (np.concatenate([getattr(band, name)[shown] for band, shown in late]) for name in ("mean", "high"))
    low, high = 100 * float(np.nanmin(means)), 100 * float(np.nanmax([*means, *highs, *([] if optimum is None else [optimum])]))
    margin = 0.05 * max(high - low, 0.1)
    return low - margin, high + margin
