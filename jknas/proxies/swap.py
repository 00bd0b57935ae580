r"""SWAP: how many different patterns of activation the units of a network have over a small sample of images.

Every ReLU unit *v* has a pattern, one bit an image: whether its input is positive. The score is the number of distinct ones,

.. math:: s = \bigl| \{ (1[z_v(x_1) > 0], \dots, 1[z_v(x_S) > 0]) : v = 1 \dots V \} \bigr|

the transpose of the count of linear regions (:mod:`jknas.kernels.linear_regions`), which compares images over units. It is bounded by
:math:`2^S` and by *V*; a score at the first bound has the status ``saturated``.

The units are those of all ReLUs that the network executes: what several convolutions read gives the same patterns, and counts once. Weights
are standard normal, as in the released code: what was asked for as initialisation plays no part.

Reference:
    Peng, Song, Fayek, Ciesielski and Chang, "SWAP-NAS: Sample-Wise Activation Patterns for Ultra-fast NAS", ICLR 2024, arXiv:2403.04161,
    section 3, and its released code, github.com/pym1024/SWAP.

Deviations:
    The released code exists for the DARTS space, on a network of a single layer without a stem, which is a reduction cell, so that the
    normal cell plays no part; here it is the whole network. Its images are the first 16 of the training set; here a random batch. It
    averages 32 draws of the weights; average over seeds for that. The regularised score, times a bell curve of the parameter count whose
    two constants the user chooses, is not there.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, UInt32

from jknas.kernels.linear_regions import pack_words
from jknas.networks.network import Network
from jknas.networks.observation import LayerWeights, Seen, look
from jknas.proxies.measurements.forward import observable
from jknas.proxies.proxy import NetworkProxy, Outcome
from jknas.proxies.setup import Batch, Setup, drawn_with


class Patterns(NamedTuple):
    """The patterns of the units of one ReLU, or of those of all cells of a stage.

    Attributes:
        words: ``[units, w]``, the bits of a pattern packed.
        used: whether a ReLU reads them.
        finite: whether all their values are finite.
    """

    words: UInt32[Array, "*m units w"]
    used: Bool[Array, "*m"]
    finite: Bool[Array, "*m"]


class SampleWise(NamedTuple):
    """All patterns and the number of images."""

    patterns: list[Patterns]
    samples: int


def measure(network: Network, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray) -> SampleWise:
    """Return the patterns of all ReLU units; the device part.

    Args:
        network: a network that is observable.
        params: its parameters.
        wiring: genotype or code.
        batch: images, 16 of them in the published setting; the labels are not used.
        key: not used.

    Cost: a forward pass, and on the host a sort of as many words as there are units.
    """

    def packed(value: Array, readers: Any) -> Patterns:
        words = pack_words((value.reshape(len(value), -1) > 0).T)
        return Patterns(words, jnp.asarray(readers) > 0, jnp.isfinite(value).all())

    def pack(_kind: str, seen: Seen) -> list[Patterns]:
        inner = [record for record in seen.records.values() if record is not None]
        return [*inner, *(packed(source.value, source.convolutions) for source in seen.sources)]

    def inside(x: Array, weights: LayerWeights) -> Patterns | None:
        return packed(x, 1) if weights.inside else None

    found = look(observable(network, "swap"), params, batch.x, wiring, pack, record=inside).summaries
    # The last ReLU has no convolution behind it, and counts.
    return SampleWise([patterns for block in found.values() for patterns in block], len(batch.x))


def count_patterns(found: SampleWise) -> Outcome:
    """Return the number of distinct patterns; NaN where a unit that counts is not finite."""
    kept, finite = [], True
    for patterns in found.patterns:
        words = np.asarray(patterns.words)
        used = np.broadcast_to(patterns.used, words.shape[:-2]).reshape(-1)
        finite &= bool(np.all(np.asarray(patterns.finite).reshape(-1)[used]))
        kept.append(words.reshape(-1, *words.shape[-2:])[used].reshape(-1, words.shape[-1]))
    rows = np.concatenate(kept)
    count = len(np.unique(rows[:, 0]) if rows.shape[1] == 1 else np.unique(rows, axis=0))
    samples = int(found.samples)
    facts = {"samples": samples, "units": len(rows)}
    if not finite:
        return Outcome(math.nan, "non_finite", facts)
    return Outcome(float(count), "saturated" if count == 2**samples else "ok", facts)


PROXY = NetworkProxy(
    name="swap",
    measure=measure,
    summary="distinct patterns of activation of the units over 16 images",
    reference="Peng et al., SWAP-NAS, ICLR 2024, arXiv:2403.04161, section 3",
    cost="1 forward pass of 16 images, and a sort on the host",
    needs_labels=False,
    batch_size=16,
    read=count_patterns,
    setup=Setup(init=drawn_with("normal")),
    requires=("observable",),
)
