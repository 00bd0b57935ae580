"""``jknas report``: one page for a person about a search, correlations, or a store of scores."""

from pathlib import Path
from typing import Annotated

import typer

from jknas.command_line import options
from jknas.command_line.output import print_json, show
from jknas.errors import CommandError
from jknas.files.atomic import write_atomically


def command(
    *,
    result: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="a folder that `jknas search` or `jknas correlate` wrote, or the store of `jknas score --db`"),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="the page [report.html in DIR, or beside the store]")] = None,
    json: options.Json = False,
) -> None:
    """Write a result as one HTML page: inputs, tables, drawings, curves, versions. It needs no network, and holds no script."""
    from jknas.report.result_pages import result_page

    text = result_page(result)
    target = out or (result / "report.html" if result.is_dir() else result.with_suffix(".html"))
    if target.resolve() == result.resolve():
        raise CommandError(f"--out {target} is the store itself: give the name of another file.")
    write_atomically(target, text, error=CommandError, what="the page")
    if json:
        print_json({"page": str(target)})
    else:
        show(f"written: {target}")
