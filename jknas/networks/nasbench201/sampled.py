"""The cell of a sampled code: a code's cell, whose reverse rule also gives the gradient of the weights that the code was drawn with.

Forwards only the chosen operations run. Backwards each of them runs once more, as it does for a code, and its output is multiplied with
the cotangent of its edge on the way.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jknas.networks.layers.conv_norm import Moments
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.nasbench201.cell import EdgeWeights, coded_backward, coded_forward, operations
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS
from jknas.xla.switch import Branch, add_chosen_inside


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def sampled_cell(
    x: Float[Array, "n h w c"], weights: list[EdgeWeights], code: Int[Array, "6"], drawn: Float[Array, "6 5"], statistics: Statistics
) -> tuple[Float[Array, "n h w c"], list[Moments]]:
    """Run the cell of a code; see :class:`jknas.networks.wiring.SampledCode` for the gradient of ``drawn``. Reverse mode only, once."""
    del drawn
    (y, moments), _ = coded_forward(x, weights, code, statistics)
    return y, moments


def _forward(x: jax.Array, weights: list[EdgeWeights], code: jax.Array, drawn: jax.Array, statistics: Statistics) -> tuple[Any, Any]:
    results, saved = coded_forward(x, weights, code, statistics)
    return results, (saved, drawn)


def _backward(statistics: Statistics, saved: Any, cotangents: tuple[jax.Array, Any]) -> tuple[Any, ...]:
    (nodes, weights, code), drawn = saved
    d_weights, along = jax.tree.map(jnp.zeros_like, weights), [jnp.zeros((), drawn.dtype) for _ in EDGES]
    sums: dict[int, jax.Array] = {}
    branches = tuple(map(_pull_back, operations(statistics)))
    identity = tuple(_product if name == "skip_connect" else None for name in OPERATIONS)

    def add(edge: int, cotangent: jax.Array, x: jax.Array, d_output: jax.Array) -> jax.Array:
        total = (cotangent, d_weights[edge], along[edge])
        cotangent, d_weights[edge], product = add_chosen_inside(branches, code[edge], total, (x, weights[edge], d_output))
        along[edge] = add_chosen_inside(identity, code[edge], product, (x, d_output))
        target = EDGES[edge][0]
        sums[target] = sums[target] if target in sums else d_output.sum()
        return cotangent

    d_x = coded_backward(nodes, code, cotangents[0], add)
    chosen = jax.nn.one_hot(code, len(OPERATIONS), dtype=drawn.dtype)
    whole = jnp.stack([sums[target] for target, _ in EDGES]).astype(drawn.dtype)
    d_drawn = chosen * jnp.stack(along)[:, None] + (1 - chosen) * whole[:, None]
    return d_x, d_weights, None, d_drawn


def _product(x: jax.Array, cotangent: jax.Array) -> jax.Array:
    return jnp.sum(x * cotangent)


def _pull_back(branch: Branch | None) -> Branch | None:
    """Return the function of ``(x, weights, cotangent)`` that gives both cotangents, and the product of the output with its cotangent."""
    if branch is None:
        return None

    def back(x: jax.Array, weights: EdgeWeights, cotangent: jax.Array) -> tuple[jax.Array, EdgeWeights, jax.Array]:
        y, pull = jax.vjp(branch, x, weights)
        return *pull(cotangent), _product(y, cotangent)

    return back


sampled_cell.defvjp(_forward, _backward)
