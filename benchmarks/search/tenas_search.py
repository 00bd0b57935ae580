"""What does TE-NAS find on NAS-Bench-201, and how long does it take?

Question: mean and standard deviation, over seeds, of the 200-epoch test accuracies of the cells found on CIFAR-10 images, compared
with the published 93.9 / 71.24 / 42.38, with random cells (the best of k by 12-epoch validation accuracy) and with the largest network of
the space. Expected: above a random cell, not above counting parameters.
Command: python -m benchmarks.search.tenas_search --data FILE.npz [--variant released] [--statistics example] [--draws repeat]
[--seeds 0,1,2]
Adds its runs to tenas_search.json. An interrupted search goes on from its checkpoint (tenas_runs, not committed).
FILE.npz holds CIFAR-10; --data cifar10 takes the original archive in the folder JKNAS_DATA.
On two quiet CPU cores about one minute per search with --statistics example; with
--statistics batch about 13 minutes with --draws repeat, twice that with --draws removal.
"""

import argparse

import numpy as np

from benchmarks import measure
from benchmarks.ranking.mgm_correlation import accuracies
from jknas import data, search, spaces, tabular
from jknas.networks.nasbench201.network import CellNetwork
from jknas.training import Recipe

PUBLISHED = {"cifar10": [93.9, 0.47], "cifar100": [71.24, 0.56], "imagenet16-120": [42.38, 0.46]}


def null_models(benchmark: tabular.Table) -> dict[str, dict[str, list[float]]]:
    """Return what the best of k random cells by 12-epoch validation accuracy reaches, over 1,000 draws, and the largest network."""
    cells = benchmark.genotypes()
    tested, selects = accuracies(cells), tabular.PROTOCOLS["cifar10"].selects
    judged = np.array([benchmark.accuracy(cell, **selects._asdict(), seeds="mean").mean for cell in cells])
    sizes = np.array([benchmark.parameters(cell, dataset="cifar10") for cell in cells])
    found = {}
    for k in (1, 5, 20):
        drawn = np.random.default_rng(0).integers(len(cells), size=(1000, k))
        best = drawn[np.arange(1000), judged[drawn].argmax(1)]
        found[f"best of {k} random"] = {name: measure.spread(list(values[best])) for name, values in tested.items()}
    largest = np.flatnonzero(sizes == sizes.max())
    found["most parameters"] = {name: measure.spread(list(values[largest])) for name, values in tested.items()}
    return found


def main() -> None:
    """Search, look up and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10", help="CIFAR-10: an .npz file, or a name of `jknas data list`")
    parser.add_argument("--variant", default="released")
    parser.add_argument("--statistics", default="example")
    parser.add_argument("--draws", default="repeat")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    options = parser.parse_args()
    benchmark, space = tabular.load(), spaces.get("nasbench201")
    dataset = data.load(options.data, limit=(10_000, 1))
    name = f"{options.variant}, {options.statistics}, {options.draws}"
    known = measure.recorded("search/tenas_search").get("runs", {})
    runs = {run["seed"]: run for run in known.get(name, [])}
    method = search.get("tenas")(variant=options.variant, statistics=options.statistics, draws=options.draws)
    for seed in map(int, options.seeds.split(",")):
        if seed in runs:
            continue
        problem = search.Problem(
            space=space, dataset=dataset, network=CellNetwork(), recipe=Recipe(epochs=1), seed=seed
        )  # fmt: skip
        folder = measure.RESULTS / "search" / "tenas_runs" / name.replace(", ", "-") / str(seed)
        result = search.run(method, problem, checkpoint=folder, resume=True)
        record = search.as_record(result)
        cell = space.parse(record["genotype"])
        reached = {target: float(values[0]) for target, values in accuracies([cell]).items()}
        timing = {part: record["timing"][part] for part in ("compile", "score")}
        runs[seed] = {"seed": seed, "genotype": record["genotype"], "parameters": space.parameters(cell), **reached, **timing}
        print(f"{name}, seed {seed}: {record['genotype']} {reached} {timing}", flush=True)
        known[name] = [runs[seed] for seed in sorted(runs)]
        table = {
            key: {target: measure.spread([run[target] for run in listed]) for target in tabular.PROTOCOLS}
            | {"parameters": measure.spread([run["parameters"] for run in listed]), "seeds": len(listed)}
            for key, listed in known.items()
        }
        measure.record(
            "search/tenas_search",
            {
                "question": "200-epoch test accuracy of the cells found on CIFAR-10 images: [mean, standard deviation] over seeds",
                "dataset": {"name": dataset.name, "source": dataset.source},
                "published": PUBLISHED,
                "null_models": null_models(benchmark),
                "table": table,
                "runs": known,
            },
        )


if __name__ == "__main__":
    main()
