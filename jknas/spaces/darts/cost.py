"""Parameters and multiply-accumulates of a DARTS network, from the genotype alone.

The macro network (arXiv:1806.09055, section 3.2, and the released code): a stem; ``cells`` cells in a row, of which number L//3 and 2L//3
(counted from 0, L cells in all) are reduction cells, where the channels double and the resolution halves; global average pooling; a linear
layer with bias. Every cell maps its two inputs to its channels C with 1x1 convolutions (after a reduction cell, the first with a
factorised reduction, of the same cost) and gives 4C channels. Convolutions have no bias; the poolings have no batch normalisation.

The stem is, for "cifar", a 3x3 convolution to 3C channels; for "imagenet", a 3x3 convolution of stride 2 to C/2 and one of stride 2 to C
channels, the first input of the first cell, and a third one of stride 2 from C to C channels, the second input.

For an operation from C to C channels whose output has h x w pixels:

    ================  ====================  ==================
    operation         parameters            MACs
    ================  ====================  ==================
    pooling           0                     0
    skip              0                     0
    skip, stride 2    C^2 + 2C              C^2 h w
    sep_conv, k x k   2 (k^2 C + C^2 + 2C)  2 (k^2 C + C^2) h w
    dil_conv, k x k   k^2 C + C^2 + 2C      (k^2 C + C^2) h w
    ================  ====================  ==================
"""

from typing import Literal

from jknas.errors import SpaceError, choose
from jknas.spaces.darts.genotype import NODES, DartsGenotype, Pair
from jknas.spaces.layer_cost import Convolution, check_sizes

Stem = Literal["cifar", "imagenet"]
STEMS = ("cifar", "imagenet")

_SEPARABLE = {"sep_conv_3x3": (3, 2), "sep_conv_5x5": (5, 2), "dil_conv_3x3": (3, 1), "dil_conv_5x5": (5, 1)}  # kernel, repetitions


def parameters(
    genotype: DartsGenotype,
    *,
    channels: int = 16,
    cells: int = 8,
    classes: int = 10,
    image_channels: int = 3,
    stem: Stem = "cifar",
    auxiliary: bool = False,
) -> int:
    """Count the trainable parameters of the network.

    The defaults are the size at which DARTS searches; the released code retrains with 36 channels and 20 cells on CIFAR, and with 48 and 14
    and the stem "imagenet" on ImageNet.

    Args:
        genotype: the genotype.
        channels: channels C of the first cell, before any reduction.
        cells: cells in all, L.
        classes: outputs of the linear layer, K.
        image_channels: channels of the input image.
        stem: "cifar" or "imagenet".
        auxiliary: count the auxiliary head as well (see ``auxiliary_parameters``), which only training has. Published sizes leave it out.

    Returns:
        The number of parameters.

    Raises:
        SpaceError: a size that is not a positive integer, an unknown stem, or an odd number of channels with the stem "imagenet".
    """
    _check(channels=channels, cells=cells, classes=classes, image_channels=image_channels, stem=stem)
    convolutions = sum(layer.parameters for layer in _convolutions(genotype, channels, cells, image_channels, stem))
    head = auxiliary_parameters(channels=channels, cells=cells, classes=classes, stem=stem) if auxiliary else 0
    return convolutions + (_features(channels, cells) + 1) * classes + head


def auxiliary_parameters(*, channels: int, cells: int, classes: int, stem: Stem = "cifar") -> int:
    """Count the trainable parameters of the auxiliary head, which reads the output of the second reduction cell during training.

    A 1x1 convolution to 128 channels and a 2x2 convolution to 768, each with batch normalisation, and a linear layer. The released network
    for ImageNet omits the second batch normalisation, by its own account to stay with the reported results; so does this count.

    Args:
        channels: channels C of the first cell.
        cells: cells in all.
        classes: outputs of the linear layer.
        stem: "cifar" or "imagenet".

    Returns:
        The number of parameters.

    Raises:
        SpaceError: a size that is not a positive integer, an unknown stem, or an odd number of channels with the stem "imagenet".
    """
    _check(channels=channels, cells=cells, classes=classes, image_channels=1, stem=stem)
    layers = (Convolution(_features(channels, cells), 128, 1, 1), Convolution(128, 768, 2, 1, normalised=stem == "cifar"))
    return sum(layer.parameters for layer in layers) + (768 + 1) * classes


