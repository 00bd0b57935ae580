"""Canonical forms: counts, laws, and the default rule against an independent exact evaluation of every cell.

The independent method knows nothing of formal sums. It runs all 15,625 cells in integer arithmetic modulo a prime on
one random image, with random stand-ins for the operations, under all 720 ways of giving six sets of parameters to the
six edges. Two cells compute the same function up to a renaming of their convolutions exactly when some assignment gives
equal outputs (but for a chance of about 1e-5 in all).
"""

from collections import defaultdict
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jknas.errors import SpaceError
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.spaces.nasbench201.space import NASBENCH201 as SPACE

PRIME = 2**31 - 1
CHANNELS, PIXELS = 2, 4
CELLS = tuple(SPACE.enumerate())


def classes_by_evaluation(*, shift: bool) -> np.ndarray:
    """Number the cells in the order of codes; equal numbers for equal functions. ``shift``: convolutions add a constant per channel."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.integers(1, PRIME, size=shape)

    def times(matrix, values):  # [a, b], [..., b, n] -> [..., a, n], each product reduced before it is summed
        return (matrix[:, :, None] * values[..., None, :, :] % PRIME).sum(-2) % PRIME

    image, kernel_1x1, kernel_3x3 = (
        draw(CHANNELS, PIXELS),
        draw(6, CHANNELS, CHANNELS),
        draw(6, CHANNELS * PIXELS, CHANNELS * PIXELS),
    )
    shifts = draw(6, CHANNELS, 1) * shift
    pool = draw(PIXELS, PIXELS)
    pool[:, 0] = (1 - pool[:, 1:].sum(1)) % PRIME  # like the pool whose divisor leaves the padding out, it keeps constants
    probes = draw(2, CHANNELS, PIXELS)

    def branches(values, slot):  # [..., C, P] -> [..., 5, C, P]: every operation, with the parameters of one slot
        bent = values * values % PRIME * ((values + 7) % PRIME) % PRIME  # zero at zero, as ReLU
        wide = times(kernel_3x3[slot], bent.reshape(*bent.shape[:-2], -1, 1)).reshape(values.shape)
        narrow = times(kernel_1x1[slot], bent)
        pooled = np.swapaxes(times(pool, np.swapaxes(values, -1, -2)), -1, -2)
        return np.stack([values * 0, values, (narrow + shifts[slot]) % PRIME, (wide + shifts[slot]) % PRIME, pooled], axis=-3)

    def probe(values):  # [..., C, P] -> [..., 2]
        return (values[..., None, :, :] * probes % PRIME).sum((-1, -2)) % PRIME

    of_input = [branches(image, slot) for slot in range(6)]
    smallest = np.full(5**6, np.iinfo(np.int64).max)
    for slots in permutations(range(6)):
        node_1 = of_input[slots[0]]
        node_2 = (of_input[slots[1]][None, :, None] + branches(node_1, slots[2])[:, None, :]) % PRIME
        from_0 = probe(of_input[slots[3]])
        from_1 = probe(branches(node_1, slots[4]))
        from_2 = probe(branches(node_2, slots[5]))
        node_3 = from_0[None, None, None, :, None, None] + from_1[:, None, None, None, :, None] + from_2[:, :, :, None, None, :]
        node_3 = node_3.reshape(-1, 2) % PRIME
        smallest = np.minimum(smallest, node_3[:, 0] * 2**31 + node_3[:, 1])
    return smallest


def disagreements(labels, truth):
    """How many classes of ``labels`` merge several true ones, and how many true classes are split by ``labels``."""
    in_label, in_truth = defaultdict(set), defaultdict(set)
    for label, true in zip(labels, truth, strict=True):
        in_label[label].add(true)
        in_truth[true].add(label)
    return sum(len(group) > 1 for group in in_label.values()), sum(len(group) > 1 for group in in_truth.values())


@pytest.fixture(scope="module")
def truth():
    return classes_by_evaluation(shift=True).tolist()


@pytest.fixture(scope="module")
def labels():
    return [SPACE.canonical(cell) for cell in CELLS]


def test_function_classes_are_those_of_the_evaluation(labels, truth):
    assert disagreements(labels, truth) == (0, 0)
    assert len(set(truth)) == len(set(labels)) == 5234


def test_the_evaluation_notices_one_merge_and_one_split(labels, truth):
    groups = defaultdict(list)
    for place, label in enumerate(labels):
        groups[label].append(place)
    large = [places for places in groups.values() if len(places) > 1]
    split = labels.copy()
    split[large[100][-1]] = "apart"
    assert disagreements(split, truth) == (0, 1)
    merged = [labels[large[101][0]] if label == labels[large[100][0]] else label for label in labels]
    assert disagreements(merged, truth) == (1, 0)


def test_the_published_rule_merges_and_splits_functions(truth):
    merges, splits = disagreements([SPACE.canonical(cell, rule="published") for cell in CELLS], truth)
    assert merges > 100
    assert splits > 100


def test_the_isomorphism_rule_splits_functions_and_forgets_shifts(truth):
    labels = [SPACE.canonical(cell, rule="isomorphism") for cell in CELLS]
    merges, splits = disagreements(labels, truth)
    assert merges > 0
    assert splits > 0
    without_shifts = classes_by_evaluation(shift=False).tolist()
    assert disagreements(labels, without_shifts)[0] == 0
    assert len(set(without_shifts)) == 5044


@pytest.mark.parametrize(("rule", "count"), [("function", 5234), ("isomorphism", 5425), ("published", 6466)])
def test_counts(rule, count):
    assert len({SPACE.canonical(cell, rule=rule) for cell in CELLS}) == count


def cell(text):
    return CellGenotype(
        tuple({"0": "none", "s": "skip_connect", "1": "nor_conv_1x1", "3": "nor_conv_3x3", "p": "avg_pool_3x3"}[c] for c in text)
    )


@pytest.mark.parametrize(
    ("left", "right", "function", "isomorphism", "published"),
    [
        ("300300", "000300", True, True, True),  # a convolution that leads nowhere
        ("s000s0", "000s00", True, True, True),  # a detour by skip connections
        ("s0000s", "000000", True, True, False),  # the string of node 2 is "#+#", not "#"
        ("s0s00s", "000s00", True, True, False),  # nor does "#" leave a sum
        ("3300ss", "30s0ss", False, False, True),  # c(x) + d(x); c(x) + c(x)
        ("pp00ss", "p0s0ss", True, False, True),  # the same with pooling, which has no parameters
        ("3ss00p", "300pp0", True, False, False),  # P(x + c(x)); P(x) + P(c(x))
        ("p00030", "3000p0", False, False, False),  # c(P(x)); P(c(x))
        ("p0p00s", "p000s0", False, False, False),  # P(P(x)); P(x)
        ("s00ss0", "000s00", False, False, False),  # x + x; x
        ("sss003", "000300", False, False, False),  # c(x + x); c(x)
        ("000030", "000000", False, True, True),  # c(0), which is a shift; 0
        ("000030", "000010", True, True, True),  # a convolution of zero has no use for its kernel
        ("00300p", "00300s", True, True, False),  # P(c(0)); c(0)
        ("003003", "003001", False, True, False),  # a 3x3 convolution of a constant sees the border, a 1x1 does not
    ],
)
def test_pairs_worked_by_hand(left, right, function, isomorphism, published):
    for rule, same in (("function", function), ("isomorphism", isomorphism), ("published", published)):
        assert (SPACE.canonical(cell(left), rule=rule) == SPACE.canonical(cell(right), rule=rule)) is same, rule


@pytest.mark.parametrize("rule", SPACE.canonical_rules)
def test_representative_is_the_smallest_member_of_its_class(rule):
    members = defaultdict(list)
    for genotype in CELLS:
        members[SPACE.canonical(genotype, rule=rule)].append(genotype)
    for representative, group in members.items():
        assert representative == min(group, key=lambda genotype: genotype.code)


@pytest.mark.parametrize("rule", SPACE.canonical_rules)
@settings(deadline=None)
@given(code=st.tuples(*[st.integers(0, 4)] * 6))
def test_canonical_is_idempotent(rule, code):
    representative = SPACE.canonical(SPACE.from_code(code), rule=rule)
    assert SPACE.canonical(representative, rule=rule) == representative


def test_equal_functions_are_dead_together(labels):
    assert [SPACE.is_dead(genotype) for genotype in CELLS] == [SPACE.is_dead(label) for label in labels]
    assert sum(SPACE.is_dead(label) for label in set(labels)) == 7


def test_default_rule_is_function():
    assert SPACE.canonical_rules[0] == "function"
    assert all(SPACE.canonical(genotype) == SPACE.canonical(genotype, rule="function") for genotype in CELLS)


def test_unknown_rule_is_explained():
    with pytest.raises(
        SpaceError, match=r"Unknown canonical rule 'publish'; expected one of function, isomorphism, published. Did you mean 'published'"
    ):
        SPACE.canonical(CELLS[0], rule="publish")
