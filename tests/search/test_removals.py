"""The ranking of TE-NAS against a plain rewriting of its steps, and against hand-worked cases."""

import math

import numpy as np
import pytest

from jknas.search.pruning.removals import Measured, Removal, mixture, prune, rank, removals, three_figures, without


def released_order(measured):
    """Rank as the released code does: two lists of pairs, sorted in place, ranks handed out along them, their sum sorted."""
    conditions, regions = [], []
    for place, m in enumerate(measured):
        conditions.append((place, float(np.mean([round((b - a) / b, 3) for b, a in zip(m.condition_before, m.condition, strict=True)]))))
        regions.append((place, float(np.mean([round((b - a) / b, 3) for b, a in zip(m.regions_before, m.regions, strict=True)]))))

    def figures(number):
        if number == 0:
            return number
        sign, number = number / abs(number), abs(number) + 1e-8
        power = math.floor(math.log10(number)) + 1
        return sign * round(number * 10 ** (-power), 3) * 10**power

    conditions.sort(key=lambda pair: figures(pair[1]), reverse=True)
    regions.sort(key=lambda pair: figures(pair[1]))
    ranks = {}
    for listed in (conditions, regions):
        current = 0
        for place, (key, value) in enumerate(listed):
            if place > 0 and value != listed[place - 1][1]:
                current += 1
            ranks.setdefault(key, []).append(current)
    return sorted(((key, sum(ranks[key])) for key, _ in conditions), key=lambda pair: pair[1])


def random_measurements(rng, count, *, coarse):
    """Coarse values make ties of every kind."""
    condition = rng.integers(1, 6, (count, 3)) * 50.0 if coarse else rng.lognormal(5, 1, (count, 3))
    regions = rng.integers(5, 8, (count, 3)) * 100.0 if coarse else rng.integers(500, 1500, (count, 3)).astype(float)
    before = [100.0, 200.0, 400.0], [1000.0, 900.0, 1100.0]
    return [
        Measured(Removal(place % 6, 1 + place // 6), tuple(condition[place]), tuple(regions[place]), *map(tuple, before))
        for place in range(count)
    ]


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_the_relative_ranking_is_the_released_one(seed, coarse):
    measured = random_measurements(np.random.default_rng(seed), 24, coarse=coarse)
    found = [(measured.index(next(m for m in measured if m.removal == r.removal)), r.score) for r in rank(measured, change="relative")]
    assert found == released_order(measured)


def test_the_first_to_go_lowers_the_condition_number_and_loses_no_regions():
    before = ((100.0,), (1000.0,))
    good = Measured(Removal(0, 1), (50.0,), (1000.0,), *before)
    bad = Measured(Removal(0, 2), (300.0,), (400.0,), *before)
    middle = Measured(Removal(1, 1), (90.0,), (900.0,), *before)
    for change in ("absolute", "relative"):
        assert [r.removal for r in rank([bad, good, middle], change=change)] == [good.removal, middle.removal, bad.removal]


def test_ties_keep_the_order_by_condition_number():
    before = ((100.0,), (1000.0,))
    first = Measured(Removal(0, 1), (50.0,), (500.0,), *before)
    second = Measured(Removal(1, 1), (80.0,), (900.0,), *before)
    ranked = rank([second, first], change="absolute")
    assert [(r.removal, r.score) for r in ranked] == [(first.removal, 1), (second.removal, 1)]


def test_an_infinite_condition_number_is_never_worth_a_removal():
    before = ((100.0, 100.0), (1000.0, 1000.0))
    broken = Measured(Removal(0, 1), (math.inf, 100.0), (1000.0, 1000.0), *before)
    fine = Measured(Removal(0, 2), (100.0, 100.0), (1000.0, 1000.0), *before)
    for change in ("absolute", "relative"):
        assert [r.removal for r in rank([broken, fine], change=change)] == [fine.removal, broken.removal]


def test_from_infinite_to_infinite_is_no_change():
    both = Measured(Removal(0, 1), (math.inf,), (10.0,), (math.inf,), (10.0,))
    healed = Measured(Removal(0, 2), (100.0,), (10.0,), (math.inf,), (10.0,))
    for change in ("absolute", "relative"):
        ranked = {r.removal: r.condition_change for r in rank([both, healed], change=change)}
        assert ranked == {both.removal: 0.0, healed.removal: math.inf}


def test_every_edge_loses_its_own_first_ones():
    measured = random_measurements(np.random.default_rng(0), 24, coarse=False)
    ranked = rank(measured, change="relative")
    gone = prune(ranked, each=2)
    assert len(gone) == 12
    for edge in range(6):
        assert [r for r in gone if r.edge == edge] == [r.removal for r in ranked if r.removal.edge == edge][:2]


def test_removals_and_what_is_left():
    live = [[False, True, True], [False, False, True]]
    assert removals(live, (0, 1), order=(2, 1)) == [(0, 2), (0, 1)]
    assert removals(live, (0, 1), order=(2, 1), last=True) == [(0, 2), (0, 1), (1, 2)]
    left = without(live, [Removal(0, 2), Removal(1, 2)])
    assert left == ((False, True, False), (False, False, False))
    assert mixture(live) == [[0, 0.5, 0.5], [0, 0, 1]]
    assert mixture(left) == [[0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0.0, 0.0), (0.12345, 0.123), (-0.0056789, -0.00568), (123.45, 123.0), (math.inf, math.inf), (-math.inf, -math.inf)],
)
def test_three_significant_figures(value, rounded):
    assert three_figures(value) == (rounded if value == 0 or math.isinf(value) else pytest.approx(rounded, rel=1e-12))
