"""Gradient kernels of any JAX model."""

from jknas.errors import NeuralTangentsImportError, UnsoundBackendError
from jknas.kernels.coupled import ntk_coupled
from jknas.kernels.gram import Gram, gram
from jknas.kernels.linear_regions import LinearRegions, linear_regions
from jknas.kernels.mgm import mean_gradient, mgm, mgm_layerwise
from jknas.kernels.neural_tangents.empirical import neural_tangents_gram
from jknas.kernels.spectrum import Spectrum, spectrum
from jknas.networks.nasbench201.infinite_width import infinite_width_kernel
from jknas.xla.soundness import require_sound_backend

__all__ = [
    "Gram",
    "LinearRegions",
    "NeuralTangentsImportError",
    "Spectrum",
    "UnsoundBackendError",
    "gram",
    "infinite_width_kernel",
    "linear_regions",
    "mean_gradient",
    "mgm",
    "mgm_layerwise",
    "neural_tangents_gram",
    "ntk_coupled",
    "require_sound_backend",
    "spectrum",
]
