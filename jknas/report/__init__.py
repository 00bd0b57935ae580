"""Pictures and tables of results, as SVG and PNG files and as text.

A picture depends on what it shows alone: the same values give the same bytes. Each function is imported when it is first used.

==================== =====================================================================================
`draw_cell`          the cells of a genotype, for any space that describes them as graphs
`draw_pruning`       a search by pruning: the supernet's path, and the round that removed each operation
`draw_anytime`       accuracy of the incumbent against the cost of the search, with its confidence band
`draw_ranks`         trained accuracy against the rank by a score
`draw_subsamples`    correlations of many scores on parts of a pool
`draw_kernel`        the entries and the eigenvalues of a kernel
`as_csv`             rows of correlations as CSV; `as_markdown` as a Markdown table, `as_plain` as numbers
==================== =====================================================================================
"""

import importlib
from typing import Any

_HOMES = {
    "Panel": "correlation_drawing",
    "as_csv": "correlation_text",
    "as_markdown": "correlation_text",
    "as_plain": "correlation_text",
    "draw_anytime": "anytime_drawing",
    "draw_cell": "cell_drawing",
    "draw_kernel": "kernel_drawing",
    "draw_pruning": "pruning_drawing",
    "draw_ranks": "correlation_drawing",
    "draw_subsamples": "correlation_drawing",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its public names are {', '.join(_HOMES)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
