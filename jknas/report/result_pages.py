"""A page for a person about what a command left: of a search, of correlations, or of a store of scores.

The pages hold what the files of the folder say, the pictures that are there, and drawings of curves and scores that are made for them.
"""

import heapq
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jknas import proxies
from jknas.errors import DrawingError
from jknas.files.json_text import read_json
from jknas.report.curves_drawing import draw_curves
from jknas.report.html_page import facts, page, paragraph, pictures, table
from jknas.report.scores_drawing import draw_distributions
from jknas.scoring.store import ScoreRecord, Store
from jknas.scoring.summary import GROUP, described

_CANDIDATES, _BEST = 30, 10  # rows of a table
_CORRELATION = {
    "spearman": "Spearman",
    "spearman_low": "from",
    "spearman_high": "to",
    "kendall_tau_b": "Kendall",
    "top_decile_spearman": "Spearman, top 10 %",
    "ndcg": "nDCG",
    "regret_at_10": "regret@10",
    "not_ok": "not ok",
    "median_ms": "ms",
}


def result_page(place: Path) -> str:
    """Return the page of a folder that `jknas search` or `jknas correlate` wrote, or of a store of scores.

    Raises:
        DrawingError: there is no such result, or it is damaged.
        StoreError: a file that is no store.
    """
    if place.is_file():
        return sweep_page(place)
    for name, made in _PAGES.items():
        if (place / name).is_file():
            with _readable(place / name) as record:
                return made(place, record)
    if (place / "scores.sqlite").is_file():
        return sweep_page(place / "scores.sqlite")
    found = "is not there" if not place.exists() else "holds no result"
    raise DrawingError(
        f"{place} {found}: give a folder that `jknas search --out` or `jknas correlate --out` wrote, or the store of `jknas score --db`."
    )


