"""Workers on a Ray cluster: actors, which Ray places, restarts and feeds again when one of them is lost.

Ray is an extra (``pip install 'jknas[ray]'``) and is imported when a pool is made. Each node needs jknas, and what it imports, installed in
the same versions. Where the cluster has GPUs, each actor holds one; otherwise as many CPUs as it has threads.

Reference: Moritz et al., "Ray: A Distributed Framework for Emerging AI Applications", OSDI 2018, arXiv:1712.05889.
"""

import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from jknas.errors import WorkerError, check_count
from jknas.registry import optional
from jknas.workers.environment import apply_jax_settings, jax_settings, of_threads
from jknas.workers.pool import ATTEMPTS, described, pickled

J = TypeVar("J")
R = TypeVar("R")

_PATIENCE = 60.0
"""Seconds without a first result before the user is told that there may be no place for an actor."""


class Actor:
    """What a worker does: it keeps one function, and calls it."""

    def __init__(self, path: Sequence[str], settings: Mapping[str, Any]) -> None:
        sys.path.extend(folder for folder in path if folder not in sys.path)  # where a space of the user's may be, on a shared disk
        apply_jax_settings(settings)
        self._call, self._function = 0, None

    def do(self, call: int, payload: list[Any], job: Any) -> Any:
        """Do a job by the function of a call; the function is fetched when the call, or this process, is a new one."""
        import ray  # noqa: PLC0415 - an extra

        if call != self._call:
            self._function = None
            self._function, self._call = pickle.loads(ray.get(payload[0])), call
        return self._function(job)  # type: ignore[misc]


class RayActors(AbstractContextManager["RayActors"]):
    """A :class:`jknas.workers.pool.Pool` of actors on a Ray cluster. They start with the first job.

    Args:
        address: of the cluster; "auto" for the one that this machine belongs to, "local" to start one on this machine.
        count: actors; by default as many as the cluster has GPUs, or CPUs for.
        threads: CPU threads of each actor; see :class:`jknas.workers.processes.Processes`.
        note: told, in a sentence, when the actors start.

    Raises:
        WorkerError: Ray is not installed, no cluster answers, or a number is not positive.
    """

    def __init__(self, address: str, count: int | None = None, *, threads: int = 1, note: Callable[[str], None] | None = None) -> None:
        if count is not None:
            check_count("the number of workers", count, error=WorkerError)
        check_count("threads", threads, error=WorkerError)
        self._ray = optional("ray.exceptions", "--ray needs Ray, which is not installed: pip install 'jknas[ray]'.", error=WorkerError)
        self._owned = not self._ray.is_initialized()
        if self._owned:
            self._connect(address)
        resources = self._ray.cluster_resources()
        self._gpus = int(resources.get("GPU", 0))
        self.size = count or max(1, self._gpus or int(resources.get("CPU", 1)) // threads)
        self.threads, self._tell = threads, note or (lambda _: None)
        self._slots: list[Any] = [None] * self.size
        self._call, self._placed = 0, False

    def _connect(self, address: str) -> None:
        options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
        if address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            options["include_dashboard"] = False
        try:
            self._ray.init(**options)
        except Exception as error:  # Ray raises what it likes, a plain Exception among it
            reason = " ".join(str(error).split())
            raise WorkerError(
                f"no Ray cluster answers at {address!r} ({reason[:200]}): start one with `ray start --head`, or give its address, or local."
            ) from error

    def each(self, function: Callable[[J], R], jobs: Iterable[J], *, queue: int = 1) -> Iterator[tuple[int, R]]:  # noqa: D102
        ray, numbered = self._ray, enumerate(jobs)
        payload = ray.put(pickled(function))
        self._call = call = self._call + 1
        pending: dict[Any, tuple[int, int, Any]] = {}
        given = [0] * self.size
        try:
            while True:
                for depth in range(queue):
                    for slot in (slot for slot in range(self.size) if given[slot] <= depth):
                        place, job = next(numbered, (-1, None))
                        if place < 0:
                            break
                        actor = self._slots[slot] or self._start(slot)
                        pending[actor.do.remote(call, [payload], job)] = slot, place, job
                        given[slot] += 1
                if not pending:
                    return
                for ready in self._wait(list(pending)):
                    slot, place, job = pending.pop(ready)
                    given[slot] -= 1
                    yield place, self._result(ready, job)
        finally:
            if call == self._call:
                for slot in range(self.size):
                    if given[slot]:
                        self._end(slot)

    def close(self) -> None:  # noqa: D102
        for slot in range(self.size):
            self._end(slot)
        if self._owned:
            self._ray.shutdown()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _wait(self, pending: list[Any]) -> list[Any]:
        """Return what is ready; say so where nothing comes because no actor has a place."""
        ready: list[Any] = self._ray.wait(pending, num_returns=1, timeout=None if self._placed else _PATIENCE)[0]
        if not ready and not self._placed:
            asked = "1 GPU" if self._gpus else f"{self.threads} CPUs"
            free = self._ray.available_resources().get("GPU" if self._gpus else "CPU", 0)
            self._tell(f"no result yet; Ray may have no place for an actor: each asks for {asked}, and {free:g} are free")
        self._placed = self._placed or bool(ready)
        return ready

    def _result(self, ready: Any, job: Any) -> Any:
        try:
            return self._ray.get(ready)
        except self._ray.exceptions.RayTaskError as error:  # the function raised
            raise error.cause from error
        except self._ray.exceptions.RayActorError as error:
            raise WorkerError(
                f"{ATTEMPTS} workers ended over one job: {described(job)}. If a machine ran out of memory, use fewer workers."
            ) from error

    def _start(self, slot: int) -> Any:
        if not any(self._slots):
            self._tell(f"starting {self.size} Ray actor{'s'[: self.size > 1]}; each compiles its own program")
        made = self._ray.remote(Actor).options(
            num_cpus=0 if self._gpus else self.threads,
            num_gpus=1 if self._gpus else 0,
            max_restarts=-1,
            max_task_retries=ATTEMPTS - 1,
            runtime_env={"env_vars": {} if self._gpus else of_threads(self.threads)},
        )
        self._slots[slot] = actor = made.remote(list(sys.path), jax_settings())
        return actor

    def _end(self, slot: int) -> None:
        actor, self._slots[slot] = self._slots[slot], None
        if actor is not None:
            self._ray.kill(actor, no_restart=True)
