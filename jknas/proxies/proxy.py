"""What a proxy is: a pure function from a network at initialisation to numbers, registered with what it needs and how to read it.

A proxy has two parts. The *device part* ``score`` is traced once, with the code of the genotype as data, and compiled for the whole space;
it returns a scalar, or arrays such as a kernel matrix. The *host part* ``finish`` makes one score of them in float64, with a status that
says what the number is worth: a spectrum is no business of float32.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jknas.data import Dataset
from jknas.data import batch as training_batch
from jknas.errors import ProxyError
from jknas.networks.layers.initialisation import Scheme
from jknas.networks.network import Network, initial_params

Setting = str | int | float | bool
Precision = Literal["float32", "float64"]


class Batch(NamedTuple):
    """The data that a proxy sees: normalised images ``[n, h, w, c]`` and class indices ``[n]``."""

    x: Float[Array, "n h w c"]
    labels: Int[Array, " n"]


ProxyFunction = Callable[..., PyTree]
"""``score(network, params, wiring, batch, key, **settings) -> scalar or arrays``, traceable with a code as ``wiring``."""


class Outcome(NamedTuple):
    """A finished score.

    Attributes:
        score: the number; NaN and infinity where that is what came out.
        status: one of :data:`jknas.scoring.record.STATUSES`.
        extras: further results as plain data: numbers, strings, lists and mappings of these.
    """

    score: float
    status: str
    extras: Mapping[str, Any] = {}


IN_TRAINING_MODE: Mapping[str, Mapping[str, Setting]] = {"darts": {"statistics": "batch"}}
"""The spaces whose scores rest on training-mode normalisation, as settings by space.

A DARTS network averages the output of its last cell over the image as it is. Normalised over its own pixels, whatever a convolution gives
has the average zero there: with ``statistics="example"`` the logits of a network without pooling in its last cell are the classifier's bias
for every image, and its scores say little more than where it has normalisations. (The networks of NAS-Bench-201 have a ReLU before that
average.)
"""


def finish_scalar(value: Any) -> Outcome:
    """Return a scalar as it is; the host part of proxies that need none."""
    score = float(value)
    return Outcome(score, "ok" if math.isfinite(score) else "non_finite")


def _as_asked(network: Network) -> Network:
    return network


def _anywhere(space: str, settings: Mapping[str, Setting]) -> None:
    del space, settings


@dataclass(frozen=True)
class Subject:
    """What a proxy looks at: the network that was asked for and a batch of training images, unless its definition says otherwise.

    Attributes:
        network: the macro network that was asked for to the one that is scored.
        init: ``init(network, key, scheme) -> params``, those of every candidate operation.
        batch: ``batch(dataset, size, seed) -> (x, labels)``, NumPy arrays, drawn on the host.
        once: whether an image serves at most once, so that the training images limit the batch.
    """

    network: Callable[[Network], Network] = _as_asked
    init: Callable[[Network, PRNGKeyArray, Scheme], PyTree] = initial_params
    batch: Callable[[Dataset, int, int], tuple[np.ndarray, np.ndarray]] = training_batch
    once: bool = True


@dataclass(frozen=True)
class Proxy:
    """One registered proxy.

    Attributes:
        name: what users type.
        score: the pure function, or its device part (see :data:`ProxyFunction`). For a proxy with ``needs_network=False``: a host function
            ``score(space, genotype, network, resolution) -> int | float``.
        summary: one line on what it measures.
        reference: paper, equation and arXiv id.
        cost: what one score takes, in words, for instance ``"1 backward pass"``.
        higher_is_better: the sign; searches maximise the score or its negative.
        needs_labels: whether the labels of the batch matter.
        needs_network: whether a network is drawn and run; otherwise the score is a function of the genotype alone.
        batch_size: examples in the published setting.
        batch_sizes: of the spaces that have another published setting, by name.
        settings: keyword arguments of ``score`` and their defaults.
        settings_in: of the spaces that have other defaults, by name.
        finish: the host part: what ``score`` returned, as NumPy arrays, to an :class:`Outcome`.
        subject: what is scored, where that is not the network and a batch of training images.
        precision: what the device part computes in. With ``"float64"`` the weights are the same, drawn in float32 and widened.
        check: ``check(space name, settings)``, raises ``ProxyError`` where the proxy is not defined.
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
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    settings_in: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)
    finish: Callable[[Any], Outcome] = finish_scalar
    subject: Subject = field(default_factory=Subject)
    precision: Precision = "float32"
    check: Callable[[str, Mapping[str, Setting]], None] = _anywhere

    def examples(self, space: str) -> int:
        """Return the batch size of the published setting for a space."""
        return self.batch_sizes.get(space, self.batch_size)

    def with_settings(self, given: Mapping[str, Setting], *, space: str | None = None) -> dict[str, Setting]:
        """Return the defaults, those of a space where it has its own, updated by ``given``.

        Raises:
            ProxyError: for a name that the proxy does not have, or a value of another type than the default's.
        """
        for name, value in given.items():
            if name not in self.settings:
                known = ", ".join(f"{key}={default!r}" for key, default in self.settings.items()) or "none"
                raise ProxyError(f"proxy {self.name!r} has no setting {name!r}; its settings are: {known}")
            if type(value) is not type(self.settings[name]):
                raise ProxyError(f"setting {name} of proxy {self.name!r} is a {type(self.settings[name]).__name__}, got {value!r}")
        return {**self.settings, **self.settings_in.get(space or "", {}), **given}


Model = Callable[[PyTree, Float[Array, "n h w c"]], Float[Array, "n k"]]


def model(network: Network, wiring: Any, statistics: Any) -> Model:
    """Return the network as ``apply(params, x)``, the form that the kernels take."""
    return lambda params, x: network.apply(params, x, wiring, statistics=statistics)
