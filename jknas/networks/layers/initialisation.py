"""Weight initialisations by the names the field uses.

==================  ==========================================================  ======================
scheme              convolution and linear kernels                              linear bias
==================  ==========================================================  ======================
``pytorch``         uniform in +-1/sqrt(fan_in), variance 1/(3 fan_in)          uniform, same bound
``he_normal``       normal, variance 2/fan_in                                   zero
``he_normal_out``   normal, variance 2/fan_out                                  zero
``normal``          normal, variance 1                                          zero
==================  ==========================================================  ======================

``pytorch`` is what every published NAS-Bench-201 number was trained from, and what the released KNAS and TE-NAS code
really use; the KNAS paper (section 8) and the TE-NAS paper say He ("Kaiming") initialisation. ``normal`` is what some scores (Zen) are
defined with; only normalisations keep such a network's values in bounds. Batch-normalisation scales are one and
shifts zero in all.
"""

import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jknas.errors import NetworkError

Scheme = Literal["pytorch", "he_normal", "he_normal_out", "normal"]

_CONSTANT = {"scale": 1.0, "bias": 0.0}


def check_scheme(scheme: str) -> None:
    """Raise ``ValueError`` unless ``scheme`` is one of :data:`Scheme`."""
    if scheme not in get_args(Scheme):
        raise NetworkError(f"initialisation {scheme!r} is not known; choose one of {', '.join(map(repr, get_args(Scheme)))}")


def _spread(path: tuple[Any, ...], shapes: PyTree, shape: tuple[int, ...], scheme: Scheme) -> float:
    """Return the bound (``pytorch``) or the standard deviation (else) of one leaf; zero where a scheme sets zeros."""
    if path[-1].key == "classifier_bias":
        return 1 / math.sqrt(shapes["classifier"].shape[0]) if scheme == "pytorch" else 0.0
    if scheme == "normal":
        return 1.0
    one = shape[-4:]  # the kernels of a stage are stacked along a leading axis, which is not part of a fan
    receptive, inputs, outputs = math.prod(one[:-2]), one[-2], one[-1]
    if scheme == "pytorch":
        return 1 / math.sqrt(receptive * inputs)
    return math.sqrt(2 / (receptive * (inputs if scheme == "he_normal" else outputs)))


def draw_parameters(key: PRNGKeyArray, shapes: PyTree, scheme: Scheme) -> PyTree:
    """Draw the parameters of a cell network.

    All random numbers come from one draw that is cut into leaves: one draw per leaf would cost one compilation per leaf, minutes for a
    network.

    Args:
        key: a JAX random key.
        shapes: nested dictionaries of ``jax.ShapeDtypeStruct``; the last name of a leaf says what it is.
        scheme: see the module's text.

    Returns:
        Arrays in the structure of ``shapes``, in the default float type.

    Raises:
        NetworkError: an unknown scheme.
    """
    check_scheme(scheme)
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    random = [path[-1].key not in _CONSTANT for path, _ in leaves]
    sizes = [math.prod(leaf.shape) if drawn else 0 for drawn, (_, leaf) in zip(random, leaves, strict=True)]
    ends = np.cumsum(sizes)
    dtype = jnp.result_type(float)
    if scheme == "pytorch":
        numbers = jax.random.uniform(key, (int(ends[-1]),), dtype, -1, 1)
    else:
        numbers = jax.random.normal(key, (int(ends[-1]),), dtype)
    values = []
    for drawn, (path, leaf), size, end in zip(random, leaves, sizes, ends, strict=True):
        if drawn:
            values.append(numbers[end - size : end].reshape(leaf.shape) * _spread(path, shapes, leaf.shape, scheme))
        else:
            values.append(jnp.full(leaf.shape, _CONSTANT[path[-1].key], dtype))
    return jax.tree_util.tree_unflatten(structure, values)
