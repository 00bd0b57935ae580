"""Gradient kernels of any JAX model."""

from jknas.kernels.coupled import ntk_coupled
from jknas.kernels.gram import Gram, gram
from jknas.kernels.linear_regions import LinearRegions, linear_regions
from jknas.kernels.mgm import mean_gradient, mgm, mgm_layerwise
from jknas.kernels.selfcheck import UnsoundBackendError, require_sound_backend
from jknas.kernels.spectrum import Spectrum, spectrum

__all__ = [
    "Gram",
    "LinearRegions",
    "Spectrum",
    "UnsoundBackendError",
    "gram",
    "linear_regions",
    "mean_gradient",
    "mgm",
    "mgm_layerwise",
    "ntk_coupled",
    "require_sound_backend",
    "spectrum",
]
