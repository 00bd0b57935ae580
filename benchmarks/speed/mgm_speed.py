"""How fast are the training step and the MGM score, compared with PyTorch?

Question: full NAS-Bench-201 network (16 channels, 5 cells per stage), batch 64 of CIFAR-sized images, ratios in one process:
    step / torch          our training step against PyTorch's                       target 1.2 for the all-3x3 cell
    mgm / step            exact MGM, genotype wiring, against our training step     target 1.15
    mgm_code / step       exact MGM in the one program for the whole space          target 1.15
    released / mgm50      the released procedure (50 batch-one passes in PyTorch)
                          against exact MGM of the same 50 examples                 target 4
Command: python -m benchmarks.speed.mgm_speed [--repeats 7] [--threads 2]
Needs: pip install -e ".[torch]". About ten minutes on two CPU cores, most of it compilation. Spread between runs about 10 %.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import measure
from benchmarks.speed import torch_reference
from jknas.kernels.mgm import mgm
from jknas.networks import CellNetwork, restrict
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.spaces.nasbench201.index import genotype_at

CELLS = {
    "all_3x3": CellGenotype(("nor_conv_3x3",) * 6),
    "index_1": genotype_at(1),
    "all_skip": CellGenotype(("skip_connect",) * 6),
}


def step_function(network: CellNetwork, genotype: CellGenotype):
    """Return a jitted SGD step with Nesterov momentum and weight decay, as :mod:`jknas.training` does it."""

    def loss(params, batch_stats, x, y):
        logits, moved = network.apply_and_update(params, batch_stats, x, genotype)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)), moved

    @jax.jit
    def step(params, batch_stats, momentum, x, y):
        (_, moved), gradient = jax.value_and_grad(loss, has_aux=True)(params, batch_stats, x, y)
        decayed = jax.tree.map(lambda g, p: g + 5e-4 * p, gradient, params)
        momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, decayed)
        return jax.tree.map(lambda p, m, g: p - 0.1 * (0.9 * m + g), params, momentum, decayed), moved, momentum

    return step


def measure_cell(genotype: CellGenotype, repeats: int) -> dict:
    """Time every contender for one cell."""
    network = CellNetwork()
    full = network.init(jax.random.key(0))
    params, stats = restrict(full["params"], genotype), restrict(full["batch_stats"], genotype)
    images, labels = np.random.default_rng(0).standard_normal((64, 32, 32, 3), np.float32), np.arange(64) % 10
    x, y = jnp.asarray(images), jnp.asarray(labels)
    step, momentum = step_function(network, genotype), jax.tree.map(jnp.zeros_like, params)
    static = jax.jit(lambda p, x, y: mgm(lambda p, x: network.apply(p, x, genotype), p, x, y))
    traced = jax.jit(lambda p, x, y, code: mgm(lambda p, x: network.apply(p, x, code), p, x, y))
    code = jnp.asarray(genotype.code)

    rival = torch_reference.network(genotype)
    optimiser = torch.optim.SGD(rival.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    tx, ty = torch.tensor(images.transpose(0, 3, 1, 2).copy()), torch.tensor(labels)
    loss = torch.nn.functional.cross_entropy

    def torch_step():
        optimiser.zero_grad()
        loss(rival(tx), ty).backward()
        optimiser.step()

    def released():
        for i in range(50):
            optimiser.zero_grad()
            loss(rival(tx[i : i + 1]), ty[i : i + 1]).backward()

    contenders = {
        "torch": torch_step,
        "step": functools.partial(step, params, stats, momentum, x, y),
        "mgm": functools.partial(static, params, x, y),
        "mgm_code": functools.partial(traced, full["params"], x, y, code),
        "mgm50": functools.partial(static, params, x[:50], y[:50]),
        "released": released,
    }
    taken = measure.seconds(contenders, repeats=repeats)
    pairs = (("step", "torch"), ("mgm", "step"), ("mgm_code", "step"), ("mgm_code", "mgm"), ("released", "mgm50"))
    return {
        "genotype": str(genotype),
        "seconds": measure.medians(taken),
        "ratios": {f"{of} / {to}": measure.ratio(taken, of, to) for of, to in pairs},
    }


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cells = {}
    for name, genotype in CELLS.items():
        cells[name] = measure_cell(genotype, options.repeats)
        print(name, {pair: round(value["median"], 2) for pair, value in cells[name]["ratios"].items()}, flush=True)
    size = {"channels": 16, "cells": 5, "batch": 64, "resolution": 32, "data": "standard normal, seed 0"}
    result = {"question": "training step and MGM compared with PyTorch", "size": size, "repeats": options.repeats, "cells": cells}
    measure.record("speed/mgm_speed", {**result, "gpu": "not measured"}, extra_versions={"torch": torch.__version__})


if __name__ == "__main__":
    main()
