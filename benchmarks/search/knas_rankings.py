r"""What does KNAS find when it ranks by the consensus, and is that more than the largest cells?

Question: 200-epoch test accuracy, mean and standard error over runs, of Algorithm 1 of KNAS on the table of NAS-Bench-201: a random pool
is ranked, the best k are trained for 12 epochs, the one with the highest validation accuracy wins. Rankings: `consensus`, the number of
parameters, and a random order (the best of k random cells). Pools of 100 and 1,000 (500 runs) and the whole space (one run a seed of the
scores). A run uses the scores of one seed: the r-th run that of r modulo their number. "whole space, ranks of all seeds averaged" is one
run more. Wanted: above both null models by more than two standard errors on every data set.
Costs are those of the k trainings in both accountings (:mod:`jknas.tabular.accounting`), and the seconds of scoring the pool.
Command: python -m benchmarks.search.knas_rankings [--scores FILE] [--runs 500]
Reads benchmarks/ranking/whole_space_scores.csv.gz. Writes knas_rankings.json. About 5 minutes on one core. The first runs of each pool are
made by the product's own search too, and have to agree with the arrays that this script works on.
"""

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks import measure
from jknas import search, spaces, tabular
from jknas.ranking import aggregates
from jknas.scoring.score_table import ScoreTable, read_scores
from jknas.search.methods.knas import Knas
from jknas.search.scored import measured_in
from jknas.tabular.accounting import ACCOUNTINGS

DATASETS = ("cifar10", "cifar100", "imagenet16-120")
KS = (1, 5, 10, 20, 40)
POOLS = (100, 1000)
CHECKED = 3


class Benchmark:
    """Accuracies and costs of all cells as arrays, in the order of the space.

    Attributes:
        cells: all cells.
        judged: by data set the accuracy that a search sees.
        tested: by data set the accuracy that is reported.
        seconds: by data set and accounting the cost of training a candidate.
    """

    def __init__(self) -> None:
        self.space, self.table = spaces.get("nasbench201"), tabular.load()
        self.cells = tuple(self.space.enumerate())
        self.place = {cell: place for place, cell in enumerate(self.cells)}
        self.judged, self.tested, self.seconds = {}, {}, {}
        for dataset in DATASETS:
            protocol = tabular.PROTOCOLS[dataset]
            self.judged[dataset] = self._accuracies(protocol.selects)
            self.tested[dataset] = self._accuracies(protocol.reports)
            for name, accounting in ACCOUNTINGS.items():
                self.seconds[dataset, name] = np.array([accounting.seconds(self.table, cell, dataset) for cell in self.cells])

    def _accuracies(self, target: Any) -> np.ndarray:
        return np.array([self.table.accuracy(cell, **target._asdict(), seeds="mean").mean for cell in self.cells])

    def drawn(self, seed: int, count: int) -> np.ndarray:
        """Return the places of the pool that a search draws by a seed."""
        return np.array([self.place[cell] for cell in self.space.sample(np.random.default_rng(seed), count, unique=True)])


def winner(values: np.ndarray, judged: np.ndarray, k: int) -> tuple[int, np.ndarray]:
    """Return the place in the pool of the candidate that wins, and the places of the k that are trained."""
    order = np.lexsort((np.arange(len(values)), -np.where(np.isnan(values), -np.inf, values)))[:k]
    return int(order[np.argmax(judged[order])]), order  # equal accuracies: the better rank


def pool_values(ranking: str, scores: Mapping[str, np.ndarray], pool: np.ndarray) -> np.ndarray:
    """Return what a ranking says of a pool."""
    members = {name: values[pool] for name, values in scores.items()}
    return members[ranking] if ranking in members else aggregates.combine(aggregates.get(ranking), members)


def summary(found: list[float]) -> dict[str, float]:
    """Return mean, standard error and standard deviation."""
    deviation = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
    return {"mean": float(np.mean(found)), "standard_error": deviation / len(found) ** 0.5, "standard_deviation": deviation}


