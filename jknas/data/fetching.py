"""The only code that goes to the network: explicit download of the CIFAR archives."""

import os
from pathlib import Path

import pooch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from jknas.data.cifar import FAMILIES
from jknas.data.files import FOLDER_VARIABLE, DataFile, check_digests
from jknas.errors import DataError

_CHUNK = 1 << 18


class _Bar:
    """A rich progress bar on standard error with the four members that pooch calls."""

    def __init__(self, label: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task(label, total=None)
        self.total: int | None = None

    def update(self, count: int) -> None:
        self._progress.start()
        self._progress.update(self._task, total=self.total or None, advance=count)

    def reset(self) -> None:
        # pooch resets, then adds the total, to end at exactly 100 %.
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.stop()


def fetch(name: str, folder: str | os.PathLike[str] | None = None, *, progress: bool = True) -> Path:
    """Download the canonical archive of "cifar10" or "cifar100" and check its SHA-256.

    A complete archive that is already there is not downloaded again; a damaged one is replaced.

    Args:
        name: "cifar10" or "cifar100".
        folder: Where to put it; made if it does not exist. None: the environment variable JKNAS_DATA.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The path of the archive.

    Raises:
        DataError: the data set cannot be downloaded by name, no folder is named, the download fails, or its digest is wrong.
    """
    family = FAMILIES.get(name)
    if family is None:
        raise DataError(
            f"{name!r} cannot be downloaded here; expected one of {', '.join(FAMILIES)}. The digits need no download; the 16x16 ImageNet "
            "batch files are given out after registration at https://image-net.org (Downsampled image data)."
        )
    place = folder if folder is not None else os.environ.get(FOLDER_VARIABLE) or None
    if place is None:
        raise DataError(
            f"no folder to put {family.archive.path} in; expected the folder argument, or the environment variable {FOLDER_VARIABLE}."
        )
    target = Path(place).expanduser() / family.archive.path
    bar = _Bar(name) if progress else None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(
            family.url,
            known_hash=family.archive.digest,
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(progressbar=bar or False, chunk_size=_CHUNK),
        )
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; pooch's digest error is a ValueError
        raise DataError(
            f"{name}: could not get {family.url} ({type(error).__name__}: {error}). Check the connection and that {target.parent} can be "
            f"written, or put {target.name} there yourself."
        ) from error
    finally:
        if bar is not None:
            bar.close()
    check_digests((DataFile(target, family.archive.digest, family.archive.size),))
    return target
