"""``jknas score``: training-free scores of chosen architectures, kept as they come."""

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from jknas.command_line import architectures, options
from jknas.command_line.errors import interruptible
from jknas.command_line.output import Bars, print_json, show
from jknas.command_line.runs import ScoringRun, expanded
from jknas.errors import CommandError
from jknas.files.json_text import export_json

_SHOWN = 20


@expanded
def command(
    run: ScoringRun,
    *,
    proxy: Annotated[
        list[str] | None,
        typer.Option("--proxy", help=f"mgm by default; repeatable, or comma separated: {options.PROXY_NAMES}, or module:NAME of yours"),
    ] = None,
    dedup: Annotated[
        bool, typer.Option("--dedup", help="score one representative of cells that compute the same function; --scores does so, too")
    ] = False,
    part: options.Part = None,
    data: options.Data = "digits",
    db: Annotated[Path | None, typer.Option("--db", help="store of scores: read first, written after each score")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="write the scores of this run into this file, as JSON lines")] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="write them as a table (.csv or .csv.gz), which `jknas correlate --scores` reads")
    ] = None,
) -> None:
    """Score architectures without training them. Scores that --db holds are not computed again.

    The scores by --workers N are the same for every N; those of this process, which uses all cores, may differ in their last digits.
    """
    space = run.begin()
    from jknas.scoring.exporting import nested
    from jknas.scoring.store import Store

    if scores is not None:
        from jknas.scoring.score_table import check_target

        check_target(scores)
        dedup = True
    genotypes = architectures.part(space, run.chosen(space), part, deduplicate=dedup)
    proxies = options.proxies_named(proxy or ["mgm"])
    wanted = run.with_settings(proxies, space)
    run.scheme()
    better = {one.name: one.higher_is_better for one in proxies}
    results: list[dict[str, Any]] = []
    tabled: list[Any] = []
    counts: Counter[str] = Counter()
    distinct: set[str] = set()
    with ExitStack() as stack:
        store = None if db is None else stack.enter_context(Store(db))
        dataset = run.load(data)
        lines = None if out is None else stack.enter_context(_opened(out))
        kept = f"run the same command again: {db} keeps the scores so far." if db else "with --db FILE the scores so far would be kept."
        stack.enter_context(interruptible(kept))
        bars = stack.enter_context(Bars(quiet=run.json))
        pool = stack.enter_context(run.pool(bars))
        groups = run.groups(wanted, dataset, space, bars)
        measurements, start = len(groups), time.perf_counter()
        for record, fresh in run.score(groups, genotypes, bars, store=store, pool=pool, deduplicate=dedup):
            line = {**nested(record), "fresh": fresh}
            counts.update([record.status, "computed" if fresh else "known"])
            distinct.add(record.canonical)
            if scores is not None:
                tabled.append(record)
            if lines is not None:
                lines.write(export_json(line) + "\n")
            if run.json:
                print_json(line)
            elif record.key.seed == run.seed:
                _keep_best(results, line, better[record.key.proxy])
    if scores is not None:
        from jknas.scoring.score_table import write_scores

        write_scores(scores, tabled)
    if not run.json:
        _report(results, counts)
        seconds = time.perf_counter() - start
        per_second = f"; {counts['computed'] / seconds:.3g} scores a second, {seconds:.0f} s in all" if counts["computed"] else ""
        each = f"{measurements} measurement{'s'[: measurements > 1]} of each give{'s'[measurements > 1 :]} all its scores"
        show(f"{len(genotypes):,} architectures, {len(distinct):,} distinct functions; {each}{per_second}")


def _opened(path: Path) -> Any:
    try:
        return path.open("w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise CommandError(f"--out {path} cannot be written ({error.strerror}): give a file in a folder that exists.") from error


def _keep_best(best: list[dict[str, Any]], line: dict[str, Any], higher_is_better: bool) -> None:
    """Keep the best lines of each proxy, so that a sweep of the whole space needs no memory."""
    sign = -1 if higher_is_better else 1
    same = [other for other in best if other["proxy"] == line["proxy"] and other["genotype"] != line["genotype"]] + [line]
    same.sort(key=lambda item: (item["status"] != "ok", sign * item["score"] if item["status"] == "ok" else 0.0))
    best[:] = [other for other in best if other["proxy"] != line["proxy"]] + same[:_SHOWN]


def _report(best: list[dict[str, Any]], counts: Counter[str]) -> None:
    from jknas.scoring.record import STATUSES

    shown = Table("genotype", "proxy", "score", "status", "ms")
    for line in best:
        shown.add_row(line["genotype"], line["proxy"], f"{line['score']:.6g}", line["status"], f"{1000 * line['seconds']:.1f}")
    show(shown)
    total = counts["computed"] + counts["known"]
    bad = ", ".join(f"{counts[status]} {status}" for status in STATUSES[1:] if counts[status])
    show(f"{total} scores: {counts['computed']} computed, {counts['known']} known already" + (f"; {bad}" if bad else ""))
