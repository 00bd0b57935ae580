"""What a proxy is: a pure function from a network at initialisation to one scalar, registered with what it needs and how to read it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, PyTree

from jknas.networks.cell_network import CellNetwork, Wiring
from jknas.proxies.errors import ProxyError

Setting = str | int | float | bool


class Batch(NamedTuple):
    """The data that a proxy sees: normalised images ``[n, h, w, c]`` and class indices ``[n]``."""

    x: Float[Array, "n h w c"]
    labels: Int[Array, " n"]


ProxyFunction = Callable[..., Float[Array, ""]]
"""``score(network, params, wiring, batch, key, **settings) -> scalar``, traceable with a code as ``wiring``."""


@dataclass(frozen=True)
class Proxy:
    """One registered proxy.

    Attributes:
        name: what users type.
        score: the pure function (see :data:`ProxyFunction`). For a proxy with ``needs_network=False``: a host function
            ``score(space, genotype, network, resolution) -> int | float``.
        summary: one line on what it measures.
        reference: paper, equation and arXiv id.
        cost: what one score takes, in words, for instance ``"1 backward pass"``.
        higher_is_better: the sign; searches maximise ``score`` or its negative.
        needs_labels: whether the labels of the batch matter.
        needs_network: whether a network is drawn and run; otherwise the score is a function of the genotype alone.
        batch_size: examples in the published setting.
        settings: keyword arguments of ``score`` and their defaults.
    """

    name: str
    score: Callable[..., Any]
    summary: str
    reference: str
    cost: str
    higher_is_better: bool = True
    needs_labels: bool = True
    needs_network: bool = True
    batch_size: int = 64
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def with_settings(self, given: Mapping[str, Setting]) -> dict[str, Setting]:
        """Return the defaults updated by ``given``.

        Raises:
            ProxyError: for a name that the proxy does not have, or a value of another type than the default's.
        """
        for name, value in given.items():
            if name not in self.settings:
                known = ", ".join(f"{key}={default!r}" for key, default in self.settings.items()) or "none"
                raise ProxyError(f"proxy {self.name!r} has no setting {name!r}; its settings are: {known}")
            if type(value) is not type(self.settings[name]):
                raise ProxyError(f"setting {name} of proxy {self.name!r} is a {type(self.settings[name]).__name__}, got {value!r}")
        return {**self.settings, **given}


Model = Callable[[PyTree, Float[Array, "n h w c"]], Float[Array, "n k"]]


def model(network: CellNetwork, wiring: Wiring, statistics: Any) -> Model:
    """Return the network as ``apply(params, x)``, the form that the kernels take."""
    return lambda params, x: network.apply(params, x, wiring, statistics=statistics)
