"""What all drawings share: their style, the check of the file that they go into, a title that fits, and files that repeat byte for byte."""

import math
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from jknas.errors import DrawingError

INK, FADED, FAINT, NODE = "#222222", "#9A9A9A", "#C8C8C8", "#33414E"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that the file is the same on every machine
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a title is a dollar
    "axes.labelcolor": INK,
    "axes.edgecolor": FADED,
    "axes.axisbelow": True,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
    "svg.hashsalt": "jknas",  # the salt of the SVG's identifiers can be set in no other way
    "svg.fonttype": "path",
}
"""Settings of matplotlib for ``matplotlib.rc_context``, under which a figure is made and saved."""


def check_target(path: str | Path, suffixes: tuple[str, ...] = (".svg", ".png")) -> Path:
    """Return the path of a drawing.

    Args:
        path: a file in an existing folder.
        suffixes: the endings that its name may have.

    Raises:
        DrawingError: another ending, or no such folder.
    """
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        known = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise DrawingError(f"cannot draw into {target}: its name must end in {known}, for example {target.with_suffix(suffixes[0]).name}.")
    if not target.parent.is_dir():
        raise DrawingError(f"cannot draw into {target}: {target.parent} is not a folder; make it first, or correct the path.")
    return target


def new_page(width: float, height: float, *, layout: Any = "constrained") -> Figure:
    """Return an empty figure of that size in inches; the layout "constrained" makes room for titles and labels."""
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def write_title(figure: Figure, title: str | None, **place: Any) -> None:
    """Write a title above the figure, in 15 points or as many as fit its width; ``place`` goes to ``Figure.suptitle``."""
    if title:
        text = figure.suptitle(title, fontsize=15.0, **place)
        width, room = text.get_window_extent().width, figure.bbox.width - 0.5 * figure.dpi
        text.set_fontsize(15.0 * min(1.0, room / width) if width else 15.0)


def plain(axes: Any) -> None:
    """Leave out the frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)


def write_powers(axis: Any) -> None:
    """Label a logarithmic axis in plain text, since the style reads no formulas: powers of ten, and numbers where it has few powers."""
    digits = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")

    def number(value: float, _: int) -> str:
        low, high = axis.get_view_interval()
        return f"{value:g}" if high < 20 * low and str(value / 10 ** math.floor(math.log10(value)))[0] in "25" else ""

    axis.set_major_formatter(FuncFormatter(lambda value, _: "10" + str(round(math.log10(value))).translate(digits)))
    axis.set_minor_formatter(FuncFormatter(number))


def save(figure: Figure, target: Path, name: str) -> None:
    """Write a figure. The bytes depend on the figure and the name alone: no date, no random identifiers.

    Args:
        figure: the figure.
        target: a path that `check_target` returned.
        name: the title in the file's metadata.

    Raises:
        DrawingError: the file cannot be written.
    """
    kind = target.suffix.lower()[1:]
    metadata = {"Title": name, "Software" if kind == "png" else "Creator": "jknas"}
    undated: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    try:
        figure.savefig(target, format=kind, metadata=metadata | undated.get(kind, {}))
    except OSError as error:
        raise DrawingError(f"cannot draw into {target} ({error.strerror}): choose a file in a folder that is writable.") from error
    figure.set_layout_engine("none")  # laid out once; a second file of the same figure is the same picture
