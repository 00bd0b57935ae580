"""The three kinds of wiring of a DARTS network, and which operations of a mixture are live.

* a :class:`~jknas.spaces.darts.genotype.DartsGenotype` (static): only the chosen operations exist; a new genotype is a new compilation;
* a *code*, 28 integers (traced): all candidates have parameters, one branch an edge runs; one compilation serves the whole space;
* *mixture weights*, floats ``[28, 8]`` (traced): every edge is the weighted sum of its *live* candidates, those of weight above 0.01;
  may be batched by ``vmap``.

The first 14 rows belong to the normal cell, the others to the reduction cell; the order of edges and operations is that of
:mod:`jknas.spaces.darts.genotype`. The operation ``none``, digit 0, adds nothing at any weight: an edge without another live operation is
absent.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jknas.errors import NetworkError
from jknas.spaces.darts.genotype import EDGES, OPERATIONS, DartsGenotype

Wiring = DartsGenotype | jax.Array | np.ndarray

LIVE_ABOVE = 0.01
"""An operation of this weight or less adds nothing."""

_ROWS = 2 * len(EDGES)


def resolve_wiring(wiring: Wiring) -> tuple[DartsGenotype | None, jax.Array | None]:
    """Tell the kinds of wiring apart: ``(genotype, None)``, or ``(None, array)`` with a code or mixture weights, told apart by their shape.

    Raises:
        ValueError: for an array that is no wiring, or a code with a digit that means no operation.
        TypeError: for a string.
    """
    if isinstance(wiring, DartsGenotype):
        return wiring, None
    if isinstance(wiring, str):
        raise TypeError("wiring is a string; parse it first: DartsGenotype.parse(text)")
    if isinstance(wiring, (jax.Array, np.ndarray)) or np.ndim(wiring):
        array = jnp.asarray(wiring)
        if array.shape == (_ROWS,) and jnp.issubdtype(array.dtype, jnp.integer):
            # A traced code cannot be looked at: a digit out of range is then moved to the nearest operation.
            if not isinstance(array, jax.core.Tracer) and not all(0 <= digit < len(OPERATIONS) for digit in array.tolist()):
                raise NetworkError(f"a code has digits 0 to {len(OPERATIONS) - 1}, got {array.tolist()}")
            return None, array
        if array.shape == (_ROWS, len(OPERATIONS)) and jnp.issubdtype(array.dtype, jnp.floating):
            return None, array
        got = f"{array.dtype}{list(array.shape)}"
    else:
        got = type(wiring).__name__
    raise NetworkError(
        f"wiring must be a DartsGenotype, a code (integers [{_ROWS}]) or mixture weights (floats [{_ROWS}, {len(OPERATIONS)}]), got {got}"
    )


def live_mixture(wiring: Wiring) -> Float[Array, "28 8"]:
    """Return mixture weights with those of dead operations, and of ``none``, at zero; a genotype or code gives each operation weight one.

    Raises:
        ValueError, TypeError: as :func:`resolve_wiring`.
    """
    genotype, traced = resolve_wiring(wiring)
    if genotype is not None:
        traced = jnp.asarray(genotype.code)
    assert traced is not None
    if traced.ndim == 1:
        traced = jax.nn.one_hot(jnp.clip(traced, 0, len(OPERATIONS) - 1), len(OPERATIONS), dtype=jnp.result_type(float))
    dead = (traced <= LIVE_ABOVE) | (jnp.arange(len(OPERATIONS)) == OPERATIONS.index("none"))  # a NaN is live: it must come through
    return jnp.where(dead, jnp.zeros_like(traced), traced)
