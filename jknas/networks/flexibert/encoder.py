"""FlexiBERT's encoders **as trained**, as Flax modules.

The embeddings have one width, E; a dense layer leads to states of width H = 2E. With dropout after the softmax, the output matrix and the
feed-forward block, a layer computes *y* by self-attention (:mod:`jknas.networks.layers.transformer`) and

    a = gelu(y W + b)        H -> 4H
    a = gelu(a W + b)        4H -> F, then F -> F: in a layer with three feed-forward layers
    z = LN(y + a W + b)      -> H

with the exact gelu. The classifier is a dense layer on the raw state of the first token. The declared operators are not built:
:mod:`jknas.spaces.flexibert.genotype` says why.

One definition serves a genotype, whose alternatives are chosen when it is traced, and a code, whose alternatives are chosen by the running
program: widths, depths and feed-forward blocks by branches, of which one runs; two heads by adding up the products of four heads of half
the width, two by two, before the softmax.

Reference: Serianni and Kalita, ACL 2023, arXiv:2306.00288, the TensorFlow code (github.com/aaronserianni/training-free-nas), after
ELECTRA's.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jknas.networks.flexibert.choices import FEED_FORWARD_BLOCKS, WIDTHS, Choice, Choices, LayerChoice, chosen
from jknas.networks.layers.transformer import Embeddings, attention_mask, dropped, normalised, self_attention
from jknas.spaces.flexibert.cost import TYPES, scaled
from jknas.spaces.flexibert.genotype import DEPTHS, FEED_FORWARD, HEADS, HIDDEN

EPSILON = 1e-12


@dataclass(frozen=True)
class EncoderSize:
    """The size of all encoders of the space.

    Attributes:
        embedding: width of the embeddings, E; all other widths are multiples of it.
        vocabulary: rows of the table of words.
        positions: rows of the table of positions.
        epsilon: of the normalisations; None: there are none.
    """

    embedding: int
    vocabulary: int
    positions: int
    epsilon: float | None = EPSILON

    @property
    def hidden(self) -> tuple[int, ...]:
        """The widths of the states."""
        return tuple(scaled(hidden, self.embedding) for hidden in HIDDEN)

    @property
    def feed_forward(self) -> tuple[int, ...]:
        """The widths of additional feed-forward layers."""
        return tuple(scaled(width, self.embedding) for width in FEED_FORWARD)


class FeedForward(nn.Module):
    """What follows the first feed-forward layer.

    Attributes:
        hidden: width of the states, H.
        widths: of the additional layers, by alternative.
    """

    hidden: int
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, a: Float[Array, "n t f"], choice: Choice) -> Float[Array, "n t h"]:
        """Return the block's output before the residual connection."""

        def block(name: str, widths: tuple[int, ...]) -> Any:
            def run(_module: nn.Module, a: jax.Array) -> jax.Array:
                for number, width in enumerate(widths, start=2):
                    a = jax.nn.gelu(nn.Dense(width, name=f"{name}_{number}")(a), approximate=False)
                output: jax.Array = nn.Dense(self.hidden, name=f"{name}_down")(a)
                return output

            return run

        inner: list[tuple[int, ...]] = [(), *((width, width) for width in self.widths)]
        return chosen(self, choice, [block(*one) for one in zip(FEED_FORWARD_BLOCKS, inner, strict=True)], a)


class Layer(nn.Module):
    """One layer, see the module's text.

    Attributes:
        size: of the encoders.
        hidden: width of the states, H.
        dropout: probability of dropout.
    """

    size: EncoderSize
    hidden: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "n t h"], mask: Float[Array, "n 1 1 t"], choice: LayerChoice) -> Float[Array, "n t h"]:
        """Return the states after the layer; ``mask`` is added to the logits of the attention."""
        drop, size = functools.partial(dropped, self, self.dropout), self.size
        fixed = isinstance(choice.heads, int)
        heads = HEADS[choice.heads] if fixed else max(HEADS)
        logits = None if fixed else functools.partial(logits_of_heads, choice.heads, hidden=self.hidden)
        y = self_attention(x, mask, heads=heads, drop=drop, epsilon=size.epsilon, scaled=logits)
        a = jax.nn.gelu(nn.Dense(4 * self.hidden, name="up")(y), approximate=False)
        z = FeedForward(self.hidden, size.feed_forward, name="feed_forward")(a, choice.feed_forward)
        return normalised("output_norm", y + drop(z), size.epsilon)


