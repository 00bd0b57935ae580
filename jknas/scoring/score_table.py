"""A compact file of scores: one line an architecture, one column a proxy and seed, to be read and combined without computing anything.

The file is CSV, compressed if its name ends in ``.gz``. Its first line is a comment with JSON: what was scored, how, with which versions.
A column is named ``proxy:seed``. A field is the score with nine digits, or the status where that is not "ok". Architectures are canonical:
those that compute the same function share a line (:attr:`jknas.spaces.space.Space.canonical`). A new proxy or seed is scored into a table
of its own and put beside an old one by ``jknas store join`` (:func:`join_scores`).

Size: about 1.3 MB for the 5,234 classes of NAS-Bench-201 and twenty columns, half of it compressed.
"""

import csv
import gzip
import io
import statistics
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jknas import proxies
from jknas.errors import StoreError
from jknas.files.atomic import write_atomically
from jknas.files.json_text import export_json, read_json
from jknas.scoring.record import STATUSES, ScoreRecord
from jknas.spaces.space import Space

_MARK = "# jknas scores "
_LARGEST = 512 * 2**20  # bytes that a file may unpack to
_SAME = ("space", "dataset", "network", "device")


@dataclass(frozen=True)
class ScoreTable:
    """The scores of a file.

    Attributes:
        facts: space, dataset, network (channels, cells, classes, resolution), device, versions, and by column the proxy's settings,
            revision and median seconds of a score.
        places: by canonical architecture, as text, its line.
        columns: by (proxy, seed) the scores, NaN where the status is not "ok".
        statuses: by (proxy, seed) the status of every line.
        source: the file.
    """

    facts: Mapping[str, Any]
    places: Mapping[str, int]
    columns: Mapping[tuple[str, int], Float[np.ndarray, " m"]]
    statuses: Mapping[tuple[str, int], tuple[str, ...]]
    source: str

    @property
    def proxies(self) -> tuple[str, ...]:
        """The proxies that have a column."""
        return tuple(dict.fromkeys(name for name, _ in self.columns))

    @property
    def unknown(self) -> tuple[str, ...]:
        """Those of them that no proxy of this process is called."""
        return tuple(name for name in self.proxies if name not in proxies.names())

    def seeds(self, proxy: str) -> tuple[int, ...]:
        """Return the seeds by which a proxy was scored, in ascending order.

        Raises:
            StoreError: none, or scores of an older definition of the proxy.
            ProxyError: no proxy of this process is called so.
        """
        found = tuple(sorted(seed for name, seed in self.columns if name == proxy))
        if not found:
            raise StoreError(f"{self.source} has no scores of {proxy}; it has {', '.join(self.proxies)}.")
        known = proxies.get(proxy).revision
        for revision in (self.facts["columns"][f"{proxy}:{seed}"]["revision"] for seed in found):
            if revision != known:
                raise StoreError(f"{self.source} holds {proxy} of revision {revision}, and its definition is now {known}: score it again.")
        return found

    def column(self, proxy: str, seed: int) -> Float[np.ndarray, " m"]:
        """Return the scores of a proxy by one seed, larger is better, NaN where the status is not "ok".

        Raises:
            StoreError: no such scores, or some of an older definition.
            ProxyError: no proxy of this process is called so.
        """
        known = self.seeds(proxy)
        if seed not in known:
            raise StoreError(f"{self.source} has {proxy} by the seeds {', '.join(map(str, known))}, not by {seed}: choose one of them.")
        return self.columns[proxy, seed] if proxies.get(proxy).higher_is_better else -self.columns[proxy, seed]

    def lines(self, space: Space[Any], genotypes: Iterable[Any]) -> list[int]:
        """Return the lines of architectures, each of which stands under its canonical form.

        Raises:
            StoreError: the file is of another space, or lacks an architecture.
        """
        if space.name != self.facts["space"]:
            raise StoreError(f"{self.source} holds scores of {self.facts['space']!r}, not of {space.name!r}: give the file of that space.")
        found = []
        for genotype in genotypes:
            place = self.places.get(str(space.canonical(genotype)))
            if place is None:
                raise StoreError(f"{self.source} has no score of {genotype}: leave it out, or score it into a file of its own.")
            found.append(place)
        return found


