"""A fence that makes XLA compute a value once, where it would compute it again for every reader.

XLA's CPU backend fuses element-wise work into each of its readers, at any cost. In a cell, up to a dozen operations read each node, and a
node is itself a sum over such readers, so the work multiplies from node to node: the backward pass of a mixture cell took six times as
long. Optimisation barriers do not help, because XLA drops them before it fuses. A loop of zero turns does: XLA keeps what a loop carries in
memory. (The loop must change what it carries, otherwise XLA removes it.)
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


@jax.custom_vjp
def fence(x: Float[Array, "..."], never: Bool[Array, ""]) -> Float[Array, "..."]:
    """Return ``x`` unchanged, and its cotangent unchanged in the backward pass.

    Args:
        x: any floating-point array.
        never: a flag that is False. The program must compute it, so that XLA cannot know its value. True turns the result into NaN.
    """

    def looped(x: jax.Array, never: jax.Array) -> jax.Array:
        return lax.while_loop(lambda state: state[1], lambda state: (state[0] + jnp.nan, jnp.zeros_like(never)), (x, never))[0]

    return lax.platform_dependent(x, never, cpu=looped, default=lambda x, never: x)


def _forward(x: jax.Array, never: jax.Array) -> tuple[jax.Array, jax.Array]:
    # A new value: where a scan is differentiated twice, jax 0.10.1 mixes up what a reverse rule keeps unchanged.
    return fence(x, never), lax.optimization_barrier(never)


def _backward(never: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, None]:
    return fence(cotangent, never), None


fence.defvjp(_forward, _backward)
