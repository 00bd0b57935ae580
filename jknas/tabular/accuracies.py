"""Anyone's own table of trained accuracies, for any search space.

A CSV file with one row per architecture: a column ``genotype``, in the text form that the space parses, and any number of other columns.
"""

import csv
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
        rows: the fields of each architecture by column, as text.
    """

    name: str
    space: str
    columns: tuple[str, ...]
    rows: Mapping[Any, Mapping[str, str]]

    def genotypes(self) -> tuple[Any, ...]:
        """Return the architectures, in the order of the file."""
        return tuple(self.rows)

    def target(self, column: str | None) -> str:
        """Return a column that exists; without a name, the only one.

        Raises:
            TabularError: no such column, or no name although there are several.
        """
        if column is not None:
            return choose(f"column of {self.name}", column, self.columns, error=TabularError)
        if len(self.columns) > 1:
            raise TabularError(f"{self.name} has the columns {', '.join(self.columns)}: say which of them holds the accuracies.")
        return self.columns[0]

    def values(self, genotypes: Sequence[Any], column: str) -> Float[np.ndarray, " n"]:
        """Return the numbers of one column for some architectures.

        Raises:
            TabularError: no such column, an architecture without a row, or a field that is not a finite number.
        """
        self.target(column)
        return np.array([self._number(genotype, column) for genotype in genotypes], np.float64)

    def _number(self, genotype: Any, column: str) -> float:
        if genotype not in self.rows:
            raise TabularError(f"{self.name} has no row for {genotype}; it holds {len(self.rows):,} architectures.")
        text = self.rows[genotype][column]
        try:
            number = float(text)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise TabularError(f"{self.name}, column {column!r}: {text!r} is not a finite number (row of {genotype}).")
        return number


def read_accuracies(path: str | os.PathLike[str], space: Space[Any]) -> AccuracyTable:
    """Read a CSV file of accuracies.

    Args:
        path: UTF-8 text; the first line names the columns, one of which is ``genotype``.
        space: the search space that its genotypes belong to.

    Raises:
        TabularError: the file cannot be read, has no column ``genotype`` or no other column, no row or two rows for one architecture, or a
            genotype that is not one of the space.
    """
    place = Path(path)
    try:
        with place.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restkey="")
            columns, rows = tuple(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TabularError(f"{place}: cannot be read as a CSV file ({error}); expected UTF-8 text with a line of column names.") from error
    others = tuple(name for name in columns if name != GENOTYPE)
    if len(others) != len(columns) - 1 or not others or len(set(others)) < len(others):
        shown = ", ".join(columns)[:200] or "missing"
        raise TabularError(f"{place}: the columns are {shown}; expected one named {GENOTYPE!r} and one or more others, each name once.")
    found: dict[Any, Mapping[str, str]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            genotype = space.parse(row[GENOTYPE] or "")
        except JknasError as error:
            raise TabularError(f"{place}, row {number}: not a genotype of the space {space.name!r}: {error}") from error
        if genotype in found:
            raise TabularError(f"{place}, row {number}: a second row for {genotype}; expected one row per architecture.")
        found[genotype] = row
    if not found:
        raise TabularError(f"{place}: no rows; expected one row per architecture.")
    return AccuracyTable(place.name, space.name, others, found)
