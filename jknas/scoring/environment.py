"""What a result has to name to be repeatable: package versions and the device."""

import importlib.metadata
import platform

import jax

_PACKAGES = ("jknas", "jax", "jaxlib", "flax", "optax", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide numbers."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
            found[name] = "not installed"
    return found


def device() -> str:
    """Return the kind of JAX's default device, such as ``cpu`` or ``gpu: NVIDIA H100``; starts the backend."""
    first = jax.devices()[0]
    return first.platform if first.platform == first.device_kind else f"{first.platform}: {first.device_kind}"
