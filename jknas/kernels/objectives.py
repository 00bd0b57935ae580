"""The scalar per example whose gradients a kernel multiplies, and the choice of parameters to differentiate."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import KernelError

Objective = Literal["loss", "logits"]
"""``loss``: cross-entropy of the example's own label. ``logits``: the sum of its outputs."""

Parameters = Literal["all", "weights", "without_head"] | Callable[[str], bool]
"""Which leaves to differentiate: ``all``; ``weights`` (every leaf that is not called a bias: convolutions, dense layers, embeddings,
normalisation scales); ``without_head`` (every leaf whose path does not begin with ``head`` or ``classifier``); or a predicate on the leaf's
path as ``jax.tree_util.keystr`` prints it, for example ``lambda path: "head" not in path``."""

Apply = Callable[[Any, Any], jax.Array]
"""Any model: ``apply(params, x) -> outputs [n, k]`` (or ``[n]`` for a single output)."""


def per_example(
    outputs: Float[Array, "n ..."], labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None, *, objective: Objective = "loss"
) -> Float[Array, " n"]:
    """Return the objective of every example.

    Args:
        outputs: the model's result, ``[n, k]``; ``[n]`` counts as one output per example.
        labels: class indices ``[n]``, needed by ``"loss"``.
        objective: see :data:`Objective`.

    Returns:
        One number per example: its cross-entropy in nats, or the sum of its outputs.

    Raises:
        KernelError: an unknown objective, missing labels, or outputs and labels that do not fit.
    """
    if objective not in get_args(Objective):
        raise KernelError(f"objective={objective!r} is not known; choose 'loss' or 'logits'")
    if outputs.ndim not in {1, 2}:
        raise KernelError(f"the model must return [n] or [n, k], one row per example; it returned {outputs.shape}")
    if objective == "logits":
        return outputs if outputs.ndim == 1 else outputs.sum(-1)
    if labels is None:
        raise KernelError('objective="loss" needs labels [n]; pass them, or use objective="logits"')
    labels = jnp.asarray(labels)
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise KernelError(
            f'objective="loss" needs outputs [n, k] and integer labels [n]; '
            f"got outputs {outputs.shape} and labels {labels.dtype}{labels.shape}"
        )
    return -jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=-1)[:, 0]


def split_parameters(params: PyTree, parameters: Parameters) -> tuple[list[Any], Callable[[list[Any]], PyTree]]:
    """Return the chosen leaves, arrays or numbers, and a function that puts replacements for them back into the full tree.

    Raises:
        KernelError: an unknown choice, a complex parameter among the chosen ones, or nothing to differentiate.
    """
    if not callable(parameters) and parameters not in ("all", "weights", "without_head"):
        raise KernelError(
            f"parameters={parameters!r} is not known; choose 'all', 'weights', 'without_head' or a predicate on the leaf's path"
        )
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    chosen = [_is_chosen(path, leaf, parameters) for path, leaf in leaves]
    if not any(chosen):
        names = ", ".join(jax.tree_util.keystr(path) for path, _ in leaves[:4]) or "none"
        raise KernelError(f"parameters={parameters!r} chooses none of the {len(leaves)} leaves ({names}, ...); nothing to differentiate")

    def rebuild(replacements: list[Any]) -> PyTree:
        remaining = iter(replacements)
        full = [next(remaining) if taken else leaf for taken, (_, leaf) in zip(chosen, leaves, strict=True)]
        return jax.tree.unflatten(structure, full)

    return [leaf for taken, (_, leaf) in zip(chosen, leaves, strict=True) if taken], rebuild


def chosen_names(params: PyTree, parameters: Parameters) -> list[str]:
    """Return the paths of the leaves that :func:`split_parameters` chooses, in its order, as ``jax.tree_util.keystr`` prints them."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return [jax.tree_util.keystr(path) for path, leaf in leaves if _is_chosen(path, leaf, parameters)]


def _is_chosen(path: tuple[Any, ...], leaf: Any, parameters: Parameters) -> bool:
    dtype = jnp.result_type(leaf)
    if not jnp.issubdtype(dtype, jnp.inexact) or jnp.size(leaf) == 0:
        return False
    if callable(parameters):
        chosen = bool(parameters(jax.tree_util.keystr(path)))
    elif parameters == "without_head":
        chosen = not jax.tree_util.keystr(path[:1], simple=True).startswith(("head", "classifier"))
    else:
        named = [key for key in path if getattr(key, "name", None) != "value"]  # Flax's NNX keeps an array under its variable's "value"
        chosen = parameters == "all" or not named or "bias" not in jax.tree_util.keystr(tuple(named[-1:]))
    if chosen and jnp.issubdtype(dtype, jnp.complexfloating):
        raise KernelError(
            f"the parameter {jax.tree_util.keystr(path)} is {dtype}, and kernels of complex parameters are not defined; "
            "store its real and imaginary parts as two real parameters, or leave it out by a predicate, parameters=lambda path: ..."
        )
    return chosen
