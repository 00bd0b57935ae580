"""Does a long sweep over a search space leak memory?

Question: resident memory of the process after 500 architectures against after 50, in one compiled program; target within 10 %.
Command: python -m benchmarks.speed.sweep_memory [--channels 16] [--cells 5] [--batch 16]
About four minutes on two CPU cores with the embedded digits at 16x16.
"""

import argparse
import pathlib
import tempfile

import numpy as np

from benchmarks import measure
from jknas import data, proxies, spaces
from jknas.scoring.scorer import make_scorer, score_many
from jknas.scoring.store import Store


def resident_mib() -> float:
    """Return the resident memory of this process in MiB (Linux)."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    """Sweep, watch and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    space, dataset = spaces.get("nasbench201"), data.load("digits", resolution=16)
    genotypes = space.sample(np.random.default_rng(0), 500, unique=True)
    size = {"channels": options.channels, "cells": options.cells}
    scorer = make_scorer(proxies.get("mgm"), dataset, space, batch_size=options.batch, **size)
    watched = {}
    with tempfile.TemporaryDirectory() as folder, Store(pathlib.Path(folder) / "scores.sqlite") as store:
        for done, _ in enumerate(score_many(scorer, genotypes, store=store), start=1):
            if done in {10, 50, 100, 200, 300, 400, 500}:
                watched[done] = resident_mib()
                print(f"after {done:3d}: {watched[done]:.0f} MiB", flush=True)
    result = {"question": "resident memory over a sweep", "settings": {**size, "batch": options.batch, "resolution": 16}}
    measure.record("speed/sweep_memory", {**result, "resident_mib": watched, "growth_50_to_500": watched[500] / watched[50] - 1})


if __name__ == "__main__":
    main()
