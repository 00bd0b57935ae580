"""The DARTS genotype: exact round trips of the released text, integer codes, and errors that teach."""

import copy
import dataclasses
import pickle
from itertools import chain, count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jknas.errors import GenotypeError
from jknas.spaces.darts import DARTS
from jknas.spaces.darts.genotype import EDGES, NAMED, NODES, OPERATIONS, DartsGenotype

# As printed by the released code, spelled out here once more.
V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), "
    "('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
V2_CODE = (4, 4, 4, 4, 0, 3, 4, 0, 0, 3, 0, 6, 0, 0, 1, 1, 0, 1, 3, 1, 0, 3, 0, 0, 1, 3, 0, 0)
FORM = "Genotype(normal=[('sep_conv_3x3', 0), ...]"


def cells():
    """Eight pairs, the sources of a node in any order."""

    def inputs(node):
        sources = st.permutations(range(node)).map(lambda order: order[:2])
        names = st.tuples(*[st.sampled_from(OPERATIONS[1:])] * 2)
        return st.tuples(names, sources).map(lambda drawn: list(zip(*drawn, strict=True)))

    return st.tuples(*map(inputs, NODES)).map(lambda nodes: tuple(chain(*nodes)))


genotypes = st.builds(DartsGenotype, cells(), cells())


def nested(genotype: DartsGenotype) -> str:
    normal, reduce = ([list(cell[place : place + 2]) for place in range(0, 8, 2)] for cell in (genotype.normal, genotype.reduce))
    return f"Genotype(normal={normal}, normal_concat=range(2, 6), reduce={reduce}, reduce_concat=range(2, 6))"


def test_parse_keeps_the_published_order():
    genotype = DartsGenotype.parse(V2)
    assert genotype == NAMED["DARTS_V2"]
    assert genotype.normal[4:6] == (("sep_conv_3x3", 1), ("skip_connect", 0))
    assert genotype.code == V2_CODE
    assert str(genotype) == V2


