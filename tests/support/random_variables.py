"""Network variables in which nothing is special: random kernels, scales, shifts and running averages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.cache
def shapes(network, genotype=None):
    """Return the structure of a network's variables without drawing them."""
    return jax.eval_shape(lambda key: network.init(key, genotype), jax.random.key(0))


def random_variables(network, genotype=None, *, seed=0):
    """Draw every array at random, in the float type in force.

    Initialised networks hide mistakes: with all shifts at zero a dead branch adds nothing, and with unit averages two normalisations can
    be exchanged unnoticed.
    """
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name, gain = path[-1].key, 1.0
        if name == "var":
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), float)
        if name in ("kernel", "stem", "downsample", "classifier"):
            gain = 1 / np.sqrt(np.prod(leaf.shape[-4:-1]))
        return jnp.asarray(gain * rng.standard_normal(leaf.shape) + (name == "scale"), float)

    return jax.tree_util.tree_map_with_path(draw, shapes(network, genotype))


def completed(network, variables):
    """Return the full set of variables that holds ``variables``; the other operations' arrays are random."""

    def merge(full, part):
        if not isinstance(full, dict):
            return part
        return {name: merge(value, part[name]) if name in part else value for name, value in full.items()}

    return merge(random_variables(network, seed=1), variables)
