"""What the transformer encoders of all spaces are made of, as Flax modules and functions that are called inside a module's ``__call__``.

    q, k, v = x W + b      p = softmax(q k^T / sqrt(d) + mask)      y = LN(x + [p v per head] Wo + bo)

Deviations:
    Dropout draws 16 random bits per number, half of what ``nn.Dropout`` draws, which takes a third of the time of a training step on a CPU:
    its probability is rounded to a multiple of 2^-16.
    Padding gets the lowest number that the float type has as its logit, where the published codes add -10,000: no weight either way.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

Tokens = Int[Array, "n 3 t"]
"""Of each sequence the ids of its tokens, their types, and 1 where there is a token, 0 where there is padding."""

Drop = Callable[[jax.Array], jax.Array]
"""Drops numbers of an array, see :func:`dropped`; or returns it."""


class Embeddings(nn.Module):
    """The sum of the embeddings of words, positions and types, normalised.

    A token is a one-hot vector of as many numbers as there are words. Inputs of a floating type mean vectors whose numbers are all equal: a
    sequence of ones reads the sum of all rows of the tables of words and of types.

    Attributes:
        width: of the embeddings.
        vocabulary: rows of the table of words.
        positions: rows of the table of positions.
        types: rows of the table of token types.
        epsilon: of the normalisation; None: there is none.
        padding: the id of padding, in RoBERTa's way: positions count the tokens that are no padding, from behind it, and the types of the
            tokens are ignored. None: positions count from 0.
        dropout: probability of dropout.
    """

    width: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float | None
    padding: int | None = None
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Num[Array, "n 3 t"]) -> Float[Array, "n t h"]:
        """Return the states before the first layer."""
        ids = tokens[:, 0]
        x = _embedded(nn.Embed(self.vocabulary, self.width, name="word"), ids)
        table = nn.Embed(self.positions, self.width, name="position")
        if self.padding is not None:
            real = (ids != self.padding).astype(ids.dtype)
            x = x + table(jnp.cumsum(real, 1, dtype=ids.dtype) * real + self.padding)
            types = jnp.zeros_like(ids)
        else:
            x = x + table(jnp.arange(ids.shape[1]))[None]
            types = tokens[:, 1]
        x = x + _embedded(nn.Embed(self.types, self.width, name="type"), types)
        return dropped(self, self.dropout, normalised("norm", x, self.epsilon))


def _embedded(table: nn.Embed, ids: Num[Array, "n t"]) -> Float[Array, "n t h"]:
    if jnp.issubdtype(ids.dtype, jnp.integer):
        found: jax.Array = table(ids)
        return found
    return ids[:, :, None] * table.embedding.sum(0)[None, None]


def attention_mask(tokens: Num[Array, "n 3 t"], dtype: Any) -> Float[Array, "n 1 1 t"]:
    """Return what is added to the logits of the attention: nothing at a token, the lowest number at padding."""
    return jnp.where(tokens[:, 2] > 0, jnp.zeros((), dtype), jnp.finfo(dtype).min)[:, None, None, :]


def self_attention(
    x: Float[Array, "n t h"],
    mask: Float[Array, "n 1 1 t"],
    *,
    heads: int,
    drop: Drop,
    epsilon: float | None,
    scaled: Callable[[Float[Array, "n g t t"]], Float[Array, "n g t t"]] | None = None,
) -> Float[Array, "n t h"]:
    """Return the states after multi-head self-attention, its residual connection and its normalisation.

    Call it inside a module's ``__call__``, which then owns the matrices ``query``, ``key``, ``value`` and ``output``, and the normalisation
    ``attention_norm``.

    Args:
        x: the states.
        mask: see :func:`attention_mask`.
        heads: attention heads, each of H / heads channels.
        drop: follows the softmax and the output matrix.
        epsilon: of the normalisation; None: there is none.
        scaled: makes logits of the products of queries and keys; by default divides by the square root of a head's channels.
    """
    (n, t, hidden), width = x.shape, x.shape[-1] // heads
    query, key, value = (nn.Dense(hidden, name=name)(x).reshape(n, t, heads, width) for name in ("query", "key", "value"))
    products = jnp.einsum("nqhd,nkhd->nhqk", query, key)
    logits = (products / math.sqrt(width) if scaled is None else scaled(products)) + mask
    context = jnp.einsum("nhqk,nkhd->nqhd", drop(jax.nn.softmax(logits)), value).reshape(n, t, hidden)
    return normalised("attention_norm", x + drop(nn.Dense(hidden, name="output")(context)), epsilon)


def dropped(module: nn.Module, rate: float, x: jax.Array) -> jax.Array:
    """Set each number to zero with probability ``rate``, and divide the others by 1 - rate; the key is the module's own."""
    if not rate:
        return x
    threshold = round(rate * 2**16)
    bits = jax.random.bits(module.make_rng("dropout"), x.shape, jnp.uint16)
    return jnp.where(bits >= jnp.uint16(threshold), x / (1 - threshold / 2**16), jnp.zeros((), x.dtype))


def normalised(name: str, x: Float[Array, "n t h"], epsilon: float | None) -> Float[Array, "n t h"]:
    """Return the states after a layer normalisation of that name in the module that calls; as they are without an epsilon."""
    if epsilon is None:
        return x
    # The fast variance, mean of squares minus square of mean, loses digits that the parity with PyTorch needs.
    narrow = jnp.finfo(x.dtype).bits < 32
    normalisation = nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, force_float32_reductions=narrow, param_dtype=x.dtype, name=name)
    y: jax.Array = normalisation(x)
    return y
