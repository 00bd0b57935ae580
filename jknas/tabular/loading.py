"""Choose the table of trained accuracies: the embedded one, or NATS-Bench's own files."""

import os

from jknas.data.files import data_folder
from jknas.tabular.nasbench201 import embedded
from jknas.tabular.nats import FOLDER, nats_bench
from jknas.tabular.table import Table


def load(folder: str | os.PathLike[str] | None = None) -> Table:
    """Return the embedded table of means, or NATS-Bench's topology space if the folder that is given holds it.

    Args:
        folder: None, or a folder. If NATS-Bench's ``NATS-tss-v1_0-3ffb9-simple`` is in it, unpacked, that is opened, which needs the extra
            ``nats`` (see :mod:`jknas.tabular.nats`). The environment variable JKNAS_DATA plays no role.

    Raises:
        DataError: the folder that was named is not a folder.
        TabularError: NATS-Bench without its package.

    >>> load().name
    'NAS-Bench-201 (means over seeds)'
    """
    place = None if folder is None else data_folder(folder)
    if place is not None and (place / FOLDER).is_dir():
        return nats_bench(place / FOLDER)
    return embedded()
