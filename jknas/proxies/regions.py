"""The number of linear regions of TE-NAS's thin network on 3x3 patches: one cell of one channel, in the DARTS space two from one channel.

Reference: Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
arXiv:2102.11535, section 3.1.2, and its released code, github.com/VITA-Group/TENAS (``lib/procedures/linear_region_counter.py``).

Deviations:
    TE-NAS counts for a supernet, whose pruned edges average their operations; here a single architecture is scored, every edge with its one
    operation. One draw of weights and patches a score, where TE-NAS averages three. The paper samples 5,000 images; the released code, and
    the default here, 3,000 patches in three batches. See :mod:`jknas.networks.nasbench201.tenas`,
    :mod:`jknas.networks.darts.tenas_thin` and :mod:`jknas.kernels.linear_regions`.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from jknas.data import Dataset
from jknas.errors import ProxyError
from jknas.kernels.linear_regions import LinearRegions, count_patterns_in_batches, tenas_crops
from jknas.networks.families import resized
from jknas.networks.layers.initialisation import Scheme
from jknas.networks.network import Network
from jknas.proxies.proxy import Batch, Outcome, Proxy, Subject

_SIDE = 3  # what the thin networks count their units for


class RegionCount(NamedTuple):
    """A count and what it is a count of, see :class:`jknas.kernels.linear_regions.LinearRegions`."""

    patterns: Int[Array, ""]
    samples: Int[Array, ""] | int
    neurons: Int[Array, ""] | int
    non_finite: Int[Array, ""]


def region_count(network: Any, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray, *, batches: int = 3) -> RegionCount:
    """Count the activation patterns of the thin network; the device part of ``linear_regions``.

    Args:
        network: a macro network of the space; its size does not matter for the count.
        params: parameters of the space's thin network, :class:`~jknas.networks.nasbench201.tenas.ThinCellNetwork` or
            :class:`~jknas.networks.darts.TenasDartsThinNetwork`.
        wiring: genotype or code.
        batch: patches ``[n, 3, 3, 1]``; the labels are not used.
        key: not used.
        batches: the patches are cut into so many batches, each normalised by itself.

    Raises:
        ValueError: if the patches cannot be cut so.
    """
    del key
    n = len(batch.x)
    if batches < 1 or n % batches:
        raise ProxyError(f"{n} patches cannot be cut into batches={batches} equal batches; choose a batch size that is a multiple of it")
    thin = network.thin_network()
    found = count_patterns_in_batches(lambda x: thin.activations(params, x, wiring), batch.x, batches)
    return RegionCount(found.patterns, n, thin.relu_units(wiring), found.non_finite)


def _finish(found: RegionCount) -> Outcome:
    regions = LinearRegions(*(int(number) for number in found))
    return Outcome(math.nan if regions.non_finite else float(regions.count), regions.status, dataclasses.asdict(regions))


def _draw_thin(network: Any, key: PRNGKeyArray, scheme: Scheme) -> PyTree:
    return network.thin_network().init(key, scheme=scheme)


def _thin_size(network: Any) -> Network:
    thin = network.thin_network()
    sized: Network = resized(network, channels=thin.channels, cells=thin.cells)
    return sized


def _patches(dataset: Dataset, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    patches = tenas_crops(dataset.x_train, np.random.default_rng(seed), size, mean=dataset.mean, std=dataset.std, size=_SIDE)
    return patches, np.zeros(size, np.int32)


PROXIES = (
    Proxy(
        name="linear_regions",
        score=region_count,
        summary="distinct ReLU patterns of one cell of one channel (DARTS: of two cells) among 3,000 patches of 3x3 pixels",
        reference="Chen et al., TE-NAS, ICLR 2021, arXiv:2102.11535, section 3.1.2, input as released",
        cost="1 forward pass of a network of 1 channel, and a sort",
        needs_labels=False,
        batch_size=3000,
        settings={"batches": 3},
        finish=_finish,
        subject=Subject(network=_thin_size, init=_draw_thin, batch=_patches, once=False),
    ),
)
