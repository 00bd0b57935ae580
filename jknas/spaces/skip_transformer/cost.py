"""Parameters and multiply-accumulates of a transformer encoder with a classifier. They do not depend on the wiring.

The encoder is BERT's (arXiv:1810.04805) or RoBERTa's (arXiv:1907.11692): embeddings with a layer normalisation; layers of self-attention
and a feed-forward block, each with a layer normalisation; and, on the state of the first token, a dense layer and the classifier.
"""

from typing import Any, NamedTuple

from jknas.errors import SpaceError, choose
from jknas.spaces.layer_cost import check_sizes
from jknas.spaces.skip_transformer.genotype import SkipGenotype

STEMS = ("bert", "roberta")


class Embeddings(NamedTuple):
    """The embeddings of a stem as published.

    Attributes:
        vocabulary: rows of the table of words.
        positions: rows of the table of positions; RoBERTa's first two serve no token.
        types: rows of the table of token types.
    """

    vocabulary: int
    positions: int
    types: int


PUBLISHED = {"bert": Embeddings(30_522, 512, 2), "roberta": Embeddings(50_265, 514, 1)}


def parameters(
    genotype: SkipGenotype,
    *,
    channels: int = 384,
    cells: int | None = None,
    classes: int = 2,
    image_channels: int | None = None,
    stem: str = "bert",
    feed_forward: int | None = None,
    positions: int | None = None,
) -> int:
    """Count the trainable parameters of the encoder and its classifier.

    Args:
        genotype: the wiring, which has no parameters.
        channels: width of the hidden states, H.
        cells: layers, L; those of the genotype by default.
        classes: outputs of the classifier, K.
        image_channels: rows of the table of words, V: a token is a one-hot input of V channels. As published by default.
        stem: whose embeddings: ``bert`` or ``roberta``.
        feed_forward: width inside the feed-forward block; 4H by default.
        positions: rows of the table of positions; as published by default.

    Returns:
        The number of parameters.

    Raises:
        SpaceError: a size that is not a positive integer, another depth than the genotype's, or an unknown stem.
    """
    usual = PUBLISHED[choose("stem", stem, STEMS, error=SpaceError)]
    words, rows = image_channels or usual.vocabulary, positions or usual.positions
    layers, inner = _layers(genotype, cells), feed_forward or 4 * channels
    check_sizes(channels=channels, classes=classes, image_channels=words, feed_forward=inner, positions=rows)
    embeddings = (words + rows + usual.types + 2) * channels
    layer = 4 * (channels + 1) * channels + 2 * channels * inner + inner + channels + 4 * channels
    return embeddings + layers * layer + (channels + 1) * (channels + classes)


def macs(
    genotype: SkipGenotype,
    *,
    channels: int = 384,
    cells: int | None = None,
    classes: int = 2,
    resolution: int = 128,
    feed_forward: int | None = None,
    **embeddings: Any,
) -> int:
    """Count the multiply-accumulates of one forward pass of one sequence: the matrix products, without biases, softmax and norms.

    Args:
        genotype: the wiring, which only adds states up.
        channels: width of the hidden states, H.
        cells: layers, L; those of the genotype by default.
        classes: outputs of the classifier, K.
        resolution: tokens of the sequence, T, padding included.
        feed_forward: width inside the feed-forward block; 4H by default.
        **embeddings: what :func:`parameters` takes besides; looking a row up multiplies nothing.

    Returns:
        The number of multiply-accumulates.

    Raises:
        SpaceError: a size that is not a positive integer, or another depth than the genotype's.
    """
    del embeddings
    layers, inner = _layers(genotype, cells), feed_forward or 4 * channels
    check_sizes(channels=channels, classes=classes, resolution=resolution, feed_forward=inner)
    layer = resolution * (4 * channels**2 + 2 * channels * inner) + 2 * resolution**2 * channels
    return layers * layer + channels * (channels + classes)


def _layers(genotype: SkipGenotype, cells: int | None) -> int:
    if cells not in (None, genotype.layers):
        raise SpaceError(
            f"cells = {cells} layers, and {genotype} wires an encoder of {genotype.layers}: leave cells out, or make the space of that "
            "depth with jknas.spaces.skip_transformer.skip_space(layers=...)."
        )
    return genotype.layers
