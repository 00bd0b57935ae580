"""``jknas store``: what a store of scores holds, its scores for other programs, several stores or tables in one."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from jknas.command_line import options
from jknas.command_line.output import print_json, show, table

app = typer.Typer(no_args_is_help=True, help="Look into stores of scores (`jknas score --db`), export and merge them; join tables.")
Source = Annotated[Path, typer.Argument(metavar="STORE", help="a store of scores")]


@app.command("info")
def info_command(store: Source, json: options.Json = False) -> None:
    """Say which scores a store holds: by space, images, network, proxy, settings and seed; with their statuses, versions and devices."""
    from jknas.scoring.store import Store
    from jknas.scoring.summary import described

    with Store.existing(store) as opened:
        facts = described(opened)
    if json:
        print_json(facts)
        return
    shown = Table("space", "images", "proxy", "seed", "revision", "scores", "not ok", "ms", "settings", "network")
    for group in facts["groups"]:
        bad = ", ".join(f"{count} {status}" for status, count in group["statuses"].items() if status != "ok")
        settings, network = (_listed(group[one]) for one in ("settings", "network"))
        named = (group["space"], group["dataset"], group["proxy"], str(group["seed"]), str(group["revision"]))
        shown.add_row(*named, f"{group['scores']:,}", bad or "none", f"{1000 * group['mean_seconds']:.1f}", settings, network)
    show(shown)
    devices = ", ".join(f"{count:,} on {device}" for device, count in facts["devices"].items())
    rows = {"scores": f"{facts['scores']:,}", "seconds": f"{facts['seconds']:.1f} of scoring", "devices": devices}
    rows |= {
        f"versions of {one['scores']:,}": ", ".join(f"{name} {value}" for name, value in one["versions"].items())
        for one in facts["versions"]
    }
    show(table(str(store), rows))


@app.command("export")
def export_command(
    store: Source,
    out: Annotated[Path, typer.Option("--out", help="a new file: .csv, .json (one array), .jsonl (one object per line), .parquet")],
    json: options.Json = False,
) -> None:
    """Write all scores for other programs, with all digits; Parquet needs the extra `parquet`."""
    from jknas.scoring.exporting import export
    from jknas.scoring.store import Store

    with Store.existing(store) as opened:
        count = export(opened, out)
    if json:
        print_json({"store": str(store), "out": str(out), "scores": count})
    else:
        show(f"{count:,} scores written into {out}")


@app.command("merge")
def merge_command(
    stores: Annotated[list[Path], typer.Argument(metavar="STORE...", help="the stores to merge, in order")],
    out: Annotated[Path, typer.Option("--out", help="the new store")],
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", help="first or last: which score stays where stores hold different numbers for the same one [such stores are refused]"
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Put the scores of several stores into a new one. Two numbers for one score are refused, and named, unless --keep chooses."""
    from jknas.scoring.merging import merge

    merged = merge(stores, out, keep=keep)
    if json:
        counts = {"written": merged.written, "equal": merged.equal, "different": merged.different}
        print_json({"out": str(out), "read": merged.read, **counts, "example": None if merged.example is None else str(merged.example)})
        return
    rows: dict[str, Any] = {f"read from {source}": f"{count:,}" for source, count in merged.read.items()}
    rows |= {"written": f"{merged.written:,}", "came again, equal": f"{merged.equal:,}"}
    if merged.example is not None:
        rows |= {f"came again, different (kept: {keep})": f"{merged.different:,}", "for example": merged.example}
    show(table(str(out), rows))


@app.command("join")
def join_command(
    tables: Annotated[list[Path], typer.Argument(metavar="TABLE...", help="tables of scores, as `jknas score --scores` writes them")],
    out: Annotated[Path, typer.Option("--out", help="the new table, .csv or .csv.gz")],
    json: options.Json = False,
) -> None:
    """Put tables of scores side by side into a new one: a proxy or a seed of yours beside those of another table."""
    from jknas.scoring.score_table import join_scores

    found = join_scores(tables, out)
    if json:
        print_json({"out": str(out), "columns": sorted(found.facts["columns"]), "architectures": len(found.places)})
    else:
        show(f"{len(found.places):,} architectures with {len(found.columns)} columns written into {out}")


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
