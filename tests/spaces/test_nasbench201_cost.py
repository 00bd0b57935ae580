"""Parameters and multiply-accumulates against the published tables, and against layers written out by hand."""

import csv
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jknas.errors import SpaceError
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.spaces.nasbench201.index import genotype_at
from jknas.spaces.nasbench201.space import NAMED
from jknas.spaces.nasbench201.space import NASBENCH201 as SPACE

DATASETS = {"cifar10": (10, 32), "cifar100": (100, 32), "in16": (120, 16)}
# Of the texts of all 15,625 cells in the order of the published index, one per line.
TEXTS_IN_ORDER = "83abc799e45cf34e9d2163654668ab998b9a54d01c39e72ca1f71f2cdf356d84"
codes = st.tuples(*[st.integers(0, 4)] * 6)


@pytest.mark.parametrize(
    ("index", "params", "mega_macs"),
    [
        (3, (73_306, 79_156, 80_456), (7.78305, 7.78890, 1.95340)),
        (0, (129_306, 135_156, 136_456), (15.64737, 15.65322, 3.91948)),
        (284, (101_306, 107_156, 108_456), (11.71521, 11.72106, 2.93644)),
        (11, (802_426, 808_276, 809_576), (113.95137, 113.95722, 28.49548)),
        (1462, (1_531_546,), (220.11969,)),
    ],
)
def test_published_table(index, params, mega_macs):
    cell = genotype_at(index)
    for (classes, resolution), expected_params, expected_macs in zip(DATASETS.values(), params, mega_macs, strict=False):
        assert SPACE.parameters(cell, classes=classes) == expected_params
        assert SPACE.macs(cell, classes=classes, resolution=resolution) == pytest.approx(expected_macs * 1e6, abs=5.01)


@settings(deadline=None)
@given(codes, st.integers(1, 1000))
def test_closed_form_of_the_standard_network(code, classes):
    ones, threes = code.count(2), code.count(3)
    cell = CellGenotype.from_code(code)
    assert SPACE.parameters(cell, classes=classes) == 73_306 + 65 * (classes - 10) + 28_000 * ones + 243_040 * threes
    assert SPACE.macs(cell, classes=classes) == 7_783_050 + 65 * (classes - 10) + 3_932_160 * ones + 35_389_440 * threes
    assert SPACE.macs(cell, classes=classes, resolution=16) == 1_945_600 + 65 * classes + 983_040 * ones + 8_847_360 * threes


def test_a_small_network_written_out():
    cell = CellGenotype.from_code((3, 2, 0, 1, 4, 2))  # one 3x3, two 1x1
    stem = 1 * 2 * 9 + 4
    cells = 3 * (2 * 2 * 11 + 3 * 4) + 3 * (4 * 4 * 11 + 3 * 8) + 3 * (8 * 8 * 11 + 3 * 16)
    reductions = (2 * 4 * 9 + 8 + 4 * 4 * 9 + 8 + 2 * 4) + (4 * 8 * 9 + 16 + 8 * 8 * 9 + 16 + 4 * 8)
    assert SPACE.parameters(cell, channels=2, cells=3, classes=7, image_channels=1) == stem + cells + reductions + 16 + 8 * 7 + 7
    stem = 1 * 2 * 9 * 64
    cells = 3 * 2 * 2 * 11 * 64 + 3 * 4 * 4 * 11 * 16 + 3 * 8 * 8 * 11 * 4
    reductions = (2 * 4 * 9 + 4 * 4 * 9 + 2 * 4) * 16 + (4 * 8 * 9 + 8 * 8 * 9 + 4 * 8) * 4
    assert SPACE.macs(cell, channels=2, cells=3, classes=7, resolution=8, image_channels=1) == stem + cells + reductions + 8 * 7 + 7


@pytest.mark.parametrize("name", ["channels", "cells", "classes", "image_channels"])
@pytest.mark.parametrize("size", [0, -1, 2.0, None, True])
def test_wrong_sizes_are_explained(name, size):
    for count in (SPACE.parameters, SPACE.macs):
        with pytest.raises(SpaceError, match=f"{name} = {size}; expected a positive integer"):
            count(NAMED["resnet"], **{name: size})


@pytest.mark.parametrize("resolution", [30, 31, 2])
def test_resolution_must_halve_twice(resolution):
    with pytest.raises(SpaceError, match=f"resolution = {resolution} pixels; expected a multiple of 4"):
        SPACE.macs(NAMED["resnet"], resolution=resolution)


def test_all_published_records(fixtures_folder):
    with (fixtures_folder / "nasbench201_costs.csv").open(newline="") as file:
        published = {(int(row["ones"]), int(row["threes"])): row for row in csv.DictReader(file)}
    cells = [genotype_at(index) for index in range(SPACE.size)]
    assert hashlib.sha256("\n".join(map(str, cells)).encode()).hexdigest() == TEXTS_IN_ORDER
    for cell in cells:
        row = published[cell.code.count(2), cell.code.count(3)]
        for dataset, (classes, resolution) in DATASETS.items():
            assert SPACE.parameters(cell, classes=classes) == int(row[f"{dataset}_params"])
            macs = 1e6 * float(row[f"{dataset}_macs_M"])
            assert abs(SPACE.macs(cell, classes=classes, resolution=resolution) - macs) < 5e-6 * macs  # the table has six digits
