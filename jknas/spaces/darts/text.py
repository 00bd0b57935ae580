"""The text of a DARTS genotype: the released ``Genotype(normal=[...], ...)``, read as a literal and never evaluated.

The released code keeps architectures as Python source, and others print them slightly differently. These forms are read:

* pairs one after the other, ``[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ...]``, or grouped by node, ``[[(...), (...)], ...]``;
* the concatenated nodes as ``[2, 3, 4, 5]`` or ``range(2, 6)``;
* single or double quotes, any white space between the tokens, a comma before a closing bracket.
"""

import ast
import re
from typing import Any

from jknas.errors import GenotypeError, shown

Pair = tuple[str, int]
"""An input of a node: the operation, and the node that it is applied to."""

CONCAT = (2, 3, 4, 5)
"""The nodes whose concatenation is the output of a cell."""

_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
_FORM = "Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=[2, 3, 4, 5], reduce=[...], reduce_concat=[2, 3, 4, 5])"
_LONGEST = 4000  # on one line every genotype has 418 characters, nested up to 450; the rest is room for indentation
_FOREIGN = re.compile(r"[^A-Za-z0-9_'\"()\[\],= \t\r\n]")


def read(text: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Read the pairs of the normal and of the reduction cell. :class:`DartsGenotype` checks their number and their values.

    Args:
        text: the genotype as the released code prints it, or in one of the forms above.

    Returns:
        The pairs of the normal cell and those of the reduction cell, in the order of the text.

    Raises:
        GenotypeError: any other text; the message says what is wrong with it.
    """
    if not isinstance(text, str):
        hint = " Decode the bytes first, with .decode()." if isinstance(text, (bytes, bytearray)) else " Pass the genotype's text."
        raise GenotypeError(f"The genotype is a {type(text).__name__}; expected a string of the form {_FORM}.{hint}")
    if not text.strip():
        raise GenotypeError(f"The genotype is an empty string; expected the form {_FORM}. Check the file or argument it came from.")
    if len(text) > _LONGEST:
        raise _malformed(text, f"it is {len(text)} characters long; no genotype needs more than {_LONGEST}. Pass one genotype at a time")
    if foreign := _FOREIGN.search(text):
        raise _malformed(text, f"at character {foreign.start() + 1}, {foreign.group()!r} has no meaning there")
    try:
        call = ast.parse(" ".join(text.split()), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise _malformed(
            text, f"{getattr(error, 'msg', None) or 'it is nested too deeply'}, near character {getattr(error, 'offset', 1)}"
        ) from None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Genotype" and not call.args):
        raise _malformed(text, "expected 'Genotype(', then its four named fields")
    fields = {str(keyword.arg): keyword.value for keyword in call.keywords}
    if tuple(fields) != _FIELDS or len(call.keywords) != len(_FIELDS):
        raise _malformed(text, f"expected the fields {', '.join(_FIELDS)}, found {', '.join(fields) or 'none'}")
    for name in ("normal_concat", "reduce_concat"):
        if ast.unparse(fields[name]) not in (str(list(CONCAT)), "range(2, 6)"):
            raise _malformed(text, f"{name} is another list of nodes than 2, 3, 4, 5: a cell of this space concatenates all its nodes")
    return _pairs(text, "normal", fields["normal"]), _pairs(text, "reduce", fields["reduce"])


def write(normal: tuple[Pair, ...], reduce: tuple[Pair, ...]) -> str:
    """Write a genotype as the released code keeps it, on one line."""
    return f"Genotype(normal={list(normal)}, normal_concat={list(CONCAT)}, reduce={list(reduce)}, reduce_concat={list(CONCAT)})"


def _pairs(text: str, cell: str, value: ast.expr) -> tuple[Any, ...]:
    """Return the entries of a cell's list; of nested lists, those of all groups."""
    try:
        entries = ast.literal_eval(value)
    except (ValueError, TypeError, RecursionError):
        raise _malformed(text, f"{cell} is no list of pairs of a quoted operation and the number of its source node") from None
    if not isinstance(entries, list):
        raise _malformed(text, f"expected a list of pairs in {cell}, found a {type(entries).__name__}")
    if not any(isinstance(entry, list) for entry in entries):
        return tuple(entries)
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 2:
            size = len(entry) if isinstance(entry, list) else 1
            raise _malformed(text, f"a group of {size} in {cell}, and a node has 2 pairs")
    return tuple(pair for group in entries for pair in group)


def _malformed(text: str, reason: str) -> GenotypeError:
    return GenotypeError(f"Cannot read the genotype {shown(text, 80)}: {reason}. The form is {_FORM}.")
