r"""Which training-free scores rank architectures, all in one pool?

Question: how well do training-free scores, single ones and aggregates, rank the first 1,000 architectures of NAS-Bench-201 (the
published order is shuffled) by their 200-epoch test accuracies, compared with the null models: number of parameters, multiply-
accumulates, and a random score? One draw of PyTorch-default weights (unless a proxy's definition says otherwise) and one batch of real
CIFAR-10 images for all architectures. To score a thousand architectures by all of them on two CPU cores in a session, the network has one
cell per stage instead of five (--cells 5 is the published one), and the costly proxies see smaller batches than published (``BATCHES``).
Architectures whose output cannot depend on the input rank last in every score but the random one; so do scores that are not finite.
Command: python -m benchmarks.ranking.proxy_study --data FILE.npz [--first 1000] [--cells 1] [--proxy NAME,...] [--workers N]
FILE.npz holds CIFAR-10; --data cifar10 takes the original archive in the folder JKNAS_DATA.
About 90 minutes on two busy CPU cores, 0.1 to 0.4 s a score of a pass over the batch; an
interrupted run goes on (proxy_study.sqlite, or --db). Writes proxy_study.json and prints the table. The same for the
published network, and for the whole space by the cheap scores:
    python -m benchmarks.ranking.proxy_study --data FILE.npz --first 200 --cells 5 --name proxy_study_published
    python -m benchmarks.ranking.proxy_study --data FILE.npz --first 15625 --deduplicate --resamples 20 \
        --proxy meco,synflow,mgm_released_aliased --name proxy_study_whole
"""

import argparse
import pathlib
import statistics

import numpy as np

from benchmarks import measure, pools
from jknas import data, proxies, spaces, tabular
from jknas.proxies import NetworkProxy
from jknas.ranking import aggregates, correlation
from jknas.scoring.scorer import make_scorer, score_together, sharing
from jknas.scoring.store import ScoreRecord, Store
from jknas.spaces.nasbench201.index import genotype_at
from jknas.workers import Pool

BATCHES = {
    **dict.fromkeys(("mgm", "mgm_logits", "mgm_layerwise", "mgm_released", "mgm_released_aliased"), 16),
    **dict.fromkeys(("grad_norm", "snip", "plain", "nasi", "l2_norm", "fisher", "zico", "hnas", "gradsign"), 16),
    **dict.fromkeys(("ntk_condition", "ntk_lambda_min", "ntk_trace", "ntk_frobenius", "ntk_effective_rank"), 32),
    **dict.fromkeys(("label_gradient_alignment", "az_expressivity", "az_progressivity", "az_trainability"), 32),
    **dict.fromkeys(("naswot", "jacob_cov", "epe_nas"), 64),
    "tenas_condition": 24,
    "grasp": 4,
}
"""Smaller batches than a proxy's published one, for the time's sake."""

TARGETS = ("cifar10", "cifar100", "imagenet16-120")
NULL_MODELS = ("params", "macs")


def scored(options: argparse.Namespace, dataset: data.Dataset, pool: Pool | None) -> dict[str, list[ScoreRecord]]:
    """Return the records of every proxy, in the order of the architectures."""
    space, found = spaces.get("nasbench201"), {}
    genotypes = [genotype_at(index) for index in range(options.first)]
    makes = {"cells": options.cells, "seed": options.seed}
    scorers = [make_scorer(proxies.get(name), dataset, space, **makes, batch_size=BATCHES.get(name)) for name in options.proxy]
    groups = sharing(scorers)
    with Store(options.db) as store:
        while groups:
            group = groups.pop(0)
            shared = options.deduplicate and isinstance(group[0].proxy, NetworkProxy)
            for record, _ in score_together(group, genotypes, store=store, deduplicate=shared, pool=pool):
                found.setdefault(record.key.proxy, []).append(record)
            print(f"{', '.join(scorer.proxy.name for scorer in group)}: {len(genotypes)} architectures", flush=True)
    return found


