"""Keep every score once, in one SQLite file that survives a killed process and serves several at a time.

A score is identified by a `ScoreKey`, to which the revision of the proxy belongs; the file holds at most one row per key. `Store.put` is
one committed transaction: after ``kill -9`` every score that `put` returned for is there, and at most the one in flight is lost. Several
processes may write the same file. Numbers are kept as they came: NaN and the infinities come back as NaN and the infinities, with a status
that says why. Nothing in the file is code: settings and extras are JSON text.

A file of the previous schema, which knew no revisions, is upgraded when it is opened; its scores are of revision 1.
A file that cannot be read as a store is never repaired, overwritten or deleted: `StoreError` says what was found and what to do.
"""

import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from jknas.errors import JsonTextError, StoreError, choose
from jknas.files.json_text import canonical_json, read_json, write_json
from jknas.scoring.record import STATUSES, ScoreKey, ScoreRecord, check_status

__all__ = ["STATUSES", "ScoreKey", "ScoreRecord", "Store", "StoreError", "canonical_json"]

_APPLICATION_ID = 0x6A6B6E73  # "jkns"
_SCHEMA_VERSION = 3
_UPGRADED_VERSION = 2  # knew no revisions: all its scores are of revision 1
_KEY_COLUMNS = ("space", "genotype", "proxy", "settings", "dataset", "seed", "network", "revision")
_OTHER_COLUMNS = ("canonical", "score", "status", "seconds", "extras", "versions", "device")
_COLUMNS = (*_KEY_COLUMNS, *_OTHER_COLUMNS)
_FILTERS = (*_KEY_COLUMNS, "canonical", "status", "device")
_HEADER_BYTES = 100
_LONGEST_FINDING = 160  # SQLite's own words may quote a whole row
_PAGE_OF_ROWS = 1000

# SQLite turns a NaN into NULL, so a NaN score is the text 'nan'; the column has no type, so that every other float keeps its 64 bits.
_STATUS_LIST = ", ".join(f"'{status}'" for status in STATUSES)
_SCHEMA = f"""CREATE TABLE scores (
    id INTEGER PRIMARY KEY,
    space TEXT NOT NULL, genotype TEXT NOT NULL, proxy TEXT NOT NULL, settings TEXT NOT NULL,
    dataset TEXT NOT NULL, seed INTEGER NOT NULL, network TEXT NOT NULL, revision INTEGER NOT NULL,
    canonical TEXT NOT NULL,
    score NOT NULL CHECK (typeof(score) = 'real' OR score = 'nan'),
    status TEXT NOT NULL CHECK (status IN ({_STATUS_LIST})),
    seconds REAL NOT NULL, extras TEXT NOT NULL, versions TEXT NOT NULL, device TEXT NOT NULL,
    UNIQUE ({", ".join(_KEY_COLUMNS)})
)"""
_KEY_TABLE = f"CREATE TEMP TABLE wanted (position INTEGER PRIMARY KEY, {', '.join(_KEY_COLUMNS)})"

_Result = TypeVar("_Result")


