import math
import re
import sys
import types

import numpy as np
import pytest

from jknas import tabular
from jknas.errors import TabularError
from jknas.spaces.nasbench201.index import genotype_at
from jknas.tabular import NatsTable, nats_bench

SEEDS = {"12": [111, 777], "200": [777, 888, 999]}


class Api:
    """The methods of ``nats_bench.create``'s result that a table uses, for three architectures."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 3

    def arch(self, index):
        return str(genotype_at(index))

    def query_index_by_arch(self, arch):
        return next((index for index in range(3) if self.arch(index) == arch), -1)

    def query_meta_info_by_index(self, arch_index, hp="12"):
        if (arch_index, hp) == (2, "200"):
            raise ValueError("The 2-th architecture only has hyper-parameters of ['12'] instead of 200.")
        return types.SimpleNamespace(get_dataset_seeds=lambda dataset: {"cifar10": SEEDS[hp], "ImageNet16-120": SEEDS[hp]}[dataset])

    def get_more_info(self, index, dataset, iepoch=None, hp="12", is_random=True):
        assert iepoch is None
        assert is_random in SEEDS[hp]
        self.asked.append((index, dataset, hp, is_random))
        found = {"train-loss": is_random / 1000, "train-per-time": 2.0 + index, "test-accuracy": is_random / 10}
        return found if dataset == "cifar10" else found | {"valid-accuracy": index + is_random / 100, "valid-per-time": 0.5}

    def get_cost_info(self, index, dataset, hp="12"):
        return {"params": 0.129306, "flops": 15.64737, "latency": 0.01}


@pytest.fixture
def table():
    return NatsTable(Api())


def ask(table, **changes):
    arguments = {"dataset": "imagenet16-120", "split": "validation", "epochs": 200, "seeds": "mean"} | changes
    return table.accuracy(genotype_at(1), **arguments)


def test_the_mean_over_seeds_and_its_spread(table):
    assert ask(table) == pytest.approx((1 + 8.88, 1.11, 3))
    assert table.api.asked == [(1, "ImageNet16-120", "200", seed) for seed in (777, 888, 999)]
    assert ask(table, dataset="cifar10", split="test", epochs=12) == pytest.approx((44.4, 33.3 * math.sqrt(2), 2))


def test_one_seed(table):
    mean, sd, n = ask(table, seeds=888)
    assert (mean, n) == (pytest.approx(9.88), 1)
    assert math.isnan(sd)
    assert ask(table, seeds=np.int64(888)).mean == mean


def test_a_generator_draws_among_the_seeds(table):
    rng = np.random.default_rng(0)
    drawn = {round(ask(table, seeds=rng).mean, 6) for _ in range(50)}
    assert drawn == {8.77, 9.88, 10.99}
    one, two = (ask(table, seeds=np.random.default_rng(5)).mean for _ in range(2))
    assert one == two


def test_costs_and_times(table):
    cell = genotype_at(1)
    assert table.seconds(cell, dataset="cifar10", epochs=20) == 60.0
    assert table.validation_seconds(cell, dataset="imagenet16-120") == 0.5
    assert (table.parameters(cell, dataset="cifar10"), table.macs(cell, dataset="cifar10")) == (129_306, pytest.approx(15_647_370))
    assert table.training_loss(cell, dataset="cifar10", epochs=200, seeds=999) == 0.999
    assert table.training_loss(cell, dataset="cifar10", epochs=200, seeds="mean") == pytest.approx(0.888)


def test_genotypes(table):
    assert table.genotypes() == tuple(genotype_at(index) for index in range(3))
    assert set(tabular.PROTOCOLS["cifar10"]) <= set(table.targets())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "cifar10"}, "those of 'cifar10-valid' have"),
        ({"epochs": 20}, "holds no accuracy for (imagenet16-120, validation, 20)"),
        ({"seeds": 5}, "no seed 5; expected 'mean', a numpy Generator, or one of 777, 888, 999"),
        ({"seeds": True}, "no seed True"),
        ({"seeds": "all"}, "no seed 'all'"),
        ({"dataset": "cifar100"}, "has no record of"),
    ],
)
def test_refusals(table, change, words):
    with pytest.raises(TabularError, match=re.escape(words)):
        ask(table, **change)


def test_what_the_benchmark_does_not_hold(table):
    with pytest.raises(TabularError, match=r"has no record of .avg_pool_3x3~0"):
        table.parameters(genotype_at(3), dataset="cifar10")
    with pytest.raises(TabularError, match="a str instead of a CellGenotype"):
        table.parameters(str(genotype_at(0)), dataset="cifar10")
    with pytest.raises(TabularError, match=r"has no record of .* on cifar10 after 200 epochs \(The 2-th architecture only has"):
        table.accuracy(genotype_at(2), dataset="cifar10", split="test", epochs=200, seeds="mean")
    with pytest.raises(TabularError, match="has no valid-per-time"):
        table.validation_seconds(genotype_at(0), dataset="cifar10")
    with pytest.raises(TabularError, match="trained for 12 or 200"):
        table.training_loss(genotype_at(0), dataset="cifar10", epochs=20, seeds="mean")
    with pytest.raises(TabularError, match="expected a whole number, 1 or more"):
        table.seconds(genotype_at(0), dataset="cifar10", epochs=0)


def test_opening(tmp_path, monkeypatch):
    with pytest.raises(TabularError, match=r"no such folder or file; expected the folder NATS-tss-v1_0-3ffb9-simple, unpacked"):
        nats_bench(tmp_path / "nothing")
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    with pytest.raises(TabularError, match=re.escape("install it with: pip install 'jknas[nats]'")):
        nats_bench(tmp_path)
    opened = []
    stub = types.SimpleNamespace(create=lambda *given, **named: opened.append((*given, named)) or Api())
    monkeypatch.setitem(sys.modules, "nats_bench", stub)
    assert len(nats_bench(tmp_path).genotypes()) == 3
    (tmp_path / "file").touch()
    nats_bench(tmp_path / "file")
    assert opened == [
        (str(tmp_path), "tss", {"fast_mode": True, "verbose": False}),
        (str(tmp_path / "file"), "tss", {"fast_mode": False, "verbose": False}),
    ]


def test_a_folder_is_opened_by_what_it_holds(tmp_path, monkeypatch):
    stub = types.SimpleNamespace(create=lambda *given, **named: Api())
    monkeypatch.setitem(sys.modules, "nats_bench", stub)
    assert tabular.load(tmp_path).name == "NAS-Bench-201 (means over seeds)"
    (tmp_path / "NATS-tss-v1_0-3ffb9-simple").mkdir()
    assert tabular.load(tmp_path).name == "NATS-Bench (topology)"
    monkeypatch.setenv("JKNAS_DATA", str(tmp_path))
    assert tabular.load().name == "NAS-Bench-201 (means over seeds)"  # only a folder that is given is looked into
