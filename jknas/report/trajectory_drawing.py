"""Draw a path through the plane of condition number and linear regions: numbered points, joined by arrows.

A number that has no place on its axis, such as an infinite condition number, goes to a shaded strip at the edge, and its label gives it.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Annotation, Text
from matplotlib.ticker import MaxNLocator

from jknas.report.page import INK

_DOT = 0.06  # radius, in inches as all that follow
_PAD = 0.05  # around the text of a label
_RADII = (0.25, 0.3, 0.36, 0.43, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)  # from a point to its label
_ANGLES = math.pi / 4 + np.arange(24) * math.pi / 12
Ticks = list[tuple[float, str]]  # places, each with its text
Place = tuple[float, float]

_STRIP, _ARROW = "#F0F0F0", "#6F7982"


class Point(NamedTuple):
    """A point of the path.

    Attributes:
        condition: the condition number.
        regions: the number of linear regions.
        name: the text of the label.
        colour: the colour of the label.
    """

    condition: float
    regions: float
    name: str
    colour: str


def draw_trajectory(axes: Axes, points: Sequence[Point]) -> None:
    """Draw the points and the arrows from each to the next into empty axes, and place their labels."""
    axes.set_xlabel("condition number (lower is better)")
    axes.set_ylabel("linear regions (higher is better)")
    axes.grid()
    numbers = np.array([(point.condition, point.regions) for point in points])
    placed = np.isfinite(numbers) & (numbers > (0.0, -math.inf))
    logarithms = np.log10(numbers[:, 0], where=placed[:, 0], out=np.full(len(points), np.nan))
    x = _scale(axes, "x", logarithms, least=0.1, room=0.09, ticks=_logarithmic_ticks)
    y = _scale(axes, "y", np.where(placed[:, 1], numbers[:, 1], np.nan), least=10.0, room=0.12, ticks=_linear_ticks)
    figure = axes.figure.canvas.figure
    if engine := figure.get_layout_engine():
        engine.execute(figure)  # from here on, it is known where everything is
        figure.set_layout_engine("none")
    inches = figure.dpi_scale_trans.inverted()
    dots, frame = (inches.transform(found) for found in (axes.transData.transform(np.stack([x, y], axis=1)), axes.get_window_extent()))
    for (first, second), off in zip(itertools.pairwise(range(len(points))), ~placed[:-1] | ~placed[1:], strict=True):
        _draw_arrow(axes, (x[first], y[first]), (x[second], y[second]), math.dist(dots[first], dots[second]), dashed=off.any())
    axes.plot(x, y, "o", ms=144 * _DOT, color=INK, mec="white", mew=0.8, zorder=6)
    labels = [_write(axes, place, point, known) for place, point, known in zip(zip(x, y, strict=True), points, placed, strict=True)]
    sizes = np.array([inches.transform(Text.get_window_extent(label).size) for label in labels])
    for label, offset in zip(labels, _label_places(frame, dots, sizes / 2 + _PAD) - dots, strict=True):
        label.set_position(tuple(72 * offset))


def ink_on(colour: str) -> str:
    """Return the colour of text that can be read on this one."""
    return INK if np.dot(to_rgb(colour), (0.3, 0.59, 0.11)) > 0.55 else "white"


def _scale(axes: Axes, name: str, values: np.ndarray, *, least: float, room: float, ticks: Callable[[float, float], Ticks]) -> np.ndarray:
    """Set limits and ticks of an axis; give the values that are NaN a place in a strip, at the worse end, and return all places."""
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    spread = max(high - low, least)
    low, high = ((low + high) / 2 + side * (0.5 + room) * spread for side in (-1, 1))
    shown = [tick for tick in ticks(low, high) if low < tick[0] - 0.02 * spread and tick[0] + 0.02 * spread < high] if known.size else []
    strip = (high, high) if name == "x" else (low, low)
    if known.size < values.size:
        strip = (high, high + 0.22 * spread) if name == "x" else (low - 0.17 * spread, low)
        shown.append((sum(strip) / 2, "not finite\nor \u2264 0" if name == "x" else "not\nfinite"))
        (axes.axvspan if name == "x" else axes.axhspan)(*strip, color=_STRIP, linewidth=0, zorder=1)
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_ticks([place for place, _ in shown], labels=[text for _, text in shown])
    axes.set(**{f"{name}lim": (min(low, strip[0]), max(high, strip[1]))})
    return np.where(np.isfinite(values), values, sum(strip) / 2)


def _linear_ticks(low: float, high: float) -> Ticks:
    return [(value, _number(Decimal(f"{value:.10g}"))) for value in MaxNLocator(6).tick_values(low, high) if value >= 0]


def _logarithmic_ticks(low: float, high: float) -> Ticks:
    """Return round numbers between two powers of ten; decimals, since the numbers may be larger than any float."""
    decade = math.floor(low)
    if high - low > 3:
        found = [(1.0, int(power)) for power in MaxNLocator(8, integer=True).tick_values(low, high)]
    elif high - low > 0.8:
        found = [(factor, power) for power in range(decade, math.ceil(high)) for factor in (1.0, 2.0, 5.0)]
    else:
        found = [(factor, decade) for factor in MaxNLocator(5).tick_values(10 ** (low - decade), 10 ** (high - decade)) if factor > 0]
    return [(math.log10(factor) + power, _number(Decimal(f"{factor:.10g}e{power}"))) for factor, power in found]


def _number(value: Decimal) -> str:
    short = not value or Decimal("0.001") <= abs(value) < 10**6
    return f"{value.normalize():{',f' if short else 'g'}}".replace("e+", "e").replace("-", "\u2212")


def _draw_arrow(axes: Axes, first: Place, second: Place, length: float, *, dashed: bool) -> None:
    """Draw an arrow of that length in inches, with a smaller head or none where there is little room between two dots."""
    head = min(1.0, (length - 2 * _DOT) / 0.2)
    if head <= 0:
        return
    style = "-" if head < 0.3 else f"-|>,head_length={0.5 * head:.3f},head_width={0.22 * head:.3f}"
    shape: dict[str, Any] = {"mutation_scale": 15, "shrinkA": 72 * _DOT, "shrinkB": 72 * _DOT, "joinstyle": "miter", "zorder": 3}
    dashes = (0, (4, 2)) if dashed else "solid"
    axes.add_patch(FancyArrowPatch(first, second, arrowstyle=style, linewidth=1.5, linestyle=dashes, color=_ARROW, **shape))


def _write(axes: Axes, place: Place, point: Point, placed: np.ndarray) -> Annotation:
    """Write a label with a line to its point; where it goes is decided when all are there."""
    off = [value for value, known in zip((point.condition, point.regions), placed, strict=True) if not known]
    values = ", ".join(_number(Decimal(f"{value:.3g}")) if math.isfinite(value) else str(value) for value in off)
    text = f"{point.name} ({values})" if values else point.name
    box = {"boxstyle": f"round,pad={72 * _PAD / 10},rounding_size=0.3", "facecolor": point.colour, "edgecolor": INK, "linewidth": 0.9}
    leader = {"arrowstyle": "-", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0, "zorder": 5}
    style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 10, "weight": "bold", "color": ink_on(point.colour)}
    return axes.annotate(text, place, (0, 0), textcoords="offset points", bbox=box, arrowprops=leader, zorder=8, **style)


def _label_places(frame: np.ndarray, dots: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Return the middles ([n, 2]) of labels near their points, clear of each other, of the dots and, if possible, of the arrows."""
    arrows = [np.linspace(*pair, math.ceil(math.dist(*pair) / 0.05) + 1) for pair in itertools.pairwise(dots)]
    drawn = np.concatenate([*arrows, *(arrow[-6:] for arrow in arrows), np.empty((0, 2))])  # heads count twice: they say the most
    radius, angle = (grid.reshape(-1) for grid in np.meshgrid(_RADII, _ANGLES, indexing="ij"))
    middles = np.full_like(dots, np.inf)  # infinitely far away: not placed yet
    for at in [*range(len(dots))] * 3:  # the second and third time, each label gives way to all others
        half, others = halves[at], np.isfinite(middles[:, 0]) & (np.arange(len(dots)) != at)
        choices = dots[at] + np.stack([(radius + half[0] - half[1]) * np.cos(angle), radius * np.sin(angle)], axis=1)
        leaders = np.linspace(np.broadcast_to(dots[at], choices.shape), choices, 25, axis=1)
        apart = dots[(np.abs(dots - dots[at]) > _DOT).any(axis=1)]
        outside = ((choices - half < frame[0] + 0.04) | (choices + half > frame[1] - 0.04)).any(axis=1)
        cost = 1000.0 * (outside + _hits(choices, middles[others], half + halves[others] + 0.03) + _hits(choices, dots, half + _DOT + 0.03))
        cost += 40.0 * _hits(leaders, middles[others], halves[others]).clip(max=1).sum(axis=1)
        cost += 10.0 * _hits(leaders, apart, _DOT).clip(max=1).sum(axis=1) + 3.0 * _hits(choices, drawn, half + 0.06)
        cost += 5.0 * _hits(choices, np.linspace(dots[others], middles[others], 25).reshape(-1, 2), half) + 20.0 * radius
        middles[at] = choices[np.argmin(cost)]
    return middles


def _hits(places: np.ndarray, boxes: np.ndarray, halves: Any) -> np.ndarray:
    """Count the boxes ([m, 2] middles, half sizes) that hold each of the places ([..., 2])."""
    return (np.abs(places[..., None, :] - boxes) < halves).all(axis=-1).sum(axis=-1)
