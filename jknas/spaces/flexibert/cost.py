"""Parameters and multiply-accumulates of a FlexiBERT encoder **as trained**: operators have no effect.

Every layer is plain self-attention with a feed-forward block whose first layer has 4H units; where the block has three layers, the second
and third have the declared width F. :mod:`jknas.spaces.flexibert.genotype` says why.
"""

import itertools

from jknas.errors import SpaceError
from jknas.spaces.flexibert.genotype import DEPTHS, HIDDEN, EncoderLayer, FlexibertGenotype
from jknas.spaces.layer_cost import check_sizes

EMBEDDING = 128
"""Width of the embeddings, whatever that of the states, as published."""

VOCABULARY, POSITIONS, TYPES = 30_522, 512, 2


def scaled(width: int, channels: int) -> int:
    """Return a published width for embeddings of another width than 128; all widths of the space are multiples of 128."""
    return width // EMBEDDING * channels


def encoder_parameters(
    genotype: FlexibertGenotype, *, channels: int = EMBEDDING, vocabulary: int = VOCABULARY, positions: int = POSITIONS
) -> int:
    """Count the parameters of embeddings and layers, without a head.

    >>> encoder_parameters(FlexibertGenotype.parse("128:SDP-2-512x1+SDP-2-512x1"))  # the smallest of the space
    4369408

    Args:
        genotype: the encoder.
        channels: width of the embeddings, E, of which all widths are multiples; 128 as published.
        vocabulary: rows of the table of words.
        positions: rows of the table of positions.

    Raises:
        SpaceError: a size that is not a positive integer.
    """
    check_sizes(channels=channels, vocabulary=vocabulary, positions=positions)
    h = scaled(genotype.hidden, channels)
    embeddings = (vocabulary + positions + TYPES + 2) * channels
    projection = (channels + 1) * h if genotype.hidden > min(HIDDEN) else 0
    layers = sum(4 * (h + 1) * h + 4 * h + sum((a + 1) * b for a, b in _feed_forward(layer, h, channels)) for layer in genotype.layers)
    return embeddings + projection + layers


def parameters(
    genotype: FlexibertGenotype,
    *,
    channels: int = EMBEDDING,
    cells: int | None = None,
    classes: int = 2,
    image_channels: int | None = None,
    positions: int = POSITIONS,
) -> int:
    """Count the trainable parameters of the encoder as trained, and of the classifier behind it.

    Args:
        genotype: the encoder.
        channels: width of the embeddings, E; 128 as published. All widths are multiples of it.
        cells: the most layers, 4; the genotype says how many there are.
        classes: outputs of the classifier, K.
        image_channels: rows of the table of words, V: a token is a one-hot input of V channels. As published by default.
        positions: rows of the table of positions.

    Returns:
        The number of parameters.

    Raises:
        SpaceError: a size that is not a positive integer, or other ``cells``.
    """
    check_cells(cells)
    check_sizes(classes=classes)
    vocabulary = VOCABULARY if image_channels is None else image_channels
    encoder = encoder_parameters(genotype, channels=channels, vocabulary=vocabulary, positions=positions)
    return encoder + (scaled(genotype.hidden, channels) + 1) * classes


def macs(
    genotype: FlexibertGenotype,
    *,
    channels: int = EMBEDDING,
    cells: int | None = None,
    classes: int = 2,
    resolution: int = 128,
    image_channels: int | None = None,
    positions: int = POSITIONS,
) -> int:
    """Count the multiply-accumulates of one forward pass of one sequence: the matrix products, without biases, softmax and norms.

    Args:
        genotype: the encoder.
        channels: width of the embeddings, E.
        cells: the most layers, 4.
        classes: outputs of the classifier, K.
        resolution: tokens of the sequence, T, padding included.
        image_channels: not used: looking a row up multiplies nothing.
        positions: not used.

    Returns:
        The number of multiply-accumulates.

    Raises:
        SpaceError: a size that is not a positive integer, or other ``cells``.
    """
    del image_channels, positions
    check_cells(cells)
    check_sizes(channels=channels, classes=classes, resolution=resolution)
    h = scaled(genotype.hidden, channels)
    per_token = channels * h if genotype.hidden > min(HIDDEN) else 0
    per_token += sum(4 * h**2 + 2 * resolution * h + sum(a * b for a, b in _feed_forward(one, h, channels)) for one in genotype.layers)
    return resolution * per_token + h * classes


def check_cells(cells: int | None) -> None:
    """Refuse a depth: it is the genotype's.

    Raises:
        SpaceError: it is not the most layers of the space.
    """
    if cells not in (None, max(DEPTHS)):
        raise SpaceError(f"cells = {cells} layers; a genotype of flexibert says its own number of layers, at most 4: leave cells out.")


def _feed_forward(layer: EncoderLayer, h: int, channels: int) -> list[tuple[int, int]]:
    """Return inputs and outputs of each dense layer of the block."""
    f = scaled(layer.feed_forward, channels)
    widths = [h, 4 * h, *[f] * (layer.feed_forwards - 1), h]
    return list(itertools.pairwise(widths))
