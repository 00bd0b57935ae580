"""Draw a kernel: its entries as a heat map, and its eigenvalues on a logarithmic scale with the floor below which they are rounding."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from jknas.errors import DrawingError
from jknas.kernels.spectrum import Spectrum, spectrum
from jknas.report.page import STYLE, check_target, new_page, save, write_powers, write_title


def draw_kernel(kernel: Any, path: str | Path, *, order: Any = None, title: str = "") -> Spectrum:
    """Write a picture of a square kernel: the matrix and its spectrum.

    Args:
        kernel: a matrix ``[n, n]`` or a record that holds one as ``.matrix``.
        path: file to write, ending in .png, .svg or .pdf, in an existing folder.
        order: ``[n]``, the order in which to show the examples, for instance ``numpy.argsort(labels)`` to group them by class.
        title: a line above the picture.

    Returns:
        The spectrum that is shown.

    Raises:
        DrawingError: another ending, a folder that does not exist, a file that cannot be written, or an ``order``
            that is not a permutation of the examples.
        ValueError: what :func:`jknas.kernels.spectrum.spectrum` refuses.
    """
    target = check_target(path, (".png", ".svg", ".pdf"))
    found = spectrum(kernel)
    matrix = np.asarray(getattr(kernel, "matrix", kernel), np.float64)
    chosen = np.arange(len(matrix)) if order is None else np.asarray(order)
    if sorted(chosen.reshape(-1).tolist()) != list(range(len(matrix))):
        raise DrawingError(f"order must be a permutation of the {len(matrix)} examples, got {chosen.reshape(-1).tolist()[:10]}")
    with mpl.rc_context(STYLE):
        figure = new_page(9.0, 3.9)
        heat, lines = figure.subplots(1, 2, width_ratios=(1, 1.15))
        _heat_map(figure, heat, matrix[np.ix_(chosen, chosen)])
        _eigenvalues(lines, found)
        write_title(figure, title)
        save(figure, target, title or "kernel")
    return found


def _heat_map(figure: Figure, axes: Any, matrix: np.ndarray) -> None:
    finite = matrix[np.isfinite(matrix)]
    limit = float(np.abs(finite).max()) if finite.size and np.abs(finite).max() > 0 else 1.0
    image = axes.imshow(matrix, cmap="RdBu_r", norm=TwoSlopeNorm(0.0, -limit, limit), interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.85)
    axes.set(title="kernel", xlabel="example", ylabel="example")


def _eigenvalues(axes: Any, found: Spectrum) -> None:
    values = found.eigenvalues[::-1]
    positive = values > 0
    rank = np.arange(1, len(values) + 1)
    axes.set(title=f"condition number {found.condition_number:.4g}, {found.status}", xlabel="rank", ylabel="eigenvalue")
    if not positive.any():
        axes.text(0.5, 0.5, "no positive eigenvalue", ha="center", va="center", transform=axes.transAxes)
        return
    axes.semilogy(rank[positive], values[positive], "o-", ms=3, lw=1, color="#0072B2", label="eigenvalue")
    if found.floor > 0:
        axes.axhline(found.floor, color="#D55E00", lw=1, ls="--", label="rounding floor")
    write_powers(axes.yaxis)
    axes.legend()
    axes.set_xlim(0.5, len(values) + 0.5)
