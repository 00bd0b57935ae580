"""Table 1 of KNAS (arXiv:2111.13293), rebuilt row by row on the table of trained accuracies.

Question: 200-epoch test accuracy, mean and standard deviation over many runs, of every row of the published table that can be searched on a
table, with its search time in both accountings, compared with what as many random architectures give. Expected: RS, REA and RL within one
standard deviation of the published rows, and KNAS within one standard deviation of the null model of its k.
Command: python -m benchmarks.search.table1 --db SCORES.sqlite [--runs 500] [--slow-runs 100] [--images JSON]
Needs in SCORES.sqlite scores of the proxies mgm and naswot (`jknas score --data FILE.npz --db SCORES.sqlite`) on images of the three data
sets; a row without scores is shown as "not measured". Prints Markdown and writes table1.json. About ten minutes on one quiet core.

How the rows come about, and where they part from the paper:

* RS, RL, REA, BOHB: 100 evaluations of 12 epochs, the number in KNAS's own scripts (its REA stops after 90; here all have 100). The time is
  100 full trainings in the paper's accounting, 12 epochs of each in the other.
* KNAS: a pool of 100 random architectures is ranked by MGM; of the best k the one with the highest 12-epoch validation accuracy wins. The
  paper judges them after 20 epochs, by validation accuracy or, in its code on CIFAR-100 and ImageNet16-120, by training loss; the table has
  neither. Pools are drawn from the architectures whose scores the store holds: the pools of different runs overlap.
* NASWOT: the best of such a pool by naswot. The paper copies the numbers, and counts one full training as time.
* TE-NAS: tenas_search.json, searches on CIFAR-10 images whose cells are looked up for all three data sets.
* ResNet: the architecture's own row; the paper's numbers are those of NAS-Bench-201.
* RSPS, GDAS, DARTS train a supernet for hours on a GPU, which was not measured; what a small recipe finds is in weight_sharing.json.
  `jknas search --method rsps|gdas|darts-v1 --data cifar10 --seed 0 --out DIR` runs the published recipe.
* null model: the same k without a score: of k random architectures, the one with the highest 12-epoch validation accuracy. For RS it is the
  row itself.
"""

import argparse
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks import measure, readme_tables
from jknas import proxies, search, spaces, tabular
from jknas.scoring.store import ScoreRecord, Store
from jknas.search import scored_pool
from jknas.search.methods.best_by_proxy import BestByProxy
from jknas.search.methods.bohb import Bohb
from jknas.search.methods.evolution import Evolution
from jknas.search.methods.knas import Knas
from jknas.search.methods.random import RandomSearch
from jknas.search.methods.reinforce import Reinforce
from jknas.tabular.accounting import ACCOUNTINGS

DATASETS = ("cifar10", "cifar100", "imagenet16-120")
PUBLISHED: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float] | None]] = {
    "ResNet": ((93.97, 70.86, 43.63), None),
    "RS": ((93.63, 71.28, 44.88), (216e3, 460e3, 1e6)),
    "RL": ((92.83, 70.71, 44.10), (216e3, 460e3, 1e6)),
    "REA": ((93.72, 72.12, 45.01), (216e3, 460e3, 1e6)),
    "BOHB": ((93.49, 70.84, 44.33), (216e3, 460e3, 1e6)),
    "RSPS": ((91.67, 57.99, 36.87), (10e3, 46e3, 104e3)),
    "GDAS": ((93.36, 67.60, 37.97), (22e3, 39e3, 130e3)),
    "DARTS": ((88.32, 67.34, 33.04), (23e3, 80e3, 110e3)),
    "NASWOT": ((92.96, 70.03, 44.43), (2.2e3, 4.6e3, 10e3)),
    "TE-NAS": ((93.90, 71.24, 42.38), (2.2e3, 4.6e3, 10e3)),
    "KNAS k=20": ((93.38, 70.78, 44.63), (4.4e3, 9.2e3, 20e3)),
    "KNAS k=40": ((93.43, 71.05, 45.05), (8.8e3, 18.4e3, 40e3)),
}
"""Accuracies in percent and seconds, as printed; no standard deviations are."""

