r"""Random projections of per-example gradients that cost as much as reading them.

The sketch is a count sketch in blocks. The P entries of a gradient piece (a leaf, or the part of it that one operation uses) are cut into
blocks of ``width`` entries. Every entry gets a random sign, every block is rotated by a random shift, and the blocks are added up:

.. math:: \phi_c = \sum_b s_{bj} g_{bj}, \qquad j = (c - r_b) \bmod w

so :math:`\phi = R g` with one :math:`\pm 1` per column of R. Signs and shifts come from a key, the parameter's path, the iteration of a
``scan`` and the offset of a filter, and not from the examples. Two entries of a gradient meet in one component with probability
:math:`1/w` (never within a block), independently of the signs, hence for gradients x and y

.. math:: E \langle Rx, Ry \rangle = \langle x, y \rangle, \qquad
   \mathrm{Var} \le \frac{|x|^2 |y|^2 + \langle x, y \rangle^2 - 2 \sum_i x_i^2 y_i^2}{w}

which is the variance of dense random signs. Reference: Charikar, Chen, Farach-Colton, "Finding frequent items in data streams", 2004;
Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009, arXiv:0902.2206 (Lemma 2).
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def widest(dtypes: Sequence[Any]) -> jnp.dtype:
    """Return the dtype that holds the given floating-point ones, at least float32, also under strict promotion."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.result_type(jnp.float32, *dtypes)


def key_of(key: jax.Array, name: str) -> jax.Array:
    """Return the key data of a parameter, two integers: they depend on its path, and not on what other parameters there are."""
    digest = hashlib.sha256(name.encode()).digest()
    for word in (digest[:4], digest[4:8]):
        key = jax.random.fold_in(key, int.from_bytes(word, "big"))
    return jax.random.bits(key, (2,), jnp.uint32)


def key_of_part(data: Any, number: Any) -> Any:
    """Return the key data of a numbered part of a parameter; None of None."""
    return None if data is None else jax.random.key_data(jax.random.fold_in(_wrapped(data), number))


def _wrapped(data: jax.Array) -> jax.Array:
    # Key data travel through the model's control flow instead of keys, which JAX cannot save in one branch of a ``cond`` only.
    return jax.random.wrap_key_data(data, impl="threefry2x32")


def _draws(key: jax.Array, entries: int, width: int, dtype: Any) -> tuple[jax.Array, jax.Array]:
    """Return the sign of every entry and the shift of every block."""
    bits = jax.random.bits(_wrapped(key), (entries,), jnp.uint32)
    return 1 - 2 * (bits & 1).astype(dtype), ((bits[::width] >> 1) % width).astype(jnp.int32)


def project(gradients: Sequence[jax.Array], keys: Sequence[Any], *, width: int) -> jax.Array:
    """Return the added sketches of per-example gradients ``[n, ...]`` and, in a last column, their added squared norms: ``[n, width + 1]``.

    Cost: O(n P) additions, no product.
    """
    return _added([_projected(gradient.reshape(len(gradient), -1), key, width) for gradient, key in zip(gradients, keys, strict=True)])


def _added(parts: list[tuple[jax.Array, jax.Array]]) -> jax.Array:
    sketches, norms = zip(*parts, strict=True)
    dtype = widest([part.dtype for part in sketches])
    sketch, norm = (sum(value.astype(dtype) for value in values) for values in (sketches, norms))
    return jnp.concatenate([sketch, norm[:, None]], 1)


def _projected(flat: jax.Array, key: jax.Array, width: int) -> tuple[jax.Array, jax.Array]:
    flat = flat.astype(widest([flat.dtype]))
    n, entries = flat.shape
    if not entries:
        return jnp.zeros((n, width), flat.dtype), jnp.zeros(n, flat.dtype)
    signs, shifts = _draws(key, entries, width, flat.dtype)
    blocks = jnp.pad(flat * signs[None], ((0, 0), (0, -entries % width))).reshape(n, -1, width)

    def add(at: Any, total: jax.Array) -> jax.Array:
        return total + jnp.roll(blocks[:, at], shifts[at], 1)

    return lax.fori_loop(0, len(shifts), add, jnp.zeros((n, width), flat.dtype)), jnp.sum(flat * flat, 1)


def project_lookups(arrays: Sequence[jax.Array], keys: Sequence[Any], *, table: tuple[int, ...], width: int) -> jax.Array:
    """Return what :func:`project` returns for the gradients of a whole table ``[v, e]``, without forming them.

    Args:
        arrays: indices ``[n, 1, t]``, negative outside the table, and cotangents ``[n, 1, t, e]``.
        keys: the one of the table.
        table: its shape.
        width: of the sketch.
    """
    index, d = (array[:, 0] for array in arrays)
    d = jnp.where((index < 0)[..., None], 0, d.astype(widest([d.dtype])))
    signs, shifts = _draws(keys[0], table[0] * table[1], width, d.dtype)

    def one(index: jax.Array, d: jax.Array) -> tuple[jax.Array, jax.Array]:
        entry = jnp.maximum(index, 0)[:, None] * table[1] + jnp.arange(table[1], dtype=index.dtype)[None]
        sketch = jnp.zeros(width, d.dtype).at[(entry + shifts[entry // width]) % width].add(signs[entry] * d)
        first = jnp.argmax(index[:, None] == index[None], 1)  # rows that are looked up again add to their first appearance
        return sketch, jnp.sum(jnp.square(jnp.zeros_like(d).at[first].add(d)))

    return _added([jax.vmap(one)(index, d)])
