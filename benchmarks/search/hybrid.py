r"""Do hybrid searches find more with 20 short trainings than the 20 largest cells do?

Question: 200-epoch test accuracy of what searches find that combine scores without training and a few queries of a trained accuracy, on the
embedded table. Every search chooses by validation accuracy on CIFAR-10 (12 epochs; MF-NAS also 200), as RoBoT's released code does for all
three tasks; its winner is looked up on CIFAR-10, CIFAR-100 and ImageNet16-120. Seconds are the table's own, of all queries; scores cost
nothing here. Compared:

* the 20 largest cells by number of parameters, of all and of the reachable ones. 18 cells share the third largest size, and the best of
  all is one of them: which 13 of the 18 are queried depends on the order of equals. "published order" is one order, that of the
  benchmark's index; "random order" draws them, seed by seed; 25 queries cover them all;
* `robot` (RoBoT) on the number of parameters alone, on it and multiply-accumulates, and (with --scores) on stored scores;
* `proxy_evolution`, whose first population of 10 is the best of a sample of 3,000 by the number of parameters or (with --scores) by
  `consensus`, beside the 20 that `consensus` prefers in such a sample, and plain `evolution`, all with 20 trainings;
* `mf_nas` (MF-NAS) by the number of parameters: of 2,000 random cells, and of those that a local search by size visits.

Dead cells have no score: they rank last, and count 0 in a mixture.
Expected: the 20 largest in the published order reach what RoBoT and MF-NAS publish, 94.36 / 73.51 / 46.34; in random order 5 of 18
searches miss the best cell. RoBoT on sizes alone misses it too: the cell of 3x3 convolutions alone is the largest, its accuracy after 12
epochs is poor, and the optimiser learns that small is good. MF-NAS finds it by local search, in every run; a random sample seldom holds it.
Command: python -m benchmarks.search.hybrid [--seeds 10] [--only TEXT] [--scores FILE --proxy NAME,...]
About 2 minutes on one quiet core; needs the extra ``robot``. Writes hybrid.json. --scores names a table of scores of all
cells, such as ranking/whole_space_scores.csv.gz.
"""

import argparse
import math
import pathlib
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from benchmarks import measure
from jknas import proxies, search, spaces, tabular
from jknas.ranking import aggregates
from jknas.scoring.record import ScoreKey, ScoreRecord
from jknas.scoring.score_table import read_scores
from jknas.search.methods.evolution import Evolution
from jknas.search.methods.knas import Knas
from jknas.search.methods.mf_nas import MfNas
from jknas.search.methods.proxy_evolution import ProxyEvolution
from jknas.search.methods.robot import Robot
from jknas.spaces.nasbench201.index import published_order
from jknas.spaces.nasbench201.reachable import reachable

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "RoBoT": {"cifar10": [94.36, 0.0], "cifar100": [73.51, 0.0], "imagenet16-120": [46.34, 0.0], "seconds": 3051, "queries": 20},
    "MF-NAS by parameters": {"cifar10": [94.36, 0.0], "cifar100": [73.51, 0.0], "imagenet16-120": [46.34, 0.0]},
}
"""Mean and standard deviation over 10 runs; the seconds are of another machine (GTX 1080 Ti)."""

BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
"""The cell that both publish: the best of all on CIFAR-100, and the second best on CIFAR-10."""

QUERIES = 20
EVOLUTIONS = 100
"""Seeds of an evolution, whose results are spread more widely."""
SPACE = spaces.get("nasbench201")

Make = Callable[[int], search.TableProblem]


def record_of(genotype: Any, size: int) -> ScoreRecord:
    """Return the number of parameters as a score of the published network."""
    key = ScoreKey(SPACE.name, str(genotype), "params", "{}", "nasbench201", 0, "{}")
    return ScoreRecord(key, str(SPACE.canonical(genotype)), float(size), "dead" if SPACE.is_dead(genotype) else "ok", 0.0)


def searched(method: search.SearchMethod, make: Make, seeds: range) -> dict[str, Any]:
    """Run a search for many seeds, and look up what it finds."""
    tests: dict[str, list[float]] = {dataset: [] for dataset in tabular.PROTOCOLS}
    seconds, trained, best = [], [], 0
    for seed in seeds:
        problem = make(seed)
        state = search.run(method, problem).state
        winner = state.candidates[state.winner].genotype
        for dataset, values in tests.items():
            reports = tabular.PROTOCOLS[dataset].reports._asdict()
            values.append(problem.table.accuracy(winner, **reports, seeds="mean").mean)
        seconds.append(state.train_seconds)
        trained.append(sum(candidate.training is not None for candidate in state.candidates))
        best += str(winner) == BEST
    return {
        "test": {dataset: measure.spread(values) for dataset, values in tests.items()},
        "seconds": measure.spread(seconds),
        "queries": measure.spread(trained),
        "found_the_published_cell": best,
        "seeds": len(seeds),
        "method": method.name,
        "settings": dict(method.settings),
    }


