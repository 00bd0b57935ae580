"""Skip-connection encoders: which wirings coincide at which depth, the texts, mutations, and sizes against the published ones."""

import itertools

import numpy as np
import pytest

from jknas import spaces
from jknas.errors import GenotypeError, SpaceError
from jknas.spaces.skip_transformer import FAMILIES, ROBERTA_LARGE, SPACE, SkipGenotype, skip_space
from jknas.spaces.skip_transformer.genotype import all_names, edges

PAPER = ("highway", "look_ahead", "densenet")
WITH_EMBEDDINGS = ("highway", "look_ahead", "densenet+emb")


def sources_of(genotype):
    """Read the sources back from the code, a path of its own."""
    found = {layer: [] for layer in range(1, genotype.layers + 1)}
    for (layer, source), digit in zip(edges(genotype.layers), genotype.code, strict=True):
        if digit:
            found[layer].append(source)
    return {layer: tuple(read) for layer, read in found.items() if read != [layer - 1]}


def test_it_is_a_registered_space():
    assert spaces.get("skip_transformer") is SPACE
    assert spaces.get("jknas.spaces.skip_transformer:ROBERTA_LARGE") is ROBERTA_LARGE
    spaces._SPACES.things.pop(ROBERTA_LARGE.name)


@pytest.mark.parametrize(
    ("layers", "families", "distinct"),
    [
        (24, PAPER, 28),
        (24, WITH_EMBEDDINGS, 28),
        (12, PAPER, 22),
        (12, WITH_EMBEDDINGS, 28),
        (6, PAPER, 9),
        (6, WITH_EMBEDDINGS, 12),
        (1, PAPER, 1),
    ],
)
def test_how_many_wirings_are_different(layers, families, distinct):
    space = skip_space(layers=layers, families=families)
    members = list(space.enumerate())
    assert len(members) == len({genotype.code for genotype in members}) == space.size == distinct
    assert members == sorted(members)
    assert [str(genotype) for genotype in members].count("plain") == 1
    names = all_names(layers, families)
    assert len(names) == 3 * max(min(layers, 11) - 1, 0)
    assert {genotype.code for genotype in names} <= {genotype.code for genotype in members}


@pytest.mark.parametrize(
    ("text", "skips"),
    [
        ("plain", {}),
        ("highway:2", {}),
        ("look_ahead:2", {}),
        ("densenet:3", {}),
        ("densenet:6", {}),
        ("highway:3", {3: (1, 2), 6: (4, 5)}),
        ("look_ahead:3", {3: (1, 2), 6: (4, 5)}),
        ("highway:4", {4: (1, 3)}),
        ("highway:5", {5: (1, 4)}),
        ("highway:6", {6: (1, 5)}),
        ("look_ahead:4", {4: (1, 2, 3)}),
        ("look_ahead:6", {6: (1, 2, 3, 4, 5)}),
        ("densenet:2", {5: (2, 4)}),
        ("densenet+emb:2", {3: (0, 2), 5: (0, 2, 4)}),
        ("densenet+emb:5", {6: (0, 5)}),
    ],
)
def test_what_the_layers_of_six_read(text, skips):
    genotype = SPACE.parse(text)
    assert sources_of(genotype) == skips
    assert SPACE.canonical(genotype) == SPACE.from_code(genotype.code)
    assert SPACE.canonical(genotype, rule="string") == genotype
    assert SPACE.canonical(genotype).code == genotype.code
    assert (str(SPACE.canonical(genotype)) == "plain") == (not skips)


def test_the_last_cell_takes_the_remainder():
    assert sources_of(ROBERTA_LARGE.parse("highway:7")) == {7: (1, 6), 14: (8, 13), 21: (15, 20), 24: (22, 23)}
    assert sources_of(ROBERTA_LARGE.parse("look_ahead:11")) == {11: tuple(range(1, 11)), 22: tuple(range(12, 22))}
    assert sources_of(ROBERTA_LARGE.parse("densenet:10")) == {21: (10, 20)}


def test_the_names_of_one_wiring_are_one_member():
    assert str(SPACE.canonical(SPACE.parse("look_ahead:3"))) == "highway:3"
    assert SPACE.parse("look_ahead:3") != SPACE.parse("highway:3")
    assert SPACE.parse("look_ahead:3").code == SPACE.parse("highway:3").code
    drawn = SPACE.sample(np.random.default_rng(0), 13, unique=True)
    assert len({genotype.code for genotype in drawn}) == 13


