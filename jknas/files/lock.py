"""A folder for one process at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from jknas.errors import JknasError

_NAME = ".lock"


@contextlib.contextmanager
def sole_user(folder: Path, *, error: type[JknasError]) -> Iterator[None]:
    """Keep a folder to this process for the length of a ``with`` statement; the system takes the lock back from a process that dies.

    Args:
        folder: created when it is not there.
        error: the class to raise.

    Raises:
        JknasError: of the class ``error``: another process, or another part of this one, uses the folder; or it cannot be written.
    """
    lock = filelock.FileLock(folder / _NAME, blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as problem:
        raise error(f"another process works in the folder {folder}: wait until it ends, or give another folder.") from problem
    except NotImplementedError:  # a file system without locks
        pass
    except OSError as problem:
        raise error(f"cannot write the folder {folder} ({problem.strerror}): give a folder that is writable.") from problem
    try:
        yield
    finally:
        lock.release()
