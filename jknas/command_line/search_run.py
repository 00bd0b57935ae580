"""The options of ``jknas search`` that every method takes, and its workers."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jknas.command_line.output import Bars
from jknas.command_line.runs import PooledRun, TrainingRun
from jknas.command_line.search_methods import Workers
from jknas.errors import CommandError

if TYPE_CHECKING:
    from jknas.search.method import SearchMethod
    from jknas.workers import Pool


@dataclass(frozen=True, kw_only=True)
class SearchRun(TrainingRun, PooledRun):
    """The options of the searches."""

    workers: Workers = None

    def check_workers(self, method: "SearchMethod[Any]") -> None:
        """Refuse workers for a method that has nothing to do for them."""
        given = "--workers" if self.workers is not None else "--ray"
        if self.asks_for_workers and not method.uses_workers:
            raise CommandError(f"{given} does not apply to --method {method.name}, whose every step depends on the last: leave it out.")

    def pool_for(self, method: "SearchMethod[Any]", bars: Bars) -> "AbstractContextManager[Pool | None]":
        """Return the workers, and say what they do for a method."""
        found = self.pool(bars)
        if self.asks_for_workers:
            bars.note(f"workers {method.workers}; this process does what depends on the last result")
        return found
