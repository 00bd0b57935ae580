"""BERT and RoBERTa encoders as Flax modules, with skip connections between their layers.

A layer is, with dropout after the softmax, after the output matrix and after the feed-forward block,

    q, k, v = x W + b      p = softmax(q k^T / sqrt(d) + mask)      y = LN(x + [p v per head] Wo + bo)
    z = LN(y + gelu(y W1 + b1) W2 + b2)

with the exact gelu. Nothing follows the last layer: its normalisation is the final one. The classifier reads the state of the first token.

References:
    Devlin, Chang, Lee and Toutanova, "BERT", NAACL 2019, arXiv:1810.04805.
    Liu et al., "RoBERTa", arXiv:1907.11692 (positions, one token type, the classifier's dense layer).

Deviations:
    The classifier is RoBERTa's for both, a dense layer and tanh before the output layer. BERT's is the same function, but its dense layer
    is pre-trained (the "pooler"); here it is drawn anew.
    Dropout draws 16 random bits per number, half of what ``nn.Dropout`` draws, which takes a third of the time of a training step on a CPU:
    its probability is rounded to a multiple of 2^-16.
"""

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jknas.networks.skip_transformer.skips import combined
from jknas.spaces.skip_transformer.cost import PUBLISHED

Tokens = Int[Array, "n 3 t"]
"""Of each sequence the ids of its tokens, their types, and 1 where there is a token, 0 where there is padding."""

_PADDING = {"bert": 0, "roberta": 1}
_EPSILON = {"bert": 1e-12, "roberta": 1e-5}


@dataclasses.dataclass(frozen=True)
class EncoderSize:
    """The size of an encoder.

    Attributes:
        stem: ``bert`` or ``roberta``: how positions count, the epsilon of the normalisations, and the id of padding.
        hidden: width of the states, H.
        layers: depth, L.
        heads: attention heads, each of H / heads channels.
        feed_forward: width inside the feed-forward block.
        vocabulary: rows of the table of words.
        positions: rows of the table of positions.
    """

    stem: str
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int

    @property
    def types(self) -> int:
        """Rows of the table of token types."""
        return PUBLISHED[self.stem].types

    @property
    def padding(self) -> int:
        """The id of padding, which is also its position in a RoBERTa."""
        return _PADDING[self.stem]

    @property
    def epsilon(self) -> float:
        """What layer normalisations add to the variance."""
        return _EPSILON[self.stem]

    @property
    def longest(self) -> int:
        """The most tokens in a sequence; RoBERTa's positions begin behind that of the padding."""
        return self.positions - (self.padding + 1 if self.stem == "roberta" else 0)


class Layer(nn.Module):
    """One layer, see the module's text.

    Attributes:
        size: of the encoder.
        dropout: probability of dropout.
    """

    size: EncoderSize
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "n t h"], mask: Float[Array, "n 1 1 t"]) -> Float[Array, "n t h"]:
        """Return the states after the layer; ``mask`` is added to the logits of the attention."""
        size, (n, t, hidden) = self.size, x.shape
        width = hidden // size.heads
        drop = functools.partial(dropped, self, self.dropout)
        query, key, value = (nn.Dense(hidden, name=name)(x).reshape(n, t, size.heads, width) for name in ("query", "key", "value"))
        logits = jnp.einsum("nqhd,nkhd->nhqk", query, key) / math.sqrt(width) + mask
        context = jnp.einsum("nhqk,nkhd->nqhd", drop(jax.nn.softmax(logits)), value).reshape(n, t, hidden)
        attended = drop(nn.Dense(hidden, name="output")(context))
        y = _normalised(size, "attention_norm", x + attended)
        inner = jax.nn.gelu(nn.Dense(size.feed_forward, name="up")(y), approximate=False)
        return _normalised(size, "output_norm", y + drop(nn.Dense(hidden, name="down")(inner)))


class Embeddings(nn.Module):
    """The sum of the embeddings of words, positions and types, normalised.

    Attributes:
        size: of the encoder.
        dropout: probability of dropout.
    """

    size: EncoderSize
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "n t h"]:
        """Return the states before the first layer."""
        size, ids = self.size, tokens[:, 0]
        x = nn.Embed(size.vocabulary, size.hidden, name="word")(ids)
        table = nn.Embed(size.positions, size.hidden, name="position")
        if size.stem == "roberta":
            real = (ids != size.padding).astype(ids.dtype)
            x = x + table(jnp.cumsum(real, 1, dtype=ids.dtype) * real + size.padding)
            types = jnp.zeros_like(ids)
        else:
            x = x + table(jnp.arange(ids.shape[1], dtype=ids.dtype))[None]
            types = tokens[:, 1]
        x = x + nn.Embed(size.types, size.hidden, name="type")(types)
        return dropped(self, self.dropout, _normalised(size, "norm", x))


class Encoder(nn.Module):
    """All states of an encoder.

    Attributes:
        size: of the encoder.
        dropout: probability of dropout.
    """

    size: EncoderSize
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Tokens, weights: list[Any]) -> list[Float[Array, "n t h"]]:
        """Return the embeddings, then the states after every layer.

        Args:
            tokens: the sequences.
            weights: of each layer those of the states before it, see :func:`~jknas.networks.skip_transformer.skips.weights_of`.
        """
        states = [Embeddings(self.size, self.dropout, name="embeddings")(tokens)]
        lowest = jnp.finfo(states[0].dtype).min
        mask = jnp.where(tokens[:, 2] > 0, jnp.zeros((), states[0].dtype), lowest)[:, None, None, :]
        for number, read in enumerate(weights):
            states.append(Layer(self.size, self.dropout, name=f"layer_{number}")(combined(states, read), mask))
        return states


class Classifier(nn.Module):
    """The encoder with a classifier on the state of the first token.

    Attributes:
        size: of the encoder.
        classes: number of outputs.
        dropout: probability of dropout.
    """

    size: EncoderSize
    classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Tokens, weights: list[Any]) -> Float[Array, "n k"]:
        """Return the logits."""
        drop = functools.partial(dropped, self, self.dropout)
        first = Encoder(self.size, self.dropout, name="encoder")(tokens, weights)[-1][:, 0]
        pooled = jnp.tanh(nn.Dense(self.size.hidden, name="head_dense")(drop(first)))
        return nn.Dense(self.classes, name="head_output")(drop(pooled))


def dropped(module: nn.Module, rate: float, x: jax.Array) -> jax.Array:
    """Set each number to zero with probability ``rate``, and divide the others by 1 - rate; the key is the module's own."""
    if not rate:
        return x
    threshold = round(rate * 2**16)
    bits = jax.random.bits(module.make_rng("dropout"), x.shape, jnp.uint16)
    return jnp.where(bits >= jnp.uint16(threshold), x / (1 - threshold / 2**16), jnp.zeros((), x.dtype))


def _normalised(size: EncoderSize, name: str, x: Float[Array, "n t h"]) -> Float[Array, "n t h"]:
    # The fast variance, mean of squares minus square of mean, loses digits that the parity with PyTorch needs.
    narrow = jnp.finfo(x.dtype).bits < 32
    normalisation = nn.LayerNorm(
        epsilon=size.epsilon, use_fast_variance=False, force_float32_reductions=narrow, param_dtype=x.dtype, name=name
    )
    y: jax.Array = normalisation(x)
    return y
