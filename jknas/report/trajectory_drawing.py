"""Draw a way through the plane of condition number and linear regions: numbered points, joined by arrows.

All coordinates are inches on the page. A number that has no place on its axis, an infinite condition number for example, gets one in a
shaded strip at the edge of the panel, and its label says what it is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from jknas.report.page import FADED, FONT, INK

__all__ = ["Box", "Point", "draw_trajectory", "ink_on"]

_DOT = 0.055  # radius
_INSET = 0.4  # from the smallest and largest value to the frame, so that labels stand inside
_STRIP_WIDTH, _STRIP_HEIGHT = 0.95, 0.5
_PAD = 0.05  # around the text of a label
_MARGIN = 0.04  # between a label and the frame
_RADII = (0.25, 0.3, 0.36, 0.43, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)  # from a point to its label
_STRIP, _GRID, _ARROW = "#F0F0F0", "#E4E4E4", "#6F7982"


class Box(NamedTuple):
    """A rectangle on the page, in inches."""

    left: float
    bottom: float
    right: float
    top: float


class Point(NamedTuple):
    """A point of the way: its two numbers, the name on its label and the label's colour."""

    condition: float
    regions: float
    name: str
    colour: str


class _Scale(NamedTuple):
    """Where the values of an axis stand: ``low`` to ``high`` (logarithms on a logarithmic axis) between ``start`` and ``end``."""

    low: float
    high: float
    start: float
    end: float
    strip: float  # the middle of the strip of values that have no place
    logarithmic: bool

    def place(self, value: float) -> float:
        if not self.holds(value):
            return self.strip
        number = math.log10(value) if self.logarithmic else value
        return self.start + (number - self.low) / (self.high - self.low) * (self.end - self.start)

    def holds(self, value: float) -> bool:
        return math.isfinite(value) and (value > 0 or not self.logarithmic)


def draw_trajectory(page: Axes, canvas: FigureCanvasAgg, box: Box, points: Sequence[Point]) -> None:
    """Draw the points, the arrows from each to the next, and the axes, into a box; tick labels and names of the axes stand outside it."""
    x, y, inner = _scales(box, points)
    _draw_frame(page, box, inner, x, y)
    places = [(x.place(point.condition), y.place(point.regions)) for point in points]
    off = [not x.holds(point.condition) or not y.holds(point.regions) for point in points]
    segments = list(itertools.pairwise(places))
    for (first, second), dashed in zip(segments, itertools.pairwise(off), strict=True):
        _draw_arrow(page, first, second, dashed=any(dashed))
    labels = []
    for place, point in zip(places, points, strict=True):
        page.add_patch(Circle(place, _DOT, facecolor=INK, edgecolor="white", linewidth=0.8, zorder=6))
        labels.append(_write(page, place, point, x, y))
    sizes = [_size(label, canvas) for label in labels]
    for (middle_x, middle_y), place, label in zip(_label_places(box, places, sizes), places, labels, strict=True):
        label.set_position((middle_x, middle_y))
        page.plot([place[0], middle_x], [place[1], middle_y], color=INK, linewidth=0.9, zorder=5)


def ink_on(colour: str) -> str:
    """Return the colour of text that can be read on this one."""
    red, green, blue = to_rgb(colour)
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 0.55 else "white"


def _scales(box: Box, points: Sequence[Point]) -> tuple[_Scale, _Scale, Box]:
    """Return both scales, and the part of the box that is left to values with a place."""
    conditions = [math.log10(p.condition) for p in points if math.isfinite(p.condition) and p.condition > 0]
    regions = [p.regions for p in points if math.isfinite(p.regions)]
    right = box.right - _STRIP_WIDTH * (len(conditions) < len(points))
    bottom = box.bottom + _STRIP_HEIGHT * (len(regions) < len(points))
    x = _Scale(*_span(conditions, 0.1), box.left + _INSET, right - _INSET, (right + box.right) / 2, logarithmic=True)
    y = _Scale(*_span(regions, 10.0), bottom + _INSET, box.top - _INSET, (bottom + box.bottom) / 2, logarithmic=False)
    return x, y, Box(box.left, bottom, right, box.top)


