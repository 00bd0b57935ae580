"""ENAS's controller: two LSTM layers of 32 units that choose the operations of a cell one after the other.

The first input is learned, each further one is the embedding of the operation just chosen. The logits of an edge are
``2.5 tanh(W h / 5 + b / 5)`` of the upper layer's output ``h``.

Reference: Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, arXiv:1802.03268, in the form of
NAS-Bench-201's script. The layers are PyTorch's, with two biases each, which Adam moves apart from one bias by twice its step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jknas.search.weight_sharing.supernet import INPUTS, Supernet

UNITS = 32
_TEMPERATURE, _LARGEST = 5.0, 2.5
_SPREAD = 0.1
_FORBIDDEN = -1e9  # its probability is zero, and unlike an infinity it has a gradient: none

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


class Places(NamedTuple):
    """What the edges of a space allow where exactly some of a node's have an operation and the others are absent.

    Attributes:
        first: whether an edge is the first of its node.
        left: how many edges of the node follow.
        inputs: how many edges of a node have an operation.
        absent: the operation of the others.
    """

    first: Bool[np.ndarray, " edges"]
    left: Int[np.ndarray, " edges"]
    inputs: int
    absent: int


def places_of(net: Supernet) -> Places | None:
    """Return what the edges of a supernet's space allow; None where they allow everything."""
    if not net.nodes:
        return None
    left = np.concatenate([np.arange(len(node))[::-1] for node in net.nodes])
    first = np.concatenate([np.arange(len(node)) == 0 for node in net.nodes])
    return Places(first, left, INPUTS, net.absent)


def choose_operations(controller: Controller, noise: Float[Array, "edges operations"], places: Places | None = None) -> Chosen:
    """Choose a cell: on each edge the operation, of those that the space allows there, with the largest sum of logit and Gumbel noise."""
    return _choose(controller, noise, places, lambda logits, row: jnp.argmax(logits + row).astype(jnp.int32))


def follow(controller: Controller, code: Int[Array, " edges"], places: Places | None = None) -> Chosen:
    """Return what a controller says of a given cell."""
    return _choose(controller, code, places, lambda _, digit: digit)


def _choose(controller: Controller, given: Array, places: Places | None, pick: Any) -> Chosen:
    def edge(carry: tuple[Any, ...], part: tuple[Array, Any]) -> tuple[tuple[Any, ...], Chosen]:
        (x, lower, upper, taken), (row, place) = carry, part
        lower = _lstm(controller["lower"], x, lower)
        upper = _lstm(controller["upper"], lower[0], upper)
        logits = _LARGEST * jnp.tanh((controller["kernel"] @ upper[0] + controller["bias"]) / _TEMPERATURE)
        if places is not None:
            taken = jnp.where(place[0], jnp.zeros_like(taken), taken)
            allowed = jnp.where(jnp.arange(len(logits)) == places.absent, taken + place[1] >= places.inputs, taken < places.inputs)
            logits = jnp.where(allowed, logits, _FORBIDDEN)
        log_shares = jax.nn.log_softmax(logits)
        digit = pick(jax.lax.stop_gradient(logits), row)
        entropy = -jnp.sum(jnp.exp(log_shares) * log_shares)
        if places is not None:
            taken = taken + (digit != places.absent).astype(taken.dtype)
        return (controller["embedding"][digit], lower, upper, taken), Chosen(digit, log_shares[digit], entropy)

    nothing = (jnp.zeros_like(controller["start"]),) * 2
    seen = None if places is None else (places.first, places.left)
    _, edges = jax.lax.scan(edge, (controller["start"], nothing, nothing, jnp.asarray(0)), (given, seen))
    return Chosen(edges.code, edges.log_probability.sum(), edges.entropy.sum())
