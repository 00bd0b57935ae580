"""Write a file that appears complete or not at all."""

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
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as problem:
        named = f"{what} {path}" if what else str(path)
        raise error(f"cannot write {named} ({problem.strerror}): free space, or make {path.parent} a writable folder.") from problem
    return path
