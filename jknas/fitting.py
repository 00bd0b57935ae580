"""Whether a network can be given the images of a data set."""

from jknas.data import Dataset
from jknas.networks.cell_network import CellNetwork


def check_fit(network: CellNetwork, dataset: Dataset, *, error: type[ValueError]) -> None:
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
