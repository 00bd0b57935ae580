"""A choice between functions by a traced index that costs only the chosen function, forwards and backwards.

``lax.switch`` also runs one branch, but copies its operands: XLA's CPU backend gives a conditional its own output buffers and runs the
element-wise work of its branches on one core. A loop of zero or one turns updates its carry in place, so a choice that adds nothing costs
nothing. Other backends wait on the host for every loop's condition and copy fast, so they keep the switch.
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
    """Compute :func:`add_chosen` by a plain ``lax.switch``, for program transformations that replace its reverse rule."""

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
    """Return ``total + branches[index](*arguments)``, running only that branch; None adds zero.

    Args:
        branches: pure functions of ``arguments`` whose results are pytrees like ``total``.
        index: a traced integer; one outside the range is clipped to it. If ``vmap`` batches it, every branch that any example needs
            runs for all examples; on other devices than a CPU all branches may run.
        total: pytree of arrays to add to.
        arguments: pytrees of floating-point arrays.

    Differentiable in reverse mode to any order. The backward pass runs the branch again; only ``arguments`` are kept.
    """
    return _add(branches, index, total, arguments)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def add_chosen_inside(branches: tuple[Branch | None, ...], index: jax.Array, total: Any, arguments: tuple[Any, ...]) -> Any:
    """Compute :func:`add_chosen` inside reverse rules, which second derivatives differentiate again.

    If a scan is differentiated twice, jax 0.10.1 mixes up arguments that a reverse rule keeps unchanged. Here an optimisation barrier turns
    them into new values. That costs a copy, which first derivatives avoid.
    """
    return _add(branches, index, total, arguments)


def _add(branches: tuple[Branch | None, ...], index: jax.Array, total: Any, arguments: tuple[Any, ...]) -> Any:
    looped, switched = (functools.partial(add, branches) for add in (_add_looped, add_switched))
    return lax.platform_dependent(index, total, arguments, cpu=looped, default=switched)


def pull_back(branch: Branch | None) -> Branch | None:
    """Return the function of ``(arguments, cotangent)`` that computes the cotangents of the arguments."""
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
