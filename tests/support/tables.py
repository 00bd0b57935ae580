"""Small tables of made-up accuracies, in the form of the published ones."""

import csv
import gzip

import numpy as np

from jknas.spaces.nasbench201.index import genotype_at

ACCURACIES = [
    *(f"cifar10_valid_acc_{epochs}ep" for epochs in (12, 200)),
    *(f"{name}_test_acc_{epochs}ep" for name in ("cifar10", "cifar100", "in16") for epochs in (12, 200)),
    *(f"{name}_valid_acc_{epochs}ep" for name in ("cifar100", "in16") for epochs in (12, 200)),
]


def write_csv(path, header, rows):
    with gzip.open(path, "wt", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_table(folder, *, indices=range(40), losses=range(10), seed=0):
    """Write both files, and return the accuracies by (index, column)."""
    rng = np.random.default_rng(seed)
    indices = list(indices)
    numbers = {(index, name): round(float(rng.uniform(10, 95)), 3) for index in indices for name in ACCURACIES}
    costs = [
        f"{name}_{what}" for name in ("cifar10", "cifar100", "in16") for what in ("train_time_per_epoch_s", "params", "flops_M_formula")
    ]
    rows = [
        [index, str(genotype_at(index)), *(numbers[index, name] for name in ACCURACIES), *(7.5, 100_000 + index, 10.5) * 3]
        for index in indices
    ]
    write_csv(folder / "nasbench201.csv.gz", ["arch_index", "arch_str", *ACCURACIES, *costs], rows)
    header = ["arch_index", "arch_str", "cifar10_12ep_train_loss", "cifar10_200ep_train_loss", "cifar10_12ep_test_time_total_s"]
    write_csv(folder / "nasbench201_first1000_loss_time.csv.gz", header, [[i, str(genotype_at(i)), 1 + i / 8, i / 8, 12.0] for i in losses])
    return numbers
