"""Anyone's own table of trained accuracies, for any search space.

* A CSV file with one row per architecture: a column ``genotype``, in the text form that the space parses, and any number of other columns.
* A space's published benchmark, a JSON file with a list of entries, if the space reads them (``Space.from_record``). An architecture may
  have been trained several times: then it has several rows. Architectures of one canonical class are one network, such as encoders that
  differ in operators which were never trained; they keep their own rows, but one score serves all of them.
"""

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jknas.errors import JknasError, TabularError, choose
from jknas.spaces.space import Space

GENOTYPE = "genotype"


@dataclass(frozen=True, eq=False)
class AccuracyTable:
    """Numbers that are known about some architectures of a space; made by `read_accuracies`.

    Attributes:
        name: name of the file.
        space: name of the search space.
        columns: names of the columns, without that of the genotypes.
        rows: of each architecture its rows, mostly one: the fields by column, as text.
        one_per_class: whether architectures of one canonical class are one network, so that one score serves all of them.
    """

    name: str
    space: str
    columns: tuple[str, ...]
    rows: Mapping[Any, Sequence[Mapping[str, str]]]
    one_per_class: bool = False

    def genotypes(self) -> tuple[Any, ...]:
        """Return the architectures, each once, in the order of the file."""
        return tuple(self.rows)

    def trained(self, genotypes: Sequence[Any]) -> list[Any]:
        """Return architectures as often as they were trained, each time in a row: what :meth:`values` has numbers of.

        Raises:
            TabularError: an architecture without a row.
        """
        return [genotype for genotype in genotypes for _ in self._rows_of(genotype)]

    def target(self, column: str | None) -> str:
        """Return a column that exists; without a name, the only one.

        Raises:
            TabularError: no such column, or no name although there are several.
        """
        if column is not None:
            return choose(f"column of {self.name}", column, self.columns, error=TabularError)
        if len(self.columns) > 1:
            raise TabularError(f"{self.name} has the columns {', '.join(self.columns)}: say which of them holds the accuracies (--target).")
        return self.columns[0]

    def values(self, genotypes: Sequence[Any], column: str) -> Float[np.ndarray, " n"]:
        """Return the numbers of one column for some architectures: one for each row, which is one for each of :meth:`trained`.

        Raises:
            TabularError: no such column, an architecture without a row, or a field that is not a finite number.
        """
        self.target(column)
        return np.array([self._number(genotype, row, column) for genotype in genotypes for row in self._rows_of(genotype)], np.float64)

    def _rows_of(self, genotype: Any) -> Sequence[Mapping[str, str]]:
        if genotype not in self.rows:
            raise TabularError(f"{self.name} has no row for {genotype}; it holds {len(self.rows):,} architectures.")
        return self.rows[genotype]

    def _number(self, genotype: Any, row: Mapping[str, str], column: str) -> float:
        text = row[column]
        try:
            number = float(text)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise TabularError(f"{self.name}, column {column!r}: {text!r} is not a finite number (row of {genotype}).")
        return number


def read_accuracies(path: str | os.PathLike[str], space: Space[Any]) -> AccuracyTable:
    """Read a file of accuracies.

    Args:
        path: UTF-8 text. A CSV file, whose first line names the columns, one of them ``genotype``; or, if its name ends in ``.json``, the
            published benchmark of the space.
        space: the search space that its genotypes belong to.

    Raises:
        TabularError: the file cannot be read, has no column ``genotype`` or no other column, no row, two rows for one architecture (of a
            CSV file), or a genotype that is not one of the space; a JSON file for a space without a benchmark of that form.
    """
    place = Path(path)
    return _read_json(place, space) if place.suffix == ".json" else _read_csv(place, space)


def _read_json(place: Path, space: Space[Any]) -> AccuracyTable:
    if space.from_record is None:
        raise TabularError(f"{place}: the space {space.name!r} has no benchmark in JSON; expected a CSV file with a column {GENOTYPE!r}.")
    try:
        entries = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TabularError(f"{place}: cannot be read as JSON ({error}); expected the benchmark of {space.name}: get it again.") from error
    if not isinstance(entries, list) or not entries:
        raise TabularError(f"{place}: holds no list of entries; expected the benchmark of {space.name}: get it again.")
    found: dict[Any, list[Mapping[str, str]]] = {}
    columns: tuple[str, ...] = ()
    for number, entry in enumerate(entries):
        try:
            genotype, scores = space.from_record(entry)
        except JknasError as error:
            raise TabularError(f"{place}, entry {number}: {error}") from error
        columns = tuple(scores)
        found.setdefault(genotype, []).append({name: repr(score) for name, score in scores.items()})
    return AccuracyTable(place.name, space.name, columns, found, one_per_class=True)


def _read_csv(place: Path, space: Space[Any]) -> AccuracyTable:
    try:
        with place.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets begin a file with a mark
            reader = csv.DictReader(file, restkey="")
            columns, rows = tuple(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TabularError(f"{place}: cannot be read as a CSV file ({error}); expected UTF-8 text with a line of column names.") from error
    others = tuple(name for name in columns if name != GENOTYPE)
    if len(others) != len(columns) - 1 or not others or len(set(others)) < len(others):
        shown = ", ".join(columns)[:200] or "missing"
        raise TabularError(f"{place}: the columns are {shown}; expected one named {GENOTYPE!r} and one or more others, each name once.")
    found: dict[Any, tuple[Mapping[str, str], ...]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            genotype = space.parse(row[GENOTYPE] or "")
        except JknasError as error:
            raise TabularError(f"{place}, row {number}: not a genotype of the space {space.name!r}: {error}") from error
        if genotype in found:
            raise TabularError(f"{place}, row {number}: a second row for {genotype}; expected one row per architecture.")
        found[genotype] = (row,)
    if not found:
        raise TabularError(f"{place}: no rows; expected one row per architecture.")
    return AccuracyTable(place.name, space.name, others, found)
