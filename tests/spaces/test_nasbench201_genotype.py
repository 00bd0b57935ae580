"""The cell genotype: exact round trips, and errors that teach."""

import copy
import dataclasses
import pickle
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jknas.errors import GenotypeError
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype

TEXT = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"

codes = st.tuples(*[st.integers(0, 4)] * 6)
pieces = st.sampled_from(
    [*OPERATIONS, "|", "~", "+", "0", "1", "2", "3", "-1", "²", "\u0660", "zero", " ", "\n", "\ud800", "", "|none~0|", "none~1|"]
)
relaxed = settings(deadline=None)


def edited(text: str, place: int, insert: str, drop: int) -> str:
    place %= len(text) + 1
    return text[:place] + insert + text[place + drop :]


def test_parse_reads_edges_in_order():
    cell = CellGenotype.parse(TEXT)
    assert cell.operations == ("nor_conv_3x3", "nor_conv_3x3", "avg_pool_3x3", "skip_connect", "nor_conv_1x1", "none")
    assert cell.code == (3, 3, 4, 1, 2, 0)
    assert str(cell) == TEXT
    assert EDGES == ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))


@relaxed
@given(codes)
def test_round_trips(code):
    cell = CellGenotype.from_code(code)
    assert cell.code == code
    assert CellGenotype.parse(str(cell)) == cell
    assert str(CellGenotype.parse(str(cell))) == str(cell)
    assert CellGenotype(cell.operations) == cell
    assert pickle.loads(pickle.dumps(cell)) == copy.deepcopy(cell) == cell


@relaxed
@given(codes, codes)
def test_equality_hash_and_order_follow_the_code(left, right):
    a, b = CellGenotype.from_code(left), CellGenotype.from_code(right)
    assert (a == b) == (left == right)
    assert (a < b) == (left < right)
    assert (a >= b) == (left >= right)
    assert len({a, b}) == len({left, right})


def test_order_with_another_type_is_refused():
    with pytest.raises(TypeError):
        CellGenotype.parse(TEXT) < TEXT  # noqa: B015


@pytest.mark.parametrize("kind", [list, tuple, np.array, iter, lambda code: np.array(code, np.uint8), lambda code: map(np.int64, code)])
def test_from_code_takes_any_integer_sequence(kind):
    cell = CellGenotype.from_code(kind([3, 3, 4, 1, 2, 0]))
    assert str(cell) == TEXT
    assert all(type(digit) is int for digit in cell.code)


def test_the_value_cannot_change():
    cell = CellGenotype.parse(TEXT)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cell.operations = ("none",) * 6
    names = list(cell.operations)
    from_list = CellGenotype(names)
    names[0] = "none"
    assert from_list == cell
    assert hash(from_list) == hash(cell)
    assert all(type(name) is str for name in CellGenotype(tuple(np.array(cell.operations))).operations)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["empty string", FORM, "file or argument"]),
        ("|none~0|", ["1 group separated", "a cell has 3"]),
        (TEXT + "+|none~0|none~1|none~2|none~3|", ["4 groups", "a cell has 3"]),
        (TEXT.replace("+", "-"), ["1 group"]),
        (TEXT.replace("|", "/"), ["group of node 1, '/nor_conv_3x3~0/', does not start and end with '|'"]),
        (TEXT[:-1], ["group of node 3", "does not start and end with '|'"]),
        (TEXT.replace("~0", ":0", 1), ["'nor_conv_3x3:0' in the group of node 1", "as in 'skip_connect~0'"]),
        (TEXT.replace("~0", "~0~0", 1), ["'nor_conv_3x3~0~0'"]),
        (TEXT.replace("|+|", "||+|", 1), ["'' in the group of node 1"]),
        ("+" + TEXT, ["4 groups"]),
        ("|+|none~0|none~1|+|none~0|none~1|none~2|", ["group of node 1, '|',"]),
        (
            TEXT.replace("avg_pool", "avg_pol"),
            ["Unknown operation 'avg_pol_3x3' on edge 2<-1", "Did you mean 'avg_pool_3x3'?", ", ".join(OPERATIONS)],
        ),
        (TEXT.replace("nor_conv_1x1", "conv_1x1"), ["Unknown operation 'conv_1x1' on edge 3<-1", "Did you mean 'nor_conv_1x1'?"]),
        (TEXT.replace("none", "zero"), ["Unknown operation 'zero' on edge 3<-2", "expected one of none"]),
        (TEXT.replace("none", "NONE"), ["Unknown operation 'NONE'"]),
        (TEXT.replace("none~2", "~2"), ["Unknown operation '' on edge 3<-2"]),
        (TEXT.replace("~0|+", "~1|+", 1), ["'nor_conv_3x3~1' takes its input from '1'", "node 1 can take input from node 0 only"]),
        (TEXT.replace("none~2", "none~3"), ["from '3'", "node 3 can take input from nodes 0 to 2 only"]),
        (TEXT.replace("none~2", "none~-1"), ["from '-1'"]),
        (TEXT.replace("none~2", "none~02"), ["from '02'"]),
        (TEXT.replace("none~2", "none~²"), ["from '²'"]),
        (TEXT.replace("none~2", "none~\u0662"), ["from '\u0662'"]),
        (TEXT.replace("avg_pool_3x3~1", "avg_pool_3x3~0"), ["edge 2<-0 is given twice", "Keep one"]),
        (TEXT.replace("|none~2", "|none~2|none~2"), ["edge 3<-2 is given twice"]),
        (TEXT.replace("|none~2", ""), ["node 3 has 2 incoming edges, and 3 expected", "Write 'none'"]),
        ("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", ["edges of node 2 come in the order 1, 0", "Sort them by source node"]),
        (TEXT + "\n", ["white space", "Strip it first"]),
        (TEXT.replace("+", " + "), ["does not start and end with '|'"]),
        (TEXT * 10**5, ["characters long", "one architecture at a time"]),
        ("|" * 150, ["1 group"]),
        ("|\ud800~0|+|none~0|none~1|+|none~0|none~1|none~2|", ["Unknown operation '\\ud800'"]),
    ],
    ids=map(str, count()),
)
def test_malformed_strings_are_explained(text, says):
    with pytest.raises(GenotypeError) as caught:
        CellGenotype.parse(text)
    message = str(caught.value)
    for phrase in says:
        assert phrase in message
    assert "expected" in message or FORM in message
    assert len(message) < 600
    message.encode()


