"""``jknas correlate``: how well training-free scores rank architectures whose trained accuracies are known.

The accuracies are those of NAS-Bench-201, which are part of the package, or a file of the user for any space: a CSV file, or the
published benchmark of a space, such as ``BERT_benchmark.json`` for ``flexibert``. There, architectures that were trained several times
count as often, and those that are one network as trained share one score.

A score whose status is not "ok" ranks last. Dead architectures rank last in every proxy, also in the parameters and the MACs. These null
models are therefore harder to beat than published ones: over all of NAS-Bench-201 the parameters' Spearman correlation with the test
accuracy is 0.773, 0.748 and 0.712 (CIFAR-10, CIFAR-100, ImageNet16-120) instead of 0.753, 0.728 and 0.692.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.table import Table

from jknas.command_line import options
from jknas.command_line.correlate_scores import NULL_MODELS, RANDOM, USUAL, Measured, computed, looked_up, scores_named
from jknas.command_line.errors import interruptible
from jknas.command_line.output import Bars, print_json, show, write_json_file
from jknas.command_line.runs import ScoringRun, expanded
from jknas.errors import CommandError, TabularError, choose
from jknas.files.atomic import write_atomically

if TYPE_CHECKING:
    import numpy as np

    from jknas.proxies import Proxy
    from jknas.ranking.aggregates import Aggregate
    from jknas.scoring.score_table import ScoreTable
    from jknas.spaces import Space
    from jknas.tabular import AccuracyTable
    from jknas.tabular import Table as TabularBenchmark

    Scores = Mapping[str, np.ndarray]

_USUAL_TARGET = "cifar10"
_PARTS, _PART_SIZE = 50, 200  # those of KNAS's figure 2
_SMALLEST_PART = 20
_RESAMPLES, _FEWEST_RESAMPLES, _RESAMPLED_CELLS = 500, 20, 500_000


@expanded
def command(
    run: ScoringRun,
    *,
    proxy: Annotated[
        list[str] | None,
        typer.Option(
            "--proxy",
            help=f"mgm by default, of --scores all; repeatable, or comma separated: {options.PROXY_NAMES}; {options.AGGREGATE_NAMES}; "
            "module:NAME of yours; or an expression such as log_rank(jacob_cov,synflow)",
        ),
    ] = None,
    table_of_scores: Annotated[
        Path | None,
        typer.Option("--scores", help="compute nothing, take the scores of a table that `jknas score --scores` wrote; of all its cells"),
    ] = None,
    among: Annotated[
        str | None, typer.Option("--among", help="only the architectures of a named part of the space: reachable (NAS-Bench-201's U)")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="data that the scores see, cifar10 by default; repeatable, or comma separated"),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "--against",
            help="whose accuracies: cifar10, cifar100 or imagenet16-120, or a column of --accuracies; repeatable, or comma separated "
            "[the data set of --data if it is one of them, otherwise cifar10]",
        ),
    ] = None,
    accuracies: Annotated[
        Path | None,
        typer.Option(
            "--accuracies",
            help="your own table for any space: CSV with a column genotype and numeric columns, or BERT_benchmark.json (flexibert); "
            "--sample and --all then mean its architectures",
        ),
    ] = None,
    resamples: Annotated[
        int | None, typer.Option("--resamples", min=1, help="of the bootstrap behind the intervals [500, of large pools fewer]")
    ] = None,
    db: Annotated[Path | None, typer.Option("--db", help="store of scores: read first, written after each [OUT/scores.sqlite]")] = None,
    out: Annotated[Path, typer.Option("--out", help="folder for correlations.json, .csv and .md, and figures")],
) -> None:
    """Correlate scores with trained accuracies. Parameters, MACs and a random score are the null models.

    Scores that --db holds are not computed again.
    """
    space = run.begin()
    from jknas import tabular
    from jknas.scoring.environment import device, versions
    from jknas.scoring.store import Store
    from jknas.spaces.pool import restricted

    benchmark = _table(space, accuracies, run.folder)
    if table_of_scores is not None:
        read, proxy, data = _read(table_of_scores, space, proxy, run, data=data, db=db)
    proxies, aggregates = scores_named(proxy or [USUAL], space)
    wanted, scheme = run.with_settings(proxies, space), run.scheme()
    pairs = _pairs(data or ["cifar10"], target, benchmark)
    pool = _among(space, among) if accuracies is None else restricted(space, benchmark.genotypes())
    chosen = run if table_of_scores is None or run.names_architectures else dataclasses.replace(run, whole=True)
    genotypes = chosen.chosen(pool)
    shared = isinstance(benchmark, tabular.AccuracyTable) and benchmark.one_per_class
    trained = {name: _accuracies(benchmark, genotypes, name) for targets in pairs.values() for name in targets}
    genotypes = benchmark.trained(genotypes) if isinstance(benchmark, tabular.AccuracyTable) else genotypes
    resamples = resamples or max(_FEWEST_RESAMPLES, min(_RESAMPLES, _RESAMPLED_CELLS // len(genotypes)))
    datasets = {} if table_of_scores else {name: run.load(name) for name in pairs}
    place = options.made_folder(out)
    kept = db or place / "scores.sqlite"
    found = []
    with (
        interruptible(f"run the same command again: {kept} keeps the scores so far."),
        Bars(quiet=run.json) as bars,
        run.pool(bars) as workers,
    ):
        for name, targets in pairs.items():
            if table_of_scores is not None:
                measured, title = looked_up(read, space, genotypes, proxies, run.seeds), name
            else:
                with Store(kept) as store:
                    groups = run.groups(wanted, datasets[name], space, bars)
                    records = run.score(groups, genotypes, bars, store=store, pool=workers, label=f"{name}: ", deduplicate=shared)
                    measured, title = computed((record for record, _ in records), proxies), datasets[name].name
            scores = measured.ranked(aggregates, run.seed)
            for against in targets:
                bars.note(f"{name} against {against.dataset}: intervals of {len(scores)} scores")
                fixed: dict[str, Any] = {"aggregates": aggregates, "seed": run.seed, "resamples": resamples}
                found.append(_compared(title, against, scores, trained[against], measured, **fixed))
    lines = [line for one in found for line in one.lines]
    facts = {
        "settings": {
            "space": space.name,
            "architectures": len(genotypes),
            "resamples": resamples,
            "confidence": 0.95,
            **{name: getattr(run, name) for name in ("sample", "seed", "seeds")},
            **(_computed_by(run, scheme, space, wanted) if table_of_scores is None else _looked_up_by(read, run.seeds)),
            "aggregates": {one.name: str(one.combination) for one in aggregates},
            "among": among or "all",
            "not_ok": "scores whose status is not 'ok' rank last",
            **({} if table_of_scores is None else {"scores": {"file": table_of_scores.name, **read.facts}}),
        },
        "table": benchmark.name,
        "datasets": {name: {"name": one.name, "digest": one.digest, "source": one.source} for name, one in datasets.items()},
        "versions": versions(),
        "device": device(),
        "rows": lines,
        "parts": [one.parts_as_plain() for one in found],
    }
    write_json_file(place / "correlations.json", facts)
    _write_texts(place, found)
    _draw(place, found)
    for line in lines if run.json else ():
        print_json(line)
    if not run.json:
        _report(found)
        show(f"written into {place}: correlations.json, .csv, .md and figures of {len(genotypes)} architectures")


class _Against(NamedTuple):
    """The accuracies that scores are compared with: of a data set, or a column of the user's table, which has no split and epochs."""

    dataset: str
    split: str | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class _Compared:
    """The scores on one data set, compared with one target."""

    data: str
    target: _Against
    scores: "Scores"
    accuracies: "np.ndarray"
    lines: list[dict[str, Any]]  # sorted by Spearman
    parts: "Scores"
    part_size: int

    @property
    def title(self) -> str:
        return self.data if self.data == self.target.dataset else f"{self.data} against {self.target.dataset}"

    def parts_as_plain(self) -> dict[str, Any]:
        drawn = {"repetitions": _PARTS if self.parts else 0, "size": self.part_size}
        spearman = {name: values.tolist() for name, values in self.parts.items()}
        return {"data": self.data, "against": self.target._asdict(), **drawn, "spearman": spearman}


