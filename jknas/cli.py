"""The command line, ``jknas``.

Exit codes: 0; 2 for input that the user can correct (one line on standard error says how); 130 for an interruption (the line says how to go
on); 141 for a reader of the output that went away; 1 for anything else, with a traceback.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
import typer.core
from rich.markup import escape

from jknas.command_line.errors import Interrupted
from jknas.command_line.output import complain
from jknas.errors import JknasError

COMMANDS = {
    "search": "Search for an architecture; write DIR/result.json, drawings, scores.sqlite and the winner's trained weights.",
    "score": "Score architectures without training them.",
    "correlate": "Correlate scores with trained accuracies, beside parameters, MACs and a random score.",
    "train": "Train one cell; write its curves and its weights.",
    "show": "Print parameters, MACs, canonical form and published index of a cell, and draw it.",
    "report": "Write a result as one HTML page.",
    "data": "List, download and check data sets.",
    "store": "Look into stores of scores, export and merge them; join tables of scores.",
}
"""The commands, each the file of its name in :mod:`jknas.command_line`, with its line in the list of ``jknas --help``."""


class _Commands(typer.core.TyperGroup):
    """The commands. The file of a command is imported when the command is called: the list of all commands is there at once."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, line in COMMANDS.items():
            self.add_command(typer.core.TyperCommand(name, help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in COMMANDS:
            self.add_command(_imported(args[0]))
        return super().resolve_command(ctx, args)


def _imported(name: str) -> Any:
    module = importlib.import_module(f"jknas.command_line.{name}")
    made = typer.Typer(add_completion=False)
    if hasattr(module, "app"):
        made.add_typer(module.app, name=name)
        return _with_brackets(typer.main.get_group(made).commands[name])
    made.command(name)(module.command)
    return _with_brackets(typer.main.get_command(made))


def _with_brackets(command: Any) -> Any:
    """Return a command whose help keeps what is in brackets, such as ``[in this process]``, which Rich would take for markup."""
    for option in command.params:
        option.help = escape(getattr(option, "help", None) or "")
    for part in getattr(command, "commands", {}).values():
        _with_brackets(part)
    return command


app = typer.Typer(
    name="jknas",
    cls=_Commands,
    help="Score and search neural architectures without training them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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
        if message := error.format_message():  # none where no command was named: the help is printed already
            complain(f"error: {message} (see `jknas --help`, or --help after a command)")
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