def check_target(path: str | Path) -> Path:
    """Return the path of a table to write, if one can be written there.

    Raises:
        StoreError: another ending than ``.csv`` and ``.csv.gz``, or a folder.
    """
    path = Path(path)
    if not path.name.endswith((".csv", ".csv.gz")):
        raise StoreError(f"a table of scores cannot be called {str(path)!r}: give a file that ends in .csv or .csv.gz.")
    if path.is_dir():
        raise StoreError(f"{path} is a folder: give a file in it.")
    return path


def write_scores(path: Path, records: Iterable[ScoreRecord]) -> None:
    """Write records of one space, data set, network and device as a table; architectures without a score in some column are left out.

    Raises:
        StoreError: no records, records that were not measured alike, different scores of architectures that compute the same function, or
            a path that :func:`check_target` refuses.
    """
    path = check_target(path)
    cells: dict[str, dict[str, str]] = {}
    seconds: dict[str, list[float]] = {}
    columns: dict[str, dict[str, Any]] = {}
    settings: dict[str, dict[str, Any]] = {}
    shared: dict[str, Any] = {}
    for record in records:
        key = record.key
        name = f"{key.proxy}:{key.seed}"
        alike = {"space": key.space, "dataset": key.dataset, "network": read_json(key.network), "device": record.device}
        alike |= {"versions": dict(record.versions)}
        differs = next((one for one in _SAME if shared and shared[one] != alike[one]), None)
        if differs is not None:
            raise StoreError(
                f"scores on {differs} {shared[differs]} and on {alike[differs]} were given: write each into a table of its own."
            )
        shared = shared or alike
        how = {"settings": read_json(key.settings), "revision": key.revision}
        columns.setdefault(name, how)
        if settings.setdefault(key.proxy, how) != how:  # by any seed
            raise StoreError(f"{key.proxy} was computed with two settings or revisions: name one of them.")
        field = _field(record.score, record.status)
        if cells.setdefault(record.canonical, {}).setdefault(name, field) != field:
            raise StoreError(
                f"{record.canonical} has the scores {cells[record.canonical][name]} and {field} by {name}, one of them of {key.genotype}, "
                "which computes the same function: score one representative (`jknas score --dedup`)."
            )
        seconds.setdefault(name, []).append(record.seconds)
    if not cells:
        raise StoreError("no scores were given: score architectures first (`jknas score --db`).")
    if not any(len(row) == len(columns) for row in cells.values()):
        raise StoreError(f"no architecture has a score in every column ({', '.join(columns)}): score the same ones for each.")
    facts = {name: {**how, "median_seconds": float(f"{statistics.median(seconds[name]):.4g}")} for name, how in columns.items()}
    _write(path, {**shared, "columns": facts}, cells)


