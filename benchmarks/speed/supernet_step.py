"""How fast are the steps of a supernet, compared with PyTorch and with each other?

Question: the NAS-Bench-201 supernet (16 channels, normalisations without scales and averages in the cells), batch 64 of CIFAR-sized images,
SGD with momentum and weight decay, ratios of paired repetitions in one process, for 1 and 5 cells per stage:
    mixture / torch      a weight step through the softmax over all operations, against PyTorch's on the same supernet    wanted 1.2
    sampled / mixture    GDAS's weight step, its operations drawn by the program, against that of the mixture             wanted 0.4
    code / mixture       the same of a uniformly random code (RSPS, SETN, ENAS)
Command: python -m benchmarks.speed.supernet_step [--cells 1 5] [--batch 64] [--repeats 7] [--threads 2]
Needs: pip install -e ".[torch]". About fifteen minutes on two CPU cores, most of it compilation.
"""

import argparse
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from benchmarks import measure
from benchmarks.speed.torch_reference import Reduction
from jknas import search
from jknas.networks import CellNetwork
from jknas.search.weight_sharing import arrays
from jknas.search.weight_sharing.gdas import hard_draw
from jknas.search.weight_sharing.supernet import Supernet
from jknas.search.weight_sharing.training import Pair, Settings, first_shared
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS

LEARNING_RATE = 0.025


def _convolution(channels: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, size, 1, size // 2, bias=False),
        nn.BatchNorm2d(channels, affine=False, track_running_stats=False),
    )


class _MixedCell(nn.Module):
    """A cell whose edges are weighted sums of all operations; ``none`` adds nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ones, self.threes = (nn.ModuleList(_convolution(channels, size) for _ in EDGES) for size in (1, 3))
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        nodes: list[Any] = [x, 0, 0, 0]
        for edge, (target, source) in enumerate(EDGES):
            value, (_, skip, one, three, pool) = nodes[source], weights[edge]
            mixed = skip * value + one * self.ones[edge](value) + three * self.threes[edge](value) + pool * self.pool(value)
            nodes[target] = nodes[target] + mixed
        return nodes[3]


class TorchSupernet(nn.Module):
    """The supernet in plain PyTorch."""

    def __init__(self, channels: int, cells: int, classes: int = 10) -> None:
        super().__init__()
        c = channels
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c))
        self.blocks = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.blocks.append(Reduction(c, 2 * c))
                c *= 2
            self.blocks.extend(_MixedCell(c) for _ in range(cells))
        self.last = nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes))
        self.logits = nn.Parameter(1e-3 * torch.randn(len(EDGES), len(OPERATIONS)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x, weights = self.stem(x), torch.softmax(self.logits, -1)
        for block in self.blocks:
            x = block(x, weights) if isinstance(block, _MixedCell) else block(x)
        return self.last(x)


def torch_step(channels: int, cells: int, x: np.ndarray, y: np.ndarray):
    """Return a weight step of PyTorch; as in the scripts, the logits get a gradient that is not used."""
    model = TorchSupernet(channels, cells).train()
    own = [value for name, value in model.named_parameters() if name != "logits"]
    optimiser = torch.optim.SGD(own, LEARNING_RATE, momentum=0.9, weight_decay=5e-4, nesterov=True)
    images, labels = torch.tensor(x.transpose(0, 3, 1, 2).copy()), torch.tensor(y)

    def step() -> float:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimiser.step()
        return loss.item()

    return step


def measure_depth(cells: int, batch: int, repeats: int) -> dict[str, Any]:
    """Time every step for one depth."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((batch, 32, 32, 3), np.float32), rng.integers(0, 10, batch)
    data = jnp.asarray(x), jnp.asarray(y, jnp.int32)
    pair = Pair(*data, *data)
    network = CellNetwork(16, cells)
    steps: dict[str, Any] = {"torch": torch_step(16, cells, x, y)}
    for name, method_name in (("mixture", "darts-v1"), ("sampled", "gdas"), ("code", "rsps")):
        method = search.get(method_name)()
        net = Supernet(network.supernet(), method.made, len(EDGES), len(OPERATIONS))
        shared = first_shared(jax.random.key(0), settings=Settings(method, net, 4, True), scheme="pytorch")
        steps[name] = _weight_step(name, method, net, shared, pair)
    taken = measure.seconds(steps, repeats=repeats)
    pairs = (("mixture", "torch"), ("sampled", "mixture"), ("code", "mixture"))
    return {"seconds": measure.medians(taken), **{f"{of} / {to}": measure.ratio(taken, of, to) for of, to in pairs}}


def _weight_step(name: str, method: Any, net: Supernet, shared: Any, pair: Pair) -> Any:
    """Return a weight step that draws what it needs; a new draw every time, from a key that counts."""

    @jax.jit
    def step(shared: Any, key: jax.Array) -> Any:
        if name == "mixture":
            wire, used = jax.nn.softmax, net.everything
        elif name == "sampled":
            noise = method.draw(net, shared, key)[0]
            wire, used = functools.partial(hard_draw, noise=noise, temperature=10.0), net.everything
        else:
            code = net.random_code(key)
            wire, used = (lambda _: code), net.one_hot(code)
        return arrays.weight_step(net, shared, pair.x, pair.y, wire, used, LEARNING_RATE)

    numbers = itertools.count()
    return lambda: step(shared, jax.random.key(next(numbers)))


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = {str(cells): measure_depth(cells, arguments.batch, arguments.repeats) for cells in arguments.cells}
    result = {"question": __doc__, "settings": vars(arguments), "cells": found}
    measure.record("speed/supernet_step", result, extra_versions={"torch": torch.__version__})


if __name__ == "__main__":
    main()
