r"""The gradients of single examples, summed chunk by chunk for gradsign and hnas: they are never all in memory.

The proxies share two settings:

``statistics``
    what batch normalisation normalises over. ``example``: each image is a batch of its own, as in GradSign's code. ``batch``: training
    mode, where the output of one image depends on all of them; N backward passes of the whole batch in place of N of one image. The default
    is the network's ``score_statistics`` (:data:`jknas.proxies.proxy.USUAL_STATISTICS`).
``chunk_size``
    gradients in memory at once; not part of the definition.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree, Real

from jknas.errors import KernelError, choose
from jknas.kernels.mgm import Layers
from jknas.kernels.objectives import Apply, split_parameters
from jknas.kernels.per_layer import stacks
from jknas.networks.layers.normalisation import Statistics
from jknas.proxies.measurements.forward import on_networks
from jknas.proxies.proxy import USUAL_STATISTICS, NetworkProxy, Setting
from jknas.xla.soundness import require_sound_backend

Examples = Literal["alone", "together"]
"""``alone``: each example is a batch of its own. ``together``: one batch, whose examples may depend on each other, as in training-mode
normalisation; row *n* is then one backward pass of the whole batch."""

Entries = list[jax.Array]
"""One example's gradient, ``[l, p]`` for every stack of layers."""


def sum_over_examples(
    apply: Apply,
    params: PyTree,
    x: Real[Array, "n ..."],
    labels: Int[Array, " n"],
    *,
    objective: Callable[[jax.Array, jax.Array], jax.Array],
    summand: Callable[[Entries], Entries],
    layers: Layers,
    examples: Examples,
    chunk_size: int,
) -> Entries:
    """Return the sum over the examples of a function of their gradients, ``chunk_size`` of them at a time.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``.
        params: any pytree of arrays.
        x: the inputs, one array.
        labels: class indices.
        objective: ``objective(outputs, labels) -> [n]``, whose gradients are taken.
        summand: what is summed, as a function of one example's gradient.
        layers: cuts gradients into layers.
        examples: see :data:`Examples`.
        chunk_size: examples at once.

    Raises:
        KernelError: for unknown ``examples``, or ``chunk_size < 1``.
        UnsoundBackendError: the installed JAX computes wrong matrix products.
    """
    require_sound_backend()
    choose("examples", examples, get_args(Examples), error=KernelError)
    if chunk_size < 1:
        raise KernelError(f"chunk_size must be at least 1, got {chunk_size}")
    n = len(labels)
    size = min(chunk_size, n)
    places = jnp.arange(-(-n // size) * size).reshape(-1, size)
    leaves, rebuild = split_parameters(params, "all")

    def value(slopes: list[jax.Array]) -> Entries:
        return summand([stack.entries for stack in stacks(layers, rebuild(slopes))])

    def alone(leaves: list[Any], place: jax.Array) -> jax.Array:
        return objective(apply(rebuild(leaves), x[place][None]), labels[place][None])[0]

    def together(leaves: list[Any]) -> jax.Array:
        return objective(apply(rebuild(leaves), x), labels)

    with jax.default_matmul_precision("highest"):
        if examples == "alone":
            slope = jax.grad(alone)

            def row(place: jax.Array) -> Entries:
                return value(slope(leaves, place))

        else:
            outputs, pull = jax.vjp(together, leaves)

            def row(place: jax.Array) -> Entries:
                return value(pull(jax.nn.one_hot(place, n, dtype=outputs.dtype))[0])

        def add(totals: Entries, chunk: jax.Array) -> tuple[Entries, None]:
            rows = jax.vmap(row)(jnp.minimum(chunk, n - 1))  # the last example again where the chunk is longer than the rest
            return [total + _masked_sum(each, chunk < n) for total, each in zip(totals, rows, strict=True)], None

        zeros = [jnp.zeros(each.shape, each.dtype) for each in jax.eval_shape(row, places[0, 0])]
        return jax.lax.scan(add, zeros, places)[0]


def _masked_sum(values: jax.Array, counts: jax.Array) -> jax.Array:
    """Return the sum over the first axis of the rows that count."""
    return jnp.sum(values, 0, where=counts.reshape(-1, *(1,) * (values.ndim - 1)))


def on_examples(score: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Return the device part of a proxy from ``score(apply, params, x, labels, *, layers, examples, **settings)``."""

    def measure(*arguments: Any, statistics: Statistics = "example", **settings: Setting) -> PyTree:
        of_examples = functools.partial(score, examples="together" if statistics == "batch" else "alone")
        return on_networks(of_examples)(*arguments, statistics=statistics, **settings)

    return measure


row = functools.partial(
    NetworkProxy,
    cost="N backward passes at batch size one; with statistics=batch, the default for DARTS, of the whole batch",
    network_defaults=USUAL_STATISTICS,
)
"""The row of a proxy of single examples' gradients."""
