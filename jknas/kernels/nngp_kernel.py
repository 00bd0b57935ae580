r"""The empirical kernel of features: the Gram matrix of a network's outputs, or of one of its layers.

.. math:: K_{ij} = \frac{1}{d} \langle \phi(x_i), \phi(x_j) \rangle

with :math:`\phi(x)` the d numbers that the layer gives for one example, all positions and channels. In expectation over random weights, and
for any one draw as widths grow, this is the covariance of the Gaussian process that the infinitely wide network is (its NNGP), where the
weights of the next layer have variance one divided by their fan-in.

References: Lee et al., "Deep Neural Networks as Gaussian Processes", ICLR 2018, arXiv:1711.00165; Novak et al., "Neural Tangents", ICLR
2020, arXiv:1912.02803 (``empirical_nngp_fn``).
"""

import functools
from dataclasses import dataclass
from typing import Any, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jknas.errors import KernelError, choose
from jknas.kernels.chunks import check_chunk_size, count_examples, in_chunks
from jknas.kernels.examples import Interaction, alone, as_examples, require_independence
from jknas.kernels.objectives import Apply
from jknas.kernels.tape.sketching import widest
from jknas.xla.programs import PROGRAMS
from jknas.xla.soundness import require_sound_backend


@dataclass(frozen=True)
class _Flat:
    """A function that gives its features, of any shape, as ``[n, d]``."""

    apply: Apply

    def __call__(self, params: PyTree, x: PyTree) -> jax.Array:
        features = self.apply(params, x)
        n = count_examples(x)
        if not isinstance(features, jax.Array) or features.shape[:1] != (n,) or not jnp.issubdtype(features.dtype, jnp.floating):
            got = f"{features.dtype}{list(features.shape)}" if isinstance(features, jax.Array) else type(features).__name__
            raise KernelError(f"features must be floating-point numbers [n, ...], one row per example; for {n} examples they are {got}")
        return features.reshape(n, -1)


@dataclass(frozen=True)
class LayerFeatures:
    """What a layer of a Flax (Linen) module returns, as a function ``(variables, x) -> [n, ...]``.

    Attributes:
        module: the whole network.
        layer: the layer's path, ``"Block_0/Conv_1"``; the names are those of the parameters' tree.
    """

    module: Any
    layer: str

    def __call__(self, params: PyTree, x: PyTree) -> jax.Array:
        """Return the layer's output.

        Raises:
            KernelError: no layer of that path was called, or one was called more than once.
        """
        met: list[str] = []

        def chosen(module: Any, method: str) -> bool:
            if method == "__call__":
                met.append("/".join(module.path))
            return method == "__call__" and met[-1] == self.layer

        _, state = self.module.apply(params, x, capture_intermediates=chosen, mutable=["intermediates"])
        found = jax.tree.leaves(state)
        if len(found) != 1:
            known = ", ".join(dict.fromkeys(filter(None, met)))
            raise KernelError(
                f"layer {self.layer!r} gave {len(found)} arrays, expected one; the layers that were called are {known}. For a layer that "
                "is called several times, pass a function that returns its features as apply"
            )
        return found[0]


def nngp(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    x2: PyTree | None = None,
    *,
    layer: str | None = None,
    chunk_size: int | None = None,
    interaction: Interaction = "refuse",
) -> Float[Array, "n m"]:
    r"""Compute the kernel of features of ``x`` with itself, or with ``x2``.

    Cost: a forward pass of every example, alone, and one matrix product, :math:`O(n m d)`; memory for the features of all examples and the
    activations of one chunk.

    Args:
        apply: any function ``apply(params, x) -> [n, ...]`` of a batch. Its result is the features: to take those of a hidden layer of any
            framework, pass a function that returns them.
        params: its first argument.
        x: inputs, a pytree of arrays ``[n, ...]``.
        x2: other inputs ``[m, ...]``.
        layer: for ``apply=module.apply`` of a Flax (Linen) module, the path of a layer such as ``"Block_0/Conv_1"``, whose output is taken.
        chunk_size: examples processed at once; None takes all.
        interaction: see :func:`jknas.gram`.

    Returns:
        The kernel ``[n, m]``, divided by the number of features d, in the features' dtype, at least float32, accumulated at the highest
        matrix product precision.

    Raises:
        KernelError: features that are no floating-point numbers ``[n, ...]``, a layer of what is no Flax module or that is not there,
            shapes that do not fit, or examples that interact.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    >>> import jax.numpy as jnp
    >>> nngp(lambda w, x: x * w, jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 1.0], [2.0, 0.0]])).tolist()
    [[2.5, 1.0], [1.0, 2.0]]
    """
    require_sound_backend()
    check_chunk_size(chunk_size)
    choose("interaction", interaction, get_args(Interaction), error=KernelError)
    if layer is not None:
        apply = LayerFeatures(_module_of(apply), layer)
    function = _Flat(apply)
    parts = [as_examples(name, given, None, "logits").x for name, given in (("x", x), ("x2", x2)) if given is not None]
    if interaction == "refuse":
        require_independence(function, params, parts[0])
    program = functools.partial(PROGRAMS.jitted(_alone_each, function), params)
    found = [in_chunks(program, part, chunk_size) for part in parts]
    return PROGRAMS.jitted(_product)(found[0], found[-1])


def _module_of(apply: Apply) -> Any:
    import flax.linen as nn  # noqa: PLC0415 - only needed for Flax modules

    module = getattr(apply, "__self__", None)
    if not isinstance(module, nn.Module):
        raise KernelError(
            f"layer=... needs apply=module.apply of a flax.linen.Module, got {apply!r}: for another model, pass a function that returns "
            "the layer's features as apply, and no layer"
        )
    return module


def _alone_each(function: _Flat, params: PyTree, x: PyTree) -> Float[Array, "n d"]:
    with jax.default_matmul_precision("highest"):
        features = jax.vmap(lambda example: alone(function, params, example)[0])(x)
    return features.astype(widest([features.dtype]))


def _product(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
    return jnp.matmul(a, b.T, precision="highest") / a.shape[1]
