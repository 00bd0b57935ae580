"""Does exact MGM rank architectures by trained accuracy?

Question: Spearman correlation of Eq. (15) (loss, statistics="example", PyTorch-default initialisation) at initialisation with the 200-epoch
CIFAR-10 test accuracy of NAS-Bench-201, over 200 random architectures on real CIFAR-10 images; expected about 0.7. The number of
parameters is the null model. Scores are kept in mgm_correlation.sqlite (not committed): an interrupted run goes on.
Command: JKNAS_DATA=FOLDER python -m benchmarks.ranking.mgm_correlation [--sample 200] [--seed 0] [--batch 64]
Needs nasbench201.csv.gz and CIFAR-10 in FOLDER. About three minutes on two quiet CPU cores.
"""

import argparse
import csv
import gzip
import os
import pathlib

import numpy as np

from benchmarks import measure
from jknas import data, proxies, spaces
from jknas.ranking import metrics
from jknas.scoring.scorer import make_scorer, score_many
from jknas.scoring.store import Store

COLUMNS = {"cifar10": "cifar10_test_acc_200ep", "cifar100": "cifar100_test_acc_200ep", "imagenet16-120": "in16_test_acc_200ep"}


def rows_of(folder: pathlib.Path) -> list[dict[str, str]]:
    """Return the rows of the tabular benchmark."""
    with gzip.open(folder / "nasbench201.csv.gz", "rt", newline="") as file:
        return list(csv.DictReader(file))


def accuracies(folder: pathlib.Path) -> dict[str, dict[str, float]]:
    """Return {data set: {architecture string: test accuracy}}."""
    rows = rows_of(folder)
    return {name: {row["arch_str"]: float(row[column]) for row in rows} for name, column in COLUMNS.items()}


def main() -> None:
    """Score, correlate and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    if "JKNAS_DATA" not in os.environ:
        parser.error("set JKNAS_DATA to the folder that holds nasbench201.csv.gz and CIFAR-10")
    trained = accuracies(pathlib.Path(os.environ["JKNAS_DATA"]))
    space = spaces.get("nasbench201")
    dataset = data.load("cifar10", limit=(2048, 1))
    genotypes = space.sample(np.random.default_rng(options.seed), options.sample, unique=True)
    scored, timing = {}, {}
    with Store(measure.RESULTS / "ranking/mgm_correlation.sqlite") as store:
        for name in ("mgm", "params"):
            scorer = make_scorer(
                proxies.get(name), dataset, space, seed=options.seed, batch_size=options.batch if name == "mgm" else None
            )  # fmt: skip
            records = []
            for record, _ in score_many(scorer, genotypes, store=store):
                records.append(record)
                if len(records) % 20 == 0:
                    print(f"{name}: {len(records)} of {len(genotypes)}", flush=True)
            scored[name] = records
            timing[name] = {"compile_seconds": scorer.compile_seconds, "run_seconds": sum(r.seconds for r in records)}
    table = {}
    for name, records in scored.items():
        scores = np.array([record.score for record in records])
        table[name] = {}
        for target, values in trained.items():
            accuracy = np.array([values[str(genotype)] for genotype in genotypes])
            interval = metrics.bootstrap_interval(metrics.spearman, scores, accuracy, seed=options.seed)
            tau = metrics.kendall_tau_b(scores, accuracy)
            table[name][target] = {
                "spearman": interval.estimate.value,
                "interval_95": [interval.low, interval.high],
                "kendall_tau_b": tau.value,
                "non_finite": tau.non_finite,
            }
            print(f"{name} against {target}: Spearman {interval.estimate.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]", flush=True)
    measure.record(
        "ranking/mgm_correlation",
        {
            "question": "rank correlation of exact MGM at initialisation with 200-epoch test accuracy (the images are CIFAR-10 throughout)",
            "settings": {
                "sample": options.sample,
                "seed": options.seed,
                "batch": options.batch,
                "scheme": "pytorch",
                "statistics": "example",
            },
            "dataset": {"name": dataset.name, "source": dataset.source},
            "timing": timing,
            "dead": sum(record.status == "dead" for record in scored["mgm"]),
            "correlation": table,
            "scores": {record.key.genotype: record.score for record in scored["mgm"]},
        },
    )


if __name__ == "__main__":
    main()
