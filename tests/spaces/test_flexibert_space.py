"""FlexiBERT's space: the benchmark's entries, texts, codes, classes as trained, moves, and sizes against the published shapes."""

import copy
import itertools

import flexibert_records
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jknas import spaces
from jknas.errors import GenotypeError, SpaceError
from jknas.spaces.flexibert import SPACE, EncoderLayer, FlexibertGenotype
from jknas.spaces.flexibert.cost import encoder_parameters
from jknas.spaces.flexibert.genotype import LAYERS, OPERATIONS

ENTRIES = flexibert_records.entries()
TEXT = "256:WMA-4-1024x3+DCT-2-512x3+SDP-4-512x3+SDP-4-1024x1"

layers = st.sampled_from(LAYERS)
genotypes = st.builds(FlexibertGenotype, st.sampled_from((128, 256)), st.one_of(st.tuples(*[layers] * 2), st.tuples(*[layers] * 4)))


def changed(number=0, *, layer=None, **scores):
    """An entry with other values."""
    entry = copy.deepcopy(ENTRIES[number])
    entry["scores"] |= scores
    entry["hparams"]["model_hparam_overrides"]["nas_config"]["encoder_layers"][1] |= layer or {}
    return entry


def test_it_is_a_registered_space():
    assert spaces.get("flexibert") is SPACE
    assert SPACE.size == 2 * (48**2 + 48**4) == 10_621_440
    assert (len(LAYERS), len(OPERATIONS)) == (48, 51)


# ---- the benchmark's entries


def test_entries_are_read():
    genotype, scores = SPACE.from_record(ENTRIES[0])
    assert str(genotype) == TEXT
    assert scores == {name: ENTRIES[0]["scores"][name] for name in scores}
    assert set(scores) == {"glue", "cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst", "sts"}
    assert SPACE.from_record(ENTRIES[60])[0] == SPACE.from_record(ENTRIES[222])[0], "trained twice"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ([], "the entry is not one of BERT_benchmark.json"),
        ({}, r"the entry is not one of BERT_benchmark.json \(KeyError: 'hparams'\): expected scores, and hparams"),
        (changed(glue=None), "the entry has the score glue = None; expected a finite number"),
        (changed(rte=float("nan")), "the entry has the score rte = nan; expected a finite number"),
        (changed(layer={"operation_parameter": "WMA"}), "the entry has an operation 'LT' with 'WMA'; expected SA with SDP or WMA, LT with"),
        (changed(layer={"num_operation_heads": 3}), "heads is 3; expected 2 or 4"),
        (changed(layer={"num_feed_forward": 2}), "feed_forwards is 2; expected 1 or 3"),
    ],
)
def test_entries_that_are_refused(entry, says):
    with pytest.raises(GenotypeError, match=says):
        SPACE.from_record(entry)


# ---- texts and codes


@given(genotypes)
def test_texts_and_codes_round_trip(genotype):
    assert SPACE.parse(str(genotype)) == genotype
    assert SPACE.from_code(genotype.code) == genotype
    assert SPACE.from_code(np.asarray(genotype.code)) == genotype


@given(genotypes, genotypes)
def test_they_are_in_the_order_of_their_codes(one, other):
    assert (one < other) == (one.code < other.code)


@pytest.mark.parametrize(
    "text",
    ["", "256", TEXT.replace(":", " "), TEXT + "+", TEXT.replace("x1", ""), "x:SDP-4-512x1", f"{TEXT} ", TEXT.replace("4", "\u0664"), None],
)
def test_texts_that_are_no_genotype(text):
    with pytest.raises(GenotypeError, match=r"The form is WIDTH:OPERATOR-HEADS-FEEDFORWARDxNUMBER|expected a string of the form WIDTH"):
        SPACE.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("64:SDP-2-512x1+SDP-2-512x1", "hidden is 64; expected 128 or 256"),
        ("256:SDP-2-512x1", "the number of layers is 1; expected 2 or 4"),
        ("256:SDP-2-512x1+SDPA-2-512x1", "Unknown operator 'SDPA'; expected one of SDP, WMA"),
        ("256:SDP-2-512x1+SDP-2-2048x1", "feed_forward is 2048; expected 512 or 1024"),
    ],
)
def test_values_that_are_no_genotype(text, says):
    with pytest.raises(GenotypeError, match=says):
        SPACE.parse(text)


