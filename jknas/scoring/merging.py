"""Put the scores of several stores into a new one, and name what differs.

Scores of one key are equal if their statuses are equal and their numbers are the same float (NaN equals NaN). Of equal scores the first one
stays, with its seconds, versions and device. Scores that differ are refused, unless the caller says which of them to keep: they come from
other versions, another machine, or another number of threads.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jknas.errors import StoreError, choose
from jknas.scoring.record import ScoreKey, ScoreRecord
from jknas.scoring.store import Store

KEEP = ("first", "last")
_ROWS_AT_ONCE = 1000


@dataclass(frozen=True)
class Difference:
    """Two scores of one key that are not equal.

    Attributes:
        key: of both.
        first: what was there, and in which file.
        other: what came later, and in which file.
    """

    key: ScoreKey
    first: tuple[ScoreRecord, str]
    other: tuple[ScoreRecord, str]

    def __str__(self) -> str:
        (first, here), (other, there), key = self.first, self.other, self.key
        return (
            f"{key.genotype} by {key.proxy} (seed {key.seed}, {key.dataset}) is {first.score!r} ({first.status}) in {here} and "
            f"{other.score!r} ({other.status}) in {there}"
        )


@dataclass(frozen=True)
class Merged:
    """What a merge did.

    Attributes:
        read: scores read, by file.
        written: scores in the new store.
        equal: scores that came again.
        different: scores that came again with another number or status; nonzero only if one of them was to be kept.
        example: the first of these.
    """

    read: dict[str, int]
    written: int = 0
    equal: int = 0
    different: int = 0
    example: Difference | None = None


def merge(sources: Sequence[str | Path], target: str | Path, *, keep: str | None = None) -> Merged:
    """Write the scores of several stores into a new store. The new file appears when it is complete; the sources stay as they are.

    A source of the previous schema is upgraded, as whenever it is opened.

    Args:
        sources: stores, in the order that "first" and "last" refer to.
        target: the new store.
        keep: which of two different scores of one key goes into the new store, one of :data:`KEEP`; None refuses them.

    Returns:
        How many scores were read, written and dropped.

    Raises:
        StoreError: a source is no store, the target exists or cannot be written, or scores differ and ``keep`` is None. Then the message
            names the first of them, and says how many there are.
    """
    target = Path(target)
    if keep is not None:
        choose("score to keep", keep, KEEP, error=StoreError)
    if not sources:
        raise StoreError("no store to merge: give one or more files that `jknas score --db` wrote.")
    if target.exists():
        raise StoreError(f"{target} exists already: give the name of a new file; to add to a store, name it among those to merge.")
    for source in sources:
        Store.existing(source).close()  # refuse a bad file before hours of others are copied
    partial = target.with_name(target.name + ".part")
    _remove(partial)
    try:
        with Store(partial) as store:
            merged = _into(store, list(map(str, sources)), keep)
        if merged.different and keep is None:
            more = f", and {merged.different - 1} more scores differ" if merged.different > 1 else ""
            raise StoreError(
                f"the stores differ: {merged.example}{more}. Nothing was written; choose by --keep first or --keep last which scores stay."
            )
        partial.replace(target)
    finally:
        _remove(partial)
    return merged


def _into(store: Store, sources: Sequence[str], keep: str | None) -> Merged:
    merged = Merged({})
    for place, source in enumerate(sources):
        with Store.existing(source) as opened:
            records, read = opened.records(), 0
            while block := list(itertools.islice(records, _ROWS_AT_ONCE)):
                there = store.get_many(record.key for record in block)
                again = [record for record in block if record.key in there]
                different = [record for record in again if not same(there[record.key], record)]
                if different and merged.example is None:
                    first, other = there[different[0].key], different[0]
                    merged = replace(merged, example=Difference(other.key, (first, _home(first, sources[:place])), (other, source)))
                added = store.put_many(record for record in block if record.key not in there)
                if keep == "last":
                    store.put_many(different, replace=True)
                equal, count = merged.equal + len(again) - len(different), merged.different + len(different)
                merged, read = replace(merged, written=merged.written + added, equal=equal, different=count), read + len(block)
        merged = replace(merged, read={**merged.read, source: merged.read.get(source, 0) + read})
    return merged


def _home(record: ScoreRecord, sources: Sequence[str]) -> str:
    """Return the last of some stores that holds this very score."""
    for source in reversed(sources):
        with Store.existing(source) as opened:
            found = opened.get(record.key)
        if found is not None and same(found, record):
            return source
    raise StoreError(f"{', '.join(sources)} changed while they were merged: merge them again when nothing writes into them.")


def same(one: ScoreRecord, other: ScoreRecord) -> bool:
    """Return whether two scores have the same status and the same number; NaN is the same as NaN."""
    return one.status == other.status and (one.score == other.score or (math.isnan(one.score) and math.isnan(other.score)))


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
