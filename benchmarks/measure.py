"""Time functions side by side, and record results with what they were measured on."""

import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jknas.scoring.environment import device, versions

RESULTS = pathlib.Path(__file__).parent
"""The folder of the benchmarks: a result is written next to its script."""


def seconds(functions: Mapping[str, Callable[[], Any]], *, repeats: int) -> dict[str, list[float]]:
    """Run the functions in turn, ``repeats`` rounds after one that warms up, and return the seconds of every run.

    Rounds interleave the functions so that a slow spell of the machine falls on all of them.
    """
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        jax.block_until_ready(function())
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            taken[name].append(time.perf_counter() - start)
    return taken


def ratio(taken: Mapping[str, list[float]], of: str, to: str) -> dict[str, float]:
    """Return the median of the ratios taken round by round, with their range."""
    ratios = [a / b for a, b in zip(taken[of], taken[to], strict=True)]
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def medians(taken: Mapping[str, list[float]]) -> dict[str, float]:
    """Return the median seconds of every function."""
    return {name: statistics.median(values) for name, values in taken.items()}


def spread(values: Sequence[float]) -> list[float]:
    """Return mean and sample standard deviation (0 for a single value)."""
    return [float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0]


def recorded(name: str) -> dict[str, Any]:
    """Return the result that :func:`record` wrote under this name; nothing, if there is none."""
    path = RESULTS / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def record(name: str, result: Mapping[str, Any], *, extra_versions: Mapping[str, str] | None = None) -> pathlib.Path:
    """Write ``<name>.json`` into the folder of the benchmarks, with versions, device and the number of cores that it may use.

    The name is that of the script, such as ``speed/mgm_speed``.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = {"device": device(), "cores": usable, "processor": platform.machine()}
    path = RESULTS / f"{name}.json"
    content = {"versions": {**versions(), **(extra_versions or {})}, "machine": machine, **result}
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(f"wrote {path}")
    return path
