"""Rows of correlations as plain numbers, as CSV and as a Markdown table."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jknas.ranking.correlation import CHOSEN, Row

_HEADS = {"spearman": "Spearman", "kendall_tau_b": "Kendall tau-b", "top_decile_spearman": "Spearman, top 10 %", "ndcg": "nDCG@1000"}
_HEADS |= {"within": "Spearman within"}
_HEADS |= {f"regret_at_{k}": f"regret@{k}" for k in CHOSEN}


def as_plain(row: Row) -> dict[str, Any]:
    """Return a row as numbers by name: each measure, the ends of its interval as ``_low`` and ``_high``, and the counts.

    A regret is NaN if the pool is too small for it, and the correlation within groups where there are none.
    """
    measures = (row.spearman, row.kendall, row.top_decile, row.ndcg, row.within, *(row.regret.get(k) for k in CHOSEN))
    numbers: dict[str, Any] = {"name": row.name, "n": row.n}
    for name, found in zip(_HEADS, measures, strict=True):
        ends = (math.nan,) * 3 if found is None else (found.estimate.value, found.low, found.high)
        numbers |= zip((name, f"{name}_low", f"{name}_high"), ends, strict=True)
    return numbers | {"ties": row.ties, "not_ok": row.not_ok}


def as_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return lines of `as_plain` as CSV; the columns are the numbers and texts of the first line, "" where there is none."""
    if not lines:
        return ""
    columns = [name for name, value in lines[0].items() if isinstance(value, str | int | float)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def as_markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return lines of `as_plain` as a Markdown table, in their order, with intervals in brackets."""
    rows = [("score", *_HEADS.values(), "ties", "not ok"), ("---", *("---:" for _ in _HEADS), "---:", "---:")]
    for line in lines:
        shown = (_with_interval(line, name, 2 if name.startswith("regret") else 3) for name in _HEADS)
        rows.append((str(line["name"]), *shown, str(line["ties"]), str(line["not_ok"])))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _with_interval(line: Mapping[str, Any], name: str, digits: int) -> str:
    value, low, high = (line[key] for key in (name, f"{name}_low", f"{name}_high"))
    return "none" if math.isnan(value) else f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
