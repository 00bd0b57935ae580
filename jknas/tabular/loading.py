"""Open whichever table of trained accuracies a folder holds."""

import os

from jknas.data.files import data_folder
from jknas.tabular import nasbench201
from jknas.tabular.nats import FOLDER, nats_bench
from jknas.tabular.table import Table


def load(folder: str | os.PathLike[str] | None = None) -> Table:
    """Return the table of means if the folder has its file, otherwise the topology space of NATS-Bench if it is there.

    Args:
        folder: holds ``nasbench201.csv.gz`` (see :mod:`jknas.tabular.nasbench201`), or NATS-Bench's folder ``NATS-tss-v1_0-3ffb9-simple``,
            unpacked, which needs the extra ``nats`` (see :mod:`jknas.tabular.nats`); the environment variable JKNAS_DATA by default.

    Raises:
        TabularError: no folder, neither of both in it, a damaged file, or NATS-Bench without its package.
    """
    place = data_folder(folder)
    if place is not None and not (place / nasbench201.FILE).is_file() and (place / FOLDER).is_dir():
        return nats_bench(place / FOLDER)
    return nasbench201.load(folder)
