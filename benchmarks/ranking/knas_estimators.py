"""What do KNAS's estimators rank by?

Question: the paper defines MGM by Eq. (15) over all parameters and by Eq. (16) over 50 sampled parameters of every layer, both with
gradients of the outputs; its released code takes gradients of the loss, and computes one thing under PyTorch before 2 (where the stored
gradients share a buffer) and another since. Each is scored twice, with other weights and images, for the first architectures of
NAS-Bench-201. Three numbers each: Spearman's correlation with the published 200-epoch test accuracies; with itself under the other seed,
its reliability; and with the squared norm of one example's whole gradient. Expected: both equations with the loss about 0.7 and reliable;
the released formula with true per-example gradients no signal (reliability about 0, half the scores negative); with shared buffers the
gradient norm of one example.
Command: python -m benchmarks.ranking.knas_estimators --data FILE.npz [--first 100] [--seeds 0,1] [--workers N]
FILE.npz holds CIFAR-10; --data cifar10 takes the original archive in the folder JKNAS_DATA.
About 25 minutes on two busy CPU cores; an interrupted run goes on
(knas_estimators.sqlite).
"""

import argparse
import pathlib

import numpy as np

from benchmarks import measure, pools
from jknas import data, proxies, spaces, tabular
from jknas.ranking import metrics
from jknas.scoring.scorer import make_scorer, score_together
from jknas.scoring.store import Store
from jknas.spaces.nasbench201.index import genotype_at
from jknas.workers import Pool

REFERENCE = "one example's squared gradient norm"
DATASETS = ("cifar10", "cifar100", "imagenet16-120")


def estimators() -> dict[str, tuple[str, dict[str, str], int | None]]:
    """Return proxy, settings and batch size of every estimator, by what it is."""
    return {
        "Eq. (15), loss": ("mgm", {}, 64),
        "Eq. (15), outputs (as printed)": ("mgm", {"objective": "logits"}, 64),
        "Eq. (16), loss, 50 sampled parameters a layer": ("mgm_layerwise", {}, 64),
        "Eq. (16), loss, the released code's 11 tensors": ("mgm_layerwise", {"entries": "released"}, 50),
        "released formula, PyTorch 2 (true per-example gradients)": ("mgm_released", {}, None),
        "released formula, PyTorch 1 (shared buffers)": ("mgm_released_aliased", {}, None),
        REFERENCE: ("mgm", {}, 1),
    }


def scores_of(options: argparse.Namespace, dataset: data.Dataset, pool: Pool | None) -> dict[str, np.ndarray]:
    """Return the scores ``[seed, architecture]`` of every estimator."""
    found = {}
    genotypes = [genotype_at(index) for index in range(options.first)]
    with Store(options.db) as store:
        for name, (proxy, settings, batch) in estimators().items():
            rows = []
            for seed in options.seeds:
                fixed = {"cells": options.cells, "seed": seed, "batch_size": batch, "settings": settings}
                scorer = make_scorer(proxies.get(proxy), dataset, spaces.get("nasbench201"), **fixed)
                rows.append([record.score for record, _ in score_together([scorer], genotypes, store=store, pool=pool)])
                print(f"{name}, seed {seed}: {len(rows[-1])} scores", flush=True)
            found[name] = np.asarray(rows)
    return found


def facts(name: str, found: dict[str, np.ndarray], accuracies: dict[str, np.ndarray]) -> dict[str, object]:
    """Return what the scores of one estimator correlate with, one number a seed."""
    scores = found[name]
    return {
        "spearman": {target: [metrics.spearman(row, accuracy).value for row in scores] for target, accuracy in accuracies.items()},
        "kendall_tau_b": {
            target: [metrics.kendall_tau_b(row, accuracy).value for row in scores] for target, accuracy in accuracies.items()
        },
        "reliability": [metrics.spearman(scores[0], other).value for other in scores[1:]],
        "with_one_example_norm": [metrics.spearman(row, norm).value for row, norm in zip(scores, found[REFERENCE], strict=True)],
        "negative_share": float((scores < 0).mean()),
        "non_finite": int((~np.isfinite(scores)).sum()),
    }


def main() -> None:
    """Score, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=100, help="architectures 0 to FIRST - 1 of the published order, which is shuffled")
    parser.add_argument("--data", default="cifar10", help="CIFAR-10: an .npz file, or a name of `jknas data list`")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1])
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--db", type=pathlib.Path, default=measure.RESULTS / "ranking/knas_estimators.sqlite")
    pools.add_options(parser)
    options = parser.parse_args()
    table, dataset = tabular.load(), data.load(options.data)
    genotypes = [genotype_at(index) for index in range(options.first)]
    targets = {name: tabular.PROTOCOLS[name].reports for name in DATASETS}
    accuracies = {
        name: np.asarray([table.accuracy(genotype, **target._asdict(), seeds="mean").mean for genotype in genotypes])
        for name, target in targets.items()
    }
    with pools.opened(options) as pool:
        found, by = scores_of(options, dataset, pool), pools.facts(pool, options)
    rows = {name: facts(name, found, accuracies) for name in found}
    for name, row in rows.items():
        means = ", ".join(f"{target} {np.mean(values):.2f}" for target, values in row["spearman"].items())
        print(f"{name}: {means}; reliability {row['reliability'][0]:.2f}; with {REFERENCE} {np.mean(row['with_one_example_norm']):.2f}")
    settings = {"first": options.first, "seeds": options.seeds, "cells": options.cells, "channels": 16, "scheme": "pytorch", **by}
    measure.record(
        "ranking/knas_estimators",
        {
            "question": "what KNAS's estimators rank by",
            "settings": settings,
            "dataset": {"name": dataset.name, "source": dataset.source},
            "estimators": {
                name: {"proxy": proxy, "settings": given, "batch": batch} for name, (proxy, given, batch) in estimators().items()
            },
            "facts": rows,
        },
    )


if __name__ == "__main__":
    main()