def test_the_edges_and_operations():
    assert EDGES[:5] == ((2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
    assert EDGES[-1] == (5, 4)
    assert len(EDGES) == 14
    assert OPERATIONS[0] == "none"
    assert len(OPERATIONS) == 8


@given(genotypes)
def test_round_trips(genotype):
    text = str(genotype)
    assert DartsGenotype.parse(text) == genotype
    assert str(DartsGenotype.parse(text)) == text
    assert DartsGenotype.parse(nested(genotype)) == genotype
    ordered = DartsGenotype.from_code(genotype.code)
    assert ordered.code == genotype.code
    assert [sorted(ordered.normal[i : i + 2]) for i in range(0, 8, 2)] == [sorted(genotype.normal[i : i + 2]) for i in range(0, 8, 2)]
    assert all(first[1] < second[1] for first, second in zip(ordered.reduce[::2], ordered.reduce[1::2], strict=True))
    assert pickle.loads(pickle.dumps(genotype)) == copy.deepcopy(genotype) == genotype


@given(genotypes, genotypes)
def test_equality_is_of_texts_and_order_of_codes(left, right):
    assert (left == right) == (str(left) == str(right))
    assert len({left, right}) == len({str(left), str(right)})
    if left.code != right.code:
        assert (left < right) == (left.code < right.code)
    assert (left < right) + (left == right) + (left > right) == 1


def test_pair_order_makes_another_value_with_the_same_code():
    first, second = NAMED["DARTS_V2"].normal[:2]
    swapped = dataclasses.replace(NAMED["DARTS_V2"], normal=(second, first, *NAMED["DARTS_V2"].normal[2:]))
    assert swapped != NAMED["DARTS_V2"]
    assert swapped.code == V2_CODE
    assert (swapped < NAMED["DARTS_V2"]) != (NAMED["DARTS_V2"] < swapped)
    with pytest.raises(TypeError):
        swapped < V2  # noqa: B015


@pytest.mark.parametrize(
    "text",
    [
        V2.replace("[2, 3, 4, 5]", "range(2, 6)"),
        V2.replace("'", '"'),
        "\n  " + V2.replace(", (", ",\n      (").replace("=", " = ") + "\n",
        V2.replace("2)]", "2),]").replace("5])", "5,],)"),
        V2.replace(" ", ""),
        nested(DartsGenotype.parse(V2)),
    ],
    ids=map(str, count()),
)
def test_other_spellings(text):
    assert DartsGenotype.parse(text) == NAMED["DARTS_V2"]


def test_the_value_cannot_change():
    genotype = NAMED["DARTS_V1"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        genotype.normal = genotype.reduce
    lists = [list(pair) for pair in genotype.normal]
    made = DartsGenotype(lists, np.array(genotype.reduce, dtype=object).tolist())
    lists[0][0] = "skip_connect"
    assert made == genotype
    assert hash(made) == hash(genotype)
    made = DartsGenotype(tuple((np.str_(name), np.int64(source)) for name, source in genotype.normal), genotype.reduce)
    assert all(type(name) is str and type(source) is int for name, source in made.normal)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["empty string", FORM, "file or argument"]),
        ("DARTS_V2", ["expected 'Genotype(', then its four named fields", FORM]),
        ("__import__('os')", ["expected 'Genotype('"]),
        (V2[:-1], ["'(' was never closed, near character 9"]),
        (V2 + ")", ["unmatched ')', near character 419"]),
        (V2.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', 0, 1)", 1), ["An input of node 2 of normal is 3 entries; expected a pair"]),
        (V2.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3')", 1), ["An input of node 2 of normal is a str; expected a pair"]),
        (
            V2.replace("('sep_conv_3x3', 0)", "(sep_conv_3x3, 0)", 1),
            ["normal is no list of pairs of a quoted operation and the number of its source node"],
        ),
        (
            V2.replace("('sep_conv_3x3', 0)", "('sep_conv_3x3', '0')", 1),
            ["An input of node 2 of normal has a str for its source"],
        ),
        (V2.replace(", 0)", ", -1)", 1), ["'-' has no meaning there"]),
        (V2.replace(", 0)", ", 0.5)", 1), ["'.' has no meaning there"]),
        (V2.replace(", 0)", ", 07)", 1), ["leading zeros in decimal integer literals"]),
        (V2.replace("sep", "s\\x65p", 1), ["has no meaning there"]),
        (V2.replace("normal_concat", "concat"), ["expected the fields normal, normal_concat, reduce, reduce_concat, found normal, concat"]),
        (V2.replace("normal=", "reduce=", 1), ["expected the fields normal, normal_concat,"]),
        (V2.replace("[2, 3, 4, 5]", "[2, 3, 4]", 1), ["normal_concat is another list of nodes than 2, 3, 4, 5"]),
        (V2.replace("[2, 3, 4, 5]", "[5, 4, 3, 2]"), ["normal_concat is another list"]),
        (V2.replace("reduce_concat=[2, 3, 4, 5]", "reduce_concat=range(2, 7)"), ["reduce_concat is another list"]),
        (V2.replace("[2, 3, 4, 5]", "list(range(2, 6))", 1), ["normal_concat is another list"]),
        (nested(NAMED["DARTS_V2"]).replace("('sep_conv_3x3', 0), ", "", 1), ["a group of 1 in normal, and a node has 2 pairs"]),
        (V2.replace("('sep_conv_3x3', 0), ", "", 1), ["normal has 7 entries; expected eight pairs"]),
        (V2.replace("sep_conv_3x3", "sep_conv_3", 1), ["'sep_conv_3'", "input of node 2 of normal", "Did you mean 'sep_conv_3x3'?"]),
        (V2.replace("dil_conv_3x3", "none"), ["An input of node 5 of normal has the operation 'none'", "No input is absent"]),
        (V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)"), ["node 5 of normal comes from node 5; expected an earlier node, 0..4"]),
        (
            V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 0)"),
            ["Node 5 of normal takes both of its inputs from node 0", "double edge"],
        ),
        (V2 * 10, ["4180 characters long", "one genotype at a time"]),
        ("[" * 3000, ["(3000 characters): too many nested parentheses"]),
    ],
    ids=map(str, count()),
)
def test_malformed_texts_are_explained(text, says):
    with pytest.raises(GenotypeError) as caught:
        DartsGenotype.parse(text)
    for phrase in says:
        assert phrase in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("value", [None, 3, V2.encode(), [V2], NAMED["DARTS_V2"]])
def test_other_types_are_explained(value):
    with pytest.raises(GenotypeError, match=f"is a {type(value).__name__}; expected a string") as caught:
        DartsGenotype.parse(value)
    assert ("decode" in str(caught.value)) == isinstance(value, bytes)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (V2_CODE[:14], "has 14 entries"),
        ((*V2_CODE, 0), "has more than 28 entries"),
        (range(10**9), "more than 28 entries"),
        ((8, *V2_CODE[1:]), "has 8 on normal edge 2<-0"),
        ((*V2_CODE[:-1], -1), "has -1 on reduction edge 5<-4"),
        (np.zeros(28), "a float64 on normal edge 2<-0"),
        ([True] * 28, "a bool on normal edge 2<-0"),
        (V2, "is a str.*use DartsGenotype.parse"),
        (None, "is a NoneType"),
    ],
    ids=map(str, count()),
)
def test_wrong_codes_are_explained(code, says):
    with pytest.raises(GenotypeError, match=says) as caught:
        DartsGenotype.from_code(code)
    assert "expected 28 integers in 0..7" in str(caught.value)


