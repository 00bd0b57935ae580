"""Trees of a network's arrays: shapes, running averages, and parameters joined with averages, which layers compute with."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jknas.networks.layers.conv_norm import RUNNING_MOMENTUM, Moments, NormWeights

Shapes = dict[str, Any]
"""Nested dictionaries of ``jax.ShapeDtypeStruct``."""

Averages = dict[str, Any]
"""Running averages in the structure of ``batch_stats``."""

WeightTree = Mapping[str, Any]
"""Parameters in which every normalisation's scale, shift and running averages are one ``NormWeights``, see :func:`joined`."""

Variables = dict[str, Any]
"""``{"params": ..., "batch_stats": ...}``, nested dictionaries of arrays."""


def array(*shape: int) -> jax.ShapeDtypeStruct:
    """Return the shape of an array of the default float type."""
    return jax.ShapeDtypeStruct(shape, jnp.result_type(float))


def norm_shapes(features: int) -> Shapes:
    """Return the shapes of a batch normalisation's scale and shift."""
    return {"scale": array(features), "bias": array(features)}


def conv_shapes(size: int, inputs: int, outputs: int) -> Shapes:
    """Return the shapes of a convolution and the normalisation that follows it."""
    return {"kernel": array(size, size, inputs, outputs), "norm": norm_shapes(outputs)}


def classifier_shapes(inputs: int, classes: int) -> Shapes:
    """Return the shapes of a linear classifier's matrix and bias."""
    return {"classifier": array(inputs, classes), "classifier_bias": array(classes)}


def classified(params: Mapping[str, Any], features: jax.Array) -> jax.Array:
    """Return the logits ``[n, k]`` of a linear classifier that reads ``[n, c]``."""
    bias = params["classifier_bias"].astype(features.dtype)
    return features @ params["classifier"].astype(features.dtype) + jax.lax.broadcast_to_rank(bias, 2)


def stacked(shapes: PyTree, length: int) -> PyTree:
    """Return the shapes of ``length`` equal trees, stacked along a new first axis."""
    return jax.tree.map(lambda leaf: array(length, *leaf.shape), shapes)


def unit_averages(params: Mapping[str, Any]) -> Averages:
    """Return running averages, mean zero and variance one, for every batch normalisation of ``params``."""
    found: Averages = {}
    for name, value in params.items():
        if not isinstance(value, Mapping):
            continue
        if "scale" in value:
            found[name] = {"mean": jnp.zeros_like(value["scale"]), "var": jnp.ones_like(value["scale"])}
        elif inner := unit_averages(value):
            found[name] = inner
    return found


def joined(params: Any, averages: Any) -> Any:
    """Return ``params`` with every normalisation's scale, shift and running averages as one ``NormWeights``."""
    if not isinstance(params, Mapping):
        return params
    if "scale" in params:
        return NormWeights(params["scale"], params["bias"], averages["mean"], averages["var"])
    return {name: joined(value, averages.get(name, {})) for name, value in params.items()}


def moved(norm: NormWeights, moments: Moments, used: jax.Array | bool = True) -> dict[str, jax.Array]:
    """Return running averages moved towards a batch's moments where the normalisation was ``used``."""

    def towards(old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(used, RUNNING_MOMENTUM * old + (1 - RUNNING_MOMENTUM) * new.astype(old.dtype), old)

    return {"mean": towards(norm.running_mean, moments.mean), "var": towards(norm.running_variance, moments.variance)}
