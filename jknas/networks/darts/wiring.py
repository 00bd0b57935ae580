"""The wirings of a DARTS network: a ``DartsGenotype``, a code of 28 digits, or mixture weights ``[28, 8]``.

The first 14 rows belong to the normal cell, the others to the reduction cell; the order of edges and operations is that of
:mod:`jknas.spaces.darts.genotype`. The operation ``none``, digit 0, adds nothing at any weight. In TE-NAS's networks only *live* operations
count, those of weight above 0.01, and an edge without one is absent; elsewhere every weight counts.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jknas.networks import wiring as general
from jknas.networks.wiring import Wiring
from jknas.spaces.darts.genotype import EDGES, OPERATIONS, DartsGenotype

LIVE_ABOVE = 0.01
"""An operation of this weight or less adds nothing in TE-NAS's networks."""


def resolve_wiring(wiring: Wiring) -> tuple[DartsGenotype | None, jax.Array | None]:
    """Return ``(genotype, None)``, or ``(None, array)``, see :func:`jknas.networks.wiring.resolve_wiring`."""
    return general.resolve_wiring(wiring, DartsGenotype, 2 * len(EDGES), len(OPERATIONS))


def live_mixture(wiring: Wiring, above: float = LIVE_ABOVE) -> Float[Array, "28 8"]:
    """Return mixture weights with those of dead operations, and of ``none``, at zero; a genotype or code gives each operation weight one.

    Args:
        wiring: genotype, code or mixture weights.
        above: the weight above which an operation is live.

    Raises:
        ValueError, TypeError: as :func:`resolve_wiring`.
    """
    genotype, traced = resolve_wiring(wiring)
    if genotype is not None:
        traced = jnp.asarray(genotype.code)
    assert traced is not None
    if traced.ndim == 1:
        traced = jax.nn.one_hot(jnp.clip(traced, 0, len(OPERATIONS) - 1), len(OPERATIONS), dtype=jnp.result_type(float))
    dead = (traced <= above) | (jnp.arange(len(OPERATIONS)) == OPERATIONS.index("none"))[None]  # a NaN is live: it must come through
    return jnp.where(dead, jnp.zeros_like(traced), traced)
