"""How fast is the exact N x N kernel, compared with a training step and with its rivals?

Question: full NAS-Bench-201 network (16 channels, 5 cells per stage), N = 64 CIFAR-sized images, ratios in one process:
    gram / step             one-pass kernel, genotype wiring, against our own training step       target 1.5 (2 for the lightest cell)
    gram_code / step        the same in the one program for the whole space                       target 1.5 (2 for the lightest cell)
    tenas / gram            the released TE-NAS loop (N backward passes in PyTorch, coupled)      target 5
    torch_func / gram       torch.func vmap(grad) in chunks and one matrix product                target 2
    jacobian / gram         our own vmap(grad) and matrix products
    neural_tangents / gram  its implementation 1 (Jacobian contraction), if installed             target 3
With --plain the same kernel of the same network written plainly (plain_network.py), without the reverse rules by which our layers keep
per-example gradients cheap for everybody: the kernel of a user's own model. Its results go into the same file, under "plain".
With --coupled the kernel of training-mode batch normalisation, which takes N backward passes of the whole batch, under "coupled":
    coupled / passes        against N times one backward pass of the batch                        at most 1
    eight / coupled         eight passes at a time in place of the default
    tenas / coupled         the released loop of N backward passes in PyTorch
Command: python -m benchmarks.speed.gram_speed [--repeats 5] [--threads 2] [--examples 64] [--cells all_3x3 ...] [--plain | --coupled]
Needs: pip install -e ".[torch]"; neural-tangents is measured where it can be imported. About twenty minutes on two CPU cores.
"""

import argparse
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import measure
from benchmarks.speed import torch_reference
from benchmarks.speed.mgm_speed import CELLS, step_function
from benchmarks.speed.plain_network import plain_network
from jknas.kernels.coupled import ntk_coupled
from jknas.kernels.gram import gram
from jknas.kernels.neural_tangents.empirical import neural_tangents_gram
from jknas.networks import CellNetwork, restrict
from jknas.spaces.nasbench201.genotype import CellGenotype


