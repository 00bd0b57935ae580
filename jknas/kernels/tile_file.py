"""A matrix on disk that is filled tile by tile, and the journal that says which tiles are done.

The matrix is a ``.npy`` file. The journal ``<name>.progress`` has one JSON line (what the matrix is, and how it is cut) and one line per
finished tile: row block, column block and CRC-32 of the tile's bytes, written after the tile has reached the disk. A tile counts as
finished if its bytes, and those of its mirror image, still have that checksum. So a process may end at any moment.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jknas.errors import KernelError
from jknas.files.atomic import write_atomically

Tile = tuple[int, int]
_FORMAT = 1
_RECORD = re.compile(r"(\d+) (\d+) ([0-9a-f]{8})\n")


class Journal(NamedTuple):
    """The header, and the checksum of each finished tile."""

    header: dict[str, Any]
    done: dict[Tile, int]


def journal_path(path: Path) -> Path:
    """Return where the journal of a matrix is."""
    return path.with_name(path.name + ".progress")


def read_journal(path: Path) -> Journal | None:
    """Return the journal of the matrix at ``path``, or None if there is none. Records that are cut off or damaged are left out.

    Raises:
        KernelError: a matrix without a journal, or a journal whose first line cannot be read.
    """
    place = journal_path(path)
    if not place.exists():
        if path.exists():
            raise KernelError(
                f"{path} exists without its journal {place.name}: it is not known what it holds. Choose another path, or pass resume=False "
                "to overwrite it"
            )
        return None
    with place.open("r", encoding="ascii", errors="replace", newline="") as file:
        first, *records = file.readlines() or [""]
    try:
        header = json.loads(first)
        if header["format"] != _FORMAT:
            raise ValueError(f"format {header['format']}")
    except (ValueError, KeyError, TypeError) as error:
        raise KernelError(f"the journal {place} cannot be read ({error}): pass resume=False to compute the kernel anew") from error
    matches = [_RECORD.fullmatch(record) for record in records]
    return Journal(header, {(int(m[1]), int(m[2])): int(m[3], 16) for m in matches if m})


class TileFile:
    """An open matrix and its journal.

    Args:
        path: of the ``.npy`` file.
        shape: of the matrix.
        dtype: of the matrix.
        tile: rows and columns of a tile.
        symmetric: whether a tile is written a second time, mirrored at the diagonal.
        header: what the journal says about the matrix.
        journal: what was read; None starts anew.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        dtype: Any,
        tile: int,
        *,
        symmetric: bool,
        header: Mapping[str, Any],
        journal: Journal | None,
    ) -> None:
        self.path, self.shape, self.dtype, self.tile, self.symmetric = path, shape, np.dtype(dtype), tile, symmetric
        self.done: set[Tile] = set()
        self.repaired: tuple[Tile, ...] = ()
        done = {} if journal is None else journal.done
        with contextlib.ExitStack() as opened:
            try:
                self._check_space()
                there = self._locked(opened) if path.exists() else None
                if journal is None:  # otherwise the records stay until their tiles have been read
                    path.unlink(missing_ok=True)
                    self._write_journal(header, {})
                    there = None
                if not self._fits():
                    np.lib.format.open_memmap(path, mode="w+", dtype=self.dtype, shape=shape)
                self._file = self._locked(opened) if there is None else there
                self._start = path.stat().st_size - shape[0] * shape[1] * self.dtype.itemsize
                good = {tile: crc for tile, crc in done.items() if self._inside(tile) and self._holds(tile, crc)}
                self._write_journal(header, good)
                self._journal = os.open(journal_path(path), os.O_WRONLY | os.O_APPEND)
                opened.callback(os.close, self._journal)
            except OSError as error:
                raise self._refused(error) from error
            self._opened = opened.pop_all()
        self.done, self.repaired = set(good), tuple(sorted(done.keys() - good.keys()))

    def _locked(self, opened: contextlib.ExitStack) -> int:
        """Open the matrix, for this process alone until the stack is closed."""
        file = os.open(self.path, os.O_RDWR)
        opened.callback(os.close, file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise KernelError(f"another process computes {self.path}: wait until it ends, or choose another path") from error
        except OSError:  # a file system without locks
            pass
        return file

    def _write_journal(self, header: Mapping[str, Any], done: Mapping[Tile, int]) -> None:
        records = "".join(f"{i} {j} {crc:08x}\n" for (i, j), crc in done.items())
        text = json.dumps({"format": _FORMAT, **header}) + "\n" + records
        write_atomically(journal_path(self.path), text, error=KernelError, what="the journal")

    def _check_space(self) -> None:
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        there = self.path.stat().st_blocks * 512 if self.path.exists() else 0
        needed, free = self.shape[0] * self.shape[1] * self.dtype.itemsize - there, shutil.disk_usage(folder).free
        if needed > free:
            raise KernelError(
                f"the kernel {list(self.shape)} takes {needed} bytes more, and {folder} has {free} free: "
                "free space, or choose another folder"
            )

    def _refused(self, error: OSError) -> KernelError:
        if error.errno == errno.ENOSPC:
            return KernelError(f"no space left for {self.path}: free space and call again; the finished tiles are kept")
        return KernelError(f"cannot write {self.path} ({error.strerror}): choose a path in a writable folder")

    def _fits(self) -> bool:
        try:
            there = np.load(self.path, mmap_mode="r")
        except (OSError, ValueError):
            return False
        return there.shape == self.shape and there.dtype == self.dtype

    def _inside(self, tile: Tile) -> bool:
        return all(at * self.tile < length for at, length in zip(tile, self.shape, strict=True))

    def _holds(self, tile: Tile, crc: int) -> bool:
        found = self._read(*tile)
        if zlib.crc32(found.tobytes()) != crc:
            return False
        return not self.symmetric or self._read(tile[1], tile[0]).T.tobytes() == found.tobytes()

    def _rows(self, i: int, j: int) -> tuple[list[int], int]:
        """Return the file offsets of a tile's rows, and the length of each in numbers."""
        (n, m), t = self.shape, self.tile
        rows, width = range(i * t, min(n, (i + 1) * t)), min(m, (j + 1) * t) - j * t
        return [self._start + (row * m + j * t) * self.dtype.itemsize for row in rows], width

    def _read(self, i: int, j: int) -> np.ndarray:
        offsets, width = self._rows(i, j)
        size = width * self.dtype.itemsize
        return np.frombuffer(b"".join(os.pread(self._file, size, at) for at in offsets), self.dtype).reshape(len(offsets), width)

    def write(self, tile: Tile, block: np.ndarray) -> None:
        """Write a tile (padding beyond the matrix is cut off) and its mirror image, and record it.

        Raises:
            KernelError: it cannot be written.
        """
        i, j = tile
        offsets, width = self._rows(i, j)
        block = np.ascontiguousarray(block[: len(offsets), :width])
        if self.symmetric and i == j:  # rounding may differ between (a, b) and (b, a)
            block = np.triu(block) + np.triu(block, 1).T
        try:
            self._write_rows(i, j, block)
            if self.symmetric and i != j:
                self._write_rows(j, i, np.ascontiguousarray(block.T))
            os.fdatasync(self._file)
            os.write(self._journal, f"{i} {j} {zlib.crc32(block.tobytes()):08x}\n".encode())
            os.fdatasync(self._journal)
        except OSError as error:
            raise self._refused(error) from error
        self.done.add(tile)

    def _write_rows(self, i: int, j: int, block: np.ndarray) -> None:
        for at, row in zip(self._rows(i, j)[0], block, strict=True):
            if os.pwrite(self._file, row.data, at) != row.nbytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Close both files."""
        self._opened.close()
