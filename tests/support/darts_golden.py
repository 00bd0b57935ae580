"""TE-NAS's DARTS networks filled by the formula of :mod:`golden`, in the order in which TE-NAS's modules register.

Stem; per cell the two preprocessings, then the edges in the order 2<-0, 2<-1, 3<-0, ..., on each the operations in TE-NAS's order; the
classifier. Every operation counts, live or not.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from golden import _sine

from jknas.networks.darts.parameters import GROUPS
from jknas.spaces.darts.genotype import EDGES, OPERATIONS

TENAS_ORDER = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
PARTS = ("even", "odd", "depthwise", "pointwise")


def kernels(params):
    """List where the convolutions are, as (tree, key, place in the stack or None)."""
    found = [(params["stem"], "kernel", None)] if "stem" in params else []
    for cell in (params["cells"][name] for name in ("normal", "reduction")):
        found += [(cell[name], "kernel", None) for name in ("preprocess0", "preprocess1")]
        for edge in EDGES:
            group = "outer" if edge in GROUPS["outer"] else "inner"
            place = GROUPS[group].index(edge)
            for operation in TENAS_ORDER:
                for block in cell[group].get(operation, {}).values():
                    found += [(block[part], "kernel", place) for part in PARTS if part in block]
    return found


def golden_params(network):
    """Fill a network; the second result is how many convolutional and linear layers were numbered."""
    if not jax.config.jax_enable_x64:
        raise RuntimeError("the golden numbers are float64; use the float64 fixture")
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape), jax.eval_shape(network.init, jax.random.key(0)))
    numbered = [*kernels(params), (params, "classifier", None)]
    for number, (tree, key, place) in enumerate(numbered):
        target = tree[key] if place is None else tree[key][place]
        torch_shape = target.shape[:-3:-1] + target.shape[:-2]
        values = _sine(target.size, number).reshape(torch_shape) * math.sqrt(2 / math.prod(torch_shape[1:]))
        target[...] = np.moveaxis(values, (1, 0), (-2, -1))

    def scales(path, leaf):
        return jnp.ones(leaf.shape) if path[-1].key == "scale" else jnp.asarray(leaf)

    return jax.tree_util.tree_map_with_path(scales, params), len(numbered)


def live_mixture(names=OPERATIONS[1:]):
    """Return mixture weights under which every edge is the mean of the operations called ``names``."""
    weights = np.zeros((2 * len(EDGES), len(OPERATIONS)))
    weights[:, [OPERATIONS.index(name) for name in names]] = 1 / len(names)
    return jnp.asarray(weights)
