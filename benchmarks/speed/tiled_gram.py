"""How much more than its floor does the kernel of a whole data set take, in time and memory?

Question: a CIFAR ResNet-20 with group normalisation (0.27 M parameters), N images of 32 x 32, float32, the kernel of the summed outputs
written to a file by ``jknas.tiled_gram`` in a process of its own:
    peak resident memory                                                                                  wanted below 4 GiB at N = 5000
    ratio = time / (training steps for N examples + the multiplications of the upper half, N^2 P / 2)       wanted at most 1.3
The steps are forward and backward passes and updates in batches of 64; the multiplications are timed on blocks of the tile's size. Both are
measured in the same process, before and after the kernel, and the mean is taken; compilation is not part of either side (the kernel's
programs are compiled by a first call on few examples of the same plan).
Command: python -m benchmarks.speed.tiled_gram [--examples 5000] [--data PATH.npz] [--memory 2147483648] [--folder .]
Without --data the images are standard normal; a .npz file must have an array x_train or x [n, 32, 32, 3].
About ten minutes on two CPU cores for 5000. Each N has its own entry in the record.
"""

import argparse
import functools
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import measure
from jknas import tiled_gram
from jknas.kernels.tape.rows import inner_products

BATCH = 64


class ResNet(nn.Module):
    """The ResNet of CIFAR with ``6 depth + 2`` layers, and group normalisation."""

    depth: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits ``[n, 10]``."""
        norm = functools.partial(nn.GroupNorm, num_groups=8)
        x = nn.relu(norm()(nn.Conv(16, (3, 3), use_bias=False)(x)))
        for stage, width in enumerate((16, 32, 64)):
            for block in range(self.depth):
                strides = 2 if stage and not block else 1
                y = nn.relu(norm()(nn.Conv(width, (3, 3), strides=strides, use_bias=False)(x)))
                y = norm()(nn.Conv(width, (3, 3), use_bias=False)(y))
                x = nn.relu(y + (x if y.shape == x.shape else nn.Conv(width, (1, 1), strides=strides, use_bias=False)(x)))
        return nn.Dense(10)(x.mean((1, 2)))


def images(n: int, data: str | None) -> np.ndarray:
    """Return ``[n, 32, 32, 3]``."""
    if data is None:
        return np.random.default_rng(0).standard_normal((n, 32, 32, 3), np.float32)
    with np.load(data) as file:
        found = file["x_train" if "x_train" in file else "x"][:n]
    return found.astype(np.float32) / (255 if found.dtype == np.uint8 else 1)


def step_seconds(apply: Any, params: Any, x: np.ndarray) -> float:
    """Return the seconds of one example in a training step."""
    optimiser = optax.sgd(0.1, momentum=0.9)

    @jax.jit
    def step(params: Any, state: Any, x: jax.Array, y: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(apply(params, x), y).mean()

        updates, state = optimiser.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    batch = jnp.asarray(x[:BATCH])
    run = functools.partial(step, params, optimiser.init(params), batch, jnp.arange(len(batch)) % 10)
    return measure.medians(measure.seconds({"step": run}, repeats=7))["step"] / len(batch)


def product_rate(tile: int, entries: int) -> float:
    """Return the multiplications per second of the product of two blocks of gradients."""
    a = jnp.asarray(np.random.default_rng(0).standard_normal((tile, entries), np.float32))
    run = functools.partial(jax.jit(lambda a, b: inner_products([a], [b])), a, a[::-1])
    return tile * tile * entries / measure.medians(measure.seconds({"product": run}, repeats=5))["product"]


def kernel(n: int, data: str | None, memory: int, folder: pathlib.Path) -> dict[str, Any]:
    """Compute one kernel and return time, floor, memory and plan."""
    x = images(n, data)
    model = ResNet()
    params = model.init(jax.random.key(0), x[:1])
    entries = sum(leaf.size for leaf in jax.tree.leaves(params))
    with tempfile.TemporaryDirectory(dir=folder) as place:
        out = pathlib.Path(place) / "kernel.npy"

        class PlannedError(Exception):
            pass

        def stop(*_: Any) -> None:
            raise PlannedError

        options = {"out": out, "memory": memory, "interaction": "ignore"}
        try:  # compiles the programs; the plan is in the journal
            tiled_gram(model.apply, params, x, progress=stop, **options)
        except PlannedError:
            plan = json.loads(pathlib.Path(f"{out}.progress").read_text().splitlines()[0])["plan"]
        steps, rates = [step_seconds(model.apply, params, x)], [product_rate(plan["tile"], entries)]
        shutil.rmtree(place)
        start = time.perf_counter()
        done = tiled_gram(model.apply, params, x, **options)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        steps.append(step_seconds(model.apply, params, x))
        rates.append(product_rate(plan["tile"], entries))
        size = out.stat().st_size
    step, rate = sum(steps) / 2, sum(rates) / 2
    multiplications = n * (n + 1) / 2 * entries
    floor = n * step + multiplications / rate
    return {
        "examples": n,
        "data": pathlib.Path(data).name if data else "standard normal",
        "parameters": entries,
        "memory_argument": memory,
        "seconds": seconds,
        "floor_seconds": floor,
        "ratio": seconds / floor,
        "peak_resident_mib": peak,
        "file_bytes": size,
        "step_seconds_per_example": steps,
        "multiplications_per_second": rates,
        "multiplications": multiplications,
        "plan": {name: value for name, value in done.plan._asdict().items() if name != "groups"} | {"groups": len(done.plan.groups)},
        "passes_per_example": done.plan.passes / n,
    }


def main() -> None:
    """Measure in a process of its own, and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=5000)
    parser.add_argument("--data")
    parser.add_argument("--memory", type=int, default=2**31)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()))
    parser.add_argument("--one", action="store_true", help="measure in this process and print it")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(kernel(options.examples, options.data, options.memory, options.folder)))
        return
    arguments = [*sys.argv[1:], "--one"]
    run = subprocess.run([sys.executable, "-m", "benchmarks.speed.tiled_gram", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(run.stdout.splitlines()[-1])
    print({name: found[name] for name in ("seconds", "floor_seconds", "ratio", "peak_resident_mib", "plan")})
    runs = measure.recorded("speed/tiled_gram").get("runs", {})
    runs[f"N={found['examples']}, memory={found['memory_argument']}"] = found
    measure.record(
        "speed/tiled_gram", {"question": "time and memory of the kernel of a whole data set", "runs": runs, "gpu": "not measured"}
    )


if __name__ == "__main__":
    main()
