"""Write the scores of a store for other programs: CSV, Parquet, JSON or JSON lines, whichever the name of the file says.

One row per score. The columns are those of the key (space, genotype, proxy, settings, dataset, seed, network, revision), then canonical,
score, status, seconds, extras, versions and device. Scores keep all their digits. In CSV and Parquet the settings, the network, the extras
and the versions are JSON text; in JSON they are objects, and NaN and the infinities are the strings "nan", "inf" and "-inf".

Parquet needs pyarrow (``pip install 'jknas[parquet]'``), which is imported when it is asked for.
"""

import csv
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jknas.errors import StoreError
from jknas.files.json_text import export_json, read_json
from jknas.registry import optional
from jknas.scoring.record import ScoreRecord
from jknas.scoring.store import Store

_TEXT, _FLOAT, _WHOLE = "string", "float64", "int64"
_COLUMNS = {
    **dict.fromkeys(("space", "genotype", "proxy", "settings", "dataset"), _TEXT),
    "seed": _WHOLE,
    "network": _TEXT,
    "revision": _WHOLE,
    "canonical": _TEXT,
    "score": _FLOAT,
    "status": _TEXT,
    "seconds": _FLOAT,
    **dict.fromkeys(("extras", "versions", "device"), _TEXT),
}
_ROWS_AT_ONCE = 10_000


def export(store: Store, path: str | Path) -> int:
    """Write every score of a store, in the order in which they were first written.

    The file appears when it is complete. Memory does not grow with the number of scores.

    Args:
        store: an open store.
        path: a new file, whose name ends in ``.csv``, ``.parquet``, ``.json`` (one array) or ``.jsonl`` (one object per line).

    Returns:
        The number of scores.

    Raises:
        StoreError: another ending, a file that exists, a folder that cannot be written, pyarrow is missing, or the store is damaged.
    """
    target = Path(path)
    if target.suffix not in _WRITERS:
        raise StoreError(f"cannot export to {target}: expected a name that ends in {', '.join(_WRITERS)}.")
    if target.exists():
        raise StoreError(f"{target} exists already: give the name of a new file, or delete it first.")
    partial = target.with_name(target.name + ".part")
    try:
        try:
            counter = itertools.count()
            counted = (record for record, _ in zip(store.records(), counter, strict=False))  # at the end zip asks for no number
            _WRITERS[target.suffix](partial, counted)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"the export to {target} failed ({error.strerror}): choose a file in a folder that exists and is writable."
        ) from error
    return next(counter)


def nested(record: ScoreRecord) -> dict[str, Any]:
    """Return a score as an object of JSON: its key, whose settings and network are objects, and the rest of the record."""
    key = asdict(record.key)
    key |= {name: read_json(key[name]) for name in ("settings", "network")}
    return key | {name: getattr(record, name) for name in _COLUMNS if name not in key}


def _csv(path: Path, records: Iterator[ScoreRecord]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(_flat(record).values() for record in records)


def _json_lines(path: Path, records: Iterator[ScoreRecord]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(export_json(nested(record)) + "\n" for record in records)


def _json(path: Path, records: Iterator[ScoreRecord]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for separator, record in zip(itertools.chain(["\n"], itertools.repeat(",\n")), records, strict=False):
            file.write(separator + export_json(nested(record)))
        file.write("\n]\n")


def _parquet(path: Path, records: Iterator[ScoreRecord]) -> None:
    message = "Parquet needs pyarrow, which is not installed: pip install 'jknas[parquet]', or export to a name that ends in .csv."
    pyarrow = optional("pyarrow.parquet", message, error=StoreError)
    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in _COLUMNS.items()])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while block := [_flat(record) for record in itertools.islice(records, _ROWS_AT_ONCE)]:
            writer.write_table(pyarrow.Table.from_pylist(block, schema))


def _flat(record: ScoreRecord) -> dict[str, Any]:
    key = asdict(record.key)
    rest = {name: getattr(record, name) for name in _COLUMNS if name not in key}
    return key | rest | {name: export_json(rest[name]) for name in ("extras", "versions")}


_WRITERS: dict[str, Callable[[Path, Iterator[ScoreRecord]], None]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".json": _json,
    ".jsonl": _json_lines,
}
