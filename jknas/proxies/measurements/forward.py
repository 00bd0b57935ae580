"""A network as the functions that measurements are made of."""

from collections.abc import Callable
from typing import Any, cast

from jaxtyping import Array, Float, PyTree

from jknas.errors import ProxyError, choose
from jknas.networks.families import require
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.network import Network, layers_of
from jknas.networks.observation import ObservableNetwork
from jknas.proxies.proxy import Setting
from jknas.proxies.setup import Batch

Model = Callable[[PyTree, Float[Array, "n h w c"]], Float[Array, "n k"]]


def model(network: Network, wiring: Any, statistics: Statistics) -> Model:
    """Return the network as ``apply(params, x)``, the form that the kernels take.

    Raises:
        ProxyError: for other statistics than ``"example"`` and ``"batch"``: running averages do not exist at initialisation.
    """
    choose("statistics", statistics, ("example", "batch"), error=ProxyError)
    return lambda params, x: network.apply(params, x, wiring, statistics=statistics)


def on_networks(score: Callable[..., PyTree], *, layered: bool = True, statistics: Statistics = "batch") -> Callable[..., PyTree]:
    """Return the device part of a proxy from a score of any model.

    Args:
        score: ``score(apply, params, x, labels, **settings)``; with ``layers``, what cuts a gradient into layers, if it is ``layered``.
        layered: whether the score is a sum over layers.
        statistics: default of the setting ``statistics``, see :func:`model`.
    """

    def measure(
        network: Network, params: PyTree, wiring: Any, batch: Batch, key: Any, *, statistics: Statistics = statistics, **settings: Setting
    ) -> PyTree:
        del key
        cut = {"layers": layers_of(network, wiring)} if layered else {}
        return score(model(network, wiring, statistics), params, batch.x, batch.labels, **cut, **settings)

    return measure


def observable(network: Network, asked_by: str) -> ObservableNetwork:
    """Return the network as one that can be run block by block.

    Raises:
        ProxyError: it cannot.
    """
    require(network, "observable", asked_by, error=ProxyError)
    return cast("ObservableNetwork", network)
