"""What does the exact kernel of all of CIFAR-10 cost, and how long would one H100, or four, take?

Question: FLOPs, bytes and predicted time of the 60,000 x 50,000 kernel of the summed outputs of a CIFAR ResNet-18 (11.2 M parameters),
float32, by the package's own cost model (``jknas.kernels.tile_plan``), against the published 43 minutes on four A100 with 755 GB of host
memory (Wei, Hu, Steinhardt, ICML 2022, README of aw31/empirical-ntks).
    seconds = backward FLOPs / (backward rate x devices) + product FLOPs / (product rate x devices) + bytes of the file / disk rate
The rates of the H100 are assumptions, named in the record: 67 TFLOP/s is the peak in float32; nothing was measured on one.
The formula is checked against the runs in tiled_gram.json, with the rates that each run measured on its own machine: wanted within 25 %.
Command: python -m benchmarks.speed.gram_scale
Less than a minute on two CPU cores: programs are traced, none is compiled.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks import measure
from jknas.kernels.examples import Examples, Setup, forward, scalar_of
from jknas.kernels.gram import pair
from jknas.kernels.tile_plan import Plan, plan_tiles, share_of_pass
from jknas.kernels.tile_sizes import measure as measured_sizes

ROWS, COLUMNS, MEMORY = 60_000, 50_000, 70 * 10**9
H100 = {"product_flops": 45e12, "backward_flops": 15e12, "disk_bytes": 1e9}
"""Assumed: two thirds of the float32 peak for large products, a third of that for backward passes, and a plain solid-state disk."""
PUBLISHED = {"seconds": 43 * 60, "machine": "four A100, 755 GB of host memory", "source": "Wei, Hu, Steinhardt, ICML 2022"}


class ResNet18(nn.Module):
    """ResNet-18 for images of 32 x 32, with group normalisation."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits ``[n, 10]``."""
        norm = functools.partial(nn.GroupNorm, num_groups=32)
        x = nn.relu(norm()(nn.Conv(64, (3, 3), use_bias=False)(x)))
        for stage, width in enumerate((64, 128, 256, 512)):
            for block in range(2):
                strides = 2 if stage and not block else 1
                y = nn.relu(norm()(nn.Conv(width, (3, 3), strides=strides, use_bias=False)(x)))
                y = norm()(nn.Conv(width, (3, 3), use_bias=False)(y))
                x = nn.relu(y + (x if y.shape == x.shape else norm()(nn.Conv(width, (1, 1), strides=strides, use_bias=False)(x))))
        return nn.Dense(10)(x.mean((1, 2)))


def whole_plan(devices: int) -> tuple[Plan, int]:
    """Return the plan of the kernel, and the number of parameters."""
    model = ResNet18()
    one = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), one)
    definition = Setup(model.apply, "logits", "sum", "all", "one_pass", 1)
    leaves = jax.eval_shape(lambda params: scalar_of(definition, params)[0], params)
    found = measured_sizes(
        functools.partial(forward, definition),
        lambda t: functools.partial(pair, definition, t),
        leaves,
        params,
        Examples(one, None),
        rows=ROWS,
        columns=COLUMNS,
        devices=devices,
    )
    assert found is not None
    return plan_tiles(found, MEMORY), sum(found.leaves)


def prediction(devices: int) -> dict[str, Any]:
    """Return FLOPs, bytes and seconds."""
    plan, parameters = whole_plan(devices)
    file = ROWS * COLUMNS * 4
    compute = (plan.backward / H100["backward_flops"] + plan.products / H100["product_flops"]) / devices
    seconds = compute + file / H100["disk_bytes"]
    return {
        "devices": devices,
        "parameters": parameters,
        "scheme": plan.scheme,
        "tile": plan.tile,
        "strip": plan.strip,
        "groups": len(plan.groups),
        "passes": plan.passes,
        "backward_flops": plan.backward,
        "product_flops": plan.products,
        "device_bytes": plan.memory,
        "file_bytes": file,
        "predicted_seconds": seconds,
        "published_over_predicted": PUBLISHED["seconds"] / seconds,
    }


def check(run: dict[str, Any]) -> dict[str, float]:
    """Compare a run with the formula at the rates that it measured."""
    plan = run["plan"]
    if plan["scheme"] != "slices":
        return {}
    step = sum(run["step_seconds_per_example"]) / 2
    rate = sum(run["multiplications_per_second"]) / 2
    predicted = plan["passes"] * step * share_of_pass(plan["groups"]) + plan["products"] / 2 / rate
    return {"predicted_seconds": predicted, "seconds": run["seconds"], "error": predicted / run["seconds"] - 1}


def main() -> None:
    """Predict, check and record."""
    predicted = [prediction(devices) for devices in (1, 4)]
    checks = {name: check(run) for name, run in measure.recorded("speed/tiled_gram").get("runs", {}).items()}
    for row in predicted:
        print({name: row[name] for name in ("devices", "scheme", "passes", "predicted_seconds", "published_over_predicted")})
    print(checks)
    result = {"question": "the 60,000 x 50,000 kernel of ResNet-18", "assumed_H100": H100, "published": PUBLISHED, "predicted": predicted}
    measure.record("speed/gram_scale", {**result, "checks": checks, "gpu": "not measured"})


if __name__ == "__main__":
    main()
