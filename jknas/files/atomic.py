"""Write a file that appears complete or not at all."""

import contextlib
import os
from pathlib import Path

from jknas.errors import JknasError


def write_atomically(path: Path, content: str | bytes, *, error: type[JknasError], what: str = "") -> Path:
    """Replace a file in one move; when this returns, the content survives a crash of the process or the machine.

    The content goes to ``PATH.part`` in the same folder, which is made if needed, is flushed to the disk, and takes the name ``PATH``.

    Args:
        path: the file.
        content: its text, written as UTF-8, or its bytes.
        error: the class to raise.
        what: what the file is, for the message ("the checkpoint").

    Returns:
        The path.

    Raises:
        JknasError: of the class ``error``: the file cannot be written.
    """
    if not path.name or path.is_dir():
        raise error(f"cannot write {what or 'a file'} in place of the folder {path}: give the name of a file.")
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _flush_folder(path.parent)
    except OSError as problem:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        named = f"{what} {path}" if what else str(path)
        raise error(f"cannot write {named} ({problem.strerror}): free space, or make {path.parent} a writable folder.") from problem
    return path


def _flush_folder(folder: Path) -> None:
    """Flush the names of a folder to the disk, where the system can."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
