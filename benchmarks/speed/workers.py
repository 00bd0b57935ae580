"""How much faster do two workers sweep a search space?

Question: scores per second of two worker processes of one thread each, against one worker process of one thread, in the same run: mgm on
cells of NAS-Bench-201 in a small network, each score written into a store. Rounds alternate, and no cell is scored twice; compilation and
the start of the processes are not counted, as in a long sweep. Wanted: a ratio of at least 1.6 on two free cores. The load average that is
recorded with it says whether they were free: above 3, other programs had their share of them.
Command: python -m benchmarks.speed.workers [--channels 8] [--cells 1] [--batch 32] [--each 150] [--rounds 5]
About four minutes on two CPU cores, two of them compilation.
"""

import argparse
import os
import pathlib
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import measure
from jknas import data, proxies, spaces
from jknas.scoring.scorer import Scorer, make_scorer, score_together
from jknas.scoring.store import Store
from jknas.workers import Pool
from jknas.workers.processes import Processes

WARM_UP = 30  # scores of a round before its clock starts


def rate(pool: Pool, scorer: Scorer, genotypes: Sequence[Any], store: Store) -> float:
    """Return how many scores a second a pool computes and this process stores, once all workers are at work."""
    start = 0.0
    for done, (_, fresh) in enumerate(score_together([scorer], genotypes, store=store, pool=pool), start=1):
        assert fresh, "a cell was scored twice"
        if done == WARM_UP:
            start = time.perf_counter()
    return (len(genotypes) - WARM_UP) / (time.perf_counter() - start)


def main() -> None:
    """Sweep by both, in turn, and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--cells", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--each", type=int, default=150, help="cells per pool and round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    space, dataset = spaces.get("nasbench201"), data.load("digits", resolution=16)
    size = {"channels": options.channels, "cells": options.cells}
    scorer = make_scorer(proxies.get("mgm"), dataset, space, batch_size=options.batch, **size)
    cells = iter(space.sample(np.random.default_rng(0), 2 * options.each * (options.rounds + 1), unique=True))

    rates: dict[str, list[float]] = {"one": [], "two": []}
    load = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Processes(1) as one,
        Processes(2) as two,
        Store(pathlib.Path(folder) / "scores.sqlite") as store,
    ):
        for number in range(options.rounds + 1):
            for name, pool in (("one", one), ("two", two)):
                found = rate(pool, scorer, [next(cells) for _ in range(options.each)], store)
                print(f"round {number}, {name}: {found:.1f} scores a second", flush=True)
                if number:  # the first one compiles
                    rates[name].append(found)
                    load.append(os.getloadavg()[0])
    ratio = measure.ratio(rates, "two", "one")
    print(f"two workers / one: {ratio['median']:.2f}, {ratio['low']:.2f} to {ratio['high']:.2f}")
    result = {
        "question": "scores per second of two single-threaded workers against one",
        "settings": {**size, "batch": options.batch, "resolution": 16, "proxy": "mgm", "cells_per_round": options.each},
        "scores_per_second": rates,
        "two_to_one": ratio,
        "load_average": {"lowest": min(load), "highest": max(load)},
    }
    measure.record("speed/workers", result)


if __name__ == "__main__":
    main()
