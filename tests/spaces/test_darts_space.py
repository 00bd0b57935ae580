"""The DARTS space: samples, mutations, canonical forms, and sizes against the published ones and against layers written out by hand."""

import random
from collections import Counter
from itertools import chain, count, islice, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jknas.errors import SpaceError
from jknas.spaces.darts.cost import auxiliary_parameters
from jknas.spaces.darts.genotype import EDGES, NAMED, NODES, OPERATIONS, DartsGenotype
from jknas.spaces.darts.space import DARTS

CIFAR = {"channels": 36, "cells": 20, "classes": 10}
IMAGENET = {"channels": 48, "cells": 14, "classes": 1000, "stem": "imagenet"}

seeds = st.integers(0, 2**32)
genotypes = seeds.map(lambda seed: DARTS.sample(np.random.default_rng(seed)))


def within_five_sigma(counts, probability):
    counts = np.asarray(counts)
    total = counts.sum()
    assert np.all(np.abs(counts - total * probability) < 5 * np.sqrt(total * probability * (1 - probability)))


def inputs(genotype: DartsGenotype) -> Counter:
    """The (cell, node, operation, source) of every input, in no order."""
    pairs = enumerate(genotype.normal + genotype.reduce)
    return Counter((place // 8, NODES[place % 8 // 2], *pair) for place, pair in pairs)


def shuffled(genotype: DartsGenotype, rng) -> DartsGenotype:
    """The genotype with the inputs of its nodes in a random order."""
    cells = []
    for cell in (genotype.normal, genotype.reduce):
        nodes = [cell[place : place + 2] for place in range(0, 8, 2)]
        cells.append(tuple(chain(*(node[:: rng.choice([-1, 1])] for node in nodes))))
    return DartsGenotype(*cells)


def renamed(cell, order):
    """The cell with node ``NODES[i]`` renamed to ``order[i]``; None where a source would come after its node."""
    name = {0: 0, 1: 1} | dict(zip(NODES, order, strict=True))
    nodes = {name[node]: [(op, name[source]) for op, source in cell[2 * i : 2 * i + 2]] for i, node in enumerate(NODES)}
    return tuple(chain(*(nodes[node] for node in NODES))) if all(s < n for n, pairs in nodes.items() for _, s in pairs) else None


def test_size_and_lazy_enumeration():
    # Sources: 1, 3, 6 and 10 pairs for the four nodes; seven operations at eight inputs.
    assert DARTS.size == (1 * 3 * 6 * 10 * 7**8) ** 2 == 1_076_746_950_455_072_400
    first = list(islice(DARTS.enumerate(), 1000))
    assert first == sorted(first)
    assert len({genotype.code for genotype in first}) == 1000
    # The smallest digits stand on the last sources of a node, since a code is read from the first.
    assert first[0].code == (1, 1, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1) * 2
    assert first[1].code == (*first[0].code[:-1], 2)


def test_samples_are_uniform_and_repeat():
    drawn = DARTS.sample(np.random.default_rng(3), 6000)
    assert drawn == DARTS.sample(np.random.default_rng(3), 6000)
    assert all(DartsGenotype.from_code(genotype.code) == genotype for genotype in drawn[:100])
    for place in (0, 7, 8, 15):
        names = Counter((genotype.normal + genotype.reduce)[place][0] for genotype in drawn)
        within_five_sigma([names[name] for name in OPERATIONS[1:]], 1 / 7)
    sources = Counter(tuple(source for _, source in genotype.reduce[6:]) for genotype in drawn)
    assert len(sources) == 10
    within_five_sigma(list(sources.values()), 1 / 10)


def test_sampling_shapes_and_refusals():
    rng = np.random.default_rng(0)
    assert isinstance(DARTS.sample(rng), DartsGenotype)
    assert isinstance(DARTS.sample(rng, unique=True), DartsGenotype)
    assert DARTS.sample(rng, 0) == ()
    assert len(set(DARTS.sample(rng, 1000, unique=True))) == 1000
    with pytest.raises(SpaceError, match="n = -1 cells asked for; expected n >= 0"):
        DARTS.sample(rng, -1)
    with pytest.raises(SpaceError, match=f"the space has {DARTS.size}"):
        DARTS.sample(rng, DARTS.size + 1, unique=True)
    for wrong in (0, None, random.Random(0)):
        for call in (DARTS.sample, lambda rng: DARTS.mutate(NAMED["DARTS_V2"], rng)):
            with pytest.raises(TypeError, match=r"expected a numpy\.random\.Generator"):
                call(wrong)


@given(genotypes, seeds, st.sampled_from(DARTS.mutation_rules))
def test_mutation_replaces_one_input_and_repeats(genotype, seed, rule):
    rng = np.random.default_rng(seed)
    parent = shuffled(genotype, rng)
    mutant = DARTS.mutate(parent, rng, rule=rule)
    ((cell, node, name, source),) = (inputs(parent) - inputs(mutant)).elements()
    ((cell_after, node_after, name_after, source_after),) = (inputs(mutant) - inputs(parent)).elements()
    assert (cell, node) == (cell_after, node_after)
    assert (name != name_after) + (source != source_after) == 1
    assert rule != "operation" or source == source_after
    assert DartsGenotype.from_code(mutant.code) == mutant
    assert mutant in DARTS.neighbours(parent)
    assert DARTS.mutate(parent, np.random.default_rng(5), rule=rule) == DARTS.mutate(genotype, np.random.default_rng(5), rule=rule)


def test_mutation_draws_its_kinds_and_places_evenly():
    rng = np.random.default_rng(0)
    parent = DARTS.canonical(NAMED["TENAS_cifar10"], rule="string")
    places: dict[str, Counter] = {"operation": Counter(), "source": Counter()}
    for _ in range(3000):
        mutant = DARTS.mutate(parent, rng)
        (before,) = (inputs(parent) - inputs(mutant)).elements()
        (after,) = (inputs(mutant) - inputs(parent)).elements()
        places["operation" if before[3] == after[3] else "source"][before] += 1
    within_five_sigma([kind.total() for kind in places.values()], 1 / 2)
    assert len(places["operation"]) == 16
    assert len(places["source"]) == 12
    within_five_sigma(list(places["operation"].values()), 1 / 16)
    within_five_sigma(list(places["source"].values()), 1 / 12)


@given(genotypes)
def test_neighbours_replace_one_input(genotype):
    around = DARTS.neighbours(genotype)
    assert len(around) == len(set(around)) == 16 * 6 + 2 * (2 * 1 + 2 * 2 + 2 * 3)
    assert all((inputs(genotype) - inputs(other)).total() == 1 for other in around)


def test_unknown_rules_are_explained():
    with pytest.raises(
        SpaceError, match=r"Unknown mutation rule 'operations'; expected one of operation_or_source, operation. Did you mean"
    ):
        DARTS.mutate(NAMED["DARTS_V2"], np.random.default_rng(0), rule="operations")
    with pytest.raises(SpaceError, match="Unknown canonical rule 'isomorphism'; expected one of function, string"):
        DARTS.canonical(NAMED["DARTS_V2"], rule="isomorphism")


@given(genotypes, seeds, st.permutations(NODES), st.permutations(NODES))
def test_canonical_forms(genotype, seed, first, second):
    again = shuffled(genotype, np.random.default_rng(seed))
    for rule in DARTS.canonical_rules:
        representative = DARTS.canonical(genotype, rule=rule)
        assert DARTS.canonical(representative, rule=rule) == representative
        assert DARTS.canonical(again, rule=rule) == representative
    assert DARTS.canonical(again, rule="string").code == genotype.code
    assert DARTS.canonical(genotype).code <= genotype.code
    cells = [renamed(cell, order) or cell for cell, order in ((genotype.normal, first), (genotype.reduce, second))]
    assert DARTS.canonical(DartsGenotype(*cells)) == DARTS.canonical(genotype)


def test_canonical_is_the_smallest_renaming():
    genotype = NAMED["DARTS_V1"]
    variants = [[cell for order in permutations(NODES) if (cell := renamed(side, order))] for side in (genotype.normal, genotype.reduce)]
    codes = [DartsGenotype(normal, reduce).code for normal in variants[0] for reduce in variants[1]]
    assert len(codes) > 10
    assert DARTS.canonical(genotype).code == min(codes)


def test_different_cells_stay_different():
    genotype = NAMED["DARTS_V2"]
    assert DARTS.canonical(DartsGenotype(genotype.reduce, genotype.normal)) != DARTS.canonical(genotype)
    other_operation = DARTS.neighbours(genotype)[:96]
    assert DARTS.canonical(genotype) not in set(map(DARTS.canonical, other_operation))
    # Nodes 2 and 3 of the normal cell are alike, so it does not matter which of them the last operation reads; node 4 is another.
    for source, same in ((3, True), (4, False)):
        moved = DartsGenotype((*genotype.normal[:7], ("dil_conv_3x3", source)), genotype.reduce)
        assert DARTS.canonical(moved, rule="string") != DARTS.canonical(genotype, rule="string")
        assert (DARTS.canonical(moved) == DARTS.canonical(genotype)) == same


def test_no_cell_is_dead():
    assert not any(map(DARTS.is_dead, NAMED.values()))


@pytest.mark.parametrize(
    ("name", "cifar", "imagenet"),
    [
        ("DARTS_V1", (3_169_414, "500.99"), (4_510_432, "505.86")),
        ("DARTS_V2", (3_349_342, "528.36"), (4_718_752, "529.91")),
        ("TENAS_cifar10", (4_137_526, "637.57"), (5_868_640, "641.42")),
        ("TENAS_imagenet", (3_779_398, "580.25"), (5_420_416, "590.41")),
    ],
)
def test_sizes_of_the_published_networks(name, cifar, imagenet):
    for (parameters, mega_macs), size, resolution in ((cifar, CIFAR, 32), (imagenet, IMAGENET, 224)):
        assert DARTS.parameters(NAMED[name], **size) == parameters
        assert f"{DARTS.macs(NAMED[name], **size, resolution=resolution) / 1e6:.2f}" == mega_macs


def test_the_auxiliary_head():
    assert auxiliary_parameters(**CIFAR) == 476_426
    assert auxiliary_parameters(**IMAGENET) == 1_260_776
    assert DARTS.parameters(NAMED["DARTS_V2"], **CIFAR, auxiliary=True) == 3_349_342 + 476_426


def test_a_small_network_written_out():
    # 3 cells of C = 4, 8 and 16: normal, reduction, reduction. Each node: a 3x3 separable convolution and a skip connection.
    normal = (
        ("sep_conv_3x3", 0),
        ("skip_connect", 1),
        *(("dil_conv_5x5", 0), ("skip_connect", 2)),
        *(("avg_pool_3x3", 0), ("skip_connect", 1)) * 2,
    )
    reduce = (
        ("skip_connect", 0),
        ("max_pool_3x3", 1),
        *(("sep_conv_5x5", 0), ("skip_connect", 2)),
        *(("avg_pool_3x3", 0), ("skip_connect", 1)) * 2,
    )
    genotype = DartsGenotype(normal, reduce)

    def operations(c):  # of the reduction cell: three skips of stride 2, one 5x5 separable convolution
        return 3 * (c * c) + 2 * (25 * c + c * c)

    stem = 1 * 12 * 9
    first = 12 * 4 + 12 * 4 + 2 * (9 * 4 + 16) + (25 * 4 + 16)
    second = (12 * 8 + 16 * 8, operations(8))
    third = (16 * 16 + 32 * 16, operations(16))
    scales = 12 + (4 + 4 + 2 * 4 + 4) + (8 + 8 + 3 * 8 + 2 * 8) + (16 + 16 + 3 * 16 + 2 * 16)
    linear = 64 * 7
    size = {"channels": 4, "cells": 3, "classes": 7, "image_channels": 1}
    assert DARTS.parameters(genotype, **size) == stem + first + sum(second) + sum(third) + 2 * scales + linear + 7
    by_pixels = (stem + first) * 64 + second[0] * 64 + second[1] * 16 + third[0] * 16 + third[1] * 4
    assert DARTS.macs(genotype, **size, resolution=8) == by_pixels + linear


def test_one_cell_is_both_reductions_at_once():
    one, two = (DARTS.parameters(NAMED["DARTS_V2"], channels=4, cells=cells) for cells in (1, 2))
    # Pools and no skip of stride 2: only the 1x1 convolutions of the inputs, and the linear layer.
    assert one == (3 * 12 * 9 + 24) + 2 * (12 * 8 + 16) + (32 + 1) * 10
    assert two == (3 * 12 * 9 + 24) + 2 * (12 * 8 + 16) + (12 * 16 + 32 * 16 + 2 * 32) + (64 + 1) * 10


@pytest.mark.parametrize("name", ["channels", "cells", "classes", "image_channels"])
@pytest.mark.parametrize("size", [0, 2.0, None, True])
def test_wrong_sizes_are_explained(name, size):
    for function in (DARTS.parameters, DARTS.macs):
        with pytest.raises(SpaceError, match=f"{name} = {size}; expected a positive integer"):
            function(NAMED["DARTS_V2"], **{name: size})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"stem": "cifar10"}, "Unknown stem 'cifar10'; expected one of cifar, imagenet. Did you mean 'cifar'"),
        ({"stem": "imagenet", "channels": 5}, "channels = 5; expected an even number"),
        ({"resolution": 30}, "resolution = 30 pixels; expected a multiple of 4"),
        ({"resolution": 240, "stem": "imagenet"}, "resolution = 240 pixels; expected a multiple of 32"),
    ],
    ids=map(str, count()),
)
def test_impossible_networks_are_explained(options, says):
    with pytest.raises(SpaceError, match=says):
        DARTS.macs(NAMED["DARTS_V2"], **options)


def test_codes_have_a_place_for_every_edge():
    assert DARTS.num_edges == 2 * len(EDGES) == 28
    assert DARTS.operations == OPERATIONS
