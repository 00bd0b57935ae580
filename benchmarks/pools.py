"""The options by which a benchmark that scores many cells computes in other processes, and what its result says of them."""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from jknas.command_line.output import Bars
from jknas.command_line.runs import PooledRun
from jknas.workers import Pool


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``, ``--threads`` and ``--ray`` to the options of a benchmark."""
    parser.add_argument("--workers", type=int, help="compute in this many processes of this machine; by default in this one")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each worker; they decide a score's last digits")
    parser.add_argument("--ray", help="compute on a Ray cluster: its address, auto or local")


def opened(options: argparse.Namespace) -> AbstractContextManager[Pool | None]:
    """Return the workers that were asked for, as a context that ends them, to be entered before JAX computes; None for this process."""
    if options.workers is not None:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the memory of a GPU is the workers'
    return PooledRun(workers=options.workers, threads=options.threads, ray=options.ray).pool(Bars(quiet=False))


def each(pool: Pool | None, function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Yield the place of each job, and what a function makes of it, as the results come."""
    return enumerate(map(function, jobs)) if pool is None else pool.each(function, jobs)


def facts(pool: Pool | None, options: argparse.Namespace) -> dict[str, int | None]:
    """Return what a result says of its workers; no number of them, and of threads, where one process computed on all cores."""
    return {"workers": None, "threads": None} if pool is None else {"workers": pool.size, "threads": options.threads}
