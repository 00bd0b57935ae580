"""Parameters and multiply-accumulates of a NAS-Bench-201 network, from the genotype alone.

The macro network (arXiv:2001.00326, figure 1): a 3x3 stem with batch normalisation; three stages of ``cells`` equal
cells at C, 2C and 4C channels, with a residual block of stride 2 between them; a last batch normalisation; global
average pooling; a linear layer with bias. Convolutions have no bias; every batch normalisation has a scale and a shift.
"""

from jknas.errors import SpaceError
from jknas.spaces.layer_cost import Convolution, check_sizes
from jknas.spaces.nasbench201.genotype import KERNEL_SIZES, CellGenotype


def parameters(genotype: CellGenotype, *, channels: int = 16, cells: int = 5, classes: int = 10, image_channels: int = 3) -> int:
    """Count the trainable parameters of the network.

    All six edges count, also those that do not reach the output, as in the published tables.

    Args:
        genotype: the cell.
        channels: channels of the first stage, C.
        cells: cells in each of the three stages, N.
        classes: outputs of the linear layer, K.
        image_channels: channels of the input image.

    Returns:
        The number of parameters.

    Raises:
        SpaceError: a size that is not a positive integer.
    """
    check_sizes(channels=channels, cells=cells, classes=classes, image_channels=image_channels)
    width = 4 * channels
    convolutions = sum(layer.parameters for layer in _convolutions(genotype, channels, cells, image_channels))
    return convolutions + 2 * width + (width + 1) * classes


def macs(
    genotype: CellGenotype, *, channels: int = 16, cells: int = 5, classes: int = 10, resolution: int = 32, image_channels: int = 3
) -> int:
    """Count the multiply-accumulates of one forward pass of one image.

    This is what the published tables call FLOPs: convolutions and the linear layer, whose bias counts one each; batch
    normalisation, pooling and sums do not count. All six edges count, also those that do not reach the output.

    Args:
        genotype: the cell.
        channels: channels of the first stage, C.
        cells: cells in each of the three stages, N.
        classes: outputs of the linear layer, K.
        resolution: height and width of the input in pixels; a multiple of 4, since the two reductions halve it.
        image_channels: channels of the input image.

    Returns:
        The number of multiply-accumulates.

    Raises:
        SpaceError: a size that is not a positive integer, or a resolution that is not a multiple of 4.
    """
    check_sizes(channels=channels, cells=cells, classes=classes, resolution=resolution, image_channels=image_channels)
    if resolution % 4:
        raise SpaceError(
            f"resolution = {resolution} pixels; expected a multiple of 4, since two reductions halve it. Resize or pad the images."
        )
    convolutions = sum(layer.macs(resolution) for layer in _convolutions(genotype, channels, cells, image_channels))
    return convolutions + (4 * channels + 1) * classes


def _convolutions(genotype: CellGenotype, channels: int, cells: int, image_channels: int) -> list[Convolution]:
    """Every convolution of the network."""
    layers = [Convolution(image_channels, channels, 3, 1)]
    for stride in (1, 2, 4):
        width = channels * stride  # width doubles where resolution halves
        if stride > 1:
            layers += [
                Convolution(width // 2, width, 3, stride),
                Convolution(width, width, 3, stride),
                Convolution(width // 2, width, 1, stride, normalised=False),  # the shortcut, after a 2x2 average pooling
            ]
        sides = [KERNEL_SIZES[name] for name in genotype.operations if name in KERNEL_SIZES]
        layers += [Convolution(width, width, side, stride, repeats=cells) for side in sides]
    return layers
