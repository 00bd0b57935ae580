r"""Which ranking wins on the whole space, at the published size, and is it more than counting parameters?

Question: Spearman, Kendall, nDCG@1000 and Spearman in the top tenth of every score and of `consensus` on all cells of NAS-Bench-201, by
200-epoch test accuracy on three data sets, with bootstrap intervals, seed by seed and with the ranks of the seeds averaged, beside the null
models: parameters, multiply-accumulates, number of convolutions, a random score. Two cell sets, never mixed: ALL (15,625) and U (9,445, no
edge that cannot matter). Networks of 16 channels and 5 cells a stage, published batches, real CIFAR-10 images; cells that compute the same
function share one score (5,234 classes).

Selection: `consensus` and `consensus_light` were chosen by CIFAR-10 accuracies of cells with an even index and scores of seed 0
alone (`consensus_form.py` repeats it). "odd" are the cells that this has not seen; the other two data sets it has not seen at all.

Command: python -m benchmarks.ranking.whole_space [--scores whole_space_scores.csv.gz] [--resamples 100]
Reads the committed scores (two minutes on a quiet core, most of it Kendall's intervals). They were computed, in about two hours a seed, by
    jknas score --all --dedup --proxy jacob_cov,synflow,meco,near,zen,mgm --seeds 3 --data FILE.npz --db S.sqlite --scores FILE.csv.gz
--workers N divides the hours, and the file keeps the same scores for every N. The other scores of the file were computed alike, each by
seed 0 alone (`vkdnw` with --batch 16), and put beside them by `jknas store join`.
Writes whole_space.json.
"""

import argparse
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks import measure
from jknas import spaces, tabular
from jknas.ranking import aggregates, metrics
from jknas.ranking.combinations import mean_rank
from jknas.ranking.correlation import reliability
from jknas.scoring.score_table import ScoreTable, read_scores
from jknas.search.scored import measured_in
from jknas.spaces.nasbench201.index import index_of

TARGETS = ("cifar10", "cifar100", "imagenet16-120")
PARTS = ("jacob_cov", "synflow", "meco", "near", "zen", "mgm")
"""What `consensus` is made of, scored by every seed."""
AGGREGATES = ("consensus", "consensus_light")
SIZES = ("params", "macs", "conv_count")
RIVALS = (
    "two_stage(log_rank(jacob_cov,synflow,meco),log_rank(synflow,zen),0.3)",
    "log_rank(jacob_cov,synflow,meco)",
    "log_rank(near,meco)",
    "log_rank(params,jacob_cov)",
    "log_rank(synflow,jacob_cov,zen)",
    "az_nas",
    "vkdnw_agg",
)
"""Other combinations; shown where the file has all their parts."""
MEASURES: Mapping[str, Any] = {
    "spearman": metrics.spearman,
    "kendall_tau_b": metrics.kendall_tau_b,
    "ndcg_at_1000": metrics.ndcg,
    "top_decile_spearman": metrics.top_decile_spearman,
}


class Cells:
    """The cells of one set with their scores.

    Attributes:
        scores: by seed, or "mean" for the draws of all its seeds, whose ranks are averaged, every proxy of the file, and the sizes.
        accuracies: by target.
        groups: convolutions of every cell.
    """

    def __init__(self, table: ScoreTable, kept: Any, seeds: tuple[int, ...]) -> None:
        space, benchmark = spaces.get("nasbench201"), tabular.load()
        genotypes = [genotype for genotype in space.enumerate() if kept(genotype)]
        sizes = measured_in(table, space=space, names=SIZES)
        counted = {name: np.array([sizes[name][genotype] for genotype in genotypes]) for name in SIZES}
        lines = table.lines(space, genotypes)
        drawn = {name: [seed for seed in table.seeds(name) if seed in seeds] for name in table.proxies}
        by_seed = {seed: {name: table.column(name, seed)[lines] for name in drawn if seed in drawn[name]} for seed in seeds}
        mean = {name: np.stack([by_seed[seed][name] for seed in found]) for name, found in drawn.items() if found}
        self.scores: dict[Any, dict[str, np.ndarray]] = {seed: counted | found for seed, found in [*by_seed.items(), ("mean", mean)]}
        reported = {target: tabular.PROTOCOLS[target].reports._asdict() for target in TARGETS}
        self.accuracies = {
            target: np.array([benchmark.accuracy(one, **meant, seeds="mean").mean for one in genotypes])
            for target, meant in reported.items()
        }
        self.groups = np.array([sum(space.operations[digit] in (space.convolutions or ()) for digit in one.code) for one in genotypes])

    def has(self, name: str, draw: Any) -> bool:
        """Return whether a draw holds all that a ranking is made of."""
        ranking = aggregates.ranking(name)
        return set(ranking.members if isinstance(ranking, aggregates.Aggregate) else (name,)) <= self.scores[draw].keys()

    def ranked(self, name: str, draw: Any) -> np.ndarray:
        """Return a score or an aggregate of one draw."""
        scores = self.scores[draw]
        if name == "random":
            return np.random.default_rng(0).random(len(self.groups))
        return mean_rank(list(np.atleast_2d(scores[name]))) if name in scores else aggregates.combine(aggregates.get(name), scores)


