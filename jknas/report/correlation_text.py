"""Rows of correlations as plain values, as CSV and as a Markdown table."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jknas.ranking.correlation import CHOSEN, Row

__all__ = ["as_csv", "as_markdown", "as_plain"]


def as_plain(row: Row) -> dict[str, Any]:
    """Return a row as numbers by name: each measure, its interval as ``_low`` and ``_high``, and the counts.

    A regret that the pool is too small for is NaN.
    """
    measures = {"spearman": row.spearman, "kendall_tau_b": row.kendall, "top_decile_spearman": row.top_decile}
    measures |= {f"regret_at_{k}": row.regret[k] for k in CHOSEN if k in row.regret}
    numbers: dict[str, Any] = {"name": row.name, "n": row.n}
    for name in ("spearman", "kendall_tau_b", "top_decile_spearman", *(f"regret_at_{k}" for k in CHOSEN)):
        found = measures.get(name)
        numbers[name] = math.nan if found is None else found.estimate.value
        numbers[f"{name}_low"] = math.nan if found is None else found.low
        numbers[f"{name}_high"] = math.nan if found is None else found.high
    return numbers | {"ties": row.ties, "not_ok": row.not_ok}


def as_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return lines of plain values as CSV, with the columns of the first; values that are no numbers or texts are left out."""
    columns = [name for name, value in lines[0].items() if isinstance(value, str | int | float)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def as_markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of lines of plain values (`as_plain`), in their order, with intervals in brackets."""
    heads = ("score", "Spearman", "Kendall tau-b", "Spearman, top 10 %", *(f"regret@{k}" for k in CHOSEN), "ties", "not ok")
    names = ("spearman", "kendall_tau_b", "top_decile_spearman", *(f"regret_at_{k}" for k in CHOSEN))
    rows = [heads, ("---", *("---:" for _ in heads[1:]))]
    for line in lines:
        shown = (_with_interval(line, name, 2 if name.startswith("regret") else 3) for name in names)
        rows.append((str(line["name"]), *shown, str(line["ties"]), str(line["not_ok"])))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _with_interval(line: Mapping[str, Any], name: str, digits: int) -> str:
    value, low, high = (line[key] for key in (name, f"{name}_low", f"{name}_high"))
    if math.isnan(value):
        return "none"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