def stored(path: pathlib.Path, names: list[str]) -> dict[str, dict[Any, float]]:
    """Return committed scores of all cells in the published order, larger better, NaN where a status is not ok."""
    cells, found = published_order(), search.measured_in(read_scores(path), space=SPACE, names=names)
    return {name: {cell: scores[cell] for cell in cells} for name, scores in found.items()}


def rows(table: tabular.Table, seeds: int, measured: Mapping[str, Mapping[Any, float]], only: str) -> dict[str, dict[str, Any]]:
    """Run every search whose name holds a text."""
    sizes = {cell: table.parameters(cell, dataset="cifar10") for cell in published_order()}
    records = {cell: record_of(cell, size) for cell, size in sizes.items()}
    live = {cell: math.nan if SPACE.is_dead(cell) else float(size) for cell, size in sizes.items()}
    macs = {cell: math.nan if math.isnan(size) else table.macs(cell, dataset="cifar10") for cell, size in live.items()}
    ordered = sorted((cell for cell, size in live.items() if not math.isnan(size)), key=lambda cell: -live[cell])  # equals keep their order

    def problem(**parts: Any) -> Make:
        by = {} if "aggregate" in parts else {"proxy": proxies.get("params")}
        return lambda seed: search.TableProblem(table=table, dataset="cifar10", seed=seed, **by, **parts)

    def largest(cells: list[Any], queries: int) -> tuple[search.SearchMethod, Make, range]:
        return Knas(samples=queries, topk=queries), problem(scores={cell: records[cell] for cell in cells[:queries]}), range(1)

    pool = {cell: records[cell] for cell in ordered[:25]}  # all cells of the three largest sizes
    evolution, consensus = ProxyEvolution(evaluations=QUERIES), aggregates.get("consensus")
    robot = range(10, 10 + seeds)  # ten is the first published seed
    planned: dict[str, tuple[search.SearchMethod, Make, range]] = {
        "20 largest, published order": largest(ordered, QUERIES),
        "20 largest reachable, published order": largest([cell for cell in ordered if reachable(cell)], QUERIES),
        "20 largest, random order": (Knas(samples=25, topk=QUERIES), problem(scores=pool), range(20 * seeds)),
        "25 largest": largest(ordered, 25),
        "robot, parameters": (Robot(), problem(measured={"params": live}), robot),
        "robot, parameters and multiply-accumulates": (Robot(), problem(measured={"params": live, "macs": macs}), robot),
        "mf_nas, random sample, parameters": (MfNas(), problem(scores=records), range(seeds)),
        "mf_nas, local search, parameters": (MfNas(explore="local"), problem(scores=records), range(seeds)),
        "proxy_evolution, parameters": (evolution, problem(scores=records), range(EVOLUTIONS)),
        "evolution": (Evolution(evaluations=QUERIES), problem(), range(EVOLUTIONS)),
    }
    if measured:
        names = ",".join(measured)
        planned[f"robot, {names.replace(',', ', ')}"] = (Robot(members=names), problem(measured=measured), robot)
        both = {"params": live, **measured}
        planned[f"robot, parameters, {names.replace(',', ', ')}"] = (Robot(members=",".join(both)), problem(measured=both), robot)
        if set(consensus.members) <= set(measured):
            ranked = problem(measured=measured, aggregate=consensus)
            planned["proxy_evolution, consensus"] = (evolution, ranked, range(EVOLUTIONS))
            planned["20 highest of 3,000, consensus"] = (Knas(samples=3000, topk=QUERIES), ranked, range(EVOLUTIONS))
    found = {}
    for name, (method, make, over) in ((name, plan) for name, plan in planned.items() if only in name):
        found[name] = searched(method, make, over)
        shown = " / ".join(f"{mean:.2f} +- {sd:.2f}" for mean, sd in found[name]["test"].values())
        cost = f"{found[name]['queries'][0]:.1f} queries, {found[name]['seconds'][0]:,.0f} s"
        print(f"{name}: {shown}; {cost}; {found[name]['found_the_published_cell']} of {len(over)}", flush=True)
    return found


def main() -> None:
    """Search, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--scores", type=pathlib.Path, help="table of scores of all cells")
    parser.add_argument("--proxy", type=lambda text: text.split(","), default=[], help="whose scores robot mixes")
    parser.add_argument("--only", default="", help="text in the names of the searches to run; the recorded rows of the others stay")
    options = parser.parse_args()
    table = tabular.load()
    known = measure.recorded("search/hybrid").get("rows", {}) if options.only else {}
    found = known | rows(table, options.seeds, {} if options.scores is None else stored(options.scores, options.proxy), options.only)
    question = "200-epoch test accuracy in percent, [mean, standard deviation] over seeds, of searches that mix scores and a few queries"
    settings = {"searched_on": "cifar10", "accounting": "twelve-epochs", "source": table.name, "published": PUBLISHED}
    extra = {name: version(name) for name in ("bayesian-optimization", "scikit-learn")}
    measure.record("search/hybrid", {"question": question, **settings, "rows": found}, extra_versions=extra)


if __name__ == "__main__":
    main()
