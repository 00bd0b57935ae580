"""The wirings of a NAS-Bench-201 network: a ``CellGenotype``, a code of six digits, or mixture weights ``[6, 5]``."""

import jax

from jknas.networks import wiring as general
from jknas.networks.wiring import Wiring
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype


def resolve_wiring(wiring: Wiring) -> tuple[CellGenotype | None, jax.Array | None]:
    """Return ``(genotype, None)``, or ``(None, array)``, see :func:`jknas.networks.wiring.resolve_wiring`."""
    return general.resolve_wiring(wiring, CellGenotype, len(EDGES), len(OPERATIONS))