@contextmanager
def _readable(path: Path) -> Iterator[dict[str, Any]]:
    """Give what a file holds; report what is missing in it as damage."""
    try:
        record = read_json(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise TypeError("it is no JSON object")
        yield record
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        if isinstance(error, DrawingError):
            raise
        missing = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise DrawingError(f"{path} cannot be shown ({missing}): give a result that this release of jknas wrote.") from error


def search_page(place: Path, record: Mapping[str, Any]) -> str:
    """Return the page of a search."""
    if "method" not in record:
        raise DrawingError(f"{place} holds no search: give a folder that `jknas search --out` wrote.")
    counts, null = record["counts"], record["null_model"]
    tested = "" if record["test_accuracy"] is None else f", test accuracy {100 * record['test_accuracy']:.2f} %"
    done = "" if record["complete"] else "; the search is not complete"
    lead = f"{counts['sampled']} architectures, {counts['trained']} trained, {record['seconds']:.0f} s{done}"
    names = ("genotype", "canonical", "parameters", "macs", "validation_accuracy", "test_accuracy")
    winner = {name.replace("_", " "): record[name] for name in names}
    winner["rank by number of parameters alone"] = null["winner_rank_by_parameters"]
    inputs = {name: record[name] for name in ("space", "dataset", "network", "settings", "proxy", "recipe", "seed") if name in record}
    ran = {"device": record["device"], "seconds": record["timing"], "versions": record["versions"]}
    statuses = {name: count for name, count in counts.items() if count and name != "sampled"}
    sections = [
        ("What was found", facts(winner) + pictures([place / "cell.svg"], {"cell": "the winner"})),
        ("How the search went", facts({"counts": statuses}) + pictures([place / "search.svg"], {"search": record["method"]})),
        ("Training", _curves(record)),
        ("Candidates", _candidates(record["candidates"])),
        ("Inputs", facts(inputs)),
        ("Versions", facts(ran)),
    ]
    return page(f"{record['method']} on {record['dataset']['name']}{tested}", lead, sections)


def _curves(record: Mapping[str, Any]) -> str:
    curves = {
        one["genotype"]: [float(epoch["validation_accuracy"]) for epoch in one["curves"]]
        for one in record["candidates"]
        if one.get("curves") and "validation_accuracy" in one["curves"][0]
    }
    if record["genotype"] not in curves:
        return ""
    title = f"{len(curves)} trained candidate{'s'[: len(curves) > 1]}"
    return _drawn("training", lambda path: draw_curves(curves, path, winner=record["genotype"], title=title))


def _candidates(candidates: list[Mapping[str, Any]]) -> str:
    listed = sorted(candidates, key=lambda one: (one["rank"] or math.inf, -one.get("validation_accuracy", 0.0)))
    rows = [
        [one["rank"], one["genotype"], _number(one["score"]), one["status"], one["parameters"], one.get("validation_accuracy")]
        for one in listed[:_CANDIDATES]
    ]
    more = paragraph(f"The best {_CANDIDATES} of {len(listed)}; result.json has all.") if len(listed) > _CANDIDATES else ""
    return table(["rank", "genotype", "score", "status", "parameters", "validation accuracy"], rows) + more


def correlation_page(place: Path, record: Mapping[str, Any]) -> str:
    """Return the page of correlations."""
    settings, sections = record["settings"], []
    pairs: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in record["rows"]:
        pairs.setdefault((row["data"], row["against"], row["split"], row["epochs"]), []).append(row)
    for (data, against, split, epochs), rows in pairs.items():
        protocol = "" if split is None else f" ({split} accuracy after {epochs} epochs)"
        cells = [[row["name"], row["kind"], *(_number(row[name]) for name in _CORRELATION)] for row in rows]
        sections.append((f"Scores on {data} against {against}{protocol}", table(["score", "kind", *_CORRELATION.values()], cells)))
    names = dict.fromkeys(row["name"] for row in record["rows"])
    figures = [place / "figures" / f"{name}.svg" for name in ("parts", *names)]
    sections.append(("Scores and accuracies", pictures(figures, {"parts": "the same correlation on parts of the pool"})))
    inputs = {"table": record["table"], "images": list(record["datasets"]), **{name: value for name, value in settings.items() if value}}
    sections.append(("Inputs", facts(inputs)))
    sections.append(("Versions", facts({"device": record["device"], "versions": record["versions"]})))
    lead = f"{settings['architectures']:,} architectures of {settings['space']}; intervals of 95 %; {settings['not_ok']}"
    return page("How well scores rank architectures", lead, sections)


def sweep_page(path: Path) -> str:
    """Return the page of a store of scores."""
    scores: dict[str, np.ndarray] = {}
    bests, rows = [], []
    with Store.existing(path) as store:
        found = described(store)
        for group, (*values, _, _) in zip(found["groups"], store.counted(*GROUP), strict=False):  # another process may score on
            title = f"{group['proxy']}, seed {group['seed']}"
            title += f" ({len(scores) + 1})" if title in scores else ""
            known = group["proxy"] in proxies.names()
            sign = 1 if not known or proxies.get(group["proxy"]).higher_is_better else -1
            scores[title], best = _scores(store.records(**dict(zip(GROUP, values, strict=True))), sign)
            heading = f"Best by {title}" if known else f"Highest by {title} (its direction is not known here)"
            bests.append((heading, table(["genotype", "score", "ms"], best)))
            how = {name: group[name] for name in ("scores", "statuses", "dataset", "network", "settings")}
            rows.append([title, *how.values(), 1000 * group["mean_seconds"]])
    sections = [("Scores", table(["proxy", "scores", "statuses", "images", "network", "settings", "ms"], rows))]
    if scores:
        sections.append(("Distributions", _drawn("scores", lambda file: draw_distributions(scores, file))))
    versions = {f"versions of {one['scores']:,}": one["versions"] for one in found["versions"]}
    lead = f"{found['scores']:,} scores, {found['seconds']:.0f} s of computation"
    return page(f"Scores in {path.name}", lead, [*sections, *bests, ("Versions", facts({"devices": found["devices"], **versions}))])


def _scores(records: Iterator[ScoreRecord], sign: int) -> tuple[np.ndarray, list[list[Any]]]:
    """Return the numbers of records by one proxy, and rows of the architectures with the highest ``sign * score``, the higher first."""
    values: list[float] = []
    best: list[tuple[float, int, list[Any]]] = []
    for number, record in enumerate(records):
        values.append(record.score)
        if record.status == "ok":
            entry = (sign * record.score, -number, [record.key.genotype, record.score, 1000 * record.seconds])
            (heapq.heappush if len(best) < _BEST else heapq.heappushpop)(best, entry)
    return np.array(values, np.float64), [row for *_, row in sorted(best, reverse=True)]


def _drawn(name: str, draw: Callable[[Path], Any]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.svg"
        draw(path)
        return pictures([path])


def _number(value: Any) -> Any:
    """Return a number of a JSON file: non-finite ones are text there."""
    return float(value) if isinstance(value, str) else value


_PAGES: Mapping[str, Callable[[Path, Mapping[str, Any]], str]] = {"result.json": search_page, "correlations.json": correlation_page}
