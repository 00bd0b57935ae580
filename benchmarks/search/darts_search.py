"""How long does TE-NAS take on the DARTS space, and what does it find?

Question: seconds of one whole search on CIFAR-10 images (332 removals, three repeats), split into compiling and running, and the genotype.
Expected: under ten minutes on two CPU cores with every image normalised by itself; the genotype is mostly separable convolutions.
Command: JKNAS_DATA=FOLDER python -m benchmarks.search.darts_search [--statistics example] [--seed 0]
An interrupted search goes on from its checkpoint (tenas_runs, not committed). Needs CIFAR-10 in FOLDER.
"""

import argparse
import os

from benchmarks import measure
from jknas import data, search, spaces
from jknas.networks.families import network_for
from jknas.training import Recipe


def main() -> None:
    """Search and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--statistics", default="example")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if "JKNAS_DATA" not in os.environ:
        parser.error("set JKNAS_DATA to the folder that holds CIFAR-10")
    space, dataset = spaces.get("darts"), data.load("cifar10", limit=(10_000, 100))
    method = search.get("tenas")(variant="released", draws="repeat", statistics=options.statistics)
    network = network_for(space, dataset)
    problem = search.Problem(space=space, dataset=dataset, network=network, recipe=Recipe(epochs=20), seed=options.seed)
    folder = measure.RESULTS / "search" / "tenas_runs" / f"darts-{options.statistics}" / str(options.seed)
    found = search.as_record(search.run(method, problem, checkpoint=folder, resume=True))
    kept = ("method", "settings", "seed", "genotype", "parameters", "macs", "seconds", "timing", "dataset", "network", "rounds", "left")
    measure.record("search/darts_search", {"question": "one TE-NAS search of the DARTS space", **{name: found[name] for name in kept}})
    print(found["genotype"], found["seconds"], found["timing"])


if __name__ == "__main__":
    main()
