import math
import re

import numpy as np
import pytest

from jknas import tabular
from jknas.errors import DataError, TabularError
from jknas.spaces.nasbench201 import cost as nasbench201_cost
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.spaces.nasbench201.index import genotype_at
from jknas.tabular import nasbench201

REPORTED = ("cifar10", "cifar100", "imagenet16-120")

# Rows of the published records, copied by hand: index, then the accuracies of every target in the order of `nasbench201.TARGETS`.
ROWS = {
    0: (63.364, 81.9827, 69.55, 85.8633, 31.84, 52.7, 31.26, 52.9133, 18.4667, 28.2111, 17.0, 26.6333),
    1: (82.834, 90.7693, 88.22, 93.66, 57.8, 69.8267, 58.26, 70.2933, 35.4333, 44.4889, 33.8, 44.0333),
}


@pytest.fixture(scope="module")
def table():
    return tabular.load()


def final(table, genotype, dataset, split="test"):
    trained_on = "cifar10-valid" if (dataset, split) == ("cifar10", "validation") else dataset
    return table.accuracy(genotype, dataset=trained_on, split=split, epochs=200, seeds="mean").mean


class TestPublishedNumbers:
    @pytest.mark.parametrize("index", ROWS)
    def test_each_target_has_its_number(self, table, index):
        assert [table.accuracy(genotype_at(index), **target._asdict(), seeds="mean").mean for target in table.targets()] == list(
            ROWS[index]
        )

    @pytest.mark.parametrize(
        ("index", "published"),
        [
            (0, (85.863, 52.913, 26.633)),
            (1, (93.660, 70.293, 44.033)),
            (11, (91.583, 67.607, 30.167)),
            (284, (88.790, 62.140, 32.467)),
            (1462, (93.760, 71.107, 41.444)),
        ],
    )
    def test_rows_that_were_checked_against_the_benchmark(self, table, index, published):
        assert [round(final(table, genotype_at(index), dataset), 3) for dataset in REPORTED] == list(published)

    def test_the_spread_over_seeds_is_unknown(self, table):
        found = table.accuracy(genotype_at(0), dataset="cifar10", split="test", epochs=200, seeds="mean")
        assert math.isnan(found.sd)
        assert found.n == 0

    def test_what_it_holds(self, table):
        assert {target.dataset for target in table.targets()} == set(tabular.DATASETS)
        assert len(table.targets()) == 12
        for protocol in tabular.PROTOCOLS.values():
            assert {protocol.selects, protocol.reports} <= set(table.targets())

    def test_the_whole_space_in_the_published_order(self, table):
        assert len(table.genotypes()) == 15_625
        assert table.genotypes()[1835] == genotype_at(1835)

    def test_the_cell_of_skips(self, table):
        """Where DARTS and ENAS end: 54.30 / 15.61 / 16.32 in arXiv:2001.00326, table 5."""
        cell = CellGenotype(("skip_connect",) * 6)
        assert cell == genotype_at(1835)
        assert [round(final(table, cell, dataset), 3) for dataset in REPORTED] == [54.297, 15.607, 16.322]

    @pytest.mark.parametrize(
        ("dataset", "validation", "test"), [("cifar10", 91.61, 94.37), ("cifar100", 73.49, 73.51), ("imagenet16-120", 46.73, 47.31)]
    )
    def test_the_optimal_row(self, table, dataset, validation, test):
        # The paper prints 46.77 for the validation of ImageNet16-120; the mean over seeds of the released records is 46.73.
        assert max(final(table, cell, dataset, "validation") for cell in table.genotypes()) == pytest.approx(validation, abs=0.006)
        assert max(final(table, cell, dataset) for cell in table.genotypes()) == pytest.approx(test, abs=0.006)

    def test_where_the_best_and_the_untrainable_are(self, table):
        accuracies = {dataset: np.array([final(table, cell, dataset) for cell in table.genotypes()]) for dataset in REPORTED}
        assert {dataset: int(values.argmax()) for dataset, values in accuracies.items()} == {
            "cifar10": 6111,
            "cifar100": 9930,
            "imagenet16-120": 857,
        }
        assert (accuracies["cifar10"] == 10.0).sum() == 341  # 341 cells whose output does not depend on the input
        assert [np.median(values).round(3) for values in accuracies.values()] == [90.745, 65.287, 36.389]
        assert [values.mean() for values in accuracies.values()] == pytest.approx([87.06, 61.41, 33.59], abs=0.006)
        assert [values.std() for values in accuracies.values()] == pytest.approx([12.93, 12.17, 9.51], abs=0.006)

    def test_costs_are_those_of_the_formulas(self, table):
        # Published: parameters in millions, and MACs (called FLOPs) in millions.
        published = {
            0: ((0.129306, 0.135156, 0.136456), (15.64737, 15.65322, 3.91948)),
            11: ((0.802426, 0.808276, 0.809576), (113.95137, 113.95722, 28.49548)),
        }
        for index, (parameters, macs) in published.items():
            cell = genotype_at(index)
            assert [table.parameters(cell, dataset=dataset) / 1e6 for dataset in REPORTED] == list(parameters)
            assert [table.macs(cell, dataset=dataset) / 1e6 for dataset in REPORTED] == pytest.approx(macs, rel=1e-6)
        cell = genotype_at(1462)
        for dataset, classes, size in (("cifar10", 10, 32), ("cifar100", 100, 32), ("imagenet16-120", 120, 16)):
            assert table.parameters(cell, dataset=dataset) == nasbench201_cost.parameters(cell, classes=classes)
            assert table.macs(cell, dataset=dataset) == nasbench201_cost.macs(cell, classes=classes, resolution=size)

    def test_times(self, table):
        cell = genotype_at(0)
        assert table.seconds(cell, dataset="cifar10-valid", epochs=1) == pytest.approx(7.22109, abs=1e-9)
        assert table.seconds(cell, dataset="cifar10-valid", epochs=12) == pytest.approx(12 * 7.22109)
        assert table.seconds(cell, dataset="cifar10", epochs=200) == pytest.approx(2888.436)  # an epoch of twice the images
        assert table.seconds(cell, dataset="imagenet16-120", epochs=1) == pytest.approx(43.8176)
        assert table.seconds(genotype_at(11), dataset="cifar10-valid", epochs=1) == pytest.approx(12.462, abs=1e-3)

    def test_seconds_of_a_validation_pass(self, table):
        # Measured for the first 1,000 cells: 12 evaluations of 5,000 images took 6.11755 s.
        assert table.validation_seconds(genotype_at(0), dataset="cifar10-valid") == pytest.approx(6.11755017 / 60_000 * 25_000)
        assert table.validation_seconds(genotype_at(0), dataset="imagenet16-120") == pytest.approx(6.11755017 / 60_000 * 3_000)
        later = genotype_at(1000)
        per_image = table.seconds(later, dataset="cifar10-valid", epochs=1) / 25_000
        assert table.validation_seconds(later, dataset="cifar10-valid") == pytest.approx(per_image * 25_000 * 0.348)
        assert table.validation_seconds(later, dataset="cifar100") == pytest.approx(per_image * 5_000 * 0.348, rel=1e-4)
        estimated = [table.validation_seconds(genotype_at(i), dataset="cifar10-valid") for i in range(1000, 2000)]
        measured = [table.validation_seconds(genotype_at(i), dataset="cifar10-valid") for i in range(1000)]
        assert np.mean(estimated) == pytest.approx(np.mean(measured), rel=0.08)

    def test_training_losses_are_those_of_the_first_thousand(self, table):
        rng = np.random.default_rng(0)
        assert table.training_loss(genotype_at(0), dataset="cifar100", epochs=200, seeds=rng) == 1.5116578379058838
        assert table.training_loss(genotype_at(0), dataset="cifar10", epochs=12, seeds=rng) == 0.8180574755477905
        with pytest.raises(TabularError, match="holds the training losses of the first 1,000 cells only"):
            table.training_loss(genotype_at(1000), dataset="cifar100", epochs=200, seeds=rng)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"dataset": "cifar10", "split": "validation"}, "those of 'cifar10-valid' have"),
            ({"dataset": "cifar10-valid"}, "holds no accuracy for (cifar10-valid, test, 200); it holds (cifar10-valid, validation, 12)"),
            ({"epochs": 90}, "holds no accuracy for (cifar100, test, 90)"),
            ({"split": "valid"}, "holds no accuracy for (cifar100, valid, 200)"),
            ({"dataset": "cifar1000"}, "Unknown data set of a table 'cifar1000'; expected one of cifar10-valid"),
            ({"seeds": 777}, "holds means over seeds, not the seed 777: pass seeds='mean'"),
            ({"seeds": np.random.default_rng(0)}, "not the seed one seed drawn by a generator"),
        ],
    )
    def test_accuracies(self, table, change, words):
        arguments = {"dataset": "cifar100", "split": "test", "epochs": 200, "seeds": "mean"} | change
        with pytest.raises(TabularError, match=re.escape(words)):
            table.accuracy(genotype_at(0), **arguments)

    def test_every_choice_is_required(self, table):
        whole = {"dataset": "cifar100", "split": "test", "epochs": 200, "seeds": "mean"}
        for name in whole:
            with pytest.raises(TypeError, match=name):
                table.accuracy(genotype_at(0), **{key: value for key, value in whole.items() if key != name})

    def test_what_is_no_cell(self, table):
        with pytest.raises(TabularError, match="a str; expected a CellGenotype"):
            final(table, str(genotype_at(0)), "cifar10")
        for quantity in (table.parameters, table.macs):
            with pytest.raises(TabularError, match="a str; expected a CellGenotype"):
                quantity(str(genotype_at(0)), dataset="cifar10")

    def test_training_losses(self, table):
        rng = np.random.default_rng(0)
        for arguments, words in (
            ({"dataset": "cifar10", "epochs": 200, "seeds": "mean"}, "loss of one seed drawn at random, not 'mean'"),
            ({"dataset": "cifar10-valid", "epochs": 200, "seeds": rng}, r"it holds \(cifar10, 12\), \(cifar10, 200\)"),
            ({"dataset": "cifar10", "epochs": 20, "seeds": rng}, "no training loss for"),
        ):
            with pytest.raises(TabularError, match=words):
                table.training_loss(genotype_at(0), **arguments)

    def test_times_without_a_measurement(self, table):
        with pytest.raises(TabularError, match="cifar10 has no validation images; expected one of cifar10-valid, cifar100"):
            table.validation_seconds(genotype_at(0), dataset="cifar10")
        for epochs in (0, 1.5, True):
            with pytest.raises(TabularError, match="whole number, 1 or more"):
                table.seconds(genotype_at(0), dataset="cifar10", epochs=epochs)


class TestFile:
    def test_no_folder_is_needed(self, tmp_path, monkeypatch):
        monkeypatch.setenv("JKNAS_DATA", str(tmp_path / "gone"))
        assert tabular.load() is tabular.embedded()
        assert tabular.load(tmp_path) is tabular.embedded()
        with pytest.raises(DataError, match="which is not a folder"):
            tabular.load(tmp_path / "gone")

    def test_the_file_is_small(self):
        assert nasbench201.FILE.stat().st_size < 1_500_000

    def test_numbers_are_exact(self, table):
        """The file holds whole numbers; divided by a power of ten they are the decimal numbers that were published."""
        for values in (*table.accuracies.values(), *table.epoch_seconds.values()):
            assert values.dtype == np.float64
            assert np.isfinite(values).all()
        assert [len(values) for values in table.losses.values()] == [1000] * 6