@pytest.mark.parametrize("code", [(0, 3, 3, 0, 0), (1, 3, 3, 3, 0), (1, 3, 0, 3, 0), (1, 1, 3, 0, 0), (1, 0, 0, 0, 0), (3, 3, 3, 0, 0)])
def test_codes_that_are_no_genotype(code):
    with pytest.raises(GenotypeError, match="which is no encoder; expected 5 digits, the width and four layers"):
        SPACE.from_code(code)


def test_layers_are_a_tuple_of_layers():
    with pytest.raises(GenotypeError, match="expected a tuple of EncoderLayer"):
        FlexibertGenotype(128, ["SDP", "SDP"])
    with pytest.raises(GenotypeError, match="hidden is True"):
        FlexibertGenotype(True, LAYERS[:2])


# ---- classes


@given(genotypes)
def test_the_class_as_trained(genotype):
    found = SPACE.canonical(genotype)
    assert SPACE.canonical(genotype, rule="string") == genotype
    assert found.code <= genotype.code
    assert found.hidden == genotype.hidden
    for layer, declared in zip(found.layers, genotype.layers, strict=True):
        assert (layer.operator, layer.heads, layer.feed_forwards) == ("SDP", declared.heads, declared.feed_forwards)
        assert layer.feed_forward == (declared.feed_forward if declared.feed_forwards == 3 else 512)
    assert SPACE.parameters(found) == SPACE.parameters(genotype), "operators have no parameters of their own as trained"


def test_how_many_classes_there_are():
    kinds = {layer.as_trained for layer in LAYERS}
    assert len(kinds) == 6
    assert {str(layer.as_trained) for layer in LAYERS if layer.heads == 2} == {"SDP-2-512x1", "SDP-2-512x3", "SDP-2-1024x3"}
    pairs = {FlexibertGenotype(128, two).as_trained for two in itertools.product(LAYERS, repeat=2)}
    assert len(pairs) == 36


# ---- moves


def distance(one, other):
    """Fields in which two encoders differ; another depth counts one, if the first layers are the same."""
    fields = [one.hidden != other.hidden, len(one.layers) != len(other.layers)]
    for a, b in zip(one.layers, other.layers, strict=False):
        fields += [getattr(a, name) != getattr(b, name) for name in ("operator", "heads", "feed_forward", "feed_forwards")]
    return sum(fields)


