"""BERT and RoBERTa encoders as Flax modules, with skip connections between their layers.

A layer is, with dropout after the softmax, after the output matrix and after the feed-forward block, and *y* from *x* by self-attention
(:mod:`jknas.networks.layers.transformer`),

    z = LN(y + gelu(y W1 + b1) W2 + b2)

with the exact gelu. Nothing follows the last layer: its normalisation is the final one. The classifier reads the state of the first token.

References:
    Devlin, Chang, Lee and Toutanova, "BERT", NAACL 2019, arXiv:1810.04805.
    Liu et al., "RoBERTa", arXiv:1907.11692 (positions, one token type, the classifier's dense layer).

Deviations:
    The classifier is RoBERTa's for both, a dense layer and tanh before the output layer. BERT's is the same function, but its dense layer
    is pre-trained (the "pooler"); here it is drawn anew.
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jknas.networks.layers.transformer import Embeddings, Tokens, attention_mask, dropped, normalised, self_attention
from jknas.networks.skip_transformer.skips import combined
from jknas.spaces.skip_transformer.cost import PUBLISHED

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
        size, drop = self.size, functools.partial(dropped, self, self.dropout)
        y = self_attention(x, mask, heads=size.heads, drop=drop, epsilon=size.epsilon)
        inner = jax.nn.gelu(nn.Dense(size.feed_forward, name="up")(y), approximate=False)
        return normalised("output_norm", y + drop(nn.Dense(x.shape[-1], name="down")(inner)), size.epsilon)


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
        size = self.size
        padding = size.padding if size.stem == "roberta" else None
        table = (size.hidden, size.vocabulary, size.positions, size.types)
        states = [Embeddings(*table, size.epsilon, padding, self.dropout, name="embeddings")(tokens)]
        mask = attention_mask(tokens, states[0].dtype)
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
