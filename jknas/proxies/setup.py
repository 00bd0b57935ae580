"""What a proxy is computed on: which network, which weights and which images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jknas.data import Dataset
from jknas.data import batch as training_batch
from jknas.networks.layers.initialisation import Scheme
from jknas.networks.network import Network, initial_params


class Batch(NamedTuple):
    """The data that a proxy sees: normalised images ``[n, h, w, c]``, or sequences of tokens, and class indices ``[n]``."""

    x: Float[Array, "n h w c"] | Int[Array, "n 3 t"]
    labels: Int[Array, " n"]


@dataclass(frozen=True)
class Setup:
    """The network that was asked for and a batch of training images, unless the definition of the proxy says otherwise.

    Attributes:
        network: maps the network that was asked for to the one that is measured.
        init: ``init(network, key, scheme) -> params``; draws the parameters of every candidate operation.
        batch: ``batch(dataset, size, seed) -> (x, labels)``; draws NumPy arrays on the host.
        once: whether each image is used at most once, so that the training images limit the batch.
    """

    network: Callable[[Any], Any] = lambda network: network
    init: Callable[[Network, PRNGKeyArray, Scheme], PyTree] = initial_params
    batch: Callable[[Dataset, int, int], tuple[np.ndarray, np.ndarray]] = training_batch
    once: bool = True


def noise(dataset: Dataset, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw standard normal images of the data set's shape, with meaningless labels; for :attr:`Setup.batch`."""
    shape = (size, dataset.resolution, dataset.resolution, dataset.x_train.shape[-1])
    return np.random.default_rng(seed).standard_normal(shape, np.float32), np.zeros(size, np.int32)


def drawn_with(scheme: Scheme) -> Callable[[Network, PRNGKeyArray, Scheme], PyTree]:
    """Return a :attr:`Setup.init` that always uses one scheme, whatever the user asks for."""
    return lambda network, key, asked: initial_params(network, key, scheme)
