"""What says which operations a network holds: a genotype, a code, or mixture weights.

* a *genotype* of the space (static): only the chosen operations exist; a new genotype is a new compilation;
* a *code*, one integer per edge (traced): all candidates have parameters, one branch per edge runs; one compilation serves the whole space;
* *mixture weights*, floats ``[edges, operations]`` (traced): every edge is the weighted sum of its candidates; ``vmap`` may batch them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jknas.errors import NetworkError

Wiring = Any
"""A genotype, or an array: a code or mixture weights."""


def resolve_wiring(wiring: Wiring, genotypes: type, edges: int, operations: int) -> tuple[Any, jax.Array | None]:
    """Tell the kinds of wiring apart.

    Args:
        wiring: what to tell.
        genotypes: the type of a genotype.
        edges: digits of a code.
        operations: candidates per edge.

    Returns:
        ``(genotype, None)``, or ``(None, array)`` with a code or mixture weights, which their shapes tell apart.

    Raises:
        NetworkError: an array that is no wiring, or a code with a digit that means no operation.
        TypeError: a string.
    """
    if isinstance(wiring, genotypes):
        return wiring, None
    if isinstance(wiring, str):
        raise TypeError(f"wiring is a string; parse it first: {genotypes.__name__}.parse(text)")
    got = type(wiring).__name__
    if hasattr(wiring, "dtype") or np.ndim(wiring):
        array = jnp.asarray(wiring)
        if array.shape == (edges,) and jnp.issubdtype(array.dtype, jnp.integer):
            # A traced code cannot be looked at: a digit out of range is then moved to the nearest operation.
            if not isinstance(array, jax.core.Tracer) and not all(0 <= digit < operations for digit in array.tolist()):
                raise NetworkError(f"a code has digits 0 to {operations - 1}, got {array.tolist()}")
            return None, array
        if array.shape == (edges, operations) and jnp.issubdtype(array.dtype, jnp.floating):
            return None, array
        got = f"{array.dtype}{list(array.shape)}"
    raise NetworkError(
        f"wiring must be a {genotypes.__name__}, a code (integers [{edges}]) or mixture weights (floats [{edges}, {operations}]), got {got}"
    )
