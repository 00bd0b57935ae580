"""What says which operations a network holds: a genotype, a code, or mixture weights.

* a *genotype* of the space (static): only the chosen operations exist; a new genotype is a new compilation;
* a *code*, one integer per edge (traced): all candidates have parameters, one branch per edge runs; one compilation serves the whole space;
* *mixture weights*, floats ``[edges, operations]`` (traced): every edge is the weighted sum of its candidates; ``vmap`` may batch them;
* a *sampled code* (traced): a code with the weights that it was drawn with; it costs what a code costs, and its weights get a gradient;
* *codes of all cells* (traced, of networks that say so): a code for each cell.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jknas.errors import NetworkError

Wiring = Any
"""A genotype, an array (a code, or mixture weights), or a :class:`SampledCode`."""


class SampledCode(NamedTuple):
    """A code with the hard weights of its draw: the largest of each edge is one, the others are zero.

    The network's value is that of the code. The gradient is that of every edge as the published searches with hard draws write it: its
    operation times its weight, plus the weights of the other operations as numbers, so that

        d value / d weight[e, o] = sum of the cotangent of edge e, times the output of the operation if o is the chosen one.

    Reference: Dong and Yang, "Searching for A Robust Neural Architecture in Four GPU Hours", CVPR 2019, arXiv:1910.04465, Eq. (4), and its
    released code in AutoDL-Projects.

    Attributes:
        code: integers ``[edges]``.
        weights: floats ``[edges, operations]``.
    """

    code: jax.Array
    weights: jax.Array


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
