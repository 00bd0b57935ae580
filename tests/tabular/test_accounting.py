import pytest

from jknas import tabular
from jknas.errors import TabularError
from jknas.spaces.nasbench201.index import genotype_at
from jknas.tabular import ACCOUNTINGS, FULL_TRAINING_SECONDS, PROTOCOLS


@pytest.fixture
def table():
    return tabular.load()


def test_twelve_epochs_are_those_of_the_table(table):
    count = ACCOUNTINGS["twelve-epochs"]
    cell = genotype_at(0)
    per_image = 6.11755017 / 60_000  # of an evaluation
    assert count.seconds(table, cell, "cifar10") == pytest.approx(12 * 7.22109 + 25_000 * per_image)  # of networks trained on 25,000 images
    assert count.seconds(table, cell, "imagenet16-120") == pytest.approx(12 * 43.8176 + 3_000 * per_image)
    assert count.candidate_seconds(table, cell, "cifar10") == pytest.approx(20 * 7.22109 + 25_000 * per_image)
    assert count.rung_seconds(table, cell, "cifar10", 200) == pytest.approx(200 * 7.22109 + 25_000 * per_image)


@pytest.mark.parametrize(
    ("dataset", "all_hundred", "twenty"), [("cifar10", 216e3, 4320), ("cifar100", 460e3, 9200), ("imagenet16-120", 1e6, 20e3)]
)
def test_full_training_gives_the_times_of_the_paper(table, dataset, all_hundred, twenty):
    count = ACCOUNTINGS["full-training"]
    cells = [genotype_at(index) for index in range(40)]
    assert 100 / 40 * sum(count.seconds(table, cell, dataset) for cell in cells) == pytest.approx(all_hundred)
    assert sum(count.candidate_seconds(table, cell, dataset) for cell in cells[:20]) == pytest.approx(twenty)
    assert 2 * sum(count.rung_seconds(table, cell, dataset, 20) for cell in cells[:10]) == pytest.approx(twenty)


def test_every_data_set_of_a_search_has_a_time():
    assert set(FULL_TRAINING_SECONDS) == set(PROTOCOLS)


def test_refusals(table):
    for count in ACCOUNTINGS.values():
        for kind in ("seconds", "candidate_seconds"):
            with pytest.raises(TabularError, match="Unknown data set of a search 'cifar10-valid'; expected one of cifar10, cifar100"):
                getattr(count, kind)(table, genotype_at(0), "cifar10-valid")