@pytest.mark.parametrize(("text", "count"), [(TEXT, 34), ("128:SDP-2-512x1+DSC9-4-1024x3", 1 + 48**2 + 2 * 8)])
def test_neighbours_differ_in_one_field(text, count):
    genotype = SPACE.parse(text)
    near = SPACE.neighbours(genotype)
    assert len(near) == len(set(near)) == count
    assert all(distance(genotype, other) == 1 for other in near)
    assert all(genotype in SPACE.neighbours(other) for other in near[:: max(1, count // 40)])


def test_mutations_reach_every_field():
    rng, genotype, seen = np.random.default_rng(0), SPACE.parse(TEXT), set()
    near = set(SPACE.neighbours(genotype))
    for _ in range(2000):
        mutant = SPACE.mutate(genotype, rng)
        assert mutant in near
        seen.add(mutant)
    assert seen == near
    with pytest.raises(SpaceError, match="Unknown mutation rule 'edge'"):
        SPACE.mutate(genotype, rng, rule="edge")


def test_samples_are_drawn_as_the_benchmark():
    drawn = SPACE.sample(np.random.default_rng(1), 4000)
    assert drawn == SPACE.sample(np.random.default_rng(1), 4000)
    assert abs(sum(len(one.layers) == 2 for one in drawn) - 2000) < 5 * 32
    assert abs(sum(one.hidden == 128 for one in drawn) - 2000) < 5 * 32
    counts = np.bincount([LAYERS.index(layer) for one in drawn for layer in one.layers], minlength=48)
    assert np.all(np.abs(counts - counts.mean()) < 5 * np.sqrt(counts.mean()))
    unique = SPACE.sample(np.random.default_rng(2), 6000, unique=True)
    assert len(set(unique)) == 6000
    assert len(set(SPACE.sample(np.random.default_rng(2), 6000))) < 6000
    with pytest.raises(SpaceError, match=r"n = -1 encoders asked for"):
        SPACE.sample(np.random.default_rng(0), -1)
    with pytest.raises(SpaceError, match=r"at most the 10,621,440 of the space"):
        SPACE.sample(np.random.default_rng(0), SPACE.size + 1, unique=True)


def test_enumeration_is_the_order_of_codes():
    first = list(itertools.islice(SPACE.enumerate(), 7000))
    assert first == sorted(first)
    assert len(set(first)) == 7000
    assert [len(one.layers) for one in first[:3]] == [2, 4, 4]
    assert str(first[0]) == "128:SDP-2-512x1+SDP-2-512x1" == str(SPACE.named["smallest"])


# ---- sizes


def test_parameters_are_those_of_the_benchmark_as_trained():
    for number, expected in flexibert_records.PARAMETERS.items():
        genotype, _ = SPACE.from_record(ENTRIES[number])
        assert encoder_parameters(genotype) == expected
        assert SPACE.parameters(genotype) == expected + 2 * (genotype.hidden + 1)
    assert encoder_parameters(SPACE.named["largest"]) == 15_561_728


def test_parameters_worked_by_hand():
    h, layer = 256, 4 * (256**2 + 256) + 4 * 256
    single, triple = 8 * h**2 + 5 * h, 4 * h**2 + 4 * h + 4 * h * 512 + 512 + 512**2 + 512 + 512 * h + h
    genotype = SPACE.parse("256:SDP-4-1024x1+DFT-2-512x3")
    assert encoder_parameters(genotype) == 3_972_864 + 33_024 + 2 * layer + single + triple


def test_products_are_those_of_the_matrices():
    genotype = SPACE.parse("256:SDP-4-1024x1+DFT-2-512x3")  # with embeddings of 4: H = 8, and F = 16
    tokens, h, f = 3, 8, 16
    attention = tokens * 4 * h**2 + 2 * tokens**2 * h
    expected = tokens * 4 * h + 2 * attention + tokens * 8 * h**2 + tokens * (4 * h**2 + 4 * h * f + f**2 + f * h) + h * 5
    assert SPACE.macs(genotype, channels=4, classes=5, resolution=tokens) == expected


def test_sizes_that_do_not_fit():
    genotype = SPACE.parse(TEXT)
    with pytest.raises(SpaceError, match="cells = 2 layers; a genotype of flexibert says its own number of layers"):
        SPACE.parameters(genotype, cells=2)
    with pytest.raises(SpaceError, match="channels = 0; expected a positive integer"):
        SPACE.macs(genotype, channels=0)
    with pytest.raises(SpaceError, match="classes = 0; expected a positive integer"):
        SPACE.parameters(genotype, classes=0)


def test_layers_are_drawn_under_their_declared_names():
    (graph,) = SPACE.graph(SPACE.parse("256:SDP-4-1024x1+DFT-2-512x3"))
    assert [edge.operation and edge.operation.label for edge in graph.edges] == ["width 256", "SDP-4-1024x1", "DFT-2-512x3", None, None]
    assert [node.role for node in graph.nodes] == ["embeddings", "states", "layer 1", "layer 2"]
    assert "very probably had no effect" in graph.note
    assert len(SPACE.graph(SPACE.parse(TEXT))[0].nodes) == 6


def test_a_layer_is_a_value():
    assert EncoderLayer("SDP", 2, 512, 1) == LAYERS[0]
    assert str(LAYERS[-1]) == "DSC9-4-1024x3"
