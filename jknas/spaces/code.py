"""Read the integer code of a genotype: one digit, the place of an operation, for each edge."""

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import islice
from typing import Any, SupportsIndex

from jknas.errors import JknasError


@functools.total_ordering
class Ordered:
    """A genotype that is ordered by its code."""

    def _order(self: Any) -> tuple[Any, ...]:
        """Return what genotypes are compared by; it is equal where they are."""
        return self.code

    def __lt__(self, other: object) -> bool:
        return self._order() < other._order() if isinstance(other, type(self)) else NotImplemented


def read_digits(
    code: Iterable[SupportsIndex],
    *,
    places: Sequence[str],
    operations: Sequence[str],
    expected: str,
    parser: str,
    error: type[JknasError],
) -> tuple[int, ...]:
    """Return the digits of a code as Python integers.

    Args:
        code: integers, one for each place: a list, a tuple, or a one-dimensional integer array.
        places: what each digit stands for, for the message ("edge 1<-0").
        operations: the operations; a digit is smaller than their number.
        expected: what a code looks like, for the message ("expected six integers in 0..4, one for each edge").
        parser: the function that reads a genotype's text, for those who pass a text here.
        error: what to raise.

    Returns:
        The digits, as many as there are places.

    Raises:
        ValueError: an ``error``: another type, another number of entries, or an entry that is no integer or out of range.
    """
    if isinstance(code, (str, bytes, Set, Mapping)):
        hint = f" To read an architecture string, use {parser}." if isinstance(code, str) else ""
        raise error(f"The code is a {type(code).__name__}; {expected}.{hint}")
    try:
        items = list(islice(iter(code), len(places) + 1))
    except TypeError:
        raise error(f"The code is a {type(code).__name__}; {expected}. Pass a list, a tuple or a 1-D array.") from None
    if len(items) != len(places):
        found = f"more than {len(places)}" if len(items) > len(places) else str(len(items))
        raise error(f"The code has {found} entries; {expected}. Index one row if the array holds several codes.")
    digits = []
    for item, place in zip(items, places, strict=True):
        digit = as_integer(item)
        if digit is None:
            raise error(f"The code has a {type(item).__name__} on {place}; {expected}. Convert it to integers, or index one row.")
        if not 0 <= digit < len(operations):
            shown = str(digit) if digit.bit_length() < 64 else f"an integer of {digit.bit_length()} bits"
            choices = ", ".join(f"{number} {name}" for number, name in enumerate(operations))
            raise error(f"The code has {shown} on {place}; {expected}: {choices}.")
        digits.append(digit)
    return tuple(digits)


def as_integer(item: Any) -> int | None:
    """Return an item as a Python integer; None for booleans, floats, text and arrays."""
    if isinstance(item, bool):
        return None
    try:
        return operator.index(item)
    except TypeError:
        return None
