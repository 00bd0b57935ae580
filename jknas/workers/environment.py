"""What a worker process is started with: how many threads it may use, which device it sees, and the settings of JAX."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jknas.errors import WorkerError

_THREADS = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""NPROC is how many threads XLA's CPU backend makes; the others are read by the libraries behind NumPy and SciPy."""

SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_dtype_promotion",
)
"""Settings of JAX that a program may have changed, and that decide numbers."""

_PASSED_ON = (
    *SETTINGS,
    "jax_numpy_rank_promotion",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)
"""These, and those that decide what is refused and where compiled programs are kept."""


def of_threads(threads: int) -> dict[str, str]:
    """Return the environment variables that limit a process to some threads; they have to be set before JAX and NumPy are imported."""
    return dict.fromkeys(_THREADS, str(threads))


def environments(count: int, threads: int) -> tuple[dict[str, str], ...]:
    """Return the environment variables of ``count`` workers; starts JAX's backend.

    On CPUs each worker has some threads. On NVIDIA GPUs each worker sees one device.

    Raises:
        WorkerError: more workers than devices, or devices of another kind.
    """
    import jax  # noqa: PLC0415 - this room is imported by `jknas --help`

    if jax.default_backend() == "cpu":
        return (of_threads(threads),) * count
    devices = jax.local_devices()
    if devices[0].platform not in ("gpu", "cuda"):
        raise WorkerError(f"workers on {devices[0].device_kind} are not supported on one machine: use a Ray cluster (--ray).")
    if count > len(devices):
        raise WorkerError(f"{count} workers were asked for, one per device, and this machine has {len(devices)} devices: ask for fewer.")
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = [part.strip() for part in named.split(",")] if named else [str(place) for place in range(len(devices))]
    return tuple({"CUDA_VISIBLE_DEVICES": visible[place]} for place in range(count))


def jax_settings() -> dict[str, Any]:
    """Return the settings of JAX that a worker takes over."""
    import jax  # noqa: PLC0415

    return {name: getattr(jax.config, name) for name in _PASSED_ON if hasattr(jax.config, name)}


def apply_jax_settings(settings: Mapping[str, Any]) -> None:
    """Take over the settings of the process that started this one."""
    import jax  # noqa: PLC0415

    for name, value in settings.items():
        if getattr(jax.config, name) != value:
            jax.config.update(name, value)


@contextmanager
def set_in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for as long as a child process takes to start."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
