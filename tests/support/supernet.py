"""Variables of every candidate operation at once, from the formula of :mod:`golden` and from a recording of TE-NAS's supernet."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from golden import _sine
from random_variables import shapes

from jknas.networks.nasbench201.torch_order import tensors
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS

_FROM_TORCH = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}


def mixture(live):
    """Return mixture weights under which every edge is the mean of its live operations, ``live`` those of all edges."""
    weights = np.zeros((len(EDGES), len(OPERATIONS)))
    weights[:, live] = 1 / len(live)
    return jnp.asarray(weights)


def golden_supernet(network):
    """Fill a network; the convolutions and the classifier are numbered over all candidates in the order of registration."""
    numbered = [tensor for tensor in tensors(network) if len(_shape(network, tensor)) > 1]

    def value(tensor, shape):
        if tensor not in numbered:
            return np.full(shape, float(tensor.path[-1] in ("scale", "var")))
        return _sine(math.prod(shape), numbered.index(tensor)).reshape(shape) * math.sqrt(2 / math.prod(shape[1:]))

    return _filled(network, value)


def recorded_supernet(network, state):
    """Return the variables of a recorded state_dict."""

    def value(tensor, shape):
        name = tensor.name
        if tensor.edge is not None:
            target, source = EDGES[tensor.edge]
            place = f"edges.{target}<-{source}.{OPERATIONS.index(tensor.operation)}"
            name = name.replace(f"layers.{tensor.edge}", place)
        assert state[name].shape == shape
        return state[name]

    return _filled(network, value)


def _shape(network, tensor):
    """Return a tensor's shape in PyTorch's layout."""
    shape = tensor._replace(cell=None).read(shapes(network)).shape[tensor.cell is not None :]
    return {1: shape, 2: shape[::-1], 4: shape[:-3:-1] + shape[:-2]}[len(shape)]


def _filled(network, value):
    rows = {}
    for tensor in tensors(network):
        array = value(tensor, _shape(network, tensor))
        row = np.asarray(array, np.float64).transpose(_FROM_TORCH[array.ndim])
        rows.setdefault((tensor.collection, *tensor.path), []).append((tensor.cell, row))

    def leaf(path, expected):
        found = rows.pop(tuple(key.key for key in path))
        array = found[0][1] if found[0][0] is None else np.stack([row for _, row in found])
        assert array.shape == expected.shape
        return jnp.asarray(array, float)

    variables = jax.tree_util.tree_map_with_path(leaf, shapes(network))
    assert not rows
    return variables