def searched(
    bench: Benchmark, dataset: str, ranking: str, draws: list[Mapping[str, np.ndarray]], *, count: int, k: int, runs: int
) -> dict[str, Any]:
    """Search many pools."""
    found, costs = [], {name: [] for name in ACCOUNTINGS}
    for run in range(runs):
        pool = bench.drawn(run, count) if count < len(bench.cells) else np.arange(len(bench.cells))
        if ranking == "random":
            values = np.random.default_rng((run, 1)).random(len(pool))
        else:
            values = pool_values(ranking, draws[run % len(draws)], pool)
        won, trained = winner(values, bench.judged[dataset][pool], k)
        found.append(float(bench.tested[dataset][pool][won]))
        for name, listed in costs.items():
            listed.append(float(bench.seconds[dataset, name][pool[trained]].sum()))
    return {"runs": runs, **summary(found), "seconds": {name: float(np.mean(listed)) for name, listed in costs.items()}}


def check(bench: Benchmark, table: ScoreTable, draws: list[Mapping[str, np.ndarray]], seeds: tuple[int, ...]) -> int:
    """Run the product's search for the first runs, and compare; return how many were compared."""
    one, compared = aggregates.get("consensus"), 0
    for run in range(CHECKED):
        seed = seeds[run % len(seeds)]
        measured = drawn_by(table, bench.space, one.members, (seed,))
        problem = search.TableProblem(table=bench.table, dataset="cifar100", seed=run, aggregate=one, measured=measured)
        state = search.run(Knas(samples=100, topk=5), problem).state
        pool = bench.drawn(run, 100)
        won, _ = winner(pool_values("consensus", draws[run % len(draws)], pool), bench.judged["cifar100"][pool], 5)
        if 100 * state.test.accuracy != bench.tested["cifar100"][pool[won]]:
            raise SystemExit(f"run {run}: the search found {100 * state.test.accuracy}, the arrays {bench.tested['cifar100'][pool[won]]}")
        compared += 1
    return compared


def drawn_by(table: ScoreTable, space: Any, names: tuple[str, ...], seeds: tuple[int, ...]) -> dict[str, Any]:
    """Return the scores by some seeds; where a proxy was scored by fewer, those that it has."""
    found: dict[str, Any] = {}
    for name in names:
        known = tuple(seed for seed in seeds if name in table.proxies and seed in table.seeds(name))
        found |= measured_in(table, space=space, names=[name], seeds=known or None)
    return found


def main() -> None:
    """Search and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=pathlib.Path, default=measure.RESULTS / "ranking/whole_space_scores.csv.gz")
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()
    table, bench = read_scores(options.scores), Benchmark()
    members = (*aggregates.get("consensus").members, "params")
    seeds = table.seeds("jacob_cov")
    draws: list[Mapping[str, np.ndarray]] = []
    for chosen in (*((seed,) for seed in seeds), seeds):
        found = drawn_by(table, bench.space, members, chosen)
        draws.append({name: np.array([values[cell] for cell in bench.cells]) for name, values in found.items()})
    *single, averaged = draws
    compared, everything = check(bench, table, single, seeds), len(bench.cells)
    plans = [
        *((f"pool {count}", one, single, count, options.runs) for count in POOLS for one in ("consensus", "params", "random")),
        ("whole space", "consensus", single, everything, len(single)),
        ("whole space", "params", single, everything, 1),
        ("whole space, ranks of all seeds averaged", "consensus", [averaged], everything, 1),
    ]
    rows: dict[str, Any] = {}
    for dataset in DATASETS:
        for pool, ranking, drawn, count, runs in plans:
            for k in KS:
                found = searched(bench, dataset, ranking, drawn, count=count, k=k, runs=runs)
                rows.setdefault(pool, {}).setdefault(f"{ranking}, k={k}", {})[dataset] = found
        print(dataset, {name: {row: round(found[dataset]["mean"], 2) for row, found in listed.items()} for name, listed in rows.items()})
    # What orders the best of a pool anew is computed of these alone.
    known = dict.fromkeys(members, np.ones(everything, bool))
    asked = {name: mask.mean() for name, mask in aggregates.get("consensus").combination.asks_for(single[0], known).items()}
    seconds = {name: table.facts["columns"][f"{name}:{table.seeds(name)[0]}"]["median_seconds"] for name in asked}
    measure.record(
        "search/knas_rankings",
        {
            "question": "200-epoch test accuracy in percent of the best of k by 12-epoch validation accuracy, by what ranks the pool",
            "consensus": str(aggregates.get("consensus").combination),
            "seeds": list(seeds),
            "runs_compared_with_the_search": compared,
            "seconds_to_score_a_cell": sum(seconds[name] * share for name, share in asked.items()),
            "share_of_the_cells_scored_by": asked,
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
