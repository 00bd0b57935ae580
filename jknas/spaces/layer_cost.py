"""The cost of a convolution, from which the costs of the macro networks are added up."""

from typing import NamedTuple

from jknas.errors import SpaceError


class Convolution(NamedTuple):
    """Equal convolutions without bias; ``stride`` counts from the network's input, ``normalised`` says if batch normalisation follows.

    Every output channel reads ``inputs`` channels, so a depthwise convolution has ``inputs`` = 1.
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int
    normalised: bool = True
    repeats: int = 1

    @property
    def weights(self) -> int:
        """Entries of the kernels."""
        return self.repeats * self.inputs * self.outputs * self.kernel**2

    @property
    def parameters(self) -> int:
        """Entries of the kernels, and the scale and shift of every normalised channel."""
        return self.weights + (2 * self.repeats * self.outputs if self.normalised else 0)

    def macs(self, resolution: int) -> int:
        """Multiply-accumulates on an image of ``resolution`` x ``resolution`` pixels, a multiple of ``stride``."""
        return self.weights * (resolution // self.stride) ** 2


def check_sizes(**sizes: int) -> None:
    """Refuse a size that is not a positive integer."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise SpaceError(f"{name} = {size!r}; expected a positive integer.")
