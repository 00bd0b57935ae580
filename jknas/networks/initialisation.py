"""Weight initialisations by the names the field uses.

==================  ==========================================================  ======================
scheme              convolution and linear kernels                              linear bias
==================  ==========================================================  ======================
``pytorch``         uniform in +-1/sqrt(fan_in), variance 1/(3 fan_in)          uniform, same bound
``he_normal``       normal, variance 2/fan_in                                   zero
``he_normal_out``   normal, variance 2/fan_out                                  zero
==================  ==========================================================  ======================

``pytorch`` is what every published NAS-Bench-201 number was trained from, and what the released KNAS and TE-NAS code
really use; the KNAS paper (section 8) and the TE-NAS paper say He ("Kaiming") initialisation. Batch-normalisation scales are one and
shifts zero in all.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp

Scheme = Literal["pytorch", "he_normal", "he_normal_out"]
Initialiser = Callable[[jax.Array, tuple[int, ...]], jax.Array]


def check_scheme(scheme: str) -> None:
    """Raise ``ValueError`` unless ``scheme`` is one of :data:`Scheme`."""
    if scheme not in get_args(Scheme):
        raise ValueError(f"initialisation {scheme!r} is not known; choose one of {', '.join(map(repr, get_args(Scheme)))}")


def _fan(shape: tuple[int, ...]) -> tuple[int, int]:
    receptive = math.prod(shape[:-2])
    return receptive * shape[-2], receptive * shape[-1]


def kernel_initialiser(scheme: Scheme) -> Initialiser:
    """Return the kernel initialiser of a scheme, for shapes ``[..., in, out]``; numbers come in the default float type."""

    def initialise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        fan_in, fan_out = _fan(shape)
        if scheme == "pytorch":
            bound = 1 / math.sqrt(fan_in)
            return jax.random.uniform(key, shape, jnp.result_type(float), -bound, bound)
        return jax.random.normal(key, shape, jnp.result_type(float)) * math.sqrt(2 / (fan_in if scheme == "he_normal" else fan_out))

    return initialise


def bias_initialiser(scheme: Scheme, fan_in: int) -> Initialiser:
    """Return the initialiser of a linear layer's bias whose kernel has ``fan_in`` inputs."""

    def initialise(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        if scheme == "pytorch":
            bound = 1 / math.sqrt(fan_in)
            return jax.random.uniform(key, shape, jnp.result_type(float), -bound, bound)
        return jnp.zeros(shape, jnp.result_type(float))

    return initialise
