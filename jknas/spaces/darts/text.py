"""The text of a DARTS genotype: the grammar of the released ``Genotype(normal=[...], ...)``, read and written without evaluating anything.

The released code keeps architectures as Python source, and others print them slightly differently. What is read here:

* pairs one after the other, ``[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ...]``, or grouped by node, ``[[(...), (...)], ...]``;
* the concatenated nodes as ``[2, 3, 4, 5]`` or ``range(2, 6)``;
* single or double quotes, any white space between the tokens, a comma before a closing bracket.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from jknas.errors import GenotypeError

__all__ = ["CONCAT", "Pair", "read", "write"]

Pair = tuple[str, int]
"""An input of a node: the operation, and the node that it is applied to."""

CONCAT = (2, 3, 4, 5)
"""The nodes whose concatenation is the output of a cell."""

_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_FORM = "Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], reduce=[...], reduce_concat=[2, 3, 4, 5])"
_LONGEST = 4000  # on one line every genotype has 418 characters, nested up to 450; the rest is room for indentation
_TOKEN = re.compile(
    r"""
    (?P<word> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<text> '[^'"\\\n]*' | "[^'"\\\n]*" )
    | (?P<number> (?: 0 | [1-9][0-9]{0,8} ) (?![A-Za-z0-9_.]) )
    | (?P<sign> [][(),=] )
    """,
    re.VERBOSE,
)
_SPACE = re.compile(r"[ \t\r\n]*")


def read(text: str) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Read the pairs of the normal and of the reduction cell. Their number and their values are not judged here.

    Args:
        text: the genotype as the released code prints it, or in one of the forms of the module's docstring.

    Returns:
        The pairs of the normal cell and those of the reduction cell, in the order of the text.

    Raises:
        GenotypeError: anything else; the message names the first place that is wrong.
    """
    if not isinstance(text, str):
        hint = " Decode the bytes first, with .decode()." if isinstance(text, (bytes, bytearray)) else " Pass the genotype's text."
        raise GenotypeError(f"The genotype is a {type(text).__name__}; expected a string of the form {_FORM}.{hint}")
    if not text.strip():
        raise GenotypeError(f"The genotype is an empty string; expected the form {_FORM}. Check the file or argument it came from.")
    if len(text) > _LONGEST:
        raise GenotypeError(
            f"Cannot read the genotype {text[:40]!r}...: it is {len(text)} characters long, and no genotype needs more than {_LONGEST}. "
            f"Pass one genotype at a time. The form is {_FORM}."
        )
    return _Reader(text).genotype()


def write(normal: tuple[Pair, ...], reduce: tuple[Pair, ...]) -> str:
    """Write a genotype as the released code keeps it, on one line."""
    return f"Genotype(normal={list(normal)}, normal_concat={list(CONCAT)}, reduce={list(reduce)}, reduce_concat={list(CONCAT)})"


class _Token(NamedTuple):
    kind: str  # word, text, number, sign, end
    content: str
    place: int  # counted from 1


class _Reader:
    """Recursive descent over the tokens; every method reads what its name says, or refuses."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._next = 0

    def _split(self) -> list[_Token]:
        tokens = []
        place = _SPACE.match(self._text).end()  # type: ignore[union-attr]  # matches the empty string
        while place < len(self._text):
            match = _TOKEN.match(self._text, place)
            if match is None:
                self._refuse(place + 1, f"{self._text[place]!r} has no meaning there")
            tokens.append(_Token(str(match.lastgroup), match.group(), place + 1))
            place = _SPACE.match(self._text, match.end()).end()  # type: ignore[union-attr]
        return [*tokens, _Token("end", "the end", len(self._text) + 1)]

    def genotype(self) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
        self._expect("Genotype")
        self._expect("(")
        cells = []
        for field in _FIELDS:
            self._expect(field)
            self._expect("=")
            if field.endswith("_concat"):
                self._concat(field)
            else:
                cells.append(self._cell(field))
            if field != _FIELDS[-1]:
                self._expect(",")
        self._comma_or(")")
        self._expect(")")
        if self._token.kind != "end":
            self._refuse(self._token.place, f"expected the end, found {self._token.content!r}")
        return cells[0], cells[1]

    def _cell(self, field: str) -> tuple[Pair, ...]:
        self._expect("[")
        if self._token.content != "[":
            return self._pairs(field)
        pairs: list[Pair] = []
        while not self._closes("]"):
            place = self._token.place
            self._expect("[")
            node = self._pairs(field)
            if len(node) != 2:
                self._refuse(place, f"a group of {len(node)} in {field}, and a node has 2 pairs")
            pairs.extend(node)
            self._comma_or("]")
        return tuple(pairs)

    def _pairs(self, field: str) -> tuple[Pair, ...]:
        """``(operation, source), ...]``."""
        pairs: list[Pair] = []
        while not self._closes("]"):
            self._expect("(")
            name = self._take("text", f"the quoted name of an operation in {field}")[1:-1]
            self._expect(",")
            pairs.append((name, int(self._take("number", f"the number of the source node in {field}"))))
            self._comma_or(")")
            self._expect(")")
            self._comma_or("]")
        return tuple(pairs)

    def _concat(self, field: str) -> None:
        """``[2, 3, 4, 5]`` or ``range(2, 6)``."""
        place = self._token.place
        if is_range := self._token.content == "range":
            self._next += 1
        self._expect("(" if is_range else "[")
        closing = ")" if is_range else "]"
        numbers: list[int] = []
        while not self._closes(closing):
            numbers.append(int(self._take("number", f"a node in {field}")))
            self._comma_or(closing)
        if tuple(numbers) != ((2, 6) if is_range else CONCAT):
            self._refuse(place, f"{field} is another list of nodes than 2, 3, 4, 5: a cell of this space concatenates all its nodes")

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _expect(self, content: str) -> None:
        if self._token.content != content or self._token.kind not in ("word", "sign"):
            self._refuse(self._token.place, f"expected {content!r}, found {self._token.content[:40]!r}")
        self._next += 1

    def _take(self, kind: str, what: str) -> str:
        token = self._token
        if token.kind != kind:
            self._refuse(token.place, f"expected {what}, found {token.content[:40]!r}")
        self._next += 1
        return token.content

    def _closes(self, sign: str) -> bool:
        """Step over the closing bracket, if it comes."""
        closes = self._token.content == sign
        self._next += closes
        return closes

    def _comma_or(self, sign: str) -> None:
        """Step over a comma; without one, the closing bracket has to come."""
        if self._token.content == ",":
            self._next += 1
        elif self._token.content != sign:
            self._refuse(self._token.place, f"expected ',' or {sign!r}, found {self._token.content[:40]!r}")

    def _refuse(self, place: int, reason: str) -> NoReturn:
        shown = repr(self._text) if len(self._text) <= 80 else f"{self._text[:40]!r}... ({len(self._text)} characters)"
        raise GenotypeError(f"Cannot read the genotype {shown}: at character {place}, {reason}. The form is {_FORM}.")
