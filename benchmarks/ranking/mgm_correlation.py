"""Does exact MGM rank architectures by trained accuracy?

Question: Spearman correlation of Eq. (15) (loss, statistics="example", PyTorch-default initialisation) at initialisation with the 200-epoch
CIFAR-10 test accuracy of NAS-Bench-201, over 200 random architectures on real CIFAR-10 images; expected about 0.7. The number of
parameters is the null model. Scores are kept in mgm_correlation.sqlite (not committed): an interrupted run goes on.
Command: python -m benchmarks.ranking.mgm_correlation --data FILE.npz [--sample 200] [--seed 0] [--batch 64] [--workers N]
FILE.npz holds CIFAR-10; --data cifar10 takes the original archive in the folder JKNAS_DATA. About three minutes on two quiet CPU cores.
With --workers the time of compilation is the workers' own, and not recorded.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from benchmarks import measure, pools
from jknas import data, proxies, spaces, tabular
from jknas.ranking import metrics
from jknas.scoring.scorer import make_scorer, score_together
from jknas.scoring.store import Store
from jknas.spaces.nasbench201.genotype import CellGenotype


def accuracies(genotypes: Sequence[CellGenotype]) -> dict[str, np.ndarray]:
    """Return the 200-epoch test accuracy of each architecture, by data set."""
    table = tabular.load()
    return {
        name: np.array([table.accuracy(genotype, **protocol.reports._asdict(), seeds="mean").mean for genotype in genotypes])
        for name, protocol in tabular.PROTOCOLS.items()
    }


def main() -> None:
    """Score, correlate and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10", help="CIFAR-10: an .npz file, or a name of `jknas data list`")
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=64)
    pools.add_options(parser)
    options = parser.parse_args()
    space = spaces.get("nasbench201")
    dataset = data.load(options.data, limit=(2048, 1))
    genotypes = space.sample(np.random.default_rng(options.seed), options.sample, unique=True)
    trained = accuracies(genotypes)
    scored, timing = {}, {}
    with pools.opened(options) as pool, Store(measure.RESULTS / "ranking/mgm_correlation.sqlite") as store:
        by = pools.facts(pool, options)
        for name in ("mgm", "params"):
            scorer = make_scorer(
                proxies.get(name), dataset, space, seed=options.seed, batch_size=options.batch if name == "mgm" else None
            )  # fmt: skip
            records = []
            for record, _ in score_together([scorer], genotypes, store=store, pool=pool):
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
            interval = metrics.bootstrap_interval(metrics.spearman, scores, values, seed=options.seed)
            tau = metrics.kendall_tau_b(scores, values)
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
                **by,
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
