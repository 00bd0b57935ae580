"""TE-NAS's network for the tangent kernel in the DARTS space: two cells of one and two channels.

    stem (3x3 convolution to one channel, batch normalisation), normal cell of one channel, reduction cell of two channels,
    batch normalisation, ReLU, global average, linear classifier

Batch normalisation is in training mode: over the batch, whose examples therefore depend on each other
(:func:`jknas.kernels.ntk_coupled`). An edge is the weighted sum of its *live* operations (see :mod:`jknas.networks.darts.wiring`), without
the normalisation behind poolings that DARTS's own search network has.

References:
    Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
    arXiv:2102.11535, section 3.1.1, and its released code, github.com/VITA-Group/TENAS (``NASNetworkDARTS``).

Deviations:
    The released code does not execute an operation of weight 0.01 or less. Here it is executed and counts with weight zero, so that all
    mixtures share one program; a genotype and a code are the mixture that gives their operations weight one. The released code lists the
    operations in another order (``none``, ``skip_connect``, the separable and the dilated convolutions, average, maximum); here the order
    is that of :data:`jknas.spaces.darts.genotype.OPERATIONS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jknas.errors import NetworkError
from jknas.networks.darts.cell import concatenated, mixed_nodes, preprocess
from jknas.networks.darts.operations import plain_layer
from jknas.networks.darts.parameters import CellPlan, cell_shapes
from jknas.networks.darts.wiring import live_mixture
from jknas.networks.layers.conv_norm import batch_norm
from jknas.networks.layers.convolution import convolution
from jknas.networks.layers.initialisation import Scheme, draw_parameters
from jknas.networks.layers.normalisation import Statistics, check_statistics
from jknas.networks.parameters import Shapes, classified, classifier_shapes, conv_shapes, joined, norm_shapes, unit_averages
from jknas.networks.sizes import check_sizes
from jknas.networks.wiring import Wiring

STEM_CHANNELS = 1

PLANS = {
    "normal": CellPlan(before_last=STEM_CHANNELS, last=STEM_CHANNELS, features=1, reduction=False, halved=False),
    "reduction": CellPlan(before_last=STEM_CHANNELS, last=4, features=2, reduction=True, halved=False),
}
"""The two cells in their order."""

_OUTPUTS = 4 * PLANS["reduction"].features


class Inside(NamedTuple):
    """What the two cells computed.

    Attributes:
        inputs: nodes 0 and 1 of each cell, ``[n, h, w, c]`` each.
        nodes: nodes 2 to 5 of each cell, ``[4, n, h, w, c]``.
        hidden: what the ReLUs of second blocks read, by cell, group of edges and operation, ``[edges, n, h, w, c]``.
        last: what the last ReLU reads.
    """

    inputs: dict[str, tuple[jax.Array, jax.Array]]
    nodes: dict[str, jax.Array]
    hidden: dict[str, dict[str, Any]]
    last: jax.Array


def network_shapes(classes: int) -> Shapes:
    """Return the shapes of all arrays of the network without its stem."""
    return {
        "cells": {name: cell_shapes(plan) for name, plan in PLANS.items()},
        "last_norm": norm_shapes(_OUTPUTS),
        **classifier_shapes(_OUTPUTS, classes),
    }


def run_cells(weights: Mapping[str, Any], x: jax.Array, mixture: jax.Array, statistics: Statistics) -> Inside:
    """Run both cells on ``x`` ``[n, h, w, 1]`` and normalise; dead operations are at zero in ``mixture``."""
    run, before_last, last, layer = Inside({}, {}, {}, x), x, x, plain_layer(statistics)
    for (name, plan), rows in zip(PLANS.items(), mixture.reshape(2, -1, mixture.shape[-1]), strict=True):
        run.inputs[name], _ = preprocess(weights["cells"][name], before_last, last, plan, layer)
        run.nodes[name], _, run.hidden[name] = mixed_nodes(weights["cells"][name], run.inputs[name], rows, plan, layer)
        before_last, last = last, concatenated(run.nodes[name])
    return run._replace(last=batch_norm(last, weights["last_norm"], statistics)[0])


def logits_of(params: Mapping[str, Any], last: jax.Array) -> jax.Array:
    """Return the logits from what the last ReLU reads."""
    return classified(params, jax.nn.relu(last).mean((1, 2)))


def check_params(params: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` unless ``params`` are those of these networks."""
    if set(PLANS) - set(params.get("cells", ())):
        raise NetworkError(
            "params hold no cells 'normal' and 'reduction': they are those of another network; draw them with this one's init"
        )


@dataclass(frozen=True)
class TenasDartsNetwork:
    """The network for the tangent kernel; its methods are pure functions of their arguments.

    Attributes:
        classes: number of outputs, K.
        input_channels: channels of the images.
    """

    classes: int = 10
    input_channels: int = 3
    channels: ClassVar[int] = STEM_CHANNELS
    cells: ClassVar[int] = len(PLANS)

    def __post_init__(self) -> None:
        check_sizes(self, "classes", "input_channels")

    def init(self, key: PRNGKeyArray, *, scheme: Scheme = "pytorch") -> PyTree:
        """Draw the parameters of all operations.

        Args:
            key: a JAX random key.
            scheme: see :mod:`jknas.networks.layers.initialisation`. The released code means ``"he_normal_out"`` but misspells its option,
                and so uses ``"pytorch"``.

        Returns:
            ``{"stem", "cells", "last_norm", "classifier", "classifier_bias"}``.

        Raises:
            ValueError: for an unknown scheme.
        """
        shapes = {"stem": conv_shapes(3, self.input_channels, STEM_CHANNELS), **network_shapes(self.classes)}
        return draw_parameters(key, shapes, scheme)

    def apply(self, params: PyTree, x: Float[Array, "n h w c"], wiring: Wiring, *, statistics: Statistics = "batch") -> Float[Array, "n k"]:
        """Compute the logits.

        Args:
            params: parameters from :meth:`init`.
            x: images, channels last, at least 4 pixels high and wide.
            wiring: mixture weights ``[28, 8]``; a genotype or a code is turned into mixture weights. All share one compilation where the
                wiring is traced.
            statistics: ``"batch"`` (the released code), or ``"example"``.

        Raises:
            ValueError: for images of the wrong shape, an array that is no wiring, other parameters, or other statistics.
            TypeError: if the wiring is a string.
        """
        check_statistics(statistics)
        if statistics == "running":
            raise NetworkError("these networks are never trained and have no running averages; choose statistics='batch' or 'example'")
        if x.ndim != 4 or x.shape[-1] != self.input_channels or min(x.shape[1:3]) < 4:
            raise NetworkError(f"images must be [n, height, width, {self.input_channels}] of at least 4x4 pixels, got {tuple(x.shape)}")
        check_params(params)
        weights = joined(params, unit_averages(params))
        y, _ = batch_norm(convolution(x, params["stem"]["kernel"].astype(x.dtype), 1, 1), weights["stem"]["norm"], statistics)
        return logits_of(params, run_cells(weights, y, live_mixture(wiring), statistics).last)