def _read(
    path: Path, space: "Space[Any]", proxy: list[str] | None, run: ScoringRun, **others: Any
) -> "tuple[ScoreTable, list[str], list[str]]":
    """Return a table of scores, what is to be ranked by it, and the name of the images that its scores saw."""
    from jknas.ranking import aggregates
    from jknas.scoring.score_table import read_scores

    names = ("batch", "channels", "cells", "stem", "weights", "tokenizer", "resolution", "limit", "workers", "ray", "init")
    given = run.given(*names) | {"set": run.settings} | others
    options.refuse(given, "with --scores: the table says how its scores were computed; leave it out.")
    table = read_scores(path)
    table.lines(space, ())  # refuses another space
    if table.unknown and not proxy:
        raise CommandError(
            f"{path} has scores of {', '.join(table.unknown)}, which jknas does not know: name what to compare with --proxy, proxies of "
            "your own as module:NAME."
        )
    complete = [name for name in aggregates.names() if set(aggregates.get(name).members) <= {*table.proxies, *NULL_MODELS}]
    return table, proxy or [*table.proxies, *complete], [table.facts["dataset"].partition("@")[0]]


def _computed_by(run: ScoringRun, scheme: str, space: "Space[Any]", wanted: "list[tuple[Proxy, dict[str, Any]]]") -> dict[str, Any]:
    """Return how the scores of this run were computed."""
    found: dict[str, Any] = {"scheme": scheme, "channels": space.channels if run.channels is None else run.channels}
    found |= {name: getattr(run, name) for name in ("cells", "batch", "resolution", "limit")}
    return found | {"proxies": {one.name: given for one, given in wanted}}


