"""Does any training-free score rank DARTS architectures by trained accuracy, and better than their size does?

Question: rank correlations (Spearman's and Kendall's tau-b, with bootstrap intervals) of each proxy at initialisation with the CIFAR-10
accuracy of the 214 randomly drawn DARTS genotypes that were really trained (column reported_acc), compared with the number of parameters
and of multiply-accumulates, on real CIFAR-10 images. A positive correlation means that the proxy, with its sign, ranks the better
architecture higher. The accuracies, 96.2 to 97.6 percent, leave little to rank: the null model to beat is a
Spearman correlation of 0.21 [0.07, 0.34] for the number of parameters, and the same for multiply-accumulates.
darts_correlation_observed.json has `consensus`, what it rests on and swap, at --channels 8 --cells 3.
Scores are kept in darts_correlation.sqlite (not committed): an interrupted run goes on. Five proxies read the spectrum of one
kernel, which is computed once, with training-mode normalisation: one backward pass of the whole batch for each of --kernel-batch images.
Command: python -m benchmarks.ranking.darts_correlation --accuracies FILE.csv --data FILE.npz [--proxy mgm,ntk_trace] [--sample 214]
[--channels 16] [--cells 8] [--out NAME] [--workers N].
--proxy observed stands for the scores that look inside the network. FILE.csv has the columns
genotype and reported_acc; FILE.npz holds CIFAR-10, and --data cifar10 takes the original archive in the folder JKNAS_DATA. On two CPU
cores one program compiles for three minutes and one score of mgm takes up to 16 seconds on a busy machine: an hour per proxy at 16 channels
and 8 cells, several for the kernel; --channels 8 --cells 5 gives a quick look. linear_regions and tenas_condition have networks of their
own size: a minute or two each.
"""

import argparse
import pathlib
from collections import Counter
from typing import Any

import numpy as np

from benchmarks import measure, pools
from jknas import data, proxies, spaces, tabular
from jknas.errors import ProxyError
from jknas.networks.families import macro_of
from jknas.proxies import NetworkProxy, Proxy
from jknas.ranking import aggregates, metrics
from jknas.scoring.scorer import Scorer, make_scorer, score_together
from jknas.scoring.store import ScoreRecord, Store
from jknas.spaces import Space
from jknas.workers import Pool

NULL_MODELS = ("params", "macs")

RANDOM = "random"
"""A null model of another kind: one draw of scores that know nothing of the architecture."""

OBSERVED = "swap,zen,meco,fisher,az_expressivity,az_progressivity,az_trainability,naswot,synflow"
"""What ``--proxy observed`` stands for: scores that look inside the network, or at its flow."""

KERNEL = "label_gradient_alignment"
"""Computes the kernel whose spectrum the others read: one program and one run serve them all."""

OF_SPECTRUM = {
    "ntk_condition": "condition_number",
    "ntk_lambda_min": "lambda_min",
    "ntk_trace": "trace",
    "ntk_frobenius": "frobenius",
    "ntk_effective_rank": "effective_rank",
}
"""Proxies, and the extra of the kernel's records that each is."""


def defined(space: Space[Any]) -> list[str]:
    """Return the names of the proxies that are defined for a space."""
    found, macro = [], macro_of(space)
    for name in proxies.names():
        proxy = proxies.get(name)
        try:
            proxy.check(macro, proxy.with_settings({}, macro))
        except ProxyError:
            continue
        found.append(name)
    return found


def correlations(proxy: Proxy | None, scores: list[float], accuracy: np.ndarray, seed: int) -> dict[str, Any]:
    """Return how well scores rank, with the sign of the proxy (None: a larger one is better); those that are no finite number rank last."""
    higher = proxy is None or proxy.higher_is_better
    found: dict[str, Any] = {"higher_is_better": higher}
    signed = np.array(scores) * (1 if higher else -1)
    for name, statistic in (("spearman", metrics.spearman), ("kendall_tau_b", metrics.kendall_tau_b)):
        interval = metrics.bootstrap_interval(statistic, signed, accuracy, seed=seed)
        found[name] = {
            "value": interval.estimate.value,
            "interval_95": [interval.low, interval.high],
            "status": interval.estimate.status,
            "non_finite": interval.estimate.non_finite,
        }
    return found


def scored(scorer: Scorer, genotypes: list[Any], store: Store, pool: Pool | None) -> list[ScoreRecord]:
    """Return the scores of all genotypes, those of the store and new ones."""
    records = []
    for record, fresh in score_together([scorer], genotypes, store=store, pool=pool):
        records.append(record)
        if fresh and isinstance(scorer.proxy, NetworkProxy) and len(records) % 10 == 1:
            print(f"{scorer.proxy.name}: {len(records)} of {len(genotypes)}, {record.seconds:.2f} s a score", flush=True)
    return records


