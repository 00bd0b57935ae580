"""``jknas score``: training-free scores of chosen architectures, kept as they come."""

import functools
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from jknas.command_line import architectures, options
from jknas.command_line.errors import interruptible
from jknas.command_line.output import Bars, print_json, show
from jknas.errors import CommandError

_SHOWN = 20


def command(
    *,
    space: options.Space = "nasbench201",
    proxy: Annotated[
        list[str] | None,
        typer.Option("--proxy", help=f"mgm by default; repeatable, or comma separated: {options.PROXY_NAMES}"),
    ] = None,
    settings: options.Set = None,
    arch: options.Arch = None,
    archs: options.Archs = None,
    sample: options.Sample = None,
    whole: options.Whole = False,
    dedup: Annotated[bool, typer.Option("--dedup", help="score one representative of cells that compute the same function")] = False,
    data: options.Data = "digits",
    folder: options.Folder = None,
    resolution: options.Resolution = None,
    limit: options.Limit = None,
    channels: options.Channels = 16,
    cells: options.Cells = None,
    batch: options.Batch = None,
    init: options.Init = "pytorch",
    seed: options.Seed = 0,
    db: Annotated[Path | None, typer.Option("--db", help="store of scores: read first, written after each score")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="write the scores of this run into this file, as JSON lines")] = None,
    compile_cache: options.CompileCache = None,
    json: options.Json = False,
) -> None:
    """Score architectures without training them. Scores that --db holds are not computed again."""
    options.use_compile_cache(compile_cache)
    from jknas import spaces
    from jknas.networks.families import macro_of
    from jknas.scoring.scorer import make_scorer, score_together, sharing
    from jknas.scoring.store import Store

    chosen = spaces.get(space)
    genotypes = architectures.chosen(chosen, arch or [], archs, sample, whole=whole, seed=seed)
    wanted = options.proxies_named(proxy or ["mgm"])
    overrides = options.settings_for(wanted, settings)
    macro = macro_of(chosen)
    for one, given in zip(wanted, overrides, strict=True):  # before hours are spent on the others
        one.check(macro, one.with_settings(given, macro))
    scheme = options.check_init(init)
    with ExitStack() as stack:
        store = None if db is None else stack.enter_context(Store(db))
        dataset = options.DataChoice(data, folder, resolution, limit).load()
        lines = None if out is None else stack.enter_context(_opened(out))
        kept = f"run the same command again: {db} keeps the scores so far." if db else "with --db FILE the scores so far would be kept."
        stack.enter_context(interruptible(kept))
        bars = stack.enter_context(Bars(quiet=json))
        results: list[dict[str, Any]] = []
        counts: Counter[str] = Counter()
        groups = sharing(
            make_scorer(
                one,
                dataset,
                chosen,
                channels=channels,
                cells=cells,
                seed=seed,
                scheme=scheme,
                batch_size=batch,
                settings=given,
                on_compile=functools.partial(bars.note, f"{one.name}: compiling the scoring program"),
            )
            for one, given in zip(wanted, overrides, strict=True)
        )
        while groups:  # a group that is done goes, with its program
            group = groups.pop(0)
            label = ", ".join(scorer.proxy.name for scorer in group)
            better = {scorer.proxy.name: scorer.proxy.higher_is_better for scorer in group}
            bars.update(label, 0, len(genotypes))
            for done, (record, fresh) in enumerate(score_together(group, genotypes, store=store, deduplicate=dedup), start=1):
                line = _line(record, fresh=fresh)
                counts[record.status] += 1
                counts["computed" if fresh else "known"] += 1
                if lines is not None:
                    from jknas.files.json_text import export_json

                    lines.write(export_json(line) + "\n")
                if json:
                    print_json(line)
                else:
                    _keep_best(results, line, better[record.key.proxy])
                bars.update(label, done // len(group), len(genotypes))
    if not json:
        _report(results, counts)


def _opened(path: Path) -> Any:
    try:
        return path.open("w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise CommandError(f"--out {path} cannot be written ({error.strerror}): give a file in a folder that exists.") from error


def _line(record: Any, *, fresh: bool) -> dict[str, Any]:
    from jknas.files.json_text import read_json

    key = record.key
    return {
        "genotype": key.genotype,
        "proxy": key.proxy,
        "score": record.score,
        "status": record.status,
        "extras": record.extras,
        "seconds": record.seconds,
        "canonical": record.canonical,
        "space": key.space,
        "settings": read_json(key.settings),
        "dataset": key.dataset,
        "seed": key.seed,
        "network": read_json(key.network),
        "fresh": fresh,
    }


def _keep_best(best: list[dict[str, Any]], line: dict[str, Any], higher_is_better: bool) -> None:
    """Keep the best lines of each proxy, so that a sweep of the whole space needs no memory."""
    sign = -1 if higher_is_better else 1
    same = [other for other in best if other["proxy"] == line["proxy"]] + [line]
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
