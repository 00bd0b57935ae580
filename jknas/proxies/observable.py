"""What the scores of activations share: where they are defined, and inputs and weights that a definition fixes."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from jknas.data import Dataset
from jknas.errors import ProxyError
from jknas.networks.layers.initialisation import Scheme
from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.network import Network, initial_params
from jknas.proxies.proxy import Setting

_ELSEWHERE = (
    "it looks inside the network, block by block, which the networks of NAS-Bench-201 allow and those of other spaces do not yet. Choose a "
    "score of outputs and gradients, such as ntk_trace or mgm, or linear_regions for activation patterns"
)


def require_observable(network: Network) -> CellNetwork:
    """Return the network, typed as what it is.

    Raises:
        ProxyError: it is not one of NAS-Bench-201.
    """
    if not isinstance(network, CellNetwork):
        raise ProxyError(f"a {type(network).__name__} cannot be scored so: {_ELSEWHERE}")
    return network


def check_observable(space: str, settings: Mapping[str, Setting]) -> None:
    """Raise ``ProxyError`` for another space than NAS-Bench-201; the ``check`` of a proxy."""
    del settings
    if space != "nasbench201":
        raise ProxyError(f"in the space {space!r} this score is not defined: {_ELSEWHERE}.")


def noise(dataset: Dataset, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw independent standard normal pixels of the dataset's shape, and labels that mean nothing: the ``batch`` of a subject."""
    shape = (size, dataset.resolution, dataset.resolution, dataset.x_train.shape[-1])
    return np.random.default_rng(seed).standard_normal(shape, np.float32), np.zeros(size, np.int32)


def drawn_with(scheme: Scheme) -> Callable[[Network, PRNGKeyArray, Scheme], PyTree]:
    """Return the ``init`` of a subject whose definition fixes the initialisation, whatever scheme is asked for."""

    def init(network: Network, key: PRNGKeyArray, asked: Scheme) -> PyTree:
        del asked
        return initial_params(network, key, scheme)

    return init
