"""Functions that let a tap into their parameters, for transformations that need each parameter's cotangent where it arises.

A function with a reverse rule of its own is a closed box: its parameters' cotangents come out at its end, all of them, also those of
operations that were not chosen. A function that registers here says how to run it with a *tap*: every parameter passes through
``tap(position, parameter, tape)`` at the innermost place that uses it, and only ``tape`` and the data carry gradients.

Such a function is known in a traced program by the name of the ``jax.jit`` around it.
"""

from collections.abc import Callable, Sequence

import jax

Tap = Callable[[Sequence[int], Sequence[jax.Array], jax.Array], list[jax.Array]]
"""``tap(positions, parameters, tape) -> parameters``: the same values; the positions are those among the function's flat operands."""

Tapped = Callable[[Sequence[jax.Array], jax.Array, Tap], list[jax.Array]]
"""``run(operands, tape, tap) -> results``, both flat."""

TAPPED: dict[str, tuple[int, Tapped]] = {}
"""Name of the jitted function: how many operands it has, and how to run it with a tap."""
