"""Draw how scores are distributed: one histogram per proxy."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float

from jknas.errors import DrawingError
from jknas.report.page import STYLE, check_target, new_page, plain, save
from jknas.spaces.graph import COLOURS

_COLUMNS, _BINS = 3, 40
_WIDTH, _HEIGHT = 3.2, 2.3  # inches of a panel
_OUTSIDE = 0.5  # percent of the scores on either side that the axis may leave out
_FEW = 200  # scores that are all shown


def draw_distributions(scores: Mapping[str, Float[np.ndarray, " _"]], path: str | Path) -> Path:
    """Write histograms of scores. Of more than 200 finite scores the middle 99 % are shown, and those beyond counted in the title.

    Args:
        scores: by the title of their panel; NaN where there is none.
        path: file to write, ending in .png or .svg, in an existing folder.

    Raises:
        DrawingError: no scores, or a path that cannot be written.
    """
    target = check_target(path)
    if not scores:
        raise DrawingError("no scores were given: score architectures first.")
    columns = min(_COLUMNS, len(scores))
    rows = -(-len(scores) // columns)
    with mpl.rc_context(STYLE):
        figure = new_page(_WIDTH * columns, _HEIGHT * rows)
        panels = figure.subplots(rows, columns, squeeze=False).flat
        for (title, values), axes in zip(scores.items(), panels, strict=False):
            finite = values[np.isfinite(values)]
            beyond = ""
            if finite.size:
                outside = _OUTSIDE if finite.size > _FEW else 0.0
                low, high = np.percentile(finite, (outside, 100 - outside))
                inside = finite[(finite >= low) & (finite <= high)]
                axes.hist(inside, bins=_BINS, color=COLOURS["blue"])
                beyond = f", {finite.size - inside.size} beyond" if inside.size < finite.size else ""
            axes.set_title(f"{title}{beyond}", loc="left", fontsize=9)
            axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4, integer=True))
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5))
            plain(axes)
        for axes in panels:
            axes.set_axis_off()
        save(figure, target, "scores")
    return target