SUPERNETS = ("RSPS", "GDAS", "DARTS")
NATURE = {"NASWOT": 1, "KNAS k=20": 20, "KNAS k=40": 40}
"""How many architectures a row evaluates at last: the k of its null model."""

Scores = Mapping[Any, ScoreRecord]


def methods() -> dict[str, tuple[search.SearchMethod, str | None]]:
    """Return the rows that are searches, each with the proxy whose scores it needs."""
    return {
        "RS": (RandomSearch(topk=100), None),
        "RL": (Reinforce(evaluations=100), None),
        "REA": (Evolution(evaluations=100), None),
        "BOHB": (Bohb(evaluations=100), None),
        "NASWOT": (BestByProxy(samples=100, train=True), "naswot"),
        "KNAS k=20": (Knas(samples=100, topk=20), "mgm"),
        "KNAS k=40": (Knas(samples=100, topk=40), "mgm"),
    }


def searched(make: Callable[[int], search.TableProblem], method: search.SearchMethod, runs: int) -> dict[str, Any]:
    """Run a search for many seeds: accuracy, and time in both accountings."""
    accuracies, seconds = [], {name: [] for name in ACCOUNTINGS}
    for seed in range(runs):
        problem = make(seed)
        state = search.run(method, problem).state
        accuracies.append(100 * state.test.accuracy)
        for name, accounting in ACCOUNTINGS.items():
            seconds[name].append(cost(problem, state, accounting, of_candidates=method.name == "knas"))
    return {
        "test": measure.spread(accuracies),
        "runs": runs,
        "seconds": {name: float(np.mean(values)) for name, values in seconds.items()},
        "settings": dict(method.settings),
    }


def cost(problem: search.TableProblem, state: Any, accounting: Any, *, of_candidates: bool) -> float:
    """Return what the evaluations of a search cost; KNAS trains its candidates for 20 epochs. Scores are not in it."""
    seconds = accounting.candidate_seconds if of_candidates else accounting.seconds
    cells = (state.candidates[place].genotype for place in state.chosen)
    return sum(seconds(problem.table, cell, problem.dataset) for cell in cells)


def scores_of(store: Store, dataset: str, options: argparse.Namespace) -> dict[str, Scores | None]:
    """Return the scores of both proxies on images of a data set, with where they are from; None where there are none."""
    wanted = json.loads(options.images)[dataset]
    found: dict[str, Scores | None] = {}
    for proxy in ("mgm", "naswot"):
        held = {record.key.dataset.partition("@")[0] for record in store.records(proxy=proxy)}
        named = next((name for name in wanted if name in held), None)
        found[proxy] = None if named is None else scored_pool(store, space=spaces.get("nasbench201"), proxy=proxy, dataset=named)
    return found


def enough(scores: Scores | None) -> bool:
    """Return whether pools of 100 can be drawn that differ."""
    return scores is not None and len(scores) >= 200


def tenas_row() -> dict[str, Any]:
    """Return the mean and spread of the recorded TE-NAS searches."""
    path = measure.RESULTS / "search/tenas_search.json"
    if not path.exists():
        return {"status": "not measured"}
    name, found = next(iter(json.loads(path.read_text())["table"].items()))
    return {"status": "measured", "of": name, "runs": found["seeds"], "test": {dataset: found[dataset] for dataset in DATASETS}}


def null_model(table: tabular.Table, dataset: str, k: int, *, draws: int = 20_000) -> list[float]:
    """Return test accuracy of the best of k random architectures by the accuracy that searches see."""
    selects, reports = tabular.PROTOCOLS[dataset]
    cells = table.genotypes()
    judged, tested = (
        np.array([table.accuracy(g, dataset=t.dataset, split=t.split, epochs=t.epochs, seeds="mean").mean for g in cells])
        for t in (selects, reports)
    )
    drawn = np.random.default_rng(0).integers(len(cells), size=(draws, k))
    return measure.spread(list(tested[drawn[np.arange(draws), judged[drawn].argmax(1)]]))


