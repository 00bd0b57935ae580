"""What does a score cost at the published size, and what do `consensus` and `consensus_light` for the whole space?

Question: milliseconds a cell of one core, by the scores of the whole space and those whose cost is published, on NAS-Bench-201 networks
of 16 channels and 5 cells a stage, published batches of CIFAR-10 images; and the minutes in which two workers score the parts of
an aggregate on all 5,234 classes of equal function, from a random sample of them. Wanted: 25 minutes. Published: table 2 of APD, 16.8 ms
(APD) to 78.3 (SynFlow), on hardware that its text does not name; GraSP, at 93.7 ms there, is left out.

A sample of classes is scored by two worker processes of one thread each, so that each core has its share of the memory's bandwidth.
`az_expressivity` stands for all three scores of AZ-NAS, which share its computation. Compilation is not counted: once a proxy and worker, 5
to 20 s. Later stages need their scores of the best part alone: here the best part of the sample.

Command: python -m benchmarks.ranking.score_cost --data FILE.npz [--each 16] [--sample 80] [--workers N]
Two workers are the question, and the default. About ten minutes on two CPU cores, half of it compilation, which must have nothing else to
do. Writes score_cost.json.
"""

import argparse
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import measure, pools
from benchmarks.ranking.whole_space import AGGREGATES
from jknas import data, proxies, spaces
from jknas.ranking import aggregates
from jknas.scoring.scorer import Scorer, make_scorer, score_together
from jknas.workers import Pool

PUBLISHED = {"synflow": 78.26, "zico": 75.5, "az_expressivity": 69.43, "swap": 47.61}
PUBLISHED |= {"snip": 45.78, "naswot": 36.54, "zen": 30.07, "apd": 16.81}
"""Milliseconds an architecture, table 2 of APD; AZ-NAS is all three of its scores there, and they share a computation here."""
OURS = ("meco", "near", "jacob_cov", "mgm", "ntk_condition", "vkdnw")
WARM_UP = 16  # classes before the clock starts


def timed(pool: Pool | None, scorer: Scorer, first: Sequence[Any], genotypes: Sequence[Any]) -> tuple[np.ndarray, np.ndarray, float]:
    """Score some cells that do not count, in which every worker compiles, and then those that do.

    Returns:
        scores, larger is better, and seconds of each, and the seconds of all together by the clock.
    """
    records, start = [], 0.0
    for done, (record, _) in enumerate(score_together([scorer], [*first, *genotypes], pool=pool), start=1):
        records.append(record)
        if done == len(first):
            start = time.perf_counter()
    wall, records = time.perf_counter() - start, records[len(first) :]
    scores = np.array([record.score if record.status == "ok" else np.nan for record in records])
    return scores if scorer.proxy.higher_is_better else -scores, np.array([record.seconds for record in records]), wall


def lacking(combination: aggregates.Combination, scores: dict[str, np.ndarray], known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return of which cells a combination now asks for scores that are not known."""
    asked = {name: mask & ~known[name] for name, mask in combination.asks_for(scores, known).items()}
    return {name: mask for name, mask in asked.items() if mask.any()}


def parts_of(
    pool: Pool | None, combination: aggregates.Combination, scorers: dict[str, Scorer], first: list[Any], sample: list[Any]
) -> dict[str, dict[str, float]]:
    """Score what a combination asks for, part by part, and return of each the classes and the seconds."""
    known = {name: np.zeros(len(sample), bool) for name in combination.members}
    scores = {name: np.full(len(sample), np.nan) for name in combination.members}
    parts: dict[str, dict[str, float]] = {}
    while missing := lacking(combination, scores, known):
        for name, mask in missing.items():
            scores[name][mask], seconds, wall = timed(pool, scorers[name], first, [sample[place] for place in np.flatnonzero(mask)])
            known[name] |= mask
            one = parts.setdefault(name, {"classes": 0, "core_seconds": 0.0, "seconds": 0.0})
            one["classes"] += int(mask.sum())
            one["core_seconds"] += float(seconds.sum())
            one["seconds"] += wall
    return parts


def main() -> None:
    """Time and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a .npz of CIFAR-10, or another data set of 32x32 images")
    parser.add_argument("--each", type=int, default=16, help="classes a proxy is timed on")
    parser.add_argument("--sample", type=int, default=80, help="classes that an aggregate is timed on")
    pools.add_options(parser)
    parser.set_defaults(workers=2)
    options = parser.parse_args()
    space, dataset = spaces.get("nasbench201"), data.load(options.data)
    classes = sorted({space.canonical(genotype) for genotype in space.enumerate()}, key=str)
    rng = np.random.default_rng(0)
    first, sample = np.split(rng.choice(len(classes), WARM_UP + options.sample, replace=False), [WARM_UP])
    first, sample = [classes[place] for place in first], [classes[place] for place in sample]
    members = dict.fromkeys(member for name in AGGREGATES for member in aggregates.get(name).members)
    rows: dict[str, Any] = {}
    load = [os.getloadavg()[0]]

    with pools.opened(options) as pool:
        by = pools.facts(pool, options)
        scorers = {name: make_scorer(proxies.get(name), dataset, space) for name in (*PUBLISHED, *OURS, *members)}
        for name in dict.fromkeys((*PUBLISHED, *OURS)):
            _, seconds, _ = timed(pool, scorers[name], first, sample[: options.each])
            milliseconds = 1000 * seconds
            rows[name] = {"mean": float(milliseconds.mean()), "median": float(np.median(milliseconds)), "published": PUBLISHED.get(name)}
            print(name, {key: value and round(value, 1) for key, value in rows[name].items()}, flush=True)
        totals = {}
        for name in AGGREGATES:
            parts = parts_of(pool, aggregates.get(name).combination, scorers, first, sample)
            minutes = sum(one["seconds"] for one in parts.values()) * len(classes) / len(sample) / 60
            print(f"{name}, {len(classes)} classes by {options.workers} workers: {minutes:.0f} minutes", flush=True)
            totals[name] = {"classes": len(classes), "minutes": minutes, "wanted_minutes": 25, "parts": parts}
        load.append(os.getloadavg()[0])
    measure.record(
        "ranking/score_cost",
        {
            "question": "what a score costs at the published size",
            "settings": {**by, "each": options.each, "sample": options.sample, "dataset": dataset.name, "seed": 0},
            "milliseconds_a_cell_of_one_core": rows,
            **totals,
            "load_average": {"before": load[0], "after": load[1]},
        },
    )


if __name__ == "__main__":
    main()
