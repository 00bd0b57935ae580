"""How much memory does the exact kernel of many examples take?

Question: peak resident memory of one process that computes the N x N kernel of the full NAS-Bench-201 network (16 channels, 5 cells per
stage, all-3x3 cell), N up to 256. Expected: the step's activations, the largest layer's per-example gradients N max_l P_l and the matrix,
below 3 GiB at N = 256; the Jacobian method keeps all gradients, N sum_l P_l.
Command: python -m benchmarks.speed.gram_memory
About five minutes on two CPU cores; every measurement is a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys

import jax

from benchmarks import measure
from jknas.kernels.gram import gram
from jknas.networks import CellNetwork
from jknas.spaces.nasbench201.genotype import CellGenotype

CELL = CellGenotype(("nor_conv_3x3",) * 6)


def peak(n: int, method: str) -> dict[str, float]:
    """Compute one kernel and return this process's peak resident memory in MiB, before and after."""
    network = CellNetwork()
    params = network.init(jax.random.key(0), CELL)["params"]
    x = jax.random.normal(jax.random.key(1), (n, 32, 32, 3))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def apply(params, x):
        return network.apply(params, x, CELL)

    jax.block_until_ready(gram(apply, params, x, method=method, interaction="ignore").matrix)
    return {"before": before, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Measure every size in a process of its own, and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("N", "METHOD"), help="measure one case in this process and print it")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(peak(int(options.one[0]), options.one[1])))
        return
    found = {}
    for method, n in (("one_pass", 64), ("one_pass", 128), ("one_pass", 256), ("jacobian", 64), ("jacobian", 128)):
        run = subprocess.run(
            [sys.executable, "-m", "benchmarks.speed.gram_memory", "--one", str(n), method], check=True, capture_output=True, text=True
        )
        found[f"{method}, N={n}"] = json.loads(run.stdout)
        print(method, n, found[f"{method}, N={n}"], flush=True)
    network = CellNetwork()
    leaves = jax.tree.leaves(network.init(jax.random.key(0), CELL)["params"])
    size = {"channels": 16, "cells": 5, "resolution": 32, "genotype": str(CELL), "parameters": sum(leaf.size for leaf in leaves)}
    measure.record("speed/gram_memory", {"question": "peak memory of the exact kernel", "size": size, "resident_mib": found})


if __name__ == "__main__":
    main()
