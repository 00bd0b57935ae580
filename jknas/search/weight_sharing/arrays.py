"""What a supernet has learned, and the two steps that change it."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from jknas.search.weight_sharing.supernet import Forward, Supernet

T = TypeVar("T")

Wire = Callable[[PyTree], Any]
"""From what the architecture is learned by to a wiring."""


class Shared(NamedTuple):
    """What a search by weight sharing changes.

    Attributes:
        params: weights of all operations.
        batch_stats: running averages.
        momentum: of SGD, like ``params``.
        sampled: which operations were ever part of a backward pass, ``[*cells, edges, operations]``.
        architecture: what the architecture is learned by.
        moments: of its Adam.
        left: the last gradient of the architecture step, which the next weight step finds where it adds its own.
        baseline: of ENAS's rewards; below zero before there is one.
    """

    params: PyTree
    batch_stats: PyTree
    momentum: PyTree
    sampled: Bool[Array, "*cells edges operations"]
    architecture: PyTree
    moments: PyTree
    left: PyTree
    baseline: Float[Array, ""]


class Measured(NamedTuple):
    """Mean loss of a batch in nats, and its images that are classified rightly."""

    loss: Float[Array, ""]
    correct: Int[Array, ""]


def weight_step(  # noqa: PLR0917
    net: Supernet, shared: Shared, x: Array, y: Array, wire: Wire, chosen: Bool[Array, "*cells edges operations"], learning_rate: Any
) -> tuple[Shared, Measured]:
    """Step the weights on a batch of training images.

    Args:
        net: the supernet.
        shared: what it has learned.
        x: images, normalised.
        y: labels.
        wire: from the architecture to the wiring.
        chosen: the operations that run.
        learning_rate: of SGD.
    """

    def objective(params: PyTree, architecture: PyTree) -> tuple[Array, Forward]:
        found = net.forward(params, shared.batch_stats, wire(architecture), x, y)
        return found.loss, found

    (_, found), gradients = jax.value_and_grad(objective, (0, 1), has_aux=True)(shared.params, shared.architecture)
    d_params, d_architecture = gradients
    if net.recipe.clip_norm is not None:
        others = jax.tree.map(jnp.add, d_architecture, shared.left) if net.recipe.clip_architecture else ()
        d_params, _ = clipped((d_params, others), net.recipe.clip_norm)
    sampled = shared.sampled | chosen
    moving = sampled if net.recipe.unsampled == "drift" else jnp.broadcast_to(chosen, sampled.shape)
    params, momentum = _sgd(net, shared, d_params, moving, learning_rate)
    shared = shared._replace(params=params, momentum=momentum, batch_stats=found.batch_stats, sampled=sampled)
    return shared, Measured(found.loss, found.correct)


def clipped(gradient: T, largest: float) -> T:
    """Scale a gradient to a norm of at most about ``largest``, by PyTorch's factor ``largest / (norm + 1e-6)``."""
    factor = jnp.minimum(largest / (optax.tree.norm(gradient) + 1e-6), 1)
    scaled: T = jax.tree.map(lambda leaf: leaf * factor, gradient)
    return scaled


def _sgd(net: Supernet, shared: Shared, gradient: PyTree, moving: Array, learning_rate: Any) -> tuple[PyTree, PyTree]:
    """Return the stepped weights and their momentum, those of operations that do not move as they were."""
    decay, trace, step = net.weight_optimiser(learning_rate)
    nothing = optax.EmptyState()
    gradient, _ = decay.update(gradient, nothing, shared.params)
    gradient, traced = trace.update(gradient, optax.TraceState(shared.momentum))
    updates, _ = step.update(gradient, nothing)
    params = optax.apply_updates(shared.params, updates)
    masks = net.network.used(shared.params, moving)

    def moved(mask: Array, new: Array, old: Array) -> Array:
        return jnp.where(mask, new, old)

    return jax.tree.map(moved, masks, params, shared.params), jax.tree.map(moved, masks, traced.trace, shared.momentum)


def validation_pass(net: Supernet, shared: Shared, x: Array, y: Array, wiring: Any) -> tuple[Shared, Measured | None]:
    """Run a batch of validation images in training mode, which moves the running averages and nothing else; without a wiring do nothing."""
    if wiring is None:
        return shared, None
    found = net.forward(shared.params, shared.batch_stats, wiring, x, y)
    return shared._replace(batch_stats=found.batch_stats), Measured(found.loss, found.correct)


def architecture_step(net: Supernet, shared: Shared, x: Array, y: Array, wire: Wire) -> tuple[Shared, Measured]:
    """Step the architecture on a batch of validation images, by the gradient of its loss with the weights as they are."""

    def objective(architecture: PyTree) -> tuple[Array, Forward]:
        found = net.forward(shared.params, shared.batch_stats, wire(architecture), x, y)
        return found.loss, found

    (_, found), gradient = jax.value_and_grad(objective, has_aux=True)(shared.architecture)
    return adam_step(net, shared._replace(batch_stats=found.batch_stats), gradient), Measured(found.loss, found.correct)


def adam_step(net: Supernet, shared: Shared, gradient: PyTree) -> Shared:
    """Step the architecture by a gradient."""
    with jax.numpy_dtype_promotion("standard"):  # optax raises its decay to the power of an integer count
        updates, moments = net.architecture_optimiser.update(gradient, shared.moments, shared.architecture)
    return shared._replace(architecture=optax.apply_updates(shared.architecture, updates), moments=moments, left=gradient)
