"""What commands print: results to standard output, everything else to standard error."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from jknas.errors import CommandError
from jknas.files.atomic import write_atomically
from jknas.files.json_text import export_json


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object as one line, at once."""
    sys.stdout.write(export_json(value) + "\n")
    sys.stdout.flush()


def write_json_file(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object into a file, which appears when it is complete."""
    write_atomically(path, export_json(value) + "\n", error=CommandError)


def complain(text: str) -> None:
    """Print one line to standard error."""
    sys.stderr.write(" ".join(text.split()) + "\n")


def table(title: str, rows: Mapping[str, Any]) -> Table:
    """Return a table of names and values."""
    made = Table(title=title, show_header=False, title_justify="left")
    for name, value in rows.items():
        made.add_row(Text(name), Text(str(value)))
    return made


def show(renderable: Any) -> None:
    """Print a table, or a line, to standard output."""
    # Off a terminal a table keeps its content instead of being cut at 80 columns. Brackets and colons are those of paths, not markup.
    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False)
    console.print(renderable, soft_wrap=isinstance(renderable, str))


_LINE_SECONDS = 60.0


class _Rate(ProgressColumn):
    """Units a second, or seconds a unit when these are long."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each", style="progress.data.speed")


class Bars:
    """Progress bars with rate and estimated time on standard error; nothing when quiet.

    Where that is no terminal, plain lines: a note when it comes, and every minute how far the bar that moves is.
    """

    def __init__(self, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._quiet = quiet
        self._live = console.is_terminal and not quiet
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not self._live)
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, tuple[int, float]] = {}
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        if self._live:
            self._progress.console.print(text, markup=False, highlight=False)
        elif not self._quiet:
            complain(text)

    def update(self, name: str, completed: int, total: int) -> None:
        """Set a bar, making it when it is new."""
        if name not in self._tasks:
            # A bar that begins part of the way (a resumed search) must not count that part into its rate.
            self._tasks[name] = self._progress.add_task(name, total=total, completed=completed)
        if name not in self._begun and completed:  # what came before, a compilation, says nothing about the rest
            self._begun[name] = completed, time.monotonic()
        self._progress.update(self._tasks[name], completed=completed, total=total)
        before, start = self._begun.get(name, (completed, 0.0))
        if not self._live and completed > before and time.monotonic() - self._told > _LINE_SECONDS:
            self._told = time.monotonic()
            each = (self._told - start) / (completed - before)
            self.note(f"{name}: {completed} of {total}, {1 / each:.3g} a second, {(total - completed) * each / 60:.0f} minutes left")