def ranking(records: dict[str, list[ScoreRecord]], *, seed: int) -> dict[str, np.ndarray]:
    """Return every score as numbers to rank by, the aggregates and the random score among them."""
    scores = {
        name: correlation.ranking_scores(listed, higher_is_better=proxies.get(name).higher_is_better) for name, listed in records.items()
    }
    whole = {
        name: aggregates.combine(aggregates.get(name), scores)
        for name in aggregates.names()
        if set(aggregates.get(name).members) <= scores.keys()
    }
    n = len(next(iter(scores.values())))
    return {**scores, **whole, "random": np.random.default_rng(seed).random(n)}


def described(name: str, row: correlation.Row) -> dict[str, object]:
    """Return a row as plain data."""
    numbers = {
        measured: {"value": interval.estimate.value, "interval_95": [interval.low, interval.high]}
        for measured, interval in (("spearman", row.spearman), ("kendall_tau_b", row.kendall), ("top_decile", row.top_decile))
    }
    regrets = {f"regret@{k}": interval.estimate.value for k, interval in row.regret.items()}
    return {"name": name, **numbers, **regrets, "ties": row.ties, "not_ok": row.not_ok}


def main() -> None:
    """Score, correlate, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10", help="CIFAR-10: an .npz file, or a name of `jknas data list`")
    parser.add_argument("--first", type=int, default=1000, help="architectures 0 to FIRST - 1 of the published order")
    parser.add_argument("--cells", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--proxy", type=lambda text: text.split(","), default=list(proxies.names()))
    parser.add_argument("--db", type=pathlib.Path, default=measure.RESULTS / "ranking/proxy_study.sqlite")
    parser.add_argument(
        "--deduplicate", action="store_true", help="cells that compute the same function share one score (not their size, which differs)"
    )
    parser.add_argument("--resamples", type=int, default=200, help="of the bootstrap")
    parser.add_argument("--name", default="proxy_study", help="of the result file")
    pools.add_options(parser)
    options = parser.parse_args()
    options.proxy = list(dict.fromkeys((*options.proxy, *NULL_MODELS)))
    table, dataset = tabular.load(), data.load(options.data)
    with pools.opened(options) as pool:
        records, by = scored(options, dataset, pool), pools.facts(pool, options)
    scores = ranking(records, seed=options.seed)
    genotypes = [genotype_at(index) for index in range(options.first)]
    rows: dict[str, list[dict[str, object]]] = {}
    for target in TARGETS:
        meant = tabular.PROTOCOLS[target].reports._asdict()
        accuracies = np.asarray([table.accuracy(genotype, **meant, seeds="mean").mean for genotype in genotypes])
        found = correlation.by_spearman(correlation.correlate(scores, accuracies, seed=options.seed, resamples=options.resamples))
        rows[target] = [described(row.name, row) for row in found]
    first = {name: listed[0] for name, listed in records.items()}
    measure.record(
        f"ranking/{options.name}",
        {
            "question": "how every training-free score ranks one pool of architectures by their trained accuracies",
            "settings": {
                "first": options.first,
                "cells": options.cells,
                "channels": 16,
                "seed": options.seed,
                "deduplicate": options.deduplicate,
                "resamples": options.resamples,
                **by,
            },
            "dataset": {"name": dataset.name, "source": dataset.source, "resolution": dataset.resolution},
            "targets": {target: tabular.PROTOCOLS[target].reports._asdict() for target in TARGETS},
            "proxies": {
                name: {
                    "settings": first[name].key.settings,
                    "median_seconds": statistics.median(record.seconds for record in listed),
                    "statuses": correlation.statuses(listed),
                }
                for name, listed in records.items()
            },
            "rows": rows,
        },
    )
    print("\n| score | " + " | ".join(TARGETS) + " |\n|---|" + "---|" * len(TARGETS))
    by_name = {target: {row["name"]: row for row in listed} for target, listed in rows.items()}
    for row in rows["cifar10"]:
        cells = [by_name[target][row["name"]]["spearman"] for target in TARGETS]
        print(f"| {row['name']} | " + " | ".join(f"{cell['value']:.2f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
