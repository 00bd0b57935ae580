"""Batches of sequences of about the same length, and how far a batch has to be computed.

Most of a padded sequence is padding: pairs of MRPC have 53 tokens in the mean, of 96. Random batches of 16 are still 84 long; batches of
neighbours in length 61.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

CHUNK = 50
"""Batches whose sequences are sorted together."""
_SHARES = (0.5, 0.625, 0.75, 1.0)


def lengths(tokens: Int[Array, "n 3 t"]) -> Int[Array, " n"]:
    """Return the number of places of each sequence up to the last that counts (row 2 of its tokens), at least 1."""
    places = jnp.arange(1, tokens.shape[-1] + 1, dtype=jnp.int32)
    return jnp.where(tokens[:, 2] != 0, places, 1).max(-1)


def grouped(order: Int[Array, " n"], sizes: Int[Array, " n"], words: UInt32[Array, " n"], *, batch_size: int) -> Int[Array, " n"]:
    """Return an order of the epoch whose full batches hold sequences of similar length.

    The random order is cut into chunks of :data:`CHUNK` batches, each chunk is sorted by length and cut into batches, and the batches of
    all chunks are shuffled. What is left for a last, smaller batch stays as it was drawn.

    Args:
        order: a random order.
        sizes: the length of each sequence, by its number.
        words: random words, which the order does not depend on.
        batch_size: sequences per batch.
    """
    steps = len(order) // batch_size
    full = order[: steps * batch_size]
    chunk = jnp.arange(len(full)) // (batch_size * CHUNK)
    batches = full[jnp.lexsort((sizes[full], chunk))].reshape(steps, batch_size)
    return jnp.concatenate([batches[jnp.argsort(words[:steps])].reshape(-1), order[len(full) :]])


def widths(places: int) -> tuple[int, ...]:
    """Return up to which places a batch may be computed, rising: some shares of all places, in multiples of 8."""
    return tuple(sorted({min(places, math.ceil(share * places / 8) * 8) for share in _SHARES}))