class Store(AbstractContextManager["Store"]):
    """An open file of scores; a context manager.

    A store belongs to the thread that opened it. Each process opens its own.

    >>> import tempfile
    >>> keys = [ScoreKey("nasbench201", f"cell {number}", "params", "{}", "digits", 0, "{}") for number in range(2)]
    >>> with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "scores.sqlite") as store:
    ...     for key in store.missing(keys):
    ...         stored = store.put(ScoreRecord(key, key.genotype, 559386.0, "ok", 0.001))
    ...     len(store), store.missing(keys)
    (2, [])

    Args:
        path: the file; made when it is not there (its folder must be).
        timeout: seconds to wait for another process that is writing.

    Raises:
        StoreError: the path is a folder; its folder is missing or cannot be written; the file is damaged, is no database, belongs to
            another application, or was written by a newer version. The file is left as it is.
    """

    def __init__(self, path: str | Path, *, timeout: float = 60.0) -> None:
        self.path = Path(path)
        self._timeout = timeout
        self._check_path()
        with self._errors():
            # Autocommit: every transaction below is written out with BEGIN and COMMIT.
            self._connection = sqlite3.connect(self.path, timeout=timeout, isolation_level=None)
        try:
            with self._errors():
                self._patiently(self._open)
        except BaseException:
            self._connection.close()
            raise

    @classmethod
    def existing(cls, path: str | Path, *, timeout: float = 60.0) -> "Store":
        """Open a store that must be there already.

        Raises:
            StoreError: there is no file, an empty one, or one that cannot be opened as a store.
        """
        place = Path(path)
        if not place.exists() or (place.is_file() and place.stat().st_size == 0):
            found = "is empty" if place.exists() else "is not there"
            raise StoreError(f"{place} {found}: give a store of scores, which `jknas score --db FILE` writes.")
        return cls(place, timeout=timeout)

    def put(self, record: ScoreRecord, *, replace: bool = False) -> bool:
        """Write one score in a transaction of its own; when this returns, the score outlives the process (and a power cut).

        Args:
            record: the score.
            replace: overwrite a score that is there under the same key. Otherwise the first one stays.

        Returns:
            Whether the record was written.

        Raises:
            StoreError: the record's extras have no JSON text, or the file cannot be written.
        """
        return self.put_many([record], replace=replace) == 1

    def put_many(self, records: Iterable[ScoreRecord], *, replace: bool = False) -> int:
        """Write scores in one transaction, all of them or none; otherwise as :meth:`put`.

        Returns:
            How many were written.

        Raises:
            StoreError: as :meth:`put`.
        """
        update = f"DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _OTHER_COLUMNS)}" if replace else "DO NOTHING"
        statement = (
            f"INSERT INTO scores ({', '.join(_COLUMNS)}) VALUES ({_marks(_COLUMNS)}) ON CONFLICT ({', '.join(_KEY_COLUMNS)}) {update}"
        )
        rows = [_row(record) for record in records]
        with self._errors(), self._transaction("BEGIN IMMEDIATE"):
            return sum(self._connection.execute(statement, values).rowcount for values in rows)

    def get(self, key: ScoreKey) -> ScoreRecord | None:
        """Return the score under `key`, or None."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Iterable[ScoreKey]) -> dict[ScoreKey, ScoreRecord]:
        """Return the scores that are there, in the order of `keys`; keys without a score are left out."""
        columns = ", ".join(f"scores.{name}" for name in _COLUMNS)
        with self._errors():
            rows = self._join(dict.fromkeys(keys), columns, "scores.id IS NOT NULL")
            return {record.key: record for record in map(self._record, rows)}

    def missing(self, keys: Iterable[ScoreKey]) -> list[ScoreKey]:
        """Return the keys that have no score yet, each once, in their order. One query, whatever the number of keys."""
        unique = list(dict.fromkeys(keys))
        with self._errors():
            return [unique[position] for (position,) in self._join(unique, "wanted.position", "scores.id IS NULL")]

    def records(self, **equal: str | int | None) -> Iterator[ScoreRecord]:
        """Iterate over the scores whose columns equal the given values, in the order in which they were first written.

        Writing while iterating is allowed; a score written meanwhile comes last.

        Args:
            **equal: values by column: a field of :class:`ScoreKey`, ``canonical``, ``status`` or ``device``. None accepts every value.

        Raises:
            StoreError: another column, or a status that does not exist.
        """
        filters = {choose("column", name, _FILTERS, error=StoreError): value for name, value in equal.items() if value is not None}
        if "status" in filters:
            check_status(str(filters["status"]))
        return self._pages(filters)

    def counted(self, *columns: str) -> list[tuple[Any, ...]]:
        """Return, for each combination of values of some columns, these values, how many scores have it, and the sum of their seconds.

        Args:
            *columns: one or more fields of :class:`ScoreKey`, ``canonical``, ``status``, ``versions`` or ``device``.

        Raises:
            StoreError: another column, or none.
        """
        if not columns:
            raise StoreError("counted() without a column: name one or more, such as 'proxy'.")
        listed = ", ".join(choose("column", name, (*_FILTERS, "versions"), error=StoreError) for name in columns)
        query = f"SELECT {listed}, count(*), sum(seconds) FROM scores GROUP BY {listed} ORDER BY min(id)"
        with self._errors():
            return self._connection.execute(query).fetchall()

    def __len__(self) -> int:
        with self._errors():
            return int(self._connection.execute("SELECT count(*) FROM scores").fetchall()[0][0])

    def close(self) -> None:
        """Close the file; the store cannot be used any more."""
        self._connection.close()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check_path(self) -> None:
        folder = self.path.parent
        if self.path.is_dir():
            raise StoreError(f"{self.path} is a folder: give the path of a file in it, for example {self.path / 'scores.db'}.")
        if not folder.is_dir():
            raise StoreError(f"cannot make the store {self.path}: {folder} is not a folder; make it first, or correct the path.")
        size = self.path.stat().st_size if self.path.exists() else 0
        if 0 < size < _HEADER_BYTES:
            # SQLite takes a file of one byte for an empty one, and would write over it.
            raise StoreError(self._damaged(f"it has {size} bytes, fewer than an SQLite header"))
        if size == 0 and self._has_log():
            # SQLite would delete the log, and the scores in it, when it meets an empty database beside one.
            raise StoreError(f"{self.path} is empty or gone, but its log {self.path.name}-wal holds data. {_RESCUE}")

    def _open(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA temp_store = MEMORY")
        if self._is_empty():
            # The schema goes in before the journal mode, so that the file says whose it is from its first page on.
            with self._transaction("BEGIN IMMEDIATE"):
                if self._is_empty():  # another process may have been faster
                    execute(_SCHEMA)
                    execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                    execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        self._check_identity()
        self._check_health()
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        if self._pragma("user_version") == _UPGRADED_VERSION:
            self._upgrade()
        execute(f"SELECT {', '.join(_COLUMNS)} FROM scores LIMIT 0")
        execute("DROP TABLE IF EXISTS temp.wanted")
        execute(_KEY_TABLE)
        with self._transaction("BEGIN IMMEDIATE"):
            pass  # a file that cannot be written should say so now, not after the first score was computed

    def _is_empty(self) -> bool:
        tables = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0][0]
        return tables == 0 and self._pragma("application_id") == 0 and self._pragma("user_version") == 0

    def _check_identity(self) -> None:
        owner, version = self._pragma("application_id"), self._pragma("user_version")
        if owner != _APPLICATION_ID:
            raise StoreError(
                f"{self.path} is an SQLite database of another application (application id {owner:#x}, expected {_APPLICATION_ID:#x}): "
                "it was left as it is; give the path of a score store, or of a new file."
            )
        if version not in (_UPGRADED_VERSION, _SCHEMA_VERSION):
            raise StoreError(
                f"{self.path} has schema version {version}, and this release of jknas reads the versions {_UPGRADED_VERSION} and "
                f"{_SCHEMA_VERSION}: it was left as it is; {_OTHER_RELEASE[version > _SCHEMA_VERSION]}, or give the path of a new file."
            )

    def _check_health(self) -> None:
        found = self._connection.execute("PRAGMA quick_check(1)").fetchall()[0][0].splitlines()[-1]
        page, size = self._pragma("page_size"), self.path.stat().st_size
        if found == "ok" and self._pragma("journal_mode") == "wal" and size % page and not self._has_log():
            found = f"the last page is cut off: {size} bytes are no multiple of {page}"
        if found != "ok":
            raise StoreError(self._damaged(found))

    def _upgrade(self) -> None:
        # SQLite cannot change what must be unique: the table is made anew, with every row as it is.
        execute, columns = self._connection.execute, ", ".join(name for name in ("id", *_COLUMNS) if name != "revision")
        with self._transaction("BEGIN IMMEDIATE"):
            if self._pragma("user_version") == _UPGRADED_VERSION:  # another process may have been faster
                execute("ALTER TABLE scores RENAME TO scores_before")
                execute(_SCHEMA)
                execute(f"INSERT INTO scores (revision, {columns}) SELECT 1, {columns} FROM scores_before")
                execute("DROP TABLE scores_before")
                execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _has_log(self) -> bool:
        log = self.path.with_name(self.path.name + "-wal")
        return log.exists() and log.stat().st_size > 0

    def _pragma(self, name: str) -> Any:
        return self._connection.execute(f"PRAGMA {name}").fetchall()[0][0]

    def _join(self, keys: Iterable[ScoreKey], columns: str, where: str) -> list[tuple[Any, ...]]:
        on = " AND ".join(f"scores.{name} = wanted.{name}" for name in _KEY_COLUMNS)
        with self._transaction("BEGIN"):
            self._connection.execute("DELETE FROM wanted")
            rows = ((position, *_key_row(key)) for position, key in enumerate(keys))
            self._connection.executemany(f"INSERT INTO wanted VALUES (?, {_marks(_KEY_COLUMNS)})", rows)
            query = f"SELECT {columns} FROM wanted LEFT JOIN scores ON {on} WHERE {where} ORDER BY wanted.position"
            return self._connection.execute(query).fetchall()

    def _pages(self, filters: Mapping[str, object]) -> Iterator[ScoreRecord]:
        # Page by page, so that no read transaction stays open between two records: it would keep the log from being folded in.
        where = "".join(f" AND {name} = ?" for name in filters)
        query = f"SELECT id, {', '.join(_COLUMNS)} FROM scores WHERE id > ?{where} ORDER BY id LIMIT {_PAGE_OF_ROWS}"
        last = 0
        while True:
            with self._errors():
                rows = self._connection.execute(query, (last, *filters.values())).fetchall()
            if not rows:
                return
            yield from (self._record(row[1:]) for row in rows)
            last = rows[-1][0]

    def _record(self, row: tuple[Any, ...]) -> ScoreRecord:
        try:
            *key, canonical, score, status, seconds, extras, versions, device = row
            extras, versions = read_json(extras), read_json(versions)
            return ScoreRecord(ScoreKey(*key), canonical, float(score), status, seconds, extras, versions, device)
        except (StoreError, ValueError, TypeError) as error:
            raise StoreError(self._damaged(str(error))) from error

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self._connection.execute(begin)
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _patiently(self, action: Callable[[], _Result]) -> _Result:
        # Changing the journal mode answers "locked" at once, whatever the timeout, while another process opens the same new file.
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return action()
            except sqlite3.OperationalError as error:
                if _primary_code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _damaged(self, found: str) -> str:
        found = found if len(found) <= _LONGEST_FINDING else found[:_LONGEST_FINDING] + "..."
        return f"{self.path} is damaged, or is no score store: {found}. {_RESCUE}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise StoreError(self._explanation(error)) from error
        except UnicodeDecodeError as error:
            raise StoreError(self._damaged(f"text that is not UTF-8 ({error.reason})")) from error

    def _explanation(self, error: Exception) -> str:
        code = _primary_code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"{self.path} was locked by another process for {self._timeout:g} s: end that process, or use a larger timeout."
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return f"{self.path} cannot be written ({error}): make it and its folder {self.path.parent} writable, or choose another place."
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return f"{self.path} could not be written or read ({error}): free disk space or check the disk; scores written before are kept."
        if isinstance(error, sqlite3.ProgrammingError):
            return f"{self.path}: {error} A store serves the thread that opened it, until it is closed: open another one."
        return self._damaged(str(error))


_OTHER_RELEASE = ("export it with the release that wrote it", "upgrade jknas")

_RESCUE = (
    "It was left as it is: restore it from a copy, or move it (and the files beside it that end in -wal and -shm) away to start a new one."
)


def _primary_code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _marks(columns: tuple[str, ...]) -> str:
    return ", ".join("?" * len(columns))


def _key_row(key: ScoreKey) -> tuple[Any, ...]:
    return tuple(getattr(key, name) for name in _KEY_COLUMNS)


def _row(record: ScoreRecord) -> tuple[Any, ...]:
    score = "nan" if math.isnan(record.score) else float(record.score)
    try:
        extras, versions = write_json(record.extras, "extras"), write_json(record.versions, "versions")
    except JsonTextError as error:
        raise StoreError(f"the score of {record.key.genotype!r} cannot be stored: {error}") from error
    return (*_key_row(record.key), record.canonical, score, record.status, float(record.seconds), extras, versions, record.device)