def facts(scorer: Scorer, records: list[ScoreRecord]) -> dict[str, Any]:
    """Return what was computed, and what it took."""
    return {
        "batch": scorer.batch_size if isinstance(scorer.proxy, NetworkProxy) else None,
        "settings": dict(scorer.settings),
        "statuses": Counter(record.status for record in records),
        "compile_seconds_of_this_run": scorer.compile_seconds,
        "median_seconds_a_score": float(np.median([record.seconds for record in records])),
        "devices": sorted({record.device for record in records}),
    }


def main() -> None:
    """Score, correlate and record."""
    space = spaces.get("darts")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--proxy",
        default=",".join(defined(space)),
        help="comma-separated names, aggregates too, or `observed`; by default all that are defined for DARTS",
    )
    parser.add_argument("--accuracies", type=pathlib.Path, required=True, help="CSV file with the columns genotype and reported_acc")
    parser.add_argument("--data", default="cifar10", help="CIFAR-10: an .npz file, or a name of `jknas data list`")
    parser.add_argument("--sample", type=int, default=214, help="the first so many of a random order")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=space.cells)
    parser.add_argument("--batch", type=int, help="examples; each proxy's published number by default")
    parser.add_argument("--kernel-batch", type=int, default=16, help="examples of the tangent kernel, which takes as many backward passes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="darts_correlation", help="name of the result")
    pools.add_options(parser)
    options = parser.parse_args()
    trained = tabular.read_accuracies(options.accuracies, space)
    genotypes = trained.genotypes()
    accuracy = trained.values(genotypes, "reported_acc")
    order = np.random.default_rng(options.seed).permutation(len(genotypes))[: options.sample]
    genotypes, accuracy = [genotypes[place] for place in order], accuracy[order]
    dataset = data.load(options.data, limit=(1000, 200))
    named = dict.fromkeys([*NULL_MODELS, *options.proxy.replace("observed", OBSERVED).split(",")])
    pooled = [aggregates.get(name) for name in named if name in aggregates.names()]
    members = [member for one in pooled for member in one.members]
    wanted = dict.fromkeys([*(name for name in named if name not in aggregates.names()), *members])
    scores: dict[str, list[float]] = {RANDOM: np.random.default_rng(options.seed + 1).random(len(genotypes)).tolist()}
    table: dict[str, Any] = {RANDOM: {**correlations(None, scores[RANDOM], accuracy, options.seed), "program": None}}
    programs: dict[str, Any] = {}
    signed: dict[str, np.ndarray] = {}
    with pools.opened(options) as pool, Store(measure.RESULTS / "ranking/darts_correlation.sqlite") as store:
        by = pools.facts(pool, options)
        for name in dict.fromkeys(KERNEL if name in OF_SPECTRUM else name for name in wanted):
            proxy = proxies.get(name)
            batch = options.kernel_batch if name == KERNEL else options.batch if name.startswith("mgm") else None
            sizes = {"channels": options.channels, "cells": options.cells}
            scorer = make_scorer(proxy, dataset, space, **sizes, seed=options.seed, batch_size=batch)
            records = scored(scorer, genotypes, store, pool)
            programs[name] = facts(scorer, records)
            read = [one for one in wanted if one == name or (name == KERNEL and one in OF_SPECTRUM)]
            for one in read:
                scores[one] = [float(record.extras[OF_SPECTRUM[one]]) if one != name else record.score for record in records]
                table[one] = {**correlations(proxies.get(one), scores[one], accuracy, options.seed), "program": name}
                rank, tau = table[one]["spearman"], table[one]["kendall_tau_b"]["value"]
                low, high = rank["interval_95"]
                print(f"{one}: Spearman {rank['value']:.3f} [{low:.3f}, {high:.3f}], tau-b {tau:.3f}", flush=True)
                ok = np.array([record.status == "ok" for record in records])
                signed[one] = np.where(ok, np.array(scores[one]) * (1 if proxies.get(one).higher_is_better else -1), np.nan)
    for aggregate in pooled:
        scores[aggregate.name] = aggregates.combine(aggregate, signed).tolist()
        table[aggregate.name] = {
            **correlations(None, scores[aggregate.name], accuracy, options.seed),
            "program": str(aggregate.combination),
        }
        print(aggregate.name, table[aggregate.name])
    measure.record(
        f"ranking/{options.out}",
        {
            "question": "rank correlation of training-free scores at initialisation with the accuracy of 214 trained DARTS architectures",
            "settings": {
                "sample": len(genotypes),
                "seed": options.seed,
                "channels": options.channels,
                "cells": options.cells,
                "scheme": "pytorch",
                **by,
            },
            "dataset": {"name": dataset.name, "source": dataset.source, "digest": dataset.digest},
            "accuracy": {"column": "reported_acc", "low": float(accuracy.min()), "high": float(accuracy.max())},
            "correlation": table,
            "programs": programs,
            "genotypes": [str(genotype) for genotype in genotypes],
            "accuracies": accuracy.tolist(),
            "scores": scores,
        },
    )


if __name__ == "__main__":
    main()