@pytest.mark.parametrize("value", [None, 3, 2.5, TEXT.encode(), bytearray(b"x"), [TEXT], np.zeros(6, int), CellGenotype.parse(TEXT)])
def test_other_types_are_explained(value):
    with pytest.raises(GenotypeError, match=f"is a {type(value).__name__}; expected a string") as caught:
        CellGenotype.parse(value)
    assert ("decode" in str(caught.value)) == isinstance(value, (bytes, bytearray))


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ([], "has 0 entries"),
        ([0] * 5, "has 5 entries"),
        (range(10**9), "more than 6 entries"),
        (np.zeros((3, 6), int), "has 3 entries"),
        (np.zeros((6, 6), int), "a ndarray on edge 1<-0"),
        ([0, 0, 0, 0, 0, 5], "has 5 on edge 3<-2"),
        ([0, -1, 0, 0, 0, 0], "has -1 on edge 2<-0"),
        ([0, 0, 10**5000, 0, 0, 0], "an integer of 16610 bits on edge 2<-1"),
        ([0.0] * 6, "a float on edge 1<-0"),
        (np.zeros(6), "a float64 on edge 1<-0"),
        ([True] * 6, "a bool on edge 1<-0"),
        (np.ones(6, bool), "a bool"),
        ([None] * 6, "a NoneType on edge 1<-0"),
        ("012340", "is a str.*use CellGenotype.parse"),
        (b"\0\0\0\0\0\0", "is a bytes"),
        (7, "is a int"),
        (None, "is a NoneType"),
        (np.array(3), "is a ndarray"),
        ({0, 1, 2, 3, 4}, "is a set"),
        (dict.fromkeys(range(6)), "is a dict"),
    ],
    ids=map(str, count()),
)
def test_wrong_codes_are_explained(code, says):
    with pytest.raises(GenotypeError, match=says) as caught:
        CellGenotype.from_code(code)
    assert "expected six integers in 0..4" in str(caught.value)


@pytest.mark.parametrize(
    ("operations", "says"),
    [
        (TEXT, "is a str.*use CellGenotype.parse"),
        (None, "is a NoneType"),
        ((), "0 operations given; expected 6"),
        (("none",) * 7, "7 operations given; expected 6"),
        (("none",) * 5 + ("skip_conect",), "'skip_conect' on edge 3<-2.*Did you mean 'skip_connect'"),
        ((3,) * 6, "operation of type int on edge 1<-0"),
        (("none",) * 5 + ("n" * 10**6,), "1000000 characters"),
        ((["none"],) * 6, "operation of type list"),
    ],
    ids=map(str, count()),
)
def test_wrong_operations_are_explained(operations, says):
    with pytest.raises(GenotypeError, match=says) as caught:
        CellGenotype(operations)
    assert len(str(caught.value)) < 400


def accepted_or_explained(text):
    try:
        cell = CellGenotype.parse(text)
    except GenotypeError:
        return
    assert str(cell) == text


@relaxed
@given(
    st.one_of(st.text(), st.text(alphabet="|+~012ensk_"), st.lists(pieces, max_size=40).map("".join), st.none(), st.binary(), st.floats())
)
def test_nothing_but_a_genotype_error_comes_from_any_input(text):
    accepted_or_explained(text)


@relaxed
@given(codes, st.integers(0, 10**6), st.one_of(pieces, st.text(max_size=3)), st.integers(0, 5))
def test_nothing_but_a_genotype_error_comes_from_an_edited_string(code, place, insert, drop):
    accepted_or_explained(edited(str(CellGenotype.from_code(code)), place, insert, drop))


@relaxed
@given(st.lists(st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.none()), max_size=9))
def test_nothing_but_a_genotype_error_comes_from_any_code(code):
    try:
        cell = CellGenotype.from_code(code)
    except GenotypeError:
        assert len(code) != 6 or not all(type(digit) is int and 0 <= digit <= 4 for digit in code)
    else:
        assert cell.code == tuple(code)