def logits_of_heads(choice: Choice, products: Float[Array, "n g t t"], *, hidden: int) -> Float[Array, "n g t t"]:
    """Return the logits of four heads, or twice those of each of two, from the products of queries and keys of four heads.

    A head of two has the channels of two of the four: its products are the sum of theirs, and it weighs the values of both equally.

    Args:
        choice: place in :data:`~jknas.spaces.flexibert.genotype.HEADS`.
        products: of four heads.
        hidden: width of the states, H.
    """
    few, many = HEADS
    n, _, t, _ = products.shape
    pairs = products.reshape(n, few, many // few, t, t).sum(2, keepdims=True)
    together = jnp.broadcast_to(pairs, (n, few, many // few, t, t)).reshape(products.shape)
    return jnp.where(choice == 1, products / math.sqrt(hidden // many), together / math.sqrt(hidden // few))


class Layers(nn.Module):
    """The layers of one width.

    Attributes:
        size: of the encoders.
        hidden: width of the states, H.
        dropout: probability of dropout.
    """

    size: EncoderSize
    hidden: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "n t e"], mask: Float[Array, "n 1 1 t"], choices: Choices) -> Float[Array, "n t h"]:
        """Return the last states, from the embeddings."""
        if self.hidden > self.size.embedding:
            x = nn.Dense(self.hidden, name="projection")(x)

        def layers(first: int, last: int) -> Any:
            def run(_module: nn.Module, x: jax.Array) -> jax.Array:
                for number in range(first, last):
                    x = Layer(self.size, self.hidden, self.dropout, name=f"layer_{number}")(x, mask, choices.layers[number])
                return x

            return run

        least, most = min(DEPTHS), max(DEPTHS)
        x = layers(0, least)(self, x)
        return chosen(self, choices.depth, [layers(least, least), layers(least, most)], x)


class Encoder(nn.Module):
    """The last states of an encoder.

    Attributes:
        size: of the encoders.
        dropout: probability of dropout.
    """

    size: EncoderSize
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Num[Array, "n 3 t"], choices: Choices) -> Float[Array, "n t h"]:
        """Return the states; if the width is traced, as wide as the widest, the missing channels zero."""
        size = self.size
        table = (size.embedding, size.vocabulary, size.positions, TYPES)
        x = Embeddings(*table, size.epsilon, dropout=self.dropout, name="embeddings")(tokens)
        mask = attention_mask(tokens, x.dtype)

        def layers(name: str, hidden: int) -> Any:
            def run(_module: nn.Module, x: jax.Array) -> jax.Array:
                x = Layers(size, hidden, self.dropout, name=name)(x, mask, choices)
                missing = 0 if isinstance(choices.width, int) else max(size.hidden) - hidden
                return jnp.pad(x, ((0, 0), (0, 0), (0, missing))) if missing else x

            return run

        return chosen(self, choices.width, [layers(*one) for one in zip(WIDTHS, size.hidden, strict=True)], x)


class Head(nn.Module):
    """A classifier for each width.

    Attributes:
        hidden: the widths of the states.
        classes: number of outputs.
    """

    hidden: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, state: Float[Array, "n h"], choice: Choice) -> Float[Array, "n k"]:
        """Return the logits; of a state, the channels of the width count."""

        def dense(name: str, hidden: int) -> Any:
            return lambda _module, state: nn.Dense(self.classes, name=name)(state[:, :hidden])

        return chosen(self, choice, [dense(*one) for one in zip(WIDTHS, self.hidden, strict=True)], state)


class Classifier(nn.Module):
    """The encoder with a classifier on the state of the first token.

    Attributes:
        size: of the encoders.
        classes: number of outputs.
        dropout: probability of dropout.
    """

    size: EncoderSize
    classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Num[Array, "n 3 t"], choices: Choices) -> Float[Array, "n k"]:
        """Return the logits."""
        first = Encoder(self.size, self.dropout, name="encoder")(tokens, choices)[:, 0]
        return Head(self.size.hidden, self.classes, name="head")(dropped(self, self.dropout, first), choices.width)
