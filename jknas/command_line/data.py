"""``jknas data``: what can be loaded, downloads, checks."""

import dataclasses
from json import dumps, loads
from typing import Annotated, Any

import typer
from rich.table import Table

from jknas.command_line import options
from jknas.command_line.errors import interruptible
from jknas.command_line.output import complain, print_json, show, table
from jknas.errors import CommandError

app = typer.Typer(no_args_is_help=True, help="List, download and check data sets.")
Name = Annotated[str, typer.Argument(help="name of the data set, or a path to an .npz or a folder of images")]


@app.command("list")
def list_command(folder: options.Folder = None, json: options.Json = False) -> None:
    """Say which data sets can be loaded now, and how to get the others."""
    from jknas import data

    found = data.available(folder)
    if json:
        print_json({"datasets": [_plain(item) for item in found]})
        return
    shown = Table("name", "loads", "files, or how to get it")
    for item in found:
        shown.add_row(item.name, item.loads_as or "-", ", ".join(map(str, item.files)) or item.advice)
    show(shown)


@app.command("fetch")
def fetch_command(name: Name, folder: options.Folder = None, json: options.Json = False) -> None:
    """Download the archive of cifar10 or cifar100, and check its digest."""
    from jknas import data

    with interruptible("run the same command again."):
        path = data.fetch(name, folder, progress=not json)
    if json:
        print_json({"name": name, "path": str(path)})
    else:
        show(f"{name}: {path}")


@app.command("check")
def check_command(name: Name, folder: options.Folder = None, tokenizer: options.Tokenizer = None, json: options.Json = False) -> None:
    """Read a whole data set; report its files, digests, shapes and classes. Exit code 2 when it cannot be loaded."""
    from jknas import data

    report = data.check(name, folder, tokenizer=options.tokenizer_folder(tokenizer))
    if json:
        print_json(_plain(report))
    else:
        digest = {None: "no published digest", True: "as published", False: "WRONG"}[report.digest_ok]
        rows = {"files": ", ".join(str(file.path) for file in report.files), "digest": digest}
        rows |= {split: f"{shape}, per class {report.class_counts[split]}" for split, shape in report.shapes.items()}
        show(table(report.name, rows | {"source": report.source or "-"}))
    if report.problem is not None:
        if json:
            complain(f"error: {report.problem}")
            raise typer.Exit(2)
        raise CommandError(report.problem)


def _plain(record: Any) -> Any:
    """Return a (nested) record as plain data, paths as text."""
    return loads(dumps(dataclasses.asdict(record), default=str))