def _looked_up_by(table: "ScoreTable", seeds: int) -> dict[str, Any]:
    """Return how the scores of a table were computed: by proxy its settings, and the seeds that are compared."""
    columns = table.facts["columns"]
    chosen = {name: table.seeds(name)[:seeds] for name in table.proxies}
    settings = {name: columns[f"{name}:{used[0]}"]["settings"] for name, used in chosen.items()}
    return {**table.facts["network"], "proxies": settings, "seeds_of": {name: list(used) for name, used in chosen.items()}}


def _among(space: "Space[Any]", name: str | None) -> "Space[Any]":
    """Return the space, or a named part of it."""
    from jknas.spaces.pool import restricted

    if name is None:
        return space
    part = space.parts[choose(f"part of {space.name}", name, tuple(space.parts), error=CommandError)]
    return restricted(space, [genotype for genotype in space.enumerate() if part(genotype)])


def _table(space: "Space[Any]", accuracies: Path | None, folder: Path | None) -> "TabularBenchmark | AccuracyTable":
    """Return the user's table, otherwise that of NAS-Bench-201."""
    from jknas import tabular

    if accuracies is not None:
        return tabular.read_accuracies(accuracies, space)
    benchmark = tabular.load(folder)
    if benchmark.space != space.name:
        raise CommandError(
            f"--space {space.name}: trained accuracies are those of {benchmark.space!r}, of {benchmark.name}; give a table of your own "
            "with --accuracies FILE.csv."
        )
    return benchmark


def _pairs(data: list[str], target: list[str] | None, benchmark: "TabularBenchmark | AccuracyTable") -> dict[str, list[_Against]]:
    """Return the accuracies that the scores on each data set are compared with."""
    from jknas.tabular import PROTOCOLS, AccuracyTable

    named, images = options.split(target or []), options.split(data)
    if not images:
        raise CommandError("--data names no data set; see `jknas data list`.")
    if isinstance(benchmark, AccuracyTable):
        columns = [_Against(benchmark.target(name)) for name in named] or [_Against(benchmark.target(None))]
        return dict.fromkeys(images, columns)
    for name in named:
        choose("data set of --target", name, tuple(PROTOCOLS), error=TabularError)
    usual = {name: [name if name in PROTOCOLS else _USUAL_TARGET] for name in images}
    return {name: [_Against(*PROTOCOLS[one].reports) for one in named or usual[name]] for name in images}


