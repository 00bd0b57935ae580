"""What do the searches by weight sharing find on CIFAR-10 in minutes on two cores, and does DARTS collapse to skip connections?

Question: DARTS, GDAS, RSPS, SETN and ENAS by their recipe ``small`` (25 epochs, batches of 32, a learning rate of 3e-3 for the
architecture) on a supernet of 8 channels and one cell per stage, 1,000 training and 1,000 validation images of CIFAR-10, over three seeds:
200-epoch test accuracy of the last cell, and of the best of the first ten epochs' cells by 12-epoch validation accuracy, as in KNAS's
comparison (accuracies from the table of NAS-Bench-201); the mean architecture weight of skip connections; the operations of the cells;
seconds. Beside them random search of the same cost: of as many random cells as are trained for 12 epochs in the published seconds of the
search, the one with the highest validation accuracy.
Expected: DARTS ends in skip connections (published: on all six edges), GDAS does not; none beats random search of the same cost.
This is not the published recipe, which takes two to nine hours on a GPU: jknas search --method gdas --data cifar10 --seed 0 --out DIR.
Command: python -m benchmarks.search.weight_sharing --data FILE.npz [--methods ...] [--seeds 0,1,2] [--epochs 25] [--pictures]
(--epochs 100 for DARTS, whose collapse takes more steps than 25 epochs of so few images have)
FILE.npz holds CIFAR-10; --data cifar10 takes the original archive in the folder JKNAS_DATA. An interrupted search goes on from its
checkpoint (weight_sharing_runs, not committed). --pictures draws what is recorded: weight_sharing.png, the accuracy of the incumbents
against the published seconds of the searches (epoch e of E at the share e / E), beside random search and evolution on the table; and
weight_sharing_METHOD.png, the architecture weights of the first seed. On one quiet core about one (rsps) to fifteen minutes (darts-v2)
per search.
"""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.ranking.mgm_correlation import accuracies
from jknas import data, search, spaces, tabular
from jknas.networks.nasbench201.network import CellNetwork
from jknas.report.anytime_drawing import draw_anytime
from jknas.report.supernet_drawing import draw_supernet
from jknas.search.anytime import Curve, band, curve_of
from jknas.search.method import SearchMethod
from jknas.training import Recipe

METHODS = ("rsps", "gdas", "darts-v1", "enas", "setn", "darts-v2")
PUBLISHED: dict[str, dict[str, Any]] = {
    "rsps": {"seconds": 7587, "test": [87.66, 58.33, 31.14]},
    "darts-v1": {"seconds": 10890, "test": [54.30, 15.61, 16.32]},
    "darts-v2": {"seconds": 29902, "test": [54.30, 15.61, 16.32]},
    "enas": {"seconds": 13315, "test": [54.30, 15.61, 16.32]},
    "gdas": {"seconds": 28926, "test": [93.51, 70.61, 41.84]},
    "setn": {"seconds": 31010, "test": [86.19, 56.87, 31.90]},
}
"""By NAS-Bench-201 (arXiv:2001.00326, table 5): seconds on a GPU, and mean test accuracies on the three data sets."""
CHANNELS, CELLS, IMAGES = 8, 1, 1000
EPOCHS = 25
EARLY = 10
PATH = measure.RESULTS / "search/weight_sharing.json"


def reached(cell: Any) -> dict[str, float]:
    """Return the 200-epoch test accuracies of a cell."""
    return {name: float(values[0]) for name, values in accuracies([cell]).items()}


def validation(cell: Any) -> float:
    """Return the 12-epoch validation accuracy of a cell on CIFAR-10."""
    return tabular.load().accuracy(cell, **tabular.PROTOCOLS["cifar10"].selects._asdict(), seeds="mean").mean


def label(method: SearchMethod[Any]) -> str:
    """Return the name of a method, with its epochs where they are not those of the recipe."""
    epochs = method.settings["epochs"]
    return method.name if epochs == EPOCHS else f"{method.name}, {epochs} epochs"


def run(method: SearchMethod[Any], dataset: Any, seed: int) -> dict[str, Any]:
    """Search with one seed, and look the cells up."""
    space = spaces.get("nasbench201")
    network = CellNetwork(CHANNELS, CELLS)
    problem = search.Problem(space=space, dataset=dataset, network=network, recipe=Recipe(epochs=1), seed=seed)
    folder = measure.RESULTS / "search" / "weight_sharing_runs" / label(method) / str(seed)
    record = search.as_record(search.run(method, problem, checkpoint=folder, resume=True))
    epochs = record["supernet"]
    cells = [space.parse(one["cell"]) for one in epochs]
    early = max(cells[:EARLY], key=validation)
    skip = space.operations.index("skip_connect")
    kept = ("cell", "weights", "loss", "accuracy", "architecture_loss", "architecture_accuracy", "candidate_accuracy")
    return {
        "seed": seed,
        "genotype": record["genotype"],
        "parameters": record["parameters"],
        "test": reached(cells[-1]),
        "early": {"genotype": str(early), "test": reached(early)},
        "by_epoch": [reached(cell)["cifar10"] for cell in cells],
        "skip_share": [None if one["weights"] is None else float(np.asarray(one["weights"])[:, skip].mean()) for one in epochs],
        "operations": {name: cells[-1].operations.count(name) for name in space.operations},
        "epochs": [{name: one[name] for name in kept} for one in epochs],
        "seconds": record["timing"]["score"],
        "compile_seconds": record["timing"]["compile"],
    }


