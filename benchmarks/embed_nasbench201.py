"""Rebuild jknas/tabular/nasbench201.npz, the table of trained accuracies inside the package, from two CSV files.

Question: none; this script documents where the embedded numbers come from.
Command: python benchmarks/embed_nasbench201.py FOLDER
FOLDER holds nasbench201.csv.gz and nasbench201_first1000_loss_time.csv.gz, which were extracted from the records of NATS-Bench
(https://github.com/D-X-Y/NATS-Bench, MIT licence). The first has one row per cell with the columns

* arch_index, the published index, and arch_str;
* {cifar10_valid,cifar100_valid,in16_valid}_acc_{12,200}ep: validation accuracy in percent (cifar10_valid: trained on 25,000 images);
* {cifar10,cifar100,in16}_test_acc_{12,200}ep: test accuracy in percent (cifar10: trained on 50,000 images);
* {cifar10,cifar100,in16}_train_time_per_epoch_s (cifar10: an epoch of 25,000 images).

The second has {cifar10,cifar100,in16}_{12,200}ep_train_loss and cifar100_12ep_test_time_total_s of cells 0 to 999. A few seconds.
"""

import argparse
import csv
import gzip
from decimal import Decimal
from pathlib import Path

import numpy as np

from jknas.spaces.nasbench201.index import published_order
from jknas.tabular import nasbench201

PREFIXES = {"cifar10-valid": "cifar10", "cifar10": "cifar10", "cifar100": "cifar100", "imagenet16-120": "in16"}


def read(path: Path) -> dict[str, list[str]]:
    """Return the columns of a gzipped CSV file, sorted by the published index; every cell must be under its own index."""
    cells = published_order()
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["arch_index"]))
    for place, row in enumerate(rows):
        if int(row["arch_index"]) != place or row["arch_str"] != str(cells[place]):
            raise SystemExit(f"{path}: expected cell {place}, {cells[place]}; found {row['arch_index']}, {row['arch_str']}")
    return {name: [row[name] for row in rows] for name in rows[0]}


def scaled(column: list[str], decimals: int) -> np.ndarray:
    """Return decimal numbers as whole numbers of 10^-decimals, exactly."""
    return np.array([int(Decimal(text).scaleb(decimals).to_integral_exact()) for text in column], np.int32)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    means, few = read(folder / "nasbench201.csv.gz"), read(folder / "nasbench201_first1000_loss_time.csv.gz")
    accuracies = [
        means[f"{PREFIXES[dataset]}_{'valid' if split == 'validation' else 'test'}_acc_{epochs}ep"]
        for dataset, split, epochs in nasbench201.TARGETS
    ]
    losses = [few[f"{PREFIXES[dataset]}_{epochs}ep_train_loss"] for dataset, epochs in nasbench201.LOSSES]
    np.savez_compressed(
        nasbench201.FILE,
        accuracies=np.stack([scaled(column, nasbench201.ACCURACY_DECIMALS) for column in accuracies]),
        seconds=np.stack(
            [scaled(means[f"{PREFIXES[name]}_train_time_per_epoch_s"], nasbench201.SECONDS_DECIMALS) for name in nasbench201.TIMED]
        ),
        losses=np.array(losses, np.float64),
        evaluation_seconds=np.array(few["cifar100_12ep_test_time_total_s"], np.float64),
    )
    print(f"{nasbench201.FILE}: {nasbench201.FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
