"""Write the tables of the README from the recorded results, so that no number is copied by hand.

A table stands in the README between ``<!-- table: NAME -->`` and ``<!-- end of table -->``; NAME is one of ``TABLES``. A test compares
both.
Command: python benchmarks/readme_tables.py [--check]
"""

import argparse
import json
import pathlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import measure

README = pathlib.Path(__file__).parent.parent / "README.md"
TARGETS = ("cifar10", "cifar100", "imagenet16-120")
TITLES = ("CIFAR-10", "CIFAR-100", "ImageNet16-120")
_PLACE = re.compile(r"(<!-- table: (\S+) -->\n).*?(\n<!-- end of table -->)", re.DOTALL)


def result(name: str) -> dict[str, Any]:
    """Return a recorded result."""
    return json.loads((measure.RESULTS / f"{name}.json").read_text())


def lined(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def number(value: float | None, digits: int = 2) -> str:
    """Return a rounded number; a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.{digits}f}"  # noqa: PLR0124 - NaN


def interval(cell: Mapping[str, Any]) -> str:
    """Return a value with its interval."""
    low, high = cell["interval_95"]
    return f"{number(cell['value'])} [{number(low)}, {number(high)}]"


def study(name: str) -> str:
    """Return the rows of a run of ``proxy_study.py``."""
    rows = result(name)["rows"]
    found = {target: {row["name"]: row for row in rows[target]} for target in TARGETS}
    head = ["score", *TITLES, "top tenth", "regret@10", "tau"]
    lines = []
    for row in rows["cifar10"]:
        cells = [row["name"] if row["name"] == "random" else f"`{row['name']}`", interval(row["spearman"])]
        cells += [number(found[target][row["name"]]["spearman"]["value"]) for target in TARGETS[1:]]
        lines.append([*cells, number(row["top_decile"]["value"]), number(row.get("regret@10")), number(row["kendall_tau_b"]["value"])])
    return lined(head, lines)


def proxies() -> str:
    """Return the study of all scores, on networks with a cell a stage."""
    return study("proxy_study")


def published() -> str:
    """Return the scores that were measured on the published network as well."""
    return study("proxy_study_published")


def whole() -> str:
    """Return the scores that are cheap enough for the whole space."""
    rows = result("proxy_study_whole")["rows"]
    found = {target: {row["name"]: row for row in rows[target]} for target in TARGETS}
    head = ["score", *TITLES, *(f"tau, {title}" for title in TITLES)]
    lines = [
        [
            f"`{row['name']}`" if row["name"] != "random" else "random",
            *(number(found[target][row["name"]][of]["value"], 3) for of in ("spearman", "kendall_tau_b") for target in TARGETS),
        ]
        for row in rows["cifar10"]
    ]
    return lined(head, lines)


def estimators() -> str:
    """Return what KNAS's estimators rank by."""
    head = ["estimator", *TITLES, "other seed", "one example's gradient norm", "negative"]
    rows = []
    for name, facts in result("knas_estimators")["facts"].items():
        means = [
            sum(values) / len(values) for values in (*facts["spearman"].values(), facts["reliability"], facts["with_one_example_norm"])
        ]
        rows.append([name, *(number(mean) for mean in means), f"{100 * facts['negative_share']:.0f} %"])
    return lined(head, rows)


def rivals() -> str:
    """Return the searches with 12,000 s on CIFAR-10, beside the published rows."""
    head = ["search", "runs", *(text for title in TITLES for text in (title, "published"))]
    rows = []
    for name, row in result("rivals")["table"]["searched on cifar10"].items():
        if name == "null models":
            continue
        cells = [name, str(row["seeds"])]
        for target in TARGETS:
            (mean, sd), (published, published_sd) = row["test"][target], row["published"][target]
            cells += [f"{number(mean)} ± {number(sd)}", f"{number(published)} ± {number(published_sd)}"]
        rows.append(cells)
    return lined(head, rows)


def figure2() -> str:
    """Return MGM's and the number of parameters' correlations with accuracy and training loss."""
    found = result("figure2")["spearman"]
    measured = ("validation accuracy, 200 epochs", "test accuracy, 200 epochs", "negative training loss, 200 epochs")
    rows = []
    for score in dict.fromkeys(name.partition(", ")[0] for name in found):
        facts = (found[f"{score}, {of}"] for of in measured)
        rows.append([f"`{score}`", *(f"{number(fact['mean'])} ± {number(fact['sd'])}" for fact in facts)])
    return lined(["score", *measured], rows)


def table1() -> str:
    """Return Table 1 of KNAS as its script prints it: accuracies, then seconds."""
    return "\n".join(result("table1")["markdown"])


_MADE = (proxies, published, whole, estimators, rivals, figure2, table1)
TABLES: Mapping[str, Callable[[], str]] = {function.__name__: function for function in _MADE}


def written(text: str) -> str:
    """Return the README with its tables made anew.

    Raises:
        KeyError: a marker names no table.
    """
    return _PLACE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", text)


def main() -> None:
    """Write the README, or say whether it would change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the README is not what the results say")
    options = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    new = written(text)
    if options.check:
        sys.exit(0 if new == text else "the README's tables are not those of benchmarks/results: run benchmarks/readme_tables.py")
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