def recorded(dataset: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the rows of one data set that are not to be measured again."""
    path = measure.RESULTS / "search/table1.json"
    if not options.rows or not path.exists():
        return {}
    return {name: row for name, row in json.loads(path.read_text())["table"][dataset].items() if name not in options.rows}


def column(table: tabular.Table, dataset: str, scores: Mapping[str, Scores | None], options: argparse.Namespace) -> dict[str, Any]:
    """Return every row for one data set."""
    known = recorded(dataset, options)
    reports = tabular.PROTOCOLS[dataset].reports
    resnet = spaces.get(table.space).named["resnet"]
    accuracy = table.accuracy(resnet, dataset=reports.dataset, split="test", epochs=200, seeds="mean").mean
    rows: dict[str, Any] = {"ResNet": {"status": "measured", "test": [accuracy, 0.0], "runs": 1, "seconds": {}}}
    rows |= {name: {"status": "not measured"} for name in SUPERNETS}
    for name, (method, proxy) in methods().items():
        if name in known:
            rows[name] = known[name]
            continue
        if proxy is not None and not enough(scores[proxy]):
            rows[name] = {"status": "not measured"}
            continue
        chosen = None if proxy is None else scores[proxy]

        def make(seed: int, chosen: Any = chosen, proxy: str | None = proxy) -> search.TableProblem:
            ranked = {} if proxy is None else {"scores": chosen, "proxy": proxies.get(proxy)}
            return search.TableProblem(table=table, dataset=dataset, seed=seed, **ranked)

        runs = options.slow_runs if name in ("RL", "BOHB") else options.runs
        rows[name] = {"status": "measured", **searched(make, method, runs)}
        if chosen is not None:
            key = next(iter(chosen.values())).key
            rows[name] |= {"scored": len(chosen), "scores": {"dataset": key.dataset, "settings": key.settings, "seed": key.seed}}
            rows[name]["seconds_of_a_score"] = float(np.median([record.seconds for record in chosen.values()]))
        print(f"{dataset:15} {name:10} {rows[name]['test']}", flush=True)
    tenas = tenas_row()
    rows["TE-NAS"] = {**tenas, "test": tenas["test"][dataset], "seconds": {}} if tenas["status"] == "measured" else tenas
    for name, k in NATURE.items():
        rows[name]["null_model"] = {"k": k, "test": null_model(table, dataset, k)}
    return rows


def main() -> None:
    """Rebuild the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", type=pathlib.Path, required=True, help="store of scores")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--slow-runs", type=int, default=100)
    parser.add_argument("--rows", type=lambda text: text.split(","), default=[], help="search these again, keep the recorded others")
    images = {"cifar10": ["cifar10", "cifar10.npz"], "cifar100": ["cifar100", "cifar100.npz"]}
    images["imagenet16-120"] = ["imagenet16-120", "imagenet16.npz"]
    parser.add_argument("--images", default=json.dumps(images), help="JSON: by data set the names under which its images were scored")
    options = parser.parse_args()
    if not options.db.exists():
        parser.error(f"{options.db}: no such file; score architectures with `jknas score --db` first")
    table = tabular.load()
    with Store(options.db) as store:
        columns = {dataset: column(table, dataset, scores_of(store, dataset, options), options) for dataset in DATASETS}
    published = {
        name: {"test": dict(zip(DATASETS, numbers, strict=True)), "seconds": times} for name, (numbers, times) in PUBLISHED.items()
    }
    question = "200-epoch test accuracy in percent, [mean, standard deviation] over runs"
    measure.record("search/table1", {"question": question, "source": table.name, "published": published, "table": columns})
    print(readme_tables.table1())


if __name__ == "__main__":
    main()
