"""Gradient kernels of any JAX model."""

from jknas.kernels.mgm import mean_gradient, mgm, mgm_layerwise
from jknas.kernels.selfcheck import UnsoundBackendError, require_sound_backend

__all__ = ["UnsoundBackendError", "mean_gradient", "mgm", "mgm_layerwise", "require_sound_backend"]
