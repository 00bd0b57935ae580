"""Draw how scores rank architectures: rank against accuracy, mean accuracies of ranked groups, and correlations on parts of the pool.

The forms are those of figures 1, 2 and 4 of Xu et al., KNAS, ICML 2021, arXiv:2111.13293.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from jknas.errors import DrawingError
from jknas.ranking.correlation import grouped_means
from jknas.report.page import FADED, FAINT, INK, STYLE, check_target, new_page, plain, save, write_title
from jknas.spaces.graph import COLOURS

_GROUPS = 10
_PANEL = 3.4  # inches
_ROW = 0.27


@dataclass(frozen=True)
class Panel:
    """One score against one set of accuracies.

    Attributes:
        title: what is compared, such as ``cifar10``.
        scores: one per architecture, larger is better, NaN where the status is not "ok".
        accuracies: of the same architectures, in percent.
        spearman: their correlation; NaN where there is none.
    """

    title: str
    scores: Float[np.ndarray, " n"]
    accuracies: Float[np.ndarray, " n"]
    spearman: float


def draw_ranks(panels: Sequence[Panel], *paths: str | Path, name: str) -> None:
    """Write a picture of one score: a column per panel, with every architecture by its rank above and means of ranked groups below.

    Args:
        panels: one per data set, at least one.
        paths: files that end in .svg or .png, all of the same picture.
        name: the name of the score.

    Raises:
        DrawingError: no panel, an empty one, or a path that cannot be written.
    """
    if not panels or any(panel.accuracies.size == 0 for panel in panels):
        raise DrawingError(f"{name}: nothing to draw; expected at least one architecture in each of at least one panel.")

    def fill(figure: Figure) -> None:
        axes = figure.subplots(2, len(panels), squeeze=False, height_ratios=(1.6, 1))
        for panel, (upper, lower) in zip(panels, axes.T, strict=True):
            _scatter(upper, panel)
            _bars(lower, panel)
        axes[0][0].set_ylabel("test accuracy (%)")
        axes[1][0].set_ylabel("mean of group (%)")

    _draw(paths, (max(len(panels), 1.3) * _PANEL, 1.75 * _PANEL), f"{name}: trained accuracy by rank", fill)


def draw_subsamples(panels: Mapping[str, Mapping[str, Float[np.ndarray, " repetitions"]]], *paths: str | Path, title: str) -> None:
    """Write a picture of the correlations of many scores on repeated parts of the pool, the scores sorted by their median.

    Args:
        panels: for each panel (data set), the correlations of each score; NaN where a part has none.
        paths: files that end in .svg or .png, all of the same picture.
        title: a line above the picture.

    Raises:
        DrawingError: no panel, no scores, or a path that cannot be written.
    """
    if not panels or not all(panels.values()):
        raise DrawingError("nothing to draw; expected the correlations of at least one score in each of at least one panel.")

    def fill(figure: Figure) -> None:
        for axes, (name, found) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            axes.set_title(name, fontsize=10)
            _boxes(axes, found)

    rows = max(len(found) for found in panels.values())
    _draw(paths, (max(len(panels) * 1.3, 1.6) * _PANEL, 1.4 + _ROW * max(rows, 3)), title, fill)


def _draw(paths: Sequence[str | Path], size: tuple[float, float], title: str, fill: Callable[[Figure], None]) -> None:
    targets = [check_target(path) for path in paths]
    with mpl.rc_context({**STYLE, "font.size": 9}):
        figure = new_page(*size)
        fill(figure)
        write_title(figure, title)
        for target in targets:
            save(figure, target, title)


def _scatter(axes: Any, panel: Panel) -> None:
    known = np.isfinite(panel.scores)
    rank = stats.rankdata(np.where(known, panel.scores, -np.inf))
    style: dict[str, Any] = {"s": 9 if rank.size <= 1000 else 4, "linewidths": 0, "alpha": 0.55, "rasterized": True}
    axes.scatter(rank[known], panel.accuracies[known], color=COLOURS["blue"], **style)
    if not known.all():
        axes.scatter(
            rank[~known], panel.accuracies[~known], color=FADED, marker="s", label=f"{(~known).sum()} not ok, ranked last", **style
        )
        axes.legend(loc="lower right", fontsize=8, handletextpad=0.2)
    correlation = "no correlation" if math.isnan(panel.spearman) else f"Spearman {panel.spearman:.3f}".replace("-", "\u2212")
    axes.set_title(f"{panel.title}\n{correlation}", fontsize=10)
    axes.set_xlabel("rank by the score (right is best)")
    axes.set_xlim(1 - 0.02 * rank.size, 1.02 * rank.size)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    plain(axes)


def _bars(axes: Any, panel: Panel) -> None:
    groups = min(_GROUPS, panel.accuracies.size)
    means = grouped_means(panel.scores, panel.accuracies, groups=groups)
    places = np.arange(1, groups + 1)
    drawn = axes.bar(places, means, color=COLOURS["orange"], width=0.84)
    axes.bar_label(drawn, fmt="{:.1f}", fontsize=7, padding=1)
    axes.set_xlabel(f"group of about {round(panel.accuracies.size / groups)} by rank (right is best)")
    axes.set_xticks(places)
    axes.set_ylim(0.0, 1.12 * max(float(means.max()), 1.0))
    plain(axes)


def _boxes(axes: Any, found: Mapping[str, np.ndarray]) -> None:
    defined = {score: values[~np.isnan(values)] for score, values in found.items()}
    median = {score: float(np.median(values)) if values.size else -math.inf for score, values in defined.items()}
    order = sorted(found, key=lambda score: (median[score], score))
    places = np.arange(1, len(order) + 1)
    line = {"color": INK, "linewidth": 0.8}
    axes.boxplot(
        [defined[score] for score in order],
        positions=places,
        orientation="horizontal",
        widths=0.6,
        patch_artist=True,
        boxprops={"facecolor": COLOURS["sky"], "edgecolor": INK, "linewidth": 0.8},
        medianprops=line | {"linewidth": 1.4},
        whiskerprops=line,
        capprops=line,
        flierprops={"marker": ".", "markersize": 3, "markerfacecolor": INK, "markeredgecolor": INK},
    )
    axes.set_yticks(places, [score if defined[score].size else f"{score} (none)" for score in order])
    axes.axvline(0.0, color=FADED, linewidth=1.0, zorder=0)
    axes.set_xlabel("Spearman correlation")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    plain(axes)
