"""The network of a skip-connection encoder, drawn at random or with pre-trained weights: functions of arrays and of a wiring.

The wiring is a genotype, whose absent connections are not in the program, or its code, traced: one compiled program then computes every
wiring of a depth, at the price of sums over all earlier states.
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import NetworkError, choose
from jknas.networks.layers.initialisation import Scheme, check_scheme
from jknas.networks.layers.transformer import Tokens
from jknas.networks.sizes import check_sizes
from jknas.networks.skip_transformer import pretrained
from jknas.networks.skip_transformer.encoder import Classifier, Encoder, EncoderSize
from jknas.networks.skip_transformer.pretrained import Pretrained
from jknas.networks.skip_transformer.skips import Combine, weights_of
from jknas.networks.token_network import TokenNetwork
from jknas.spaces.skip_transformer.cost import PUBLISHED, STEMS
from jknas.spaces.skip_transformer.genotype import SkipGenotype, edges

_DEVIATION = 0.02
_HEAD_WIDTH = 64  # channels of an attention head, as in the published encoders


@dataclass(frozen=True)
class SkipTransformerNetwork(TokenNetwork):
    """The size of an encoder with a classifier; its methods are pure functions of their arguments.

    Attributes:
        channels: width of the hidden states, H.
        cells: layers, L.
        classes: number of outputs, K.
        input_channels: rows of the table of words, V: a token is a one-hot input of V channels.
        stem: ``bert`` or ``roberta``, see :class:`~jknas.networks.skip_transformer.encoder.EncoderSize`.
        heads: attention heads; one for each 64 channels by default.
        feed_forward: width inside the feed-forward block; 4H by default.
        positions: rows of the table of positions; as published by default.
        combine: how a layer combines what it reads, see :mod:`jknas.networks.skip_transformer.skips`.
        weights: pre-trained weights of the encoder; None: it is drawn.

    Raises:
        NetworkError: a size that is not positive, heads that do not share the channels out, or an unknown name.
    """

    channels: int = 384
    cells: int = 6
    classes: int = 2
    input_channels: int = 30_522
    stem: str = "bert"
    heads: int = 0
    feed_forward: int = 0
    positions: int = 0
    combine: Combine = "mean"
    weights: Pretrained | None = None

    genotypes: ClassVar[type] = SkipGenotype
    score_parameters: ClassVar[str] = "without_head"
    """The head is drawn anew for every seed, and has most of the gradient: scores leave it out where they leave that open."""

    def __post_init__(self) -> None:
        choose("stem", self.stem, STEMS, error=NetworkError)
        choose("combine", self.combine, ("mean", "sum", "blend"), error=NetworkError)
        check_sizes(self, "channels", "cells", "classes", "input_channels")
        # Written out, so that one network is one value however it was made.
        for name, usual in (
            ("heads", max(1, self.channels // _HEAD_WIDTH)),
            ("feed_forward", 4 * self.channels),
            ("positions", PUBLISHED[self.stem].positions),
        ):
            if getattr(self, name) == 0:
                object.__setattr__(self, name, usual)
        check_sizes(self, "heads", "feed_forward", "positions")
        if self.channels % self.heads:
            raise NetworkError(f"channels = {self.channels} cannot be shared out to {self.heads} heads: choose a divisor as heads.")

    @classmethod
    def from_weights(cls, folder: str | Path, *, classes: int, layers: int | None = None, **more: Any) -> "SkipTransformerNetwork":
        """Return the network of pre-trained weights.

        Args:
            folder: with ``config.json`` and ``model.safetensors``; the name ``minilm`` means the weights of the optional package.
            classes: number of outputs of the classifier, which is drawn.
            layers: the depth that is expected; None takes any.
            **more: other fields of the network.

        Raises:
            NetworkError: files that are missing, damaged, or of another architecture or depth.
        """
        place = cls.weights_folder(folder)
        size = pretrained.size_in(place)
        if layers not in (None, size.layers):
            raise NetworkError(
                f"{place} holds an encoder of {size.layers} layers, and {layers} are asked for: take a space of {size.layers} layers, "
                "jknas.spaces.skip_transformer.skip_space(layers=...), or other weights."
            )
        weights = Pretrained(pretrained.file_digest(place / pretrained.WEIGHTS), str(place))
        return cls(
            channels=size.hidden,
            cells=size.layers,
            classes=classes,
            input_channels=size.vocabulary,
            stem=size.stem,
            heads=size.heads,
            feed_forward=size.feed_forward,
            positions=size.positions,
            weights=weights,
            **more,
        )

    @staticmethod
    def weights_folder(name: str | Path) -> Path:
        """Return the folder that a name means: ``minilm`` that of the optional package, another one itself.

        Raises:
            NetworkError: the package is missing or ships another file.
        """
        return pretrained.minilm_folder() if str(name) == "minilm" else Path(name).expanduser()

    @property
    def size(self) -> EncoderSize:
        """The size of the encoder."""
        return EncoderSize(self.stem, self.channels, self.cells, self.heads, self.feed_forward, self.input_channels, self.positions)

    @property
    def own_size(self) -> dict[str, Any]:
        """What a record says about the size besides channels, cells and classes, where it is not as published."""
        usual = SkipTransformerNetwork(self.channels, self.cells, stem=self.stem)
        return {name: getattr(self, name) for name in ("feed_forward", "positions") if getattr(self, name) != getattr(usual, name)}

    @property
    def own_facts(self) -> dict[str, Any]:
        """What else a record says: what decides the numbers and is no size."""
        usual = SkipTransformerNetwork(self.channels, self.cells, stem=self.stem)
        facts = {name: getattr(self, name) for name in ("heads", "combine") if getattr(self, name) != getattr(usual, name)}
        return facts if self.weights is None else {**facts, "weights": self.weights.digest[:16]}

    @property
    def longest(self) -> int:
        """The most tokens in a sequence."""
        return self.size.longest

    def init(self, key: PRNGKeyArray, genotype: Any = None, *, scheme: Scheme = "pytorch") -> dict[str, Any]:
        """Draw parameters; those of a pre-trained encoder come by :meth:`pretrained`.

        Args:
            key: a JAX random key.
            genotype: not used; a wiring has no parameters.
            scheme: ``pytorch``: as the reference implementation draws BERTs, normal with deviation .02, the row of the padding and biases
                zero. Other schemes (:mod:`jknas.networks.layers.initialisation`) draw the matrices; the embeddings stay as they are.

        Returns:
            ``{"params", "batch_stats"}``, the latter empty.

        Deviations:
            KNAS says Xavier; the reference implementations of BERT and RoBERTa draw no matrix so.
        """
        check_scheme(scheme)
        leaves, structure = jax.tree_util.tree_flatten_with_path(_shapes(self))
        ends = np.cumsum([math.prod(leaf.shape) for _, leaf in leaves])
        numbers = jax.random.normal(key, (int(ends[-1]),), jnp.result_type(float))  # one draw: each would compile by itself
        drawn = []
        for (path, leaf), end in zip(leaves, ends, strict=True):
            kind, owner = path[-1].key, path[-2].key
            if kind in {"scale", "bias"}:
                drawn.append(jnp.full(leaf.shape, float(kind == "scale"), numbers.dtype))
                continue
            values = numbers[end - math.prod(leaf.shape) : end].reshape(leaf.shape) * _deviation(kind, leaf.shape, scheme)
            padded = owner == "word" or (owner == "position" and self.stem == "roberta")
            drawn.append(values.at[self.size.padding].set(0) if padded else values)
        return {"params": jax.tree_util.tree_unflatten(structure, drawn), "batch_stats": {}}

    def pretrained(self, params: PyTree) -> PyTree:
        """Return parameters with the pre-trained encoder in place of the drawn one; as they are without such weights. Reads the file."""
        return params if self.weights is None else pretrained.in_place(params, self.weights.encoder(self.size))

    def hidden_states(self, params: PyTree, x: Tokens, wiring: Any) -> list[Float[Array, "n t h"]]:
        """Return the embeddings, then the states after each layer, in evaluation mode."""
        self._check_tokens(x)
        states: Any = Encoder(self.size).apply({"params": params["encoder"]}, x, self._read(wiring))
        return list(states)

    def restrict(self, tree: PyTree, genotype: Any) -> PyTree:
        """Return the tree as it is: a wiring has no parameters."""
        del genotype
        return tree

    def _classifier(self, dropout: float = 0.0) -> Classifier:
        return Classifier(self.size, self.classes, dropout)

    def _read(self, wiring: Any) -> list[Any]:
        if isinstance(wiring, str):
            raise TypeError("wiring is a string; parse it first with the space's parse")
        places = edges(self.cells)
        code = np.asarray(wiring.code) if isinstance(wiring, SkipGenotype) else jnp.asarray(wiring)
        if code.shape != (len(places),) or not jnp.issubdtype(code.dtype, jnp.integer):
            raise NetworkError(
                f"wiring must be a genotype of {self.cells} layers or its code, integers [{len(places)}], got "
                f"{code.dtype}{list(code.shape)}: the space and the network need one depth."
            )
        starts = np.cumsum([0, *range(1, self.cells + 1)])
        return [weights_of(code[starts[layer] : starts[layer + 1]], self.combine) for layer in range(self.cells)]


def _deviation(kind: str, shape: tuple[int, ...], scheme: Scheme) -> float:
    if kind == "embedding" or scheme == "pytorch":
        return _DEVIATION
    return {"he_normal": math.sqrt(2 / shape[0]), "he_normal_out": math.sqrt(2 / shape[1]), "normal": 1.0}[scheme]


@functools.lru_cache
def _shapes(network: SkipTransformerNetwork) -> PyTree:
    """Return the shapes of the parameters. Cached, since to trace a module takes a while."""
    plain = SkipGenotype("plain", 1, network.cells)
    tokens = jax.ShapeDtypeStruct((1, 3, 1), jnp.int32)
    module = network._classifier()
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, network._read(plain)), tokens)["params"]
