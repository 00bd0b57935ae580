"""Kernels of gradients taken one by one: slow, obvious, and what every faster function is compared with."""

import jax
import jax.numpy as jnp
from compiling import quick_jit


def split(params, chosen=lambda path: True):
    """Return the floating-point leaves whose path is chosen, and a function that puts others in their place."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    picked = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) and chosen(jax.tree_util.keystr(path)) for path, leaf in leaves]

    def join(new):
        new = iter(new)
        return jax.tree.unflatten(structure, [next(new) if taken else leaf for taken, (_, leaf) in zip(picked, leaves, strict=True)])

    return [leaf for taken, (_, leaf) in zip(picked, leaves, strict=True) if taken], join


def jacobian(apply, params, x, *, chosen=lambda path: True, labels=None, labelled=False):
    """Return every output's gradient, ``[n, k, parameters]``, by one backward pass for each; with labels, the loss is the only output."""
    leaves, join = split(params, chosen)

    def outputs(leaves, example):
        x, label = example
        result = apply(join(leaves), jax.tree.map(lambda a: a[None], x))[0].reshape(-1)
        return jax.nn.logsumexp(result)[None] - result[label] if labelled else result

    with jax.default_matmul_precision("highest"):
        found = jax.vmap(jax.jacrev(outputs), (None, 0))(leaves, (x, labels))
    return jnp.concatenate([leaf.reshape(*leaf.shape[:2], -1).astype(float) for leaf in found], -1)


def slow_gram(apply, params, x, **options):
    """Return the kernel of the summed outputs."""
    rows = jacobian(apply, params, x, **options).sum(1)
    return jnp.matmul(rows, rows.T, precision="highest")


def compiled_slow_gram(apply, params, x, **options):
    return quick_jit(lambda p, x: slow_gram(apply, p, x, **options))(params, x)