def _accuracies(benchmark: "TabularBenchmark | AccuracyTable", genotypes: list[Any], against: _Against) -> "np.ndarray":
    import numpy as np

    from jknas.tabular import AccuracyTable

    if isinstance(benchmark, AccuracyTable):
        return benchmark.values(genotypes, against.dataset)
    meant = {**against._asdict(), "seeds": "mean"}
    return np.array([benchmark.accuracy(one, **meant).mean for one in genotypes], np.float64)


def _compared(
    data: str,
    target: _Against,
    scores: "Scores",
    accuracies: "np.ndarray",
    measured: Measured,
    *,
    aggregates: "list[Aggregate]",
    seed: int,
    resamples: int,
) -> _Compared:
    from jknas.ranking import correlation
    from jknas.report.correlation_text import as_plain

    lines = []
    rows = correlation.correlate(scores, accuracies, seed=seed, groups=measured.groups, resamples=resamples)
    for row in correlation.by_spearman(rows):
        kind = "null model" if row.name in (*NULL_MODELS, RANDOM) else "proxy" if row.name in measured.draws else "aggregate"
        of_row = {"reliability": measured.reliability(row.name, aggregates), "median_ms": 1000 * measured.seconds.get(row.name, math.nan)}
        against = {"data": data, "against": target.dataset, "split": target.split, "epochs": target.epochs, "kind": kind}
        lines.append({**against, **as_plain(row), **of_row, "statuses": measured.statuses.get(row.name, {})})
    # At most half of the pool: parts that are nearly all of it hardly differ.
    size = min(_PART_SIZE, accuracies.size // 2)
    if size < _SMALLEST_PART:
        return _Compared(data, target, scores, accuracies, lines, {}, 0)
    parts = correlation.subsampled(scores, accuracies, repetitions=_PARTS, size=size, seed=seed)
    return _Compared(data, target, scores, accuracies, lines, parts, size)


def _write_texts(place: Path, found: list[_Compared]) -> None:
    from jknas.report.correlation_text import as_csv, as_markdown

    which = ["" if one.target.split is None else f" ({one.target.split}, {one.target.epochs} epochs)" for one in found]
    tables = [f"## {one.title}{words}\n\n{as_markdown(one.lines)}" for one, words in zip(found, which, strict=True)]
    write_atomically(place / "correlations.csv", as_csv([line for one in found for line in one.lines]), error=CommandError)
    write_atomically(place / "correlations.md", "\n".join(tables), error=CommandError)


def _draw(place: Path, found: list[_Compared]) -> None:
    from jknas.report.correlation_drawing import Panel, draw_ranks, draw_subsamples

    figures = options.made_folder(place / "figures")
    spearman = [{line["name"]: line["spearman"] for line in one.lines} for one in found]
    for name in found[0].scores:
        panels = [Panel(one.title, one.scores[name], one.accuracies, rho[name]) for one, rho in zip(found, spearman, strict=True)]
        draw_ranks(panels, figures / f"{name}.png", figures / f"{name}.svg", name=name)
    parts = {one.title: one.parts for one in found if one.parts}
    if parts:
        title = f"Spearman correlation on {_PARTS} parts of {found[0].part_size} architectures"
        draw_subsamples(parts, figures / "parts.png", figures / "parts.svg", title=title)


def _report(found: list[_Compared]) -> None:
    heads = ("score", "Spearman", "95 %", "Kendall", "top 10 %", "nDCG", "within", "regret@10", "itself", "not ok", "ms")
    for one in found:
        shown = Table(*heads, title=one.title)
        for line in one.lines:
            interval = f"{_number(line['spearman_low'])} {_number(line['spearman_high'])}"
            spearman, *others = (_number(line[name]) for name in ("spearman", "kendall_tau_b", "top_decile_spearman", "ndcg", "within"))
            regret, itself, ms = _number(line["regret_at_10"], 2), _number(line["reliability"], 2), _number(line["median_ms"], 1)
            shown.add_row(line["name"], spearman, interval, *others, regret, itself, str(line["not_ok"]), ms)
        show(shown)


def _number(value: float, digits: int = 3) -> str:
    return "none" if value != value else f"{value:.{digits}f}"  # noqa: PLR0124 - NaN
