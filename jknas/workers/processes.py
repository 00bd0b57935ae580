"""Workers on this machine: processes of the standard library, each replaced when it ends.

The executors of :mod:`concurrent.futures` give up as a whole when one of their processes is killed; here each worker has a pipe of its own,
so that the others never notice.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

from jknas.errors import WorkerError, check_count
from jknas.workers.environment import environments, jax_settings, set_in_environment
from jknas.workers.pool import ATTEMPTS, described, pickled
from jknas.workers.serving import serve

J = TypeVar("J")
R = TypeVar("R")


_ENDING_SECONDS = 5.0


class FailedInWorker(Exception):  # noqa: N818 - the cause of an error, and named after what happened
    """The traceback of an error in a worker, as the cause of the error that is raised here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass
class _Job:
    place: int
    content: Any
    ended: int = 0  # how many workers have ended over it


@dataclass
class _Worker:
    """A process, and the jobs that it was given: the first of them is in flight, once the process has begun."""

    process: BaseProcess
    pipe: connection.Connection
    given: deque[_Job] = field(default_factory=deque)
    begun: bool = False

    def send(self, *message: Any) -> None:
        with suppress(OSError):  # a process that has ended is noticed where its answer is awaited
            self.pipe.send(message)

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


class Processes(AbstractContextManager["Processes"]):
    """A :class:`jknas.workers.pool.Pool` of processes on this machine. They start with the first job.

    On CPUs each worker has ``threads`` threads. The numbers that XLA computes depend on it in their last digits, and on nothing else here:
    any number of workers of one thread compute the same. On NVIDIA GPUs each worker has one device.

    Args:
        count: workers, N.
        threads: of each worker, on CPUs.
        note: told, in a sentence, when a worker was replaced.

    Raises:
        WorkerError: a number that is not positive; with the first job, what :func:`jknas.workers.environment.environments` refuses.
    """

    def __init__(self, count: int, *, threads: int = 1, note: Callable[[str], None] | None = None) -> None:
        check_count("the number of workers", count, error=WorkerError)
        check_count("threads", threads, error=WorkerError)
        self.size, self.threads = count, threads
        self._tell = note or (lambda _: None)
        self._slots: list[_Worker | None] = [None] * count
        self._environments: tuple[dict[str, str], ...] = ()
        self._payload = b""
        self._stillborn = 0
        self._call = 0

    def each(self, function: Callable[[J], R], jobs: Iterable[J], *, queue: int = 1) -> Iterator[tuple[int, R]]:  # noqa: D102
        numbered = (_Job(place, job) for place, job in enumerate(jobs))
        waiting: deque[_Job] = deque()
        self._payload, self._stillborn = pickled(function), 0
        self._call = call = self._call + 1
        self._end_the_busy()
        for slot, worker in enumerate(self._slots):
            if worker is not None:
                self._begin(slot)
        try:
            while True:
                self._hand_out(waiting, numbered, queue)
                busy = {worker.pipe: slot for slot, worker in enumerate(self._slots) if worker is not None and worker.given}
                if not busy:
                    return
                for pipe in cast("list[connection.Connection]", connection.wait(list(busy))):
                    found = self._answer(busy[pipe], waiting)
                    if found is not None:
                        yield found
        finally:
            if call == self._call:  # otherwise the workers are busy with a later call
                self._end_the_busy()

    def close(self) -> None:  # noqa: D102
        for slot, worker in enumerate(self._slots):
            if worker is not None:
                worker.end()
                self._slots[slot] = None

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that run."""
        return tuple(worker.process.pid for worker in self._slots if worker is not None and worker.process.pid is not None)

    def _end_the_busy(self) -> None:
        for slot, worker in enumerate(self._slots):
            if worker is not None and worker.given:
                worker.end()
                self._slots[slot] = None

    def _hand_out(self, waiting: deque[_Job], numbered: Iterator[_Job], queue: int) -> None:
        """Give jobs to the workers, one to each before any gets another; start workers as jobs for them are there."""
        for depth in range(queue):
            for slot in range(self.size):
                worker = self._slots[slot]
                if worker is not None and len(worker.given) > depth:
                    continue
                job = waiting.popleft() if waiting else next(numbered, None)
                if job is None:
                    return
                worker = worker or self._start(slot)
                worker.given.append(job)
                worker.send("job", job.place, job.content)

    def _answer(self, slot: int, waiting: deque[_Job]) -> tuple[int, Any] | None:
        """Take one message of a worker, or replace the worker that has ended."""
        worker = self._slots[slot]
        assert worker is not None
        try:
            kind, call, *content = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(slot, worker, waiting)
            return None
        if call != self._call:
            return None  # what it says of an earlier call, in which it got no job
        if kind == "begun":
            worker.begun, self._stillborn = True, 0
            return None
        place, *answer = content
        if kind == "failed":
            error, text = answer
            raise (error or WorkerError("a worker failed; its traceback is above.")) from FailedInWorker(text)
        worker.given.popleft()
        return place, answer[0]

    def _replace(self, slot: int, worker: _Worker, waiting: deque[_Job]) -> None:
        worker.process.join(_ENDING_SECONDS)  # its pipe is closed: it is about to end by itself, and then its exit code says why
        worker.end()
        self._slots[slot] = None
        code = worker.process.exitcode
        if worker.begun:
            lost = worker.given[0]
            lost.ended += 1
            if lost.ended >= ATTEMPTS:
                raise WorkerError(
                    f"{ATTEMPTS} workers ended over one job, the last with exit code {code}: {described(lost.content)}. If the machine "
                    "ran out of memory, use fewer workers."
                )
        else:
            self._stillborn += 1
            if self._stillborn > ATTEMPTS * self.size:
                raise WorkerError(f"workers end while they start, the last with exit code {code}: see what they printed above.")
        waiting.extendleft(reversed(worker.given))
        self._tell(f"a worker has ended (exit code {code}) and is replaced; what it was computing is computed again")

    def _start(self, slot: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        if not self._environments:
            self._environments = environments(self.size, self.threads)
            self._tell(f"starting {self.size} worker{'s'[: self.size > 1]}; each compiles its own program")
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(there, jax_settings()), daemon=True, name=f"jknas worker {slot}")
        with set_in_environment(self._environments[slot]):
            process.start()
        there.close()
        self._slots[slot] = _Worker(process, here)
        return self._begin(slot)

    def _begin(self, slot: int) -> _Worker:
        worker = self._slots[slot]
        assert worker is not None
        worker.begun = False
        worker.send("function", self._call, self._payload)
        return worker
