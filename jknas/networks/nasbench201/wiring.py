"""The three kinds of wiring of a NAS-Bench-201 network.

* a :class:`~jknas.spaces.nasbench201.genotype.CellGenotype` (static): only the chosen operations exist; each genotype compiles;
* a *code*, six integers (traced): all candidates have parameters, one branch runs; one compilation serves the whole space;
* *mixture weights*, floats ``[6, 5]`` (traced): every edge is the weighted sum of all candidates; may be batched by ``vmap``.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jknas.errors import NetworkError
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype

Wiring = CellGenotype | jax.Array | np.ndarray


def resolve_wiring(wiring: Wiring) -> tuple[CellGenotype | None, jax.Array | None]:
    """Tell the kinds of wiring apart: ``(genotype, None)``, or ``(None, array)`` with a code or mixture weights, told apart by their shape.

    Raises:
        ValueError: for an array that is no wiring, or a code with a digit that means no operation.
        TypeError: for a string.
    """
    if isinstance(wiring, CellGenotype):
        return wiring, None
    if isinstance(wiring, str):
        raise TypeError("wiring is a string; parse it first: CellGenotype.parse(text)")
    array = jnp.asarray(wiring)
    if array.shape == (len(EDGES),) and jnp.issubdtype(array.dtype, jnp.integer):
        # A traced code cannot be looked at: a digit out of range is then moved to the nearest operation.
        if not isinstance(array, jax.core.Tracer) and not all(0 <= digit < len(OPERATIONS) for digit in array.tolist()):
            raise NetworkError(f"a code has digits 0 to {len(OPERATIONS) - 1}, got {array.tolist()}")
        return None, array
    if array.shape == (len(EDGES), len(OPERATIONS)) and jnp.issubdtype(array.dtype, jnp.floating):
        return None, array
    raise NetworkError(
        f"wiring must be a CellGenotype, a code (integers [{len(EDGES)}]) or mixture weights (floats [{len(EDGES)}, {len(OPERATIONS)}]), "
        f"got {array.dtype}{list(array.shape)}"
    )
