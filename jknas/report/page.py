"""What every drawing of an architecture shares: the file it goes into, its colours, its font, and a title that fits.

Colours are those of Okabe and Ito, which stay apart for colour-blind readers; every operation also carries its name.
"""

from pathlib import Path

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jknas.errors import DrawingError

__all__ = ["FADED", "FAINT", "FONT", "INK", "NODE", "DrawingError", "check_target", "fit", "save"]

FONT = "DejaVu Sans"  # comes with matplotlib, so that the file is the same on every machine
INK, FADED, FAINT, NODE = "#222222", "#9A9A9A", "#C8C8C8", "#33414E"

_SUFFIXES = (".svg", ".png")


def check_target(path: Path) -> Path:
    """Return the path of a drawing, or refuse it."""
    if path.suffix.lower() not in _SUFFIXES:
        raise DrawingError(f"cannot draw into {path}: its name must end in .svg or .png, for example {path.with_suffix('.svg').name}.")
    if not path.parent.is_dir():
        raise DrawingError(f"cannot draw into {path}: {path.parent} is not a folder; make it first, or correct the path.")
    return path


def fit(text: mpl.text.Text, canvas: FigureCanvasAgg, width: float) -> None:
    """Set a title in 15 points, or smaller, so that it takes at most ``width`` inches."""
    size = 15.0
    text.set_fontsize(size)
    found = text.get_window_extent(canvas.get_renderer()).width / canvas.figure.dpi
    text.set_fontsize(min(size, size * width / found) if found else size)


def save(figure: Figure, target: Path, name: str) -> None:
    """Write a figure as SVG or PNG. The bytes depend on the figure and the name alone: no date, no random identifiers."""
    kind = target.suffix.lower()[1:]
    metadata = {"Title": name, "Date": None, "Creator": "jknas"} if kind == "svg" else {"Title": name, "Software": "jknas"}
    try:
        # The salt of the SVG's identifiers can be set in no other way; the setting is put back at once.
        with mpl.rc_context({"svg.hashsalt": "jknas", "svg.fonttype": "path"}):
            figure.savefig(target, format=kind, metadata=metadata)
    except OSError as error:
        raise DrawingError(f"cannot draw into {target} ({error.strerror}): choose a file in a folder that is writable.") from error
