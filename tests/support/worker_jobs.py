"""What test workers do. A worker is another process and can import this module. :class:`Here` is a pool without workers."""

import os
import pickle
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def squared(number: int) -> int:
    return number * number


def who(number: int) -> tuple[int, int]:
    time.sleep(0.05)  # so that no worker does all
    return number, os.getpid()


def environment(name: str) -> str | None:
    return os.environ.get(name)


def device(_: Any) -> tuple[int, str | None, str | None]:
    time.sleep(0.05)  # so that no worker does all
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("NPROC")


def x64(_: Any) -> bool:
    import jax

    return bool(jax.config.jax_enable_x64)


def interrupted(_: Any) -> str:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    return "still there"


def slow(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


class OddError(Exception):
    """An exception that pickles, and cannot be read back."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def failing(kind: str) -> int:
    from jknas.errors import ProxyError

    raise {"key": KeyError("of a worker"), "proxy": ProxyError("refused by a worker"), "other": OddError("odd", "ly")}[kind]


@dataclass
class Counting:
    """Counts its jobs, each worker for itself; writes down where it was loaded."""

    folder: Path
    done: int = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        (self.folder / str(os.getpid())).touch()

    def __call__(self, number: int) -> tuple[int, int]:
        time.sleep(0.02)
        self.done += 1
        return os.getpid(), self.done


@dataclass
class Refusing:
    """Cannot be loaded in a worker."""

    here: int = field(default_factory=os.getpid)

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["here"] != os.getpid():
            raise KeyError("not here")
        self.__dict__.update(state)

    def __call__(self, number: int) -> int:
        return number


@dataclass(frozen=True)
class Deadly:
    """Ends the worker's process over some jobs: once, or always."""

    folder: Path
    jobs: tuple[int, ...]
    always: bool = False

    def __call__(self, number: int) -> int:
        (self.folder / f"{number} by {os.getpid()}").touch()
        mark = self.folder / f"{number} ended"
        if number in self.jobs and (self.always or not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.02)
        return number * number


class Here:
    """A pool that computes in this process, the last job first, and remembers what it was asked; nothing travels but as bytes."""

    size = 2

    def __init__(self):
        self.calls: list[list[Any]] = []

    def each(self, function, jobs, *, queue=1):
        del queue
        function, jobs = pickle.loads(pickle.dumps(function)), pickle.loads(pickle.dumps(list(jobs)))
        self.calls.append(jobs)
        for place in reversed(range(len(jobs))):
            yield place, pickle.loads(pickle.dumps(function(jobs[place])))

    def close(self):
        pass