def macs(
    genotype: DartsGenotype,
    *,
    channels: int = 16,
    cells: int = 8,
    classes: int = 10,
    resolution: int = 32,
    image_channels: int = 3,
    stem: Stem = "cifar",
) -> int:
    """Count the multiply-accumulates of one forward pass of one image, without the auxiliary head, which only training has.

    Convolutions and the linear layer without its bias; batch normalisation, pooling and sums do not count. (The tables of NAS-Bench-201
    count the bias, and so does its ``macs``.)

    Args:
        genotype: the genotype.
        channels: channels C of the first cell, before any reduction.
        cells: cells in all, L.
        classes: outputs of the linear layer, K.
        resolution: height and width of the input in pixels; a multiple of 4 with the stem "cifar", of 32 with "imagenet".
        image_channels: channels of the input image.
        stem: "cifar" or "imagenet".

    Returns:
        The number of multiply-accumulates.

    Raises:
        SpaceError: a size that is not a positive integer, an unknown stem, an odd number of channels with the stem "imagenet", or a
            resolution that cannot be halved as often as the network does.
    """
    _check(channels=channels, cells=cells, classes=classes, image_channels=image_channels, stem=stem, resolution=resolution)
    halvings = 5 if stem == "imagenet" else 2
    if resolution % 2**halvings:
        raise SpaceError(
            f"resolution = {resolution} pixels; expected a multiple of {2**halvings}, since a network with the stem {stem!r} halves it "
            f"{halvings} times. Resize or pad the images."
        )
    convolutions = sum(layer.macs(resolution) for layer in _convolutions(genotype, channels, cells, image_channels, stem))
    return convolutions + _features(channels, cells) * classes


def _reductions(cells: int) -> set[int]:
    return {cells // 3, 2 * cells // 3}


def _features(channels: int, cells: int) -> int:
    """Channels of the last cell's output, and of the second reduction's. One cell alone is both reductions at once."""
    return 4 * channels * 2 ** len(_reductions(cells))


def _convolutions(genotype: DartsGenotype, channels: int, cells: int, image_channels: int, stem: Stem) -> list[Convolution]:
    """Every convolution of the network."""
    if stem == "cifar":
        layers = [Convolution(image_channels, 3 * channels, 3, 1)]
        before, previous, stride = 3 * channels, 3 * channels, 1
    else:
        layers = [
            Convolution(image_channels, channels // 2, 3, 2),
            Convolution(channels // 2, channels, 3, 4),
            Convolution(channels, channels, 3, 8),
        ]
        before, previous, stride = channels, channels, 8
    width = channels
    for number in range(cells):
        reduction = number in _reductions(cells)
        width *= 2 if reduction else 1
        # Both inputs are brought to the resolution of the second, a factorised reduction having two kernels of half the channels.
        layers += [Convolution(before, width, 1, stride), Convolution(previous, width, 1, stride)]
        stride *= 2 if reduction else 1
        layers += _cell(genotype.reduce if reduction else genotype.normal, width, stride, reduction=reduction)
        before, previous = previous, 4 * width
    return layers


def _cell(pairs: tuple[Pair, ...], width: int, stride: int, *, reduction: bool) -> list[Convolution]:
    """The convolutions of a cell's operations; ``stride`` is that of the cell's output."""
    layers = []
    for name, source in pairs:
        if name in _SEPARABLE:
            kernel, repeats = _SEPARABLE[name]
            layers.append(Convolution(1, width, kernel, stride, normalised=False, repeats=repeats))
            layers.append(Convolution(width, width, 1, stride, repeats=repeats))
        elif name == "skip_connect" and reduction and source < NODES[0]:
            layers.append(Convolution(width, width, 1, stride))
    return layers


def _check(*, stem: str, channels: int, **sizes: int) -> None:
    choose("stem", stem, STEMS, error=SpaceError)
    check_sizes(channels=channels, **sizes)
    if stem == "imagenet" and channels % 2:
        raise SpaceError(f"channels = {channels}; expected an even number, since the stem 'imagenet' starts with half of them.")