def _write(path: Path, facts: Mapping[str, Any], cells: Mapping[str, Mapping[str, str]]) -> None:
    names = sorted(facts["columns"])
    text = io.StringIO()
    text.write(_MARK + export_json({**facts, "columns": {name: facts["columns"][name] for name in names}}) + "\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["genotype", *names])
    writer.writerows([genotype, *(row[name] for name in names)] for genotype, row in sorted(cells.items()) if len(row) == len(names))
    raw = text.getvalue().encode()
    write_atomically(path, gzip.compress(raw, 9, mtime=0) if path.suffix == ".gz" else raw, error=StoreError)


def join_scores(paths: Sequence[str | Path], target: str | Path) -> ScoreTable:
    """Put the columns of several tables side by side into a new one; architectures that some table lacks are left out.

    Args:
        paths: tables of one space, data set, network and device, no two of them with the same column, and every proxy with the same
            settings. The versions are those of the first.
        target: the new file.

    Raises:
        StoreError: no table, one that cannot be read, tables that were not measured alike, a column that stands in two of them, no
            architecture that all of them have, or a target that exists.
    """
    target = check_target(target)
    if not paths or target.exists():
        raise StoreError("no tables were given: name those to join." if not paths else f"{target} exists: name a new file.")
    tables = [read_scores(path) for path in paths]
    columns: dict[str, Any] = {}
    settings: dict[str, tuple[str, Any, int]] = {}
    cells: dict[str, dict[str, str]] = {}
    for table in tables:
        if differs := next((one for one in _SAME if table.facts[one] != tables[0].facts[one]), None):
            one, other = tables[0].facts[differs], table.facts[differs]
            raise StoreError(
                f"{tables[0].source} is of {differs} {one}, {table.source} of {other}: join only tables that were measured alike."
            )
        if twice := next(iter(columns.keys() & table.facts["columns"].keys()), None):
            raise StoreError(f"{twice} stands in {table.source} and in a table before it: join tables of different proxies or seeds.")
        for name, how in table.facts["columns"].items():
            known = settings.setdefault(_key(name)[0], (table.source, how["settings"], how["revision"]))
            if known[1:] != (how["settings"], how["revision"]):
                raise StoreError(f"{name} was computed with other settings or another revision in {table.source} than in {known[0]}.")
        columns |= table.facts["columns"]
        fields = {f"{name}:{seed}": (table.columns[name, seed], table.statuses[name, seed]) for name, seed in table.columns}
        for genotype, line in table.places.items():
            row = {name: _field(scores[line], says[line]) for name, (scores, says) in fields.items()}
            cells.setdefault(genotype, {}).update(row)
    if not any(len(row) == len(columns) for row in cells.values()):
        raise StoreError("no architecture stands in all of the tables: score the same ones for each.")
    _write(target, {**tables[0].facts, "columns": columns}, cells)
    return read_scores(target)


def read_scores(path: str | Path) -> ScoreTable:
    """Read a table of scores; nothing in it is code.

    Raises:
        StoreError: the file is missing, damaged, too large, or no table of scores.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError(f"{path} cannot be read as a table of scores ({error}): give a file that `jknas score --scores` wrote.") from error
    head, _, body = raw[:_LARGEST].decode("utf-8", "replace").partition("\n")
    try:
        if not head.startswith(_MARK) or len(raw) > _LARGEST:
            raise ValueError("its first line does not say so" if len(raw) <= _LARGEST else "it unpacks to more than 512 MB")
        facts = read_json(head.removeprefix(_MARK))
        _, *names = next(rows := csv.reader(io.StringIO(body)))
        found = list(rows)
        keys = [_key(name) for name in names]
        if any(len(row) != len(names) + 1 for row in found) or set(names) != set(facts["columns"]) or not found:
            raise ValueError("its lines are not of one length, or its columns are not those of the first line")
        columns = {key: np.array([_number(row[1 + place]) for row in found]) for place, key in enumerate(keys)}
        places = {row[0]: line for line, row in enumerate(found)}
        kept = {name: facts[name] for name in ("space", "dataset", "network", "device", "versions", "columns")}
    except (ValueError, KeyError, TypeError, StopIteration, csv.Error) as error:
        raise StoreError(f"{path} is no table of scores, or is damaged: {error}. Give a file that `jknas score --scores` wrote.") from error
    statuses = {key: _statuses(found, 1 + place) for place, key in enumerate(keys)}
    return ScoreTable(kept, places, columns, statuses, str(path))


def _key(name: str) -> tuple[str, int]:
    proxy, _, seed = name.partition(":")
    return proxy, int(seed)


def _field(score: float, status: str) -> str:
    return f"{score:.9g}" if status == "ok" else status


def _number(field: str) -> float:
    number = float("nan") if field in STATUSES else float(field)
    if np.isinf(number):
        raise ValueError(f"a score is {field}, which only a status can say")
    return number


def _statuses(rows: Sequence[Sequence[str]], place: int) -> tuple[str, ...]:
    return tuple(row[place] if row[place] in STATUSES else "ok" for row in rows)