def tenas_loop(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return the kernel as the released TE-NAS computes it: one backward pass of the whole batch for every example."""
    weights = [p for name, p in model.named_parameters() if "weight" in name]
    logits = model(x)
    rows = []
    for i in range(x.shape[0]):
        model.zero_grad()
        logits[i : i + 1].backward(torch.ones_like(logits[i : i + 1]), retain_graph=True)
        rows.append(torch.cat([p.grad.reshape(-1) for p in weights if p.grad is not None]))
    jacobian = torch.stack(rows)
    return jacobian @ jacobian.T


def torch_func_kernel(model: torch.nn.Module, x: torch.Tensor, *, chunk: int) -> torch.Tensor:
    """Return the kernel of single examples by ``torch.func``: vmap over per-example gradients, then one matrix product per tensor."""
    params, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def scalar(params: dict, image: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, (params, buffers), (image[None],)).sum()

    gradients = torch.func.vmap(torch.func.grad(scalar), in_dims=(None, 0), chunk_size=chunk)(params, x)
    flat = [gradient.reshape(x.shape[0], -1) for gradient in gradients.values()]
    return sum(g @ g.T for g in flat)


def entry(genotype: CellGenotype, taken: dict[str, list[float]], pairs: list[tuple[str, str]]) -> dict:
    """Return what is recorded of one cell: medians, and the ratios of the contenders that ran."""
    ratios = {f"{of} / {to}": measure.ratio(taken, of, to) for of, to in pairs if of in taken}
    return {"genotype": str(genotype), "seconds": measure.medians(taken), "ratios": ratios}


def measure_cell(genotype: CellGenotype, n: int, repeats: int, without: set[str]) -> dict:
    """Time every contender for one cell."""
    network = CellNetwork()
    full = network.init(jax.random.key(0))
    params, stats = restrict(full["params"], genotype), restrict(full["batch_stats"], genotype)
    images, labels = np.random.default_rng(0).standard_normal((n, 32, 32, 3), np.float32), np.arange(n) % 10
    x, y = jnp.asarray(images), jnp.asarray(labels)
    step, momentum = step_function(network, genotype), jax.tree.map(jnp.zeros_like, params)
    code = jnp.asarray(genotype.code)

    def static(params, x):
        return network.apply(params, x, genotype)

    def traced(arguments, x):
        return network.apply(arguments[0], x, arguments[1])

    options = {"interaction": "ignore"}
    rival = torch_reference.network(genotype)
    for module in rival.modules():  # torch.func refuses running averages that it would have to change
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    tx = torch.tensor(images.transpose(0, 3, 1, 2).copy())
    contenders = {
        "step": functools.partial(step, params, stats, momentum, x, y),
        "gram": lambda: gram(static, params, x, **options).matrix,
        "gram_code": lambda: gram(traced, (full["params"], code), x, **options).matrix,
        "jacobian": lambda: gram(static, params, x, method="jacobian", **options).matrix,
        "tenas": lambda: tenas_loop(rival, tx),
        "torch_func": lambda: torch_func_kernel(rival, tx, chunk=8),
        "neural_tangents": functools.partial(jax.jit(functools.partial(neural_tangents_gram, static)), params, x),
    }
    taken = measure.seconds({name: run for name, run in contenders.items() if name not in without}, repeats=repeats)
    pairs = [("gram", "step"), ("gram_code", "step"), *((name, "gram") for name in ("jacobian", "tenas", "torch_func", "neural_tangents"))]
    return entry(genotype, taken, pairs)


def measure_plain(genotype: CellGenotype, n: int, repeats: int, without: set[str]) -> dict:
    """Time the kernels of the plainly written network for one cell."""
    network = CellNetwork()
    apply, options = plain_network(genotype, network.cells), {"interaction": "ignore"}
    params = network.init(jax.random.key(0), genotype)["params"]
    x = jnp.asarray(np.random.default_rng(0).standard_normal((n, 32, 32, 3), np.float32))
    contenders = {
        "backward": functools.partial(jax.jit(jax.grad(lambda params, x: apply(params, x).sum())), params, x),
        "gram": lambda: gram(apply, params, x, **options).matrix,
        "jacobian": lambda: gram(apply, params, x, method="jacobian", **options).matrix,
        "neural_tangents": functools.partial(jax.jit(functools.partial(neural_tangents_gram, apply)), params, x),
    }
    taken = measure.seconds({name: run for name, run in contenders.items() if name not in without}, repeats=repeats)
    pairs = [("gram", "backward"), ("jacobian", "gram"), ("neural_tangents", "gram")]
    return {"examples": n, "repeats": repeats, **entry(genotype, taken, pairs)}


def measure_coupled(genotype: CellGenotype, n: int, repeats: int, without: set[str]) -> dict:
    """Time the kernels of training-mode batch normalisation for one cell."""
    network = CellNetwork()
    params = network.init(jax.random.key(0), genotype)["params"]
    images = np.random.default_rng(0).standard_normal((n, 32, 32, 3), np.float32)
    rival = torch_reference.network(genotype)

    def apply(params, x):
        return network.apply(params, x, genotype, statistics="batch")

    @functools.partial(jax.jit, static_argnames="chunk_size")
    def coupled(params, x, chunk_size=None):
        return ntk_coupled(apply, params, x, chunk_size=chunk_size)

    def backward(params, x, cotangent):
        _, pull = jax.vjp(lambda params: apply(params, x).sum(1), params)
        return pull(cotangent)

    x = jnp.asarray(images)
    contenders = {
        "forward": functools.partial(jax.jit(apply), params, x),
        "forward and backward": functools.partial(jax.jit(backward), params, x, jnp.zeros(n).at[0].set(1)),
        "coupled": functools.partial(coupled, params, x),
        "eight": functools.partial(coupled, params, x, chunk_size=8),
        "tenas": functools.partial(tenas_loop, rival, torch.tensor(images.transpose(0, 3, 1, 2).copy())),
    }
    taken = measure.seconds({name: run for name, run in contenders.items() if name not in without}, repeats=repeats)
    taken["passes"] = [n * (both - one) for both, one in zip(taken["forward and backward"], taken["forward"], strict=True)]
    pairs = [("coupled", "passes"), ("eight", "coupled"), ("tenas", "coupled")]
    return {"examples": n, "repeats": repeats, **entry(genotype, taken, pairs)}


SECTIONS = {"plain": measure_plain, "coupled": measure_coupled, "cells": measure_cell}
"""How each section of the record is measured; the last is the default."""


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--without", nargs="*", default=[], help="contenders to leave out")
    parser.add_argument("--cells", nargs="*", default=list(CELLS), choices=list(CELLS))
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--plain", action="store_true", help="measure the plainly written network instead")
    kind.add_argument("--coupled", action="store_true", help="measure the kernel of training-mode batch normalisation instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    known = measure.recorded("speed/gram_speed")
    section, run = next((name, run) for name, run in SECTIONS.items() if name == "cells" or getattr(options, name))
    cells = known.get(section, {})
    for name in options.cells:
        cells[name] = run(CELLS[name], options.examples, options.repeats, set(options.without))
        print(name, {pair: round(value["median"], 2) for pair, value in cells[name]["ratios"].items()}, flush=True)
    size = {"channels": 16, "cells": 5, "examples": options.examples, "resolution": 32, "data": "standard normal, seed 0"}
    result: dict[str, Any] = {
        "question": "the exact kernel compared with a training step and its rivals",
        "size": size,
        "repeats": options.repeats,
        **{name: known[name] for name in SECTIONS if name in known},
    }
    if section != "cells":  # its entries say themselves how they were measured
        result |= {name: known[name] for name in ("size", "repeats") if name in known}
    result[section] = cells
    measure.record("speed/gram_speed", {**result, "gpu": "not measured"}, extra_versions={"torch": torch.__version__})


if __name__ == "__main__":
    main()
