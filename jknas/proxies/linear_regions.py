"""linear_regions: the number of linear regions of TE-NAS's thin network on 3x3 patches.

The thin network is one cell of one channel for NAS-Bench-201, and two cells from one channel for DARTS.

``batches``
    the patches are cut into so many batches, each normalised by itself: 3 in the released code.

Reference: Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
arXiv:2102.11535, section 3.1.2, and its released code, github.com/VITA-Group/TENAS (``lib/procedures/linear_region_counter.py``).

Deviations:
    TE-NAS counts for a supernet, whose pruned edges average their operations; here a single architecture is scored, every edge with its one
    operation. A score is one draw of weights and patches, where TE-NAS averages three. The paper samples 5,000 images; the released code,
    and the default here, 3,000 patches in three batches. See also the thin networks, such as :mod:`jknas.networks.nasbench201.tenas`, and
    :mod:`jknas.kernels.linear_regions`.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from jknas.data import Dataset
from jknas.errors import ProxyError
from jknas.kernels.linear_regions import LinearRegions, count_patterns_in_batches, tenas_crops
from jknas.networks.network import ThinNetwork
from jknas.proxies.proxy import NetworkProxy, Outcome
from jknas.proxies.setup import Batch, Setup

_SIDE = 3  # what the thin networks count their units for


class RegionCount(NamedTuple):
    """A count and its circumstances, see :class:`jknas.kernels.linear_regions.LinearRegions`."""

    patterns: Int[Array, ""]
    samples: Int[Array, ""] | int
    neurons: Int[Array, ""] | int
    non_finite: Int[Array, ""]


def measure(thin: ThinNetwork, params: PyTree, wiring: Any, batch: Batch, key: PRNGKeyArray, *, batches: int = 3) -> RegionCount:
    """Count the activation patterns of a thin network; the device part.

    Args:
        thin: the thin network.
        params: its parameters.
        wiring: genotype or code.
        batch: patches ``[n, 3, 3, 1]``; the labels are not used.
        key: not used.
        batches: the number of batches.

    Raises:
        ProxyError: the patches cannot be cut so.
    """
    n = len(batch.x)
    if batches < 1 or n % batches:
        raise ProxyError(f"{n} patches cannot be cut into batches={batches} equal batches; choose a batch size that is a multiple of it")
    found = count_patterns_in_batches(lambda x: thin.activations(params, x, wiring), batch.x, batches)
    return RegionCount(found.patterns, n, thin.relu_units(wiring), found.non_finite)


def read_regions(found: RegionCount) -> Outcome:
    """Return the count; NaN where a unit is not finite."""
    regions = LinearRegions(*(int(number) for number in found))
    return Outcome(math.nan if regions.non_finite else float(regions.count), regions.status, dataclasses.asdict(regions))


def patches(dataset: Dataset, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw TE-NAS's patches, with meaningless labels."""
    crops = tenas_crops(dataset.x_train, np.random.default_rng(seed), size, mean=dataset.mean, std=dataset.std, size=_SIDE)
    return crops, np.zeros(size, np.int32)


PROXY = NetworkProxy(
    name="linear_regions",
    measure=measure,
    summary="distinct ReLU patterns of one cell of one channel (DARTS: of two cells) among 3,000 patches of 3x3 pixels",
    reference="Chen et al., TE-NAS, ICLR 2021, arXiv:2102.11535, section 3.1.2, input as released",
    cost="1 forward pass of a network of 1 channel, and a sort",
    needs_labels=False,
    batch_size=3000,
    settings={"batches": 3},
    requires=("thin",),
    setup=Setup(network=lambda network: network.thin_network(), batch=patches, once=False),
    read=read_regions,
)
