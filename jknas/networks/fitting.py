"""Which network fits a search space and a data set, and whether a network can be given the images of one."""

from jknas.data import Dataset
from jknas.errors import JknasError
from jknas.networks.families import family_for
from jknas.networks.network import Network
from jknas.spaces.space import Space


def network_for(space: Space, dataset: Dataset, *, channels: int = 16, cells: int | None = None) -> Network:
    """Return the network on which the architectures of a space are scored and trained, for the classes and images of a data set.

    Args:
        space: the search space.
        dataset: the data set.
        channels: channels of the first cells.
        cells: cells, counted as the space counts them (in each of three stages for NAS-Bench-201, in all for DARTS); by default the space's
            usual number.

    Raises:
        ValueError: a size that is not positive, or a space without a network.
    """
    macro = family_for(space.name).macro
    depth = space.cells if cells is None else cells
    return macro(channels=channels, cells=depth, classes=dataset.num_classes, input_channels=dataset.channels)


def check_fit(network: Network, dataset: Dataset, *, error: type[JknasError]) -> None:
    """Raise an ``error`` unless the network has the data set's classes and channels, and the images can be halved twice.

    Raises:
        ValueError: an ``error``; the message says what to change.
    """
    for name, of_network, of_data in (
        ("classes", network.classes, dataset.num_classes),
        ("input_channels", network.input_channels, dataset.channels),
    ):
        if of_network != of_data:
            raise error(f"the network has {name}={of_network}, but {dataset.name} needs {of_data}: build it with {name}={of_data}.")
    if dataset.resolution % 4 or dataset.resolution < 8:
        raise error(
            f"{dataset.name} has images of {dataset.resolution}x{dataset.resolution} pixels; expected a multiple of 4, at least 8: "
            "load it with another resolution."
        )
