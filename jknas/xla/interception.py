"""Functions whose parameters can be intercepted, for transformations that need each parameter's cotangent where it arises.

A function with its own reverse rule hides what happens inside: it returns the cotangents of all its parameters at its end, also those of
operations that were not chosen. A function that registers here says how to run it with an *interceptor*: every parameter passes through
``intercept(positions, parameters, tape)`` at the innermost place that uses it, and only ``tape`` and the data carry gradients.

A traced program shows such a function as a ``jax.jit`` of its name.
"""

from collections.abc import Callable, Sequence

import jax

Intercept = Callable[[Sequence[int], Sequence[jax.Array], jax.Array], list[jax.Array]]
"""``intercept(positions, parameters, tape) -> parameters``, of unchanged values. The positions are those among the flat operands."""

Interceptible = Callable[[Sequence[jax.Array], jax.Array, Intercept], list[jax.Array]]
"""``run(operands, tape, intercept) -> results``; operands and results are flat lists."""

INTERCEPTED: dict[str, tuple[int, Interceptible]] = {}
"""Name of the jitted function: its number of operands, and how to run it with an interceptor."""