def _span(values: Sequence[float], least: float) -> tuple[float, float]:
    """Return the smallest and the largest value, moved apart where they are (nearly) the same."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    missing = max(0.0, least - (high - low)) / 2
    return low - missing, high + missing


def _draw_frame(page: Axes, box: Box, inner: Box, x: _Scale, y: _Scale) -> None:
    style: dict[str, Any] = {"color": INK, "family": FONT, "fontsize": 9}
    if inner.right < box.right:
        page.add_patch(Rectangle((inner.right, box.bottom), box.right - inner.right, box.top - box.bottom, facecolor=_STRIP, zorder=0))
        page.text((inner.right + box.right) / 2, box.bottom - 0.08, "not finite\nor \u2264 0", ha="center", va="top", **style)
    if inner.bottom > box.bottom:
        page.add_patch(Rectangle((box.left, box.bottom), box.right - box.left, inner.bottom - box.bottom, facecolor=_STRIP, zorder=0))
        page.text(box.left - 0.08, y.strip, "not\nfinite", ha="right", va="center", **style)
    for value in _ticks(x, inner.left, inner.right):
        page.plot([x.place(value)] * 2, [inner.bottom, inner.top], color=_GRID, linewidth=0.8, zorder=1)
        page.text(x.place(value), box.bottom - 0.08, _number(value), ha="center", va="top", **style)
    for value in _ticks(y, inner.bottom, inner.top):
        page.plot([inner.left, inner.right], [y.place(value)] * 2, color=_GRID, linewidth=0.8, zorder=1)
        page.text(box.left - 0.08, y.place(value), _number(value), ha="right", va="center_baseline", **style)
    page.add_patch(Rectangle(box[:2], box.right - box.left, box.top - box.bottom, fill=False, edgecolor=FADED, linewidth=1.0, zorder=2))
    middle = (box.left + box.right) / 2
    page.text(middle, box.bottom - 0.5, "condition number (lower is better)", ha="center", va="center", **style | {"fontsize": 10.5})
    middle, name = (box.bottom + box.top) / 2, "linear regions (higher is better)"
    page.text(box.left - 0.72, middle, name, ha="center", va="center", rotation=90, **style | {"fontsize": 10.5})


def _ticks(scale: _Scale, start: float, end: float) -> list[float]:
    """Return round values that stand between two places, some distance inside."""
    step = (scale.high - scale.low) / (scale.end - scale.start)
    low, high = (scale.low + (place - scale.start) * step for place in (start + 0.12, end - 0.12))
    if (scale.low, scale.high) == (0.0, 1.0):  # of an axis on which no value has a place
        return []
    if not scale.logarithmic:
        return [value for value in MaxNLocator(6).tick_values(low, high) if max(low, 0.0) <= value <= high]
    stride = max(1, math.ceil((high - low) / 8))
    decades = [decade for decade in range(math.floor(low), math.floor(high) + 1) if not decade % stride]
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        values = _between([(factor, decade) for decade in decades for factor in factors], low, high)
        if len(values) > 2:
            return values
    decade = math.floor(low)  # taken off and put on again: the locator does not reach to the largest floats
    found = MaxNLocator(5).tick_values(10 ** (low - decade), 10 ** (high - decade))
    return _between([(value, decade) for value in found if value > 0], low, high)


def _between(found: Sequence[tuple[float, int]], low: float, high: float) -> list[float]:
    """Return the values, each given as a factor and a power of ten, between two logarithms, without those that are no floats."""
    values = [float(f"{factor:.10g}e{power}") for factor, power in found if low <= math.log10(factor) + power <= high]
    return [value for value in values if 0 < value < math.inf]


def _number(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.10g}".replace("-", "\u2212")
    mantissa, power = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(power)}".replace("-", "\u2212")


def _draw_arrow(page: Axes, first: tuple[float, float], second: tuple[float, float], *, dashed: bool) -> None:
    length = math.dist(first, second)
    if length < 2 * _DOT:  # the dots touch: there is no room for an arrow
        return
    head = min(1.0, (length - 2 * _DOT) / 0.2)
    page.add_patch(
        FancyArrowPatch(
            first,
            second,
            arrowstyle="-" if head < 0.3 else f"-|>,head_length={0.5 * head:.3f},head_width={0.22 * head:.3f}",
            mutation_scale=15,
            shrinkA=72 * _DOT,
            shrinkB=72 * _DOT,
            linewidth=1.5,
            linestyle=(0, (4, 2)) if dashed else "solid",
            color=_ARROW,
            joinstyle="miter",
            zorder=3,
        )
    )


def _write(page: Axes, place: tuple[float, float], point: Point, x: _Scale, y: _Scale) -> Text:
    """Write a label; where it stands is decided when all are there."""
    pairs = ((x, point.condition), (y, point.regions))
    unplaced = [
        str(value) if not math.isfinite(value) else _number(float(f"{value:.3g}")) for scale, value in pairs if not scale.holds(value)
    ]
    return page.text(
        *place,
        f"{point.name} ({', '.join(unplaced)})" if unplaced else point.name,
        ha="center",
        va="center_baseline",
        fontsize=10,
        weight="bold",
        color=ink_on(point.colour),
        family=FONT,
        zorder=8,
        bbox={"boxstyle": f"round,pad={72 * _PAD / 10},rounding_size=0.3", "facecolor": point.colour, "edgecolor": INK, "linewidth": 0.9},
    )


def _size(text: Text, canvas: FigureCanvasAgg) -> tuple[float, float]:
    found = text.get_window_extent(canvas.get_renderer())
    return found.width / canvas.figure.dpi + 2 * _PAD, found.height / canvas.figure.dpi + 2 * _PAD


def _label_places(box: Box, places: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return the middles ([n, 2]) of labels near their points, clear of each other, of the dots and, if it can be, of the arrows."""
    dots = np.array(places)
    arrows = [_along(*pair, math.ceil(math.dist(*pair) / 0.05) + 1) for pair in itertools.pairwise(places)]
    heads = [arrow[-6:] for arrow in arrows]  # counted twice: an arrow without its head says nothing
    drawn = np.concatenate([*arrows, *heads, np.empty((0, 2))])
    radius, angle = (grid.reshape(-1) for grid in np.meshgrid(_RADII, math.pi / 4 + np.arange(24) * math.pi / 12, indexing="ij"))
    middles = np.full_like(dots, np.inf)  # infinitely far away: not placed yet
    halves = np.array(sizes) / 2
    for at in [*range(len(dots))] * 3:  # the second and third time each label gives way to all others
        half, others = halves[at], np.arange(len(dots)) != at
        wider = half[0] - half[1]
        choices = dots[at] + np.stack([(radius + wider) * np.cos(angle), radius * np.sin(angle)], axis=1)
        over = np.abs(choices[:, None] - middles[others]) < half + halves[others] + 0.03
        on_dot = np.abs(choices[:, None] - dots) < half + _DOT + 0.03
        on_arrow = np.abs(choices[:, None] - drawn) < half + 0.06  # the half width of an arrow's head
        outside = (choices - half < np.array(box[:2]) + _MARGIN) | (choices + half > np.array(box[2:]) - _MARGIN)
        leaders = _along(dots[at], choices, 25).swapaxes(0, 1)[:, :, None]
        through = np.abs(leaders - middles[others]) < halves[others]
        touched = (np.abs(leaders - dots) < _DOT) & (np.abs(dots - dots[at]) > _DOT).any(axis=1)[:, None]
        placed = others & np.isfinite(middles).all(axis=1)
        taken = np.concatenate([np.empty((0, 2)), *(_along(dots[n], middles[n], 25) for n in np.flatnonzero(placed))])
        under = np.abs(choices[:, None] - taken) < half
        cost = 1000.0 * (outside.any(axis=1) + over.all(axis=2).sum(axis=1) + on_dot.all(axis=2).sum(axis=1))
        cost += 40.0 * through.all(axis=3).any(axis=1).sum(axis=1) + 5.0 * under.all(axis=2).sum(axis=1)
        cost += 10.0 * touched.all(axis=3).any(axis=1).sum(axis=1) + 3.0 * on_arrow.all(axis=2).sum(axis=1) + 20.0 * radius
        middles[at] = choices[np.argmin(cost)]
    return middles


def _along(first: Any, second: Any, count: int) -> np.ndarray:
    """Return points ([count, 2], or [count, n, 2] to n places) from one place to another, both included."""
    return np.linspace(np.asarray(first), np.asarray(second), count)
