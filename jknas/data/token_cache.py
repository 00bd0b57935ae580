"""Tokens of sentence pairs on disk: a task is tokenised once.

A file holds the tokens of the three splits of one task. Its name is a digest of all that they follow from: the task's files, those of the
tokenizer, the version of the package tokenizers, the most tokens of a pair, the limit on the rows, and the format of the file. So a file
is never out of date. One that is damaged is made again; where the folder cannot be written, nothing is kept.

The folder is what the environment variable JKNAS_CACHE names, otherwise ``jknas`` in the user's own folder of caches. It may be deleted.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
from jaxtyping import Int32

from jknas.data.files import file_digest, read_arrays
from jknas.data.splits import Limit
from jknas.errors import DataError
from jknas.files.atomic import write_atomically

FOLDER_VARIABLE = "JKNAS_CACHE"

_FORMAT = 1  # also of how pairs become tokens: raise it when jknas.data.pairs or jknas.data.tokenizer changes what they make
_VOCABULARY = "vocabulary"


class Tokens(NamedTuple):
    """The tokens of a task.

    Attributes:
        splits: by split, `[N, 3, T]`: ids, types and mask.
        vocabulary: number of ids.
    """

    splits: dict[str, Int32[np.ndarray, "n 3 t"]]
    vocabulary: int


def cache_folder() -> Path:
    """Return the folder of what is kept for later runs."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else Path(pooch.os_cache("jknas"))


def key_of(files: Sequence[Path], *, tokenizer: str, longest: int, limit: Limit) -> str:
    """Return what identifies the tokens of a task.

    Args:
        files: of the task.
        tokenizer: digest of the tokenizer.
        longest: the most tokens of a pair.
        limit: on the rows of the splits.

    Raises:
        DataError: a file cannot be read.
    """
    try:
        digests = {path.name: file_digest(path, "sha256") for path in files}
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}): check that it exists and that you may read it.") from error
    facts = {"format": _FORMAT, "files": digests, "tokenizer": tokenizer, "version": _version(), "longest": longest, "limit": limit}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def kept(key: str, rows: Mapping[str, int], make: Callable[[], Tokens]) -> Tokens:
    """Return the tokens of a task: those that are kept, or else those that are made now, which are kept for later.

    Args:
        key: from :func:`key_of`.
        rows: pairs of each split; a file of other arrays is damaged.
        make: tokenises.
    """
    path = cache_folder() / "tokens" / f"{key}.npz"
    found = _read(path, rows)
    if found is None:
        found = make()
        content = io.BytesIO()
        np.savez_compressed(content, **found.splits, **{_VOCABULARY: np.array(found.vocabulary)})  # type: ignore[arg-type]
        with suppress(DataError):  # tokens that cannot be kept are made again
            write_atomically(path, content.getvalue(), error=DataError)
    return found


def _read(path: Path, rows: Mapping[str, int]) -> Tokens | None:
    """Return the tokens of a file; None where there is none, or a damaged one."""
    try:
        arrays = read_arrays(path, (*rows, _VOCABULARY))
    except DataError:
        return None
    vocabulary = arrays.pop(_VOCABULARY)
    lengths = {array.shape[2:] for array in arrays.values()}
    sound = all(array.dtype == np.int32 and array.shape[:2] == (rows[split], 3) for split, array in arrays.items())
    if not sound or len(lengths) != 1 or vocabulary.shape or vocabulary.dtype.kind != "i":
        return None
    return Tokens(arrays, int(vocabulary))


def _version() -> str | None:
    try:
        return metadata.version("tokenizers")
    except metadata.PackageNotFoundError:
        return None