@pytest.mark.parametrize(
    ("place", "digit", "says"),
    [
        (0, 0, "node 2 of normal 1 input; expected two"),
        (4, 1, "node 3 of normal 3 inputs; expected two"),
        (27, 1, "node 5 of reduce 3 inputs"),
    ],
)
def test_codes_with_another_number_of_inputs_are_explained(place, digit, says):
    code = list(V2_CODE)
    code[place] = digit
    with pytest.raises(GenotypeError, match=f"{says}.*Write 0 on every other edge of the node"):
        DartsGenotype.from_code(code)


@pytest.mark.parametrize(
    ("normal", "says"),
    [
        (V2, "normal is a str.*use DartsGenotype.parse"),
        ((), "normal has 0 entries; expected eight pairs"),
        (("skip_connect",) * 8, "An input of node 2 of normal is a str; expected a pair"),
        ((("skip_connect", 0, 1),) * 8, "is 3 entries; expected a pair"),
        ((("skip_connect", True),) * 8, "has a bool for its source; expected an integer in 0..1"),
        ((("skip_connect", 10**5000),) * 8, "from node an integer of 16610 bits"),
        (((3, 0),) * 8, "Unknown operation at an input of node 2 of normal: of type int"),
    ],
    ids=map(str, count()),
)
def test_wrong_pairs_are_explained(normal, says):
    with pytest.raises(GenotypeError, match=says) as caught:
        DartsGenotype(normal, NAMED["DARTS_V2"].reduce)
    assert len(str(caught.value)) < 400


pieces = st.sampled_from(
    [
        "Genotype",
        "(",
        ")",
        "[",
        "]",
        ",",
        "=",
        "normal",
        "reduce_concat",
        "range",
        "2",
        "6",
        "'none'",
        '"skip_connect"',
        "'",
        " ",
        "\n",
        "²",
    ]
)


def accepted_or_explained(text):
    try:
        genotype = DartsGenotype.parse(text)
    except GenotypeError:
        return
    assert DartsGenotype.parse(str(genotype)) == genotype
    assert "".join(text.replace('"', "'").split()).startswith("Genotype(normal=[")


@given(st.one_of(st.text(), st.lists(pieces, max_size=40).map("".join), st.none(), st.binary(), st.floats()))
def test_nothing_but_a_genotype_error_comes_from_any_input(text):
    accepted_or_explained(text)


@given(st.integers(0, len(V2)), st.one_of(pieces, st.text(max_size=3)), st.integers(0, 5))
def test_nothing_but_a_genotype_error_comes_from_an_edited_text(place, insert, drop):
    accepted_or_explained(V2[:place] + insert + V2[place + drop :])


def test_named_genotypes():
    assert set(NAMED) == {"DARTS_V1", "DARTS_V2", "TENAS_cifar10", "TENAS_imagenet"}
    assert len({genotype.code for genotype in NAMED.values()}) == 4
    with pytest.raises(TypeError):
        NAMED["mine"] = NAMED["DARTS_V2"]


def test_the_nested_text_of_random_genotypes():
    drawn = DARTS.sample(np.random.default_rng(0), 214, unique=True)
    texts = [nested(genotype) for genotype in drawn]
    assert [DartsGenotype.parse(text) for text in texts] == list(drawn)
    assert len(set(texts)) == 214
