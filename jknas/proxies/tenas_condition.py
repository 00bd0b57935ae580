"""tenas_condition: :mod:`ntk_condition <jknas.proxies.ntk_condition>` on TE-NAS's own small network, in training mode.

The network is the one that ``tenas_network()`` returns: 3 channels for NAS-Bench-201; two cells from 1 channel for DARTS. The batch has the
released size, the network's ``tenas_batch``. Reference and deviations are those of ntk_condition.
"""

import dataclasses

from jknas.proxies.measurements.tangent_kernel import TENAS
from jknas.proxies.ntk_condition import PROXY as NTK_CONDITION
from jknas.proxies.setup import Setup

PROXY = dataclasses.replace(
    NTK_CONDITION,
    name="tenas_condition",
    summary="condition number on TE-NAS's own small network (3 channels; DARTS: two cells from 1 channel), training-mode normalisation",
    reference=f"{TENAS}, sizes as released",
    cost="72 backward passes of a network of 3 channels; 14 of one of 1 channel for DARTS",
    batch_size=72,
    batch_attribute="tenas_batch",
    settings={**NTK_CONDITION.settings, "statistics": "batch"},
    network_defaults={},
    requires=("tenas",),
    setup=Setup(network=lambda network: network.tenas_network()),
)
