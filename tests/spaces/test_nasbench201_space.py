"""The NAS-Bench-201 space: enumeration, published index, sampling, mutation, and the registry of spaces."""

import doctest
import hashlib
import random
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jknas.spaces.nasbench201.genotype
from jknas import spaces
from jknas.errors import GenotypeError, SpaceError
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.spaces.nasbench201.index import genotype_at, index_of, published_order
from jknas.spaces.nasbench201.space import NAMED, NASBENCH201

codes = st.tuples(*[st.integers(0, 4)] * 6)
seeds = st.integers(0, 2**32)
relaxed = settings(deadline=None)


@pytest.fixture(params=spaces.names())
def space(request):
    return spaces.get(request.param)


def within_five_sigma(counts, probabilities):
    counts, probabilities = np.asarray(counts), np.asarray(probabilities)
    total = counts.sum()
    assert np.all(np.abs(counts - total * probabilities) < 5 * np.sqrt(total * probabilities * (1 - probabilities)))


def test_registry():
    assert spaces.names() == ("darts", "flexibert", "nasbench201", "skip_transformer")
    assert spaces.get("nasbench201") is NASBENCH201
    assert repr(NASBENCH201) == "Space('nasbench201', size=15625)"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "nasbench101",
            "Unknown search space 'nasbench101'; expected one of darts, flexibert, nasbench201, skip_transformer. "
            "Did you mean 'nasbench201'",
        ),
        ("", "Unknown search space ''"),
        (None, "Unknown search space of type NoneType"),
        ("x" * 10**5, r"x{40}'\.\.\. \(100000 characters\); expected one of"),
    ],
    ids=map(str, count()),
)
def test_unknown_space_is_explained(name, says):
    with pytest.raises(SpaceError, match=says):
        spaces.get(name)


def test_every_space_keeps_the_contract(space):
    rng = np.random.default_rng(0)
    genotypes = space.sample(rng, 20)
    assert len(genotypes) == 20
    for genotype in genotypes:
        assert space.parse(str(genotype)) == genotype
        assert space.from_code(genotype.code) == genotype
        assert len(genotype.code) == space.num_edges
        assert all(0 <= digit < len(space.operations) for digit in genotype.code)
        assert space.mutate(genotype, rng) in space.neighbours(genotype)
        assert space.canonical(space.canonical(genotype)) == space.canonical(genotype)
        assert isinstance(space.is_dead(genotype), bool)
        assert space.parameters(genotype) > 0
        assert space.macs(genotype) > 0
        assert space.parameters(genotype, cells=space.cells) == space.parameters(genotype)
    assert all(space.parse(str(genotype)) == genotype for genotype in space.named.values())


def test_enumeration_is_the_order_of_codes():
    cells = list(NASBENCH201.enumerate())
    assert len(cells) == len(set(cells)) == NASBENCH201.size == 15_625
    assert cells == sorted(cells, key=lambda cell: cell.code)
    assert cells[0].operations == ("none",) * 6
    assert cells[1].operations == ("none",) * 5 + ("skip_connect",)


def test_published_order_is_the_released_one():
    text = "\n".join(map(str, published_order()))
    assert hashlib.sha256(text.encode()).hexdigest() == "83abc799e45cf34e9d2163654668ab998b9a54d01c39e72ca1f71f2cdf356d84"


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (0, "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"),
        (1, "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"),
        (284, "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|none~0|nor_conv_1x1~1|none~2|"),
        (1462, str(NAMED["all_nor_conv_3x3"])),
    ],
)
def test_published_index_of_known_cells(index, text):
    assert str(genotype_at(index)) == text
    assert index_of(NASBENCH201.parse(text)) == index
    assert genotype_at(np.int64(index)) == genotype_at(index)


@relaxed
@given(codes)
def test_published_index_round_trip(code):
    cell = CellGenotype.from_code(code)
    assert genotype_at(index_of(cell)) == cell


def test_published_order_leaves_global_randomness_alone():
    published_order.cache_clear()
    random.seed(5)
    expected = random.random()
    random.seed(5)
    published_order()
    assert random.random() == expected


@pytest.mark.parametrize(
    ("index", "says"),
    [(15_625, "No cell has the index 15625"), (-1, "index -1"), (2**16_610 - 1, "16610 bits"), (1.0, "is a float"), ("3", "is a str")],
    ids=map(str, count()),
)
def test_wrong_index_is_explained(index, says):
    with pytest.raises(GenotypeError, match=says) as caught:
        genotype_at(index)
    assert "expected an integer in 0..15624" in str(caught.value)


def test_dead_cells():
    assert sum(map(NASBENCH201.is_dead, NASBENCH201.enumerate())) == 341


@pytest.mark.parametrize(
    ("code", "dead"),
    [
        ((0, 0, 0, 0, 0, 0), True),
        ((3, 3, 3, 0, 0, 0), True),  # nothing reaches the output
        ((0, 0, 3, 0, 3, 3), True),  # nothing leaves the input
        ((3, 0, 0, 0, 0, 3), True),  # a gap between nodes 1 and 2
        ((1, 0, 1, 0, 0, 1), False),
        ((0, 0, 0, 4, 0, 0), False),
    ],
)
def test_dead_cells_worked_by_hand(code, dead):
    assert NASBENCH201.is_dead(CellGenotype.from_code(code)) is dead


