"""The arrays of a supernet on disk: one file per epoch, the last two of them, each with a digest of its content."""

import hashlib
import io
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jknas.errors import CheckpointError
from jknas.files.atomic import write_atomically

_KEPT = 2  # the state of a search may be one epoch behind
_DIGEST = "sha256"

T = TypeVar("T")


def write_arrays(folder: Path | None, epoch: int, arrays: Any) -> None:
    """Write a pytree of arrays after so many epochs; when this returns, it outlives the process.

    Args:
        folder: made where it is not there; None keeps nothing.
        epoch: finished ones.
        arrays: the pytree.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    if folder is None:
        return
    leaves = {f"{place:04d}": np.asarray(leaf) for place, leaf in enumerate(jax.tree.leaves(jax.device_get(arrays)))}
    stream = io.BytesIO()
    np.savez(stream, **leaves, **{_DIGEST: np.array(_digest(leaves))})  # type: ignore[arg-type] # no name is one of its arguments
    write_atomically(_path(folder, epoch), stream.getvalue(), error=CheckpointError, what="the supernet")
    for path in folder.glob("epoch-*.npz"):
        number = path.stem.removeprefix("epoch-")
        if number.isdecimal() and int(number) <= epoch - _KEPT:
            path.unlink(missing_ok=True)


def read_arrays(folder: Path | None, epoch: int, like: T) -> T | None:
    """Read what :func:`write_arrays` wrote; None where there is no such file.

    Args:
        folder: of the files.
        epoch: finished ones.
        like: a pytree of the same structure, shapes and types.

    Raises:
        CheckpointError: the file is damaged, or of another supernet.
    """
    path = None if folder is None else _path(folder, epoch)
    if path is None or not path.exists():
        return None
    try:
        with io.BytesIO(path.read_bytes()) as stream, np.load(stream, allow_pickle=False) as file:
            found = dict(file)
    except Exception as error:  # NumPy raises what the archive and its parts raise
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    digest = str(found.pop(_DIGEST, ""))
    leaves, structure = jax.tree.flatten(like)
    if digest != _digest(found):
        raise _damaged(path, "its SHA-256 is not the one written with it")
    wanted = [(leaf.shape, leaf.dtype) for leaf in leaves]
    if [(leaf.shape, leaf.dtype) for leaf in found.values()] != wanted:
        raise _damaged(path, "it is of another supernet")
    kept: T = jax.tree.unflatten(structure, list(map(jnp.asarray, found.values())))
    return kept


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch}.npz"


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"the supernet {path} is damaged ({reason:.200}). Delete it: the epochs before it are computed again.")


def _digest(leaves: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(leaves):
        digest.update(f"{name} {leaves[name].dtype} {leaves[name].shape}".encode())
        digest.update(np.ascontiguousarray(leaves[name]).tobytes())
    return digest.hexdigest()
