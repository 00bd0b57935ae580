"""Files on disk: which folder, which digest, which arrays."""

import dataclasses
import hashlib
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from jknas.data.dataset import Dataset
from jknas.data.splits import Limit
from jknas.errors import DataError

FOLDER_VARIABLE = "JKNAS_DATA"

# What numpy, zipfile and the decompressors raise for a damaged file, beside ValueError: a changed byte can make a member look encrypted or
# oddly compressed (RuntimeError), or an array header unparsable (SyntaxError, TokenError).
_DAMAGE = (
    OSError, EOFError, KeyError, MemoryError, RuntimeError, SyntaxError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DataFile:
    """A file that a data set is read from.

    Attributes:
        path: Where it is.
        digest: The digest of the original as `algorithm:hex`, or None for a file that has no published digest.
        size: The size of the original in bytes, where known.
    """

    path: Path
    digest: str | None = None
    size: int | None = None


@dataclasses.dataclass(frozen=True)
class Located:
    """A data set that was found on disk and not read yet.

    Attributes:
        name: Name of the data set that `read` will give.
        files: The files that will be read.
        read: Reads them at their own resolution; takes the limit.
    """

    name: str
    files: tuple[DataFile, ...]
    read: Callable[[Limit], Dataset]


def data_folder(folder: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder of local data: the argument, else the environment variable JKNAS_DATA, else None.

    Raises:
        DataError: the folder that was named is not a folder.
    """
    named = "folder" if folder is not None else f"the environment variable {FOLDER_VARIABLE}"
    value = folder if folder is not None else os.environ.get(FOLDER_VARIABLE) or None
    if value is None:
        return None
    path = Path(value).expanduser()
    if not path.is_dir():
        raise DataError(
            f"{named} is {str(path)!r}, which is not a folder; expected the folder that holds the data files: create or correct it."
        )
    return path


def file_digest(path: Path, algorithm: str) -> str:
    """Return the hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def digest_problem(file: DataFile) -> str | None:
    """Return why a file is not the original, or None when it is, or when no digest is known for it."""
    if file.digest is None:
        return None
    algorithm, expected = file.digest.split(":")
    size = file.path.stat().st_size
    if file.size is not None and size != file.size:
        cut = "looks truncated" if size < file.size else "is another file"
        return f"{file.path}: {size:,} bytes, the original has {file.size:,}, so this one {cut}"
    found = file_digest(file.path, algorithm)
    return None if found == expected else f"{file.path}: {algorithm} digest {found}, the original has {expected}"


def check_digests(files: Iterable[DataFile]) -> None:
    """Compare every file that has a published digest with it.

    Raises:
        DataError: a file differs from the original.
    """
    for file in files:
        problem = digest_problem(file)
        if problem is not None:
            raise DataError(f"{problem}. Get the file again, or pass verify=False for a copy that you made yourself.")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); check that it exists and that you may read it.") from error


def read_arrays(path: Path, needed: Iterable[str], optional: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Read arrays from an `.npz` file, never a pickled object.

    Args:
        path: The file.
        needed: Names that must be there.
        optional: Names that are read if they are there.

    Returns:
        The arrays by name; others in the file are not read.

    Raises:
        DataError: the file is missing, is not an `.npz`, is damaged, lacks a name, or holds pickled objects.
    """
    needed = tuple(needed)
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected an .npz with {', '.join(needed)}: check the path.")
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}); check that you may read it.") from error
    with file:  # np.load leaves a file that it opened itself open when it fails
        try:
            opened = np.load(file, allow_pickle=False)
        except (ValueError, *_DAMAGE) as error:
            raise DataError(
                f"{path}: not an .npz file, or a truncated one ({type(error).__name__}); "
                "expected what np.savez writes: write or copy it again."
            ) from error
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise DataError(
                f"{path}: holds a single array (.npy), not an .npz; expected {', '.join(needed)}: "
                "write it with np.savez(path, x_train=...)."
            )
        return _read_members(opened, needed, tuple(optional), path)


def _read_members(opened: np.lib.npyio.NpzFile, needed: tuple[str, ...], optional: tuple[str, ...], path: Path) -> dict[str, np.ndarray]:
    with opened:
        missing = [name for name in needed if name not in opened.files]
        if missing:
            there = ", ".join(opened.files) or "none at all"
            raise DataError(f"{path}: no array {', '.join(missing)}, only {there}; expected {', '.join(needed)}.")
        return {name: _read_member(opened, name, path) for name in (*needed, *optional) if name in opened.files}


def _read_member(opened: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    try:
        array = opened[name]
    except _DAMAGE as error:
        raise DataError(f"{path}: array {name} is damaged ({type(error).__name__}: {error}); write or copy the file again.") from error
    except ValueError as error:
        raise DataError(
            f"{path}: array {name} cannot be read ({error}); expected plain numbers, "
            "not Python objects: save arrays of one dtype and shape."
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: member {name} is not an array; expected what np.savez writes: write the file again.")
    return array