@relaxed
@given(codes)
def test_neighbours_differ_on_one_edge(code):
    cell = CellGenotype.from_code(code)
    around = NASBENCH201.neighbours(cell)
    assert len(around) == len(set(around)) == 24
    assert all(sum(a != b for a, b in zip(code, other.code, strict=True)) == 1 for other in around)


@relaxed
@given(codes, seeds, st.sampled_from(NASBENCH201.mutation_rules))
def test_mutation_differs_on_one_edge_and_repeats(code, seed, rule):
    cell = CellGenotype.from_code(code)
    mutant = NASBENCH201.mutate(cell, np.random.default_rng(seed), rule=rule)
    assert sum(a != b for a, b in zip(code, mutant.code, strict=True)) == 1
    assert NASBENCH201.mutate(cell, np.random.default_rng(seed), rule=rule) == mutant


@pytest.mark.parametrize(
    ("options", "probabilities"),
    [
        ({}, [1 / 3, 1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9]),
        ({"rule": "node"}, [1 / 3, 1 / 6, 1 / 6, 1 / 9, 1 / 9, 1 / 9]),
        ({"rule": "edge"}, [1 / 6] * 6),
    ],
)
def test_mutation_follows_its_rule(options, probabilities):
    rng = np.random.default_rng(0)
    start = CellGenotype.from_code((0, 1, 2, 3, 4, 0))
    counts = np.zeros((6, 5), int)
    for _ in range(9000):
        mutant = NASBENCH201.mutate(start, rng, **options)
        edge = next(place for place in range(6) if mutant.code[place] != start.code[place])
        counts[edge, mutant.code[edge]] += 1
    within_five_sigma(counts.sum(1), probabilities)
    for edge, digit in enumerate(start.code):
        within_five_sigma(np.delete(counts[edge], digit), [1 / 4] * 4)


def test_unknown_mutation_rule_is_explained():
    with pytest.raises(SpaceError, match=r"Unknown mutation rule 'nodes'; expected one of node, edge. Did you mean 'node'"):
        NASBENCH201.mutate(NAMED["resnet"], np.random.default_rng(0), rule="nodes")


def test_sampling_is_uniform_and_repeats():
    cells = NASBENCH201.sample(np.random.default_rng(3), 20_000)
    assert cells == NASBENCH201.sample(np.random.default_rng(3), 20_000)
    sampled = np.array([cell.code for cell in cells])
    for edge in range(6):
        within_five_sigma(np.bincount(sampled[:, edge], minlength=5), [1 / 5] * 5)
    pairs = sampled[:, 0] * 5 + sampled[:, 5]
    within_five_sigma(np.bincount(pairs, minlength=25), [1 / 25] * 25)


def test_sampling_shapes():
    rng = np.random.default_rng(0)
    assert isinstance(NASBENCH201.sample(rng), CellGenotype)
    assert isinstance(NASBENCH201.sample(rng, unique=True), CellGenotype)
    assert NASBENCH201.sample(rng, 0) == ()
    assert len(NASBENCH201.sample(rng, 1)) == 1


def test_unique_sampling_draws_without_replacement():
    everything = NASBENCH201.sample(np.random.default_rng(0), NASBENCH201.size, unique=True)
    assert len(set(everything)) == NASBENCH201.size
    assert list(everything) != sorted(everything)
    assert len(set(NASBENCH201.sample(np.random.default_rng(0), 5000))) < 5000


def test_impossible_samples_are_explained():
    rng = np.random.default_rng(0)
    with pytest.raises(SpaceError, match=r"n = 15626 unique cells asked for, and the space has 15625.*unique=False"):
        NASBENCH201.sample(rng, 15_626, unique=True)
    with pytest.raises(SpaceError, match="n = -1 cells asked for; expected n >= 0"):
        NASBENCH201.sample(rng, -1)


@pytest.mark.parametrize("rng", [0, None, np.random.RandomState(0), random.Random(0)])
def test_wrong_generator_is_explained(rng):
    says = f"rng is a {type(rng).__name__}; expected a numpy.random.Generator. Make one with numpy.random.default_rng"
    with pytest.raises(TypeError, match=says):
        NASBENCH201.sample(rng)
    with pytest.raises(TypeError, match=says):
        NASBENCH201.mutate(NAMED["resnet"], rng)


def test_named_cells():
    assert str(NAMED["resnet"]) == "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
    assert set(NAMED) == {"resnet", "all_nor_conv_3x3", "all_nor_conv_1x1", "all_skip_connect"}
    assert not any(NASBENCH201.is_dead(cell) for cell in NAMED.values())
    with pytest.raises(TypeError):
        NAMED["mine"] = NAMED["resnet"]


def test_the_genotype_example_in_the_documentation_is_true():
    result = doctest.testmod(jknas.spaces.nasbench201.genotype)
    assert result.attempted >= 3
    assert result.failed == 0
