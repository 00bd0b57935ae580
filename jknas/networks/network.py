"""What the networks of all search spaces have in common, and so what scores may be defined on."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jknas.kernels.mgm import Layers
from jknas.kernels.per_layer import every_kernel
from jknas.networks.layers.initialisation import Scheme
from jknas.networks.layers.normalisation import Statistics


@runtime_checkable
class Network(Protocol):
    """A pure pair of functions; the genotype enters ``apply`` as its wiring."""

    @property
    def channels(self) -> int:
        """Channels of the first cell."""

    @property
    def cells(self) -> int:
        """Cells, counted as the space counts them."""

    @property
    def classes(self) -> int:
        """Number of outputs, K."""

    @property
    def input_channels(self) -> int:
        """Channels of the images."""

    def init(self, key: PRNGKeyArray, *, scheme: Scheme = "pytorch") -> PyTree:
        """Draw the parameters of every candidate operation: ``{"params", "batch_stats"}``, or bare parameters if there are no averages."""

    def apply(self, params: PyTree, x: Float[Array, "n h w c"], wiring: Any, *, statistics: Statistics = ...) -> Float[Array, "n k"]:
        """Return the logits; ``wiring`` is a genotype of the space (static), or its code or mixture weights (traced)."""


@runtime_checkable
class ThinNetwork(Protocol):
    """A network of one channel whose activation patterns are counted."""

    def init(self, key: PRNGKeyArray, *, scheme: Scheme = "pytorch") -> PyTree:
        """Draw the parameters of every candidate operation."""

    def activations(self, params: PyTree, x: Float[Array, "n h w 1"], wiring: Any) -> tuple[Float[Array, "n ..."], ...]:
        """Return what the ReLUs of all executed operations read."""

    def relu_units(self, wiring: Any) -> Int[Array, ""] | int:
        """Return the number of units for inputs of 3x3 pixels."""


def size_of(network: Network) -> dict[str, Any]:
    """Return what a record says about a network's size besides its inputs; a stem only if it is not the usual one of its class.

    A network of more sizes has them, where they are not the usual ones, in an attribute ``own_size``.
    """
    size: dict[str, Any] = {"channels": network.channels, "cells": network.cells, "classes": network.classes}
    stem = getattr(network, "stem", None)
    size |= {} if stem == getattr(type(network), "stem", None) else {"stem": stem}
    return size | getattr(network, "own_size", {})


def facts_of(network: Network) -> dict[str, Any]:
    """Return what a record says about a network: its size and, where the network has them, its ``own_facts``, such as its weights."""
    return size_of(network) | getattr(network, "own_facts", {})


def layers_of(network: Network, wiring: Any) -> Layers:
    """Return what cuts a gradient into layers: the network's own ``kernel_layers``, else every array of two or more axes."""
    return network.kernel_layers(wiring) if hasattr(network, "kernel_layers") else every_kernel


def initial_params(network: Network, key: PRNGKeyArray, scheme: Scheme) -> PyTree:
    """Draw the parameters of every candidate operation, without running averages; put pre-trained ones in, where a network has them."""
    drawn = network.init(key, scheme=scheme)
    return with_pretrained(network, drawn.get("params", drawn))


def with_pretrained(network: Any, params: PyTree) -> PyTree:
    """Return drawn parameters with the pre-trained ones of a network in their place, where it has the capability "pretrained"."""
    return network.pretrained(params) if hasattr(network, "pretrained") else params
