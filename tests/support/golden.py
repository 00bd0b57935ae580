"""Weights and images given by a formula, so that any two implementations can be compared without exchanging files.

Convolutions and the classifier are numbered ``t = 0, 1, ...`` in PyTorch's registration order. The weight at flat index ``i`` of the layout
out, in, height, width is ``sqrt(2 / fan_in) sin(1 + 0.7 t + 1.3 i + 0.001 i^2)``; biases and shifts are 0, scales 1. Pixel ``k`` of the
whole batch, counted in the layout example, channel, height, width, is ``sin(0.37 k + 1e-5 k^2)``. All in float64.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from random_variables import shapes

from jknas.networks.nasbench201.torch_order import tensors
from jknas.networks.torch_state import from_state_dict


def golden_variables(network, genotype, *, layout="OIHW"):
    """Fill a network. ``layout="HWIO"`` counts in our own layout (classifier: in, out) instead, which is a mistake to be recognised."""
    if not jax.config.jax_enable_x64:
        raise RuntimeError("the golden numbers are float64; use the float64 fixture")
    state, number = {}, 0
    for tensor in tensors(network, genotype):
        shape = tensor._replace(cell=None).read(shapes(network, genotype)).shape[tensor.cell is not None :]
        if len(shape) > 1:
            torch_shape = shape[:-3:-1] + shape[:-2]
            values = _sine(math.prod(shape), number).reshape(torch_shape if layout == "OIHW" else shape) * math.sqrt(
                2 / math.prod(shape[:-1])
            )
            state[tensor.name] = values if layout == "OIHW" else np.moveaxis(values, (-1, -2), (0, 1))
            number += 1
        else:
            state[tensor.name] = np.full(shape, float(tensor.path[-1] in ("scale", "var")))
    return from_state_dict(network, genotype, state)


def _sine(count, number):
    i = np.arange(count, dtype=np.float64)
    return np.sin(1 + 0.7 * number + 1.3 * i + 0.001 * i**2)


def golden_images(n, resolution):
    """Return ``n`` images, channels last."""
    k = np.arange(n * 3 * resolution**2, dtype=np.float64)
    return jnp.asarray(np.sin(0.37 * k + 1e-5 * k**2).reshape(n, 3, resolution, resolution).transpose(0, 2, 3, 1))


def golden_labels(n):
    return jnp.asarray(np.arange(n) % 10, jnp.int32)
