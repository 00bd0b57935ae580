"""What a pool of workers does, whatever its workers are."""

import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

from jknas.errors import WorkerError

J = TypeVar("J")
R = TypeVar("R")

ATTEMPTS = 3
"""How many workers may end over one job before the job is given up."""


@runtime_checkable
class Pool(Protocol):
    """Workers that call one function on many jobs, and are replaced when they end.

    :class:`jknas.workers.processes.Processes` runs them on this machine, :class:`jknas.workers.ray_actors.RayActors` on a Ray cluster.
    """

    @property
    def size(self) -> int:
        """The number of workers."""

    def each(self, function: Callable[[J], R], jobs: Iterable[J], *, queue: int = 1) -> Iterator[tuple[int, R]]:
        """Yield, for each job, its place among the jobs and what the function returns, in the order in which the results arrive.

        Each worker gets the function once and keeps it until the next call, with everything that it holds, such as compiled programs.
        A worker that ends is replaced, and its job is done again: only the job in flight is lost. The pool serves one call at a time.
        Closing the iterator early ends the workers that are still busy.

        Args:
            function: picklable; jobs and results as well.
            jobs: drawn from when a worker has room for another.
            queue: jobs that a worker is given at a time. More than one keeps short jobs from waiting for this process.

        Raises:
            WorkerError: workers end as soon as they start, or end over one job again and again.
            Exception: what the function raised.
        """

    def close(self) -> None:
        """End all workers."""


def described(job: Any) -> str:
    """Return a job as text for a message, cut to one line."""
    text = " ".join(str(job).split())
    return text if len(text) <= 200 else f"{text[:200]}..."


def pickled(function: Any) -> bytes:
    """Return what is sent to a worker.

    Raises:
        WorkerError: it cannot be sent: a function without a name of its own, or one that holds such a thing.
    """
    try:
        return pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise WorkerError(f"what the workers should do cannot be sent to them: {error}") from error