def numbers(values: np.ndarray, cells: Cells, target: str) -> dict[str, float]:
    """Return every measure of one ranking on one target."""
    found = {name: measure_of(values, cells.accuracies[target]).value for name, measure_of in MEASURES.items()}
    found["within_equal_convolutions"] = metrics.within_groups(values, cells.accuracies[target], cells.groups).value
    return found | {f"regret@{k}": metrics.regret(values, cells.accuracies[target], k).value for k in (1, 5, 10)}


def described(name: str, cells: Cells, target: str, seeds: tuple[int, ...], resamples: int) -> dict[str, Any]:
    """Return a row: the averaged ranks with intervals, and what single seeds give."""
    values = cells.ranked(name, "mean")
    interval = functools.partial(
        metrics.bootstrap_interval, scores=values, accuracies=cells.accuracies[target], resamples=resamples, seed=0
    )
    row: dict[str, Any] = {"name": name, "mean_of_seeds": numbers(values, cells, target)}
    if resamples:
        row["interval_95"] = {one: [found.low, found.high] for one, found in ((one, interval(MEASURES[one])) for one in MEASURES)}
    if name not in (*SIZES, "random"):
        row["single_seeds"] = {str(seed): numbers(cells.ranked(name, seed), cells, target) for seed in seeds if cells.has(name, seed)}
    return row


def main() -> None:
    """Compare and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=pathlib.Path, default=measure.RESULTS / "ranking/whole_space_scores.csv.gz")
    parser.add_argument("--resamples", type=int, default=100)
    options = parser.parse_args()
    table = read_scores(options.scores)
    seeds = tuple(sorted(set.intersection(*(set(table.seeds(name)) for name in PARTS))))
    space = spaces.get("nasbench201")
    sets: dict[str, Any] = {"ALL": lambda genotype: True, "U": space.parts["reachable"]}
    sets |= {f"ALL, {half} index": lambda genotype, odd=odd: index_of(genotype) % 2 == odd for odd, half in enumerate(("even", "odd"))}
    found = {name: Cells(table, kept, seeds) for name, kept in sets.items()}
    rows: dict[str, Any] = {}
    free = measure.recorded("ranking/consensus_form")["free"]["chosen"]["form"]
    for name, cells in found.items():
        wanted = dict.fromkeys((*AGGREGATES, free, *RIVALS, *PARTS, *table.proxies, *SIZES))
        listed = (*(one for one in wanted if cells.has(one, "mean")), "random")
        resamples = options.resamples if name == "ALL" else 0
        rows[name] = {
            "cells": len(cells.groups),
            **{target: [described(one, cells, target, seeds, resamples) for one in listed] for target in TARGETS},
        }
        for target in TARGETS:
            shown = rows[name][target][0]["mean_of_seeds"]
            print(f"{name}, {target}: consensus", *(f"{one} {shown[one]:.3f}" for one in MEASURES), flush=True)
    agree = {one: reliability([found["ALL"].ranked(one, seed) for seed in seeds]) for one in (*AGGREGATES, *PARTS)}
    measure.record(
        "ranking/whole_space",
        {
            "question": "how rankings order all cells of NAS-Bench-201 at the published size",
            **{name: str(aggregates.get(name).combination) for name in AGGREGATES},
            "seeds": list(seeds),
            "scores": {"file": options.scores.name, **{name: value for name, value in table.facts.items() if name != "versions"}},
            "reliability": agree,
            "resamples": options.resamples,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
