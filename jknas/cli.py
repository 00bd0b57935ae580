"""The command line, ``jknas``.

Exit codes: 0; 2 for input that the user can correct (one line on standard error says how); 130 for an interruption (the line says how to go
on); 141 for a reader of the output that went away; 1 for anything else, with a traceback.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from jknas.command_line import correlate, data, report, score, search, show, store, train
from jknas.command_line.errors import Interrupted
from jknas.command_line.output import complain
from jknas.errors import JknasError

app = typer.Typer(
    name="jknas",
    help="Score and search neural architectures without training them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("search")(search.command)
app.command("score")(score.command)
app.command("correlate")(correlate.command)
app.command("train")(train.command)
app.command("show")(show.command)
app.command("report")(report.command)
app.add_typer(data.app, name="data")
app.add_typer(store.app, name="store")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("jknas"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="print the version", callback=_print_version, is_eager=True)] = False,
) -> None:
    pass


def run(arguments: Sequence[str] | None = None) -> int:  # noqa: PLR0911 - one return an exit code
    """Run a command line and return its exit code.

    Args:
        arguments: without the program's name; those of the process by default.
    """
    command = typer.main.get_command(app)
    try:
        code = command.main(args=None if arguments is None else list(arguments), prog_name="jknas", standalone_mode=False)
    except typer.TyperException as error:
        complain(f"error: {error.format_message()} (see `jknas --help`, or --help after a command)")
        return 2
    except Interrupted as error:
        complain(str(error))
        return 130
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        return 130
    except BrokenPipeError:
        # The reader of a pipe has what it wanted (`jknas score --json | head`); the interpreter must not complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except JknasError as error:
        complain(f"error: {error}")
        return 2
    except Exception:  # the boundary of the program: everything ends in an exit code
        traceback.print_exc()
        return 1
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run())


if __name__ == "__main__":
    main()
