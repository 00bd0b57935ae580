"""ENAS's controller: two LSTM layers of 32 units that choose the operations of a cell one after the other.

The first input is learned, each further one is the embedding of the operation just chosen. The logits of an edge are
``2.5 tanh(W h / 5 + b / 5)`` of the upper layer's output ``h``.

Reference: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, arXiv:1802.03268, in the form of
NAS-Bench-201's script. The layers are PyTorch's, with two biases each, which Adam moves apart from one bias by twice its step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

UNITS = 32
_TEMPERATURE, _LARGEST = 5.0, 2.5
_SPREAD = 0.1

Controller = dict[str, Any]
"""``start`` [32], ``lower`` and ``upper`` ({"input", "hidden"} [128, 32] and their biases [128], gates input, forget, cell, output),
``embedding`` [operations, 32], ``kernel`` [operations, 32], ``bias`` [operations]."""


class Chosen(NamedTuple):
    """Cells that a controller has chosen.

    Attributes:
        code: their operations.
        log_probability: of the whole cell, in nats.
        entropy: the sum over the edges, in nats.
    """

    code: Int[Array, " edges"]
    log_probability: Float[Array, ""]
    entropy: Float[Array, ""]


def draw_controller(key: Array, operations: int) -> Controller:
    """Draw a controller: uniform within 0.1, but biases and the upper layer within 1 / sqrt(32)."""
    keys = iter(jax.random.split(key, 12))

    def uniform(*shape: int, spread: float) -> Array:
        return jax.random.uniform(next(keys), shape, minval=-spread, maxval=spread)

    wide = UNITS**-0.5

    def layer(spread: float) -> dict[str, Array]:
        return {
            "input": uniform(4 * UNITS, UNITS, spread=spread),
            "hidden": uniform(4 * UNITS, UNITS, spread=spread),
            "input_bias": uniform(4 * UNITS, spread=wide),
            "hidden_bias": uniform(4 * UNITS, spread=wide),
        }

    return {
        "start": uniform(UNITS, spread=_SPREAD),
        "lower": layer(_SPREAD),
        "upper": layer(wide),
        "embedding": uniform(operations, UNITS, spread=_SPREAD),
        "kernel": uniform(operations, UNITS, spread=_SPREAD),
        "bias": uniform(operations, spread=wide),
    }


def _lstm(layer: dict[str, Array], x: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
    hidden, cell = state
    gates = layer["input"] @ x + layer["input_bias"] + layer["hidden"] @ hidden + layer["hidden_bias"]
    enter, forget, new, leave = jnp.split(gates, 4)
    cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(new)
    return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell


def choose_operations(controller: Controller, noise: Float[Array, "edges operations"]) -> Chosen:
    """Choose a cell: on each edge the operation with the largest sum of logit and Gumbel noise."""
    return _choose(controller, noise, lambda logits, row: jnp.argmax(logits + row).astype(jnp.int32))


def follow(controller: Controller, code: Int[Array, " edges"]) -> Chosen:
    """Return what a controller says of a given cell."""
    return _choose(controller, code, lambda _, digit: digit)


def _choose(controller: Controller, given: Array, pick: Any) -> Chosen:
    def edge(carry: tuple[Any, ...], row: Array) -> tuple[tuple[Any, ...], Chosen]:
        x, lower, upper = carry
        lower = _lstm(controller["lower"], x, lower)
        upper = _lstm(controller["upper"], lower[0], upper)
        logits = _LARGEST * jnp.tanh((controller["kernel"] @ upper[0] + controller["bias"]) / _TEMPERATURE)
        log_shares = jax.nn.log_softmax(logits)
        digit = pick(jax.lax.stop_gradient(logits), row)
        entropy = -jnp.sum(jnp.exp(log_shares) * log_shares)
        return (controller["embedding"][digit], lower, upper), Chosen(digit, log_shares[digit], entropy)

    nothing = (jnp.zeros_like(controller["start"]),) * 2
    _, edges = jax.lax.scan(edge, (controller["start"], nothing, nothing), given)
    return Chosen(edges.code, edges.log_probability.sum(), edges.entropy.sum())