def same_cost(seconds: float) -> dict[str, Any]:
    """Return random search on the table within the published seconds of a search, over 100 runs."""
    found: dict[str, list[float]] = {}
    counts = []
    for seed in range(100):
        problem = search.TableProblem(table=tabular.load(), dataset="cifar10", seed=seed)
        result = search.run(search.get("random")(topk=500, seconds=seconds), problem)
        counts.append(sum(candidate.training is not None for candidate in result.state.candidates))
        for name, value in reached(result.winner.genotype).items():
            found.setdefault(name, []).append(value)
    return {"evaluations": float(np.mean(counts)), "test": {name: measure.spread(values) for name, values in found.items()}}


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return means and standard deviations over seeds."""
    names = runs[0]["test"]
    return {
        "seeds": len(runs),
        "test": {name: measure.spread([one["test"][name] for one in runs]) for name in names},
        "early": {name: measure.spread([one["early"]["test"][name] for one in runs]) for name in names},
        "seconds": float(np.median([one["seconds"] for one in runs])),
    }


def draw(methods: Mapping[str, Any]) -> None:
    """Draw what is recorded."""
    longest = max(facts["seconds"] for facts in PUBLISHED.values())
    grid = np.linspace(0, longest, 400)
    bands = {}
    for name, kind in (("random", "random"), ("evolution", "evolution")):
        limits: dict[str, Any] = {"topk": 500} if kind == "random" else {"evaluations": 500}
        curves = []
        for seed in range(20):
            problem = search.TableProblem(table=tabular.load(), dataset="cifar10", seed=seed)
            result = search.run(search.get(kind)(**limits, seconds=longest), problem)
            curves.append(curve_of(result.state, lambda cell: reached(cell)["cifar10"] / 100))
        bands[name] = band(curves, grid)
    for name, found in methods.items():
        if name not in METHODS:
            continue
        runs = found["runs"]
        epochs = len(runs[0]["by_epoch"])
        seconds = found["published"]["seconds"] * np.arange(1, epochs + 1) / epochs
        tests = (np.array(one["by_epoch"]) / 100 for one in runs)
        found_band = band([Curve(seconds, test, test) for test in tests], grid[grid <= seconds[-1]])
        bands[name] = dataclasses.replace(found_band, low=found_band.mean, high=found_band.mean)  # three seeds make no interval
    draw_anytime(bands, PATH.with_suffix(".png"), title="Weight sharing (small recipe) and searches that train every cell")
    space = spaces.get("nasbench201")
    for name, found in methods.items():
        first = found["runs"][0]
        if first["skip_share"][0] is not None:
            target = PATH.with_name(f"weight_sharing_{name.replace(', ', '_').replace(' ', '_')}.png")
            trained = [value / 100 for value in first["by_epoch"]]
            draw_supernet(first["epochs"], target, space=space, accuracies=trained, of_what="trained (from the table)", title=name)


def main() -> None:
    """Search, look up and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar10", help="CIFAR-10: an .npz file, or a name of `jknas data list`")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--pictures", action="store_true", help="draw what is recorded, and search nothing")
    options = parser.parse_args()
    if options.pictures:
        draw(json.loads(PATH.read_text())["methods"])
        return
    dataset = data.load(options.data, limit=(IMAGES, IMAGES))
    known = measure.recorded("search/weight_sharing")
    methods: dict[str, Any] = known.get("methods", {})
    for seed in map(int, options.seeds.split(",")):
        for name in options.methods:
            method = search.get(name)(recipe="small", epochs=options.epochs)
            own = methods.setdefault(label(method), {"runs": []})
            if any(one["seed"] == seed for one in own["runs"]):
                continue
            own["runs"] = sorted([*own["runs"], run(method, dataset, seed)], key=lambda one: one["seed"])
            own["settings"], own["summary"] = method.settings, summary(own["runs"])
            own["published"] = PUBLISHED[name]
            own.setdefault("same_cost", same_cost(PUBLISHED[name]["seconds"]))
            last = own["runs"][-1]
            print(f"{label(method)}, seed {seed}: {last['genotype']} {last['test']} {last['seconds']:.0f} s", flush=True)
            settings = {"channels": CHANNELS, "cells": CELLS, "images": [IMAGES, IMAGES], "data": dataset.name, "digest": dataset.digest}
            measure.record("search/weight_sharing", {"question": __doc__, "settings": settings, "methods": methods})


if __name__ == "__main__":
    main()
