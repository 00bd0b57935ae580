"""A choice between functions by a traced index that costs only the function chosen, forwards and backwards.

``lax.switch`` runs one branch too, but what goes through it is copied: XLA's CPU backend gives a conditional its own output buffers and
runs its branches' element-wise work on one core. A loop of nought or one turns updates its carry in place, so that a choice that adds
nothing costs nothing. Other backends wait for every loop's condition on the host and copy fast: they keep the switch.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Branch = Callable[..., Any]


def _plus(total: Any, branch: Branch, arguments: tuple[Any, ...]) -> Any:
    return jax.tree.map(jnp.add, total, branch(*arguments))


def add_switched(branches: tuple[Branch | None, ...], index: jax.Array, total: Any, arguments: tuple[Any, ...]) -> Any:
    """Return what :func:`add_chosen` returns by a plain ``lax.switch``, for program transformations that replace its reverse rule."""

    def run(branch: Branch | None, total: Any, arguments: tuple[Any, ...]) -> Any:
        return total if branch is None else _plus(total, branch, arguments)

    return lax.switch(index, [functools.partial(run, branch) for branch in branches], total, arguments)


def _add_looped(branches: tuple[Branch | None, ...], index: jax.Array, total: Any, arguments: tuple[Any, ...]) -> Any:
    index = jnp.clip(index, 0, len(branches) - 1)  # as lax.switch does

    def once(branch: Branch, state: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        return jnp.zeros_like(state[0]), _plus(state[1], branch, arguments)

    for at, branch in enumerate(branches):
        if branch is not None:
            _, total = lax.while_loop(lambda state: state[0], functools.partial(once, branch), (index == at, total))
    return total


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def add_chosen(branches: tuple[Branch | None, ...], index: jax.Array, total: Any, arguments: tuple[Any, ...]) -> Any:
    """Return ``total + branches[index](*arguments)``, running that branch only; None stands for zero.

    Args:
        branches: pure functions of ``arguments`` whose results are pytrees like ``total``.
        index: a traced integer; one outside the range is moved to the nearer end. Where ``vmap`` batches it, every branch that any example
            needs is run for all of them.
        total: pytree of arrays to add to.
        arguments: pytrees of floating-point arrays.

    Differentiable in reverse mode to any order: the branch is run again in the backward pass, nothing but ``arguments`` is kept.
    """
    return _add(branches, index, total, arguments)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def add_chosen_inside(branches: tuple[Branch | None, ...], index: jax.Array, total: Any, arguments: tuple[Any, ...]) -> Any:
    """Return what :func:`add_chosen` returns, for the inside of reverse rules, which a second order of derivatives differentiates again.

    Where a scan is differentiated twice, jax 0.10.1 mixes up what a reverse rule keeps of its arguments as they came. Here they are kept
    behind a barrier, which makes new values of them. That takes a copy, which the first order need not pay.
    """
    return _add(branches, index, total, arguments)


def _add(branches: tuple[Branch | None, ...], index: jax.Array, total: Any, arguments: tuple[Any, ...]) -> Any:
    looped, switched = (functools.partial(add, branches) for add in (_add_looped, add_switched))
    return lax.platform_dependent(index, total, arguments, cpu=looped, default=switched)


def pull_back(branch: Branch | None) -> Branch | None:
    """Return the function of ``(arguments, cotangent)`` that gives the arguments' cotangents."""
    if branch is None:
        return None
    return lambda arguments, cotangent: jax.vjp(branch, *arguments)[1](cotangent)


def _add_chosen_fwd(
    branches: tuple[Branch | None, ...], index: jax.Array, total: Any, arguments: tuple[Any, ...]
) -> tuple[Any, tuple[jax.Array, tuple[Any, ...]]]:
    return add_chosen_inside(branches, index, total, arguments), (index, arguments)


def _add_chosen_inside_fwd(
    branches: tuple[Branch | None, ...], index: jax.Array, total: Any, arguments: tuple[Any, ...]
) -> tuple[Any, tuple[jax.Array, tuple[Any, ...]]]:
    return add_chosen_inside(branches, index, total, arguments), lax.optimization_barrier((index, arguments))


def _add_chosen_bwd(
    branches: tuple[Branch | None, ...], saved: tuple[jax.Array, tuple[Any, ...]], cotangent: Any
) -> tuple[None, Any, tuple[Any, ...]]:
    index, arguments = saved
    zeros = jax.tree.map(jnp.zeros_like, arguments)
    return None, cotangent, add_chosen_inside(tuple(map(pull_back, branches)), index, zeros, (arguments, cotangent))


add_chosen.defvjp(_add_chosen_fwd, _add_chosen_bwd)
add_chosen_inside.defvjp(_add_chosen_inside_fwd, _add_chosen_bwd)
