"""Do TE-NAS's two numbers, and their rank sum, rank single architectures; and does the cheap kernel rank as well as the exact coupled one?

Question: Kendall and Spearman correlations, over random NAS-Bench-201 cells, of the condition number (training-mode batch normalisation, 72
backward passes), the same with every image normalised by itself (one backward pass), the linear regions and both rank sums, with the
200-epoch test accuracies; the number of parameters is the null model. The paper's Fig. 2 has Kendall -0.42 (condition number), +0.50
(regions) and -0.64 (rank sum, smaller is better); here all signs are turned so that larger is better.
Command: python -m benchmarks.ranking.tenas_study --data FILE.npz [--sample 100] [--repeats 1] [--seed 0] [--workers N]
What is measured is kept in tenas_runs (not committed): an interrupted run goes on.
FILE.npz holds CIFAR-10; --data cifar10 takes the original archive in the folder JKNAS_DATA. About ten minutes on two quiet CPU cores.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks import measure, pools
from benchmarks.ranking.mgm_correlation import accuracies
from jknas import data, spaces
from jknas.ranking import metrics
from jknas.search.pruning.measure import Job, Measure
from jknas.search.pruning.measuring import Measurer
from jknas.search.pruning.supernets import supernet
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.workers import Pool


def measured(
    statistics: Any, genotypes: Sequence[CellGenotype], dataset: data.Dataset, options: argparse.Namespace, pool: Pool | None
) -> list[list[float]]:
    """Return condition number, regions and seconds of each cell."""
    space = spaces.get("nasbench201")
    how = Measure(
        statistics=statistics,
        repeats=options.repeats,
        batch=72,
        samples=3000,
        draws="repeat",
        schemes=("pytorch", "pytorch"),
        unguarded=False,
    )
    kept = measure.RESULTS / "ranking" / "tenas_runs" / f"study-{statistics}-{options.repeats}-{options.seed}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(kept.read_text()) if kept.exists() else {}
    measurer = Measurer(supernet(space, classes=10, input_channels=3), dataset, how, seed=options.seed)
    left = [genotype for genotype in genotypes if str(genotype) not in known]
    alone = [tuple(tuple(at == digit for at in range(len(space.operations))) for digit in genotype.code) for genotype in left]
    for place, result in pools.each(pool, measurer, [Job(0, 0, ((live, live),)) for live in alone]):
        (one,) = result.found
        known[str(left[place])] = [float(np.mean(one.condition)), float(np.mean(one.regions)), result.seconds]
        kept.write_text(json.dumps(known))
        if len(known) % 20 == 0:
            print(f"{statistics}: {len(known)} of {len(genotypes)}", flush=True)
    return [known[str(genotype)] for genotype in genotypes]


def main() -> None:
    """Measure, correlate and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10", help="CIFAR-10: an .npz file, or a name of `jknas data list`")
    parser.add_argument("--sample", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    pools.add_options(parser)
    options = parser.parse_args()
    space, dataset = spaces.get("nasbench201"), data.load(options.data, limit=(10_000, 1))
    drawn = space.sample(np.random.default_rng(options.seed), 2 * options.sample, unique=True)
    genotypes = [genotype for genotype in drawn if not space.is_dead(genotype)][: options.sample]
    with pools.opened(options) as pool:
        found = {statistics: measured(statistics, genotypes, dataset, options, pool) for statistics in ("example", "batch")}
        by = pools.facts(pool, options)
    seconds = {statistics: float(np.median([row[2] for row in rows])) for statistics, rows in found.items()}
    coupled, single = (np.array([row[0] for row in found[name]]) for name in ("batch", "example"))
    regions = np.array([row[1] for row in found["batch"]])
    scores = {
        "condition number, coupled": -coupled,
        "condition number, one pass": -single,
        "linear regions": regions,
        "rank sum, coupled": -(stats.rankdata(coupled) + stats.rankdata(-regions)),
        "rank sum, one pass": -(stats.rankdata(single) + stats.rankdata(-regions)),
        "parameters": np.array([float(space.parameters(genotype, channels=16, cells=5, classes=10)) for genotype in genotypes]),
    }
    table: dict[str, dict[str, dict[str, float | list[float]]]] = {}
    for name, values in scores.items():
        ordered = stats.rankdata(values)  # infinite condition numbers are the worst of all, and finite as ranks
        table[name] = {}
        for target, known_accuracies in accuracies(genotypes).items():
            interval = metrics.bootstrap_interval(metrics.kendall_tau_b, ordered, known_accuracies, seed=options.seed)
            table[name][target] = {
                "kendall_tau_b": interval.estimate.value,
                "interval_95": [interval.low, interval.high],
                "spearman": metrics.spearman(ordered, known_accuracies).value,
            }
            if target == "cifar100":
                print(f"{name}: Kendall {interval.estimate.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]", flush=True)
    measure.record(
        "ranking/tenas_study",
        {
            "question": "rank correlation, larger is better throughout, with 200-epoch test accuracies (the images are CIFAR-10)",
            "settings": {"sample": len(genotypes), "repeats": options.repeats, "seed": options.seed, "scheme": "pytorch", **by},
            "dataset": {"name": dataset.name, "source": dataset.source},
            "infinite": {"coupled": int(np.isinf(coupled).sum()), "one pass": int(np.isinf(single).sum())},
            "between_the_kernels": {
                "kendall_tau_b": metrics.kendall_tau_b(stats.rankdata(-coupled), stats.rankdata(-single)).value,
                "spearman": metrics.spearman(stats.rankdata(-coupled), stats.rankdata(-single)).value,
            },
            "median_seconds_a_cell": seconds,
            "correlation": table,
        },
    )


if __name__ == "__main__":
    main()
