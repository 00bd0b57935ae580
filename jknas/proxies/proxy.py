"""What a proxy is: a pure function that scores an architecture without training it, in a record that says how to use it.

A :class:`SizeProxy` is a function of the genotype alone. A :class:`NetworkProxy` runs a network at initialisation and has two parts. The
*device part* ``measure`` is traced once, with the code of the genotype as data, and compiled for the whole space; it returns a scalar, or
arrays such as a kernel matrix. The *host part* ``read`` turns them into one score in float64, with a status that says what the score is
worth. Spectra, for example, must be computed in float64. Proxies with the same ``measure`` share its computation.

A proxy asks for *capabilities* of the network (:mod:`jknas.networks.families`), never for a search space by name.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from jaxtyping import PyTree

from jknas.errors import ProxyError
from jknas.networks.families import require
from jknas.networks.network import Network
from jknas.proxies.setup import Setup
from jknas.spaces.space import Space

Setting = str | int | float | bool
Precision = Literal["float32", "float64"]

USUAL_STATISTICS: Mapping[str, str] = {"statistics": "score_statistics"}
"""For :attr:`NetworkProxy.network_defaults`: normalise over what a network's ``score_statistics`` names, where it has that attribute.

A DARTS network averages the output of its last cell over the image, without a ReLU before. With ``statistics="example"`` the output of a
convolution has mean zero over each image, so the logits of a network without pooling in its last cell are the classifier's bias for every
image, and scores say little. DARTS networks therefore set ``score_statistics = "batch"``.
"""


class Outcome(NamedTuple):
    """A finished score.

    Attributes:
        score: the number; NaN and infinity where the computation gave them.
        status: one of :data:`jknas.scoring.record.STATUSES`.
        extras: further results as plain data: numbers, strings, lists and mappings of these.
    """

    score: float
    status: str
    extras: Mapping[str, Any] = {}


def read_scalar(value: Any) -> Outcome:
    """Return a scalar unchanged; its status is ``ok`` or ``non_finite``."""
    score = float(value)
    return Outcome(score, "ok" if math.isfinite(score) else "non_finite")


@dataclass(frozen=True, kw_only=True)
class BaseProxy:
    """What both kinds of proxy have.

    Attributes:
        name: what users type.
        summary: one line on what it measures.
        reference: paper, equation and arXiv id.
        cost: what one score takes, in words, for instance ``"1 backward pass"``.
        higher_is_better: searches maximise the score, or its negative where this is False.
        revision: raise it when the definition changes; scores of another revision in a store are not used.
        settings: keyword arguments of the function and their defaults.
        network_defaults: settings whose default is an attribute of the network's class, if it has that: name of setting to attribute.
        requires: capabilities that the network must have.
        requires_for: capabilities that a value of a setting needs: ``{setting: {value: capability}}``.
        batch_size: examples in the published setting.
        batch_attribute: attribute of the network's class that holds another number of examples.
        read: makes an :class:`Outcome` of what was computed, as NumPy arrays; the host part.
    """

    name: str
    summary: str
    reference: str
    cost: str
    higher_is_better: bool = True
    revision: int = 1
    settings: Mapping[str, Setting] = field(default_factory=dict)
    network_defaults: Mapping[str, str] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    requires_for: Mapping[str, Mapping[Setting, str]] = field(default_factory=dict)
    batch_size: int = 0
    batch_attribute: str = ""
    read: Callable[[Any], Outcome] = read_scalar

    def with_settings(self, given: Mapping[str, Setting], network: Network | type | None = None) -> dict[str, Setting]:
        """Return the defaults for a network, or a class of networks, updated by ``given``.

        Raises:
            ProxyError: for a name that the proxy does not have, or a value of another type than the default's.
        """
        for name, value in given.items():
            if name not in self.settings:
                known = ", ".join(f"{key}={default!r}" for key, default in self.settings.items()) or "none"
                raise ProxyError(f"proxy {self.name!r} has no setting {name!r}; its settings are: {known}")
            if type(value) is not type(self.settings[name]):
                raise ProxyError(f"setting {name} of proxy {self.name!r} is a {type(self.settings[name]).__name__}, got {value!r}")
        usual = {name: getattr(network, attribute, self.settings[name]) for name, attribute in self.network_defaults.items()}
        return {**self.settings, **usual, **given}

    def examples(self, network: Network | type) -> int:
        """Return the number of examples in the published setting for a network, or a class of networks."""
        return int(getattr(network, self.batch_attribute, self.batch_size))

    def check(self, network: Network | type, settings: Mapping[str, Setting]) -> None:
        """Raise unless a network, or a class of networks, has the capabilities that the proxy needs with these settings.

        Raises:
            ProxyError: a capability is missing; the message says which method to write.
        """
        for capability in self.requires:
            require(network, capability, f"proxy {self.name!r}", error=ProxyError)
        for setting, needs in self.requires_for.items():
            if settings.get(setting) in needs:
                asked_by = f"proxy {self.name!r} with {setting}={settings[setting]}"
                require(network, needs[settings[setting]], asked_by, error=ProxyError)


@dataclass(frozen=True, kw_only=True)
class SizeProxy(BaseProxy):
    """A proxy that is computed from the genotype alone.

    Attributes:
        count: ``count(space, genotype, network, resolution) -> number``, on the host; the network gives the size of the macro network.
    """

    count: Callable[[Space, Any, Network, int], float]


@dataclass(frozen=True, kw_only=True)
class NetworkProxy(BaseProxy):
    """A proxy that draws a network and runs it.

    Attributes:
        measure: ``measure(network, params, wiring, batch, key, **settings) -> scalar or arrays``, the device part; traceable with a code as
            ``wiring``.
        setup: the network, the weights and the images of the definition.
        needs_labels: whether the labels of the batch matter.
        precision: what ``measure`` computes in. With ``"float64"`` the weights are the same: drawn in float32, then widened.
    """

    measure: Callable[..., PyTree]
    setup: Setup = field(default_factory=Setup)
    needs_labels: bool = True
    batch_size: int = 64
    precision: Precision = "float32"


Proxy = NetworkProxy | SizeProxy