def test_a_space_has_its_families_only():
    with pytest.raises(
        GenotypeError, match=r"densenet\+emb:2 is not in this space, whose families are plain, highway, look_ahead, densenet"
    ):
        ROBERTA_LARGE.parse("densenet+emb:2")
    with pytest.raises(GenotypeError, match="the code is a wiring of none of the families"):
        skip_space(layers=6).from_code(SPACE.parse("densenet+emb:2").code)
    with pytest.raises(SpaceError, match="Unknown family 'highways'"):
        skip_space(layers=6, families=["highways"])


@pytest.mark.parametrize(
    "text",
    ["", "high", "highway", "highway:", "highway:x", "highway:04", "highway:-4", "highway:4 ", "plain:2", "highway:4:4", "highway:\u0664"],
)
def test_texts_that_are_no_genotype(text):
    with pytest.raises(GenotypeError, match=r"Cannot read the genotype .* The form is plain, or FAMILY:SIZE"):
        SPACE.parse(text)


@pytest.mark.parametrize("size", [1, 7, 11, 999])
def test_cells_that_do_not_fit_the_depth(size):
    with pytest.raises(GenotypeError, match=f"highway has cells of {size} layers; expected 2 to 6 in an encoder of 6 layers"):
        SPACE.parse(f"highway:{size}")


@pytest.mark.parametrize(
    ("family", "size", "layers"), [("plain", 2, 6), ("highway", 0, 6), ("highway", 2.0, 6), ("highway", 2, 0), ("none", 2, 6)]
)
def test_values_that_are_no_genotype(family, size, layers):
    with pytest.raises(GenotypeError):
        SkipGenotype(family, size, layers)


def test_neighbours_change_the_family_or_the_size():
    near = {str(other) for other in SPACE.neighbours(SPACE.parse("highway:5"))}
    assert near == {"highway:3", "highway:4", "highway:6", "look_ahead:5", "densenet+emb:5", "plain"}  # densenet:5 and highway:2 are plain
    for one, other in itertools.combinations(SPACE.enumerate(), 2):
        assert (one in SPACE.neighbours(other)) == (other in SPACE.neighbours(one))
    with pytest.raises(SpaceError, match="plain is the only wiring of 1 layers"):
        skip_space(layers=1).mutate(SkipGenotype("plain", 1, 1), np.random.default_rng(0))
    with pytest.raises(SpaceError, match="Unknown mutation rule"):
        SPACE.mutate(SPACE.parse("highway:5"), np.random.default_rng(0), rule="edge")


def test_neighbours_reach_every_wiring():
    reached, frontier = set(), {SPACE.named["plain"]}
    while frontier:
        reached |= frontier
        frontier = {other for genotype in frontier for other in SPACE.neighbours(genotype)} - reached
    assert reached == set(SPACE.enumerate())


@pytest.mark.parametrize(
    ("layers", "size", "stem", "expected"),
    [
        (24, {"channels": 1024}, "roberta", 355_361_794),
        (12, {"channels": 768}, "roberta", 124_647_170),
        (12, {"channels": 768}, "bert", 109_483_778),
        (6, {}, "bert", 22_713_986),
    ],
)
def test_parameters_are_the_published_ones(layers, size, stem, expected):
    space = skip_space(layers=layers)
    assert space.parameters(space.named["plain"], stem=stem, **size) == expected
    assert {space.parameters(genotype, stem=stem, **size) for genotype in space.enumerate()} == {expected}


def test_products_are_those_of_the_matrices():
    layer = 2 * (4 * 3 * 3 + 2 * 3 * 5) + 2 * (2 * 2 * 3)
    assert SPACE.macs(SPACE.named["plain"], channels=3, classes=4, resolution=2, feed_forward=5) == 6 * layer + 3 * 3 + 3 * 4


def test_sizes_that_do_not_fit():
    with pytest.raises(SpaceError, match=r"cells = 12 layers, and highway:4 wires an encoder of 6"):
        SPACE.parameters(SPACE.parse("highway:4"), cells=12)
    with pytest.raises(SpaceError, match="channels = 0; expected a positive integer"):
        SPACE.macs(SPACE.parse("highway:4"), channels=0)
    with pytest.raises(SpaceError, match="Unknown stem 'gpt'"):
        SPACE.parameters(SPACE.parse("highway:4"), stem="gpt")


def test_families_are_ordered():
    assert FAMILIES[0] == "plain"
    assert sorted(SPACE.enumerate())[0] == SPACE.named["plain"]
