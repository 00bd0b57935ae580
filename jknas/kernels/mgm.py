r"""The mean of the Gram matrix of gradients (MGM), the score of KNAS.

With :math:`g_i = \partial y_i / \partial w` the gradient of example *i*'s scalar objective, Eq. (15) of the paper averages all pairs:

.. math:: g = \frac{1}{n^2} \sum_i \sum_j g_i \cdot g_j = \Bigl\| \frac{1}{n} \sum_i g_i \Bigr\|^2
            = \Bigl\| \nabla_w \frac{1}{n} \sum_i y_i \Bigr\|^2 .

The right-hand side needs no Gram matrix and no per-example gradient: **one backward pass is exact**, even if the examples of a batch
depend on each other. Eq. (16) is the same per layer. Only the spectrum needs the full matrix.

Reference: Xu et al., "KNAS: Green Neural Architecture Search", ICML 2021, arXiv:2111.13293.

Deviations:
    The paper writes :math:`y_i` for a scalar network output and does not define it for a classifier with *k* outputs. Its released code
    differentiates the cross-entropy loss, and all published correlations rest on that. So ``objective="loss"`` is the default here;
    ``objective="logits"`` (the sum of the outputs) is the literal reading. The paper draws weights by Kaiming's normal distribution; here
    they are the caller's, and those of a proxy PyTorch's default unless ``scheme`` says otherwise. The released code computes neither Eq.
    (15) nor Eq. (16): see :mod:`jknas.proxies.mgm_released`.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jknas.errors import KernelError
from jknas.kernels.objectives import Apply, Objective, Parameters, per_example, split_parameters
from jknas.xla.soundness import require_sound_backend

Layers = Callable[[PyTree], Sequence[tuple[jax.Array, jax.Array]]]
"""Cuts a gradient tree into stacks of equally shaped layers, ``(gradients [l, ...], shares [l])``; a share of zero leaves a layer out."""


def mean_gradient(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    *,
    objective: Objective = "loss",
    parameters: Parameters = "all",
) -> PyTree:
    """Return the gradient of the mean objective in the structure of ``params``, with zeros for the leaves that are not chosen.

    Takes the arguments and raises the errors of :func:`mgm`.
    """
    require_sound_backend()
    chosen, rebuild = split_parameters(params, parameters)

    def mean_objective(chosen: list[jax.Array]) -> jax.Array:
        return per_example(apply(rebuild(chosen), x), labels, objective=objective).mean()

    with jax.default_matmul_precision("highest"):
        gradient = jax.grad(mean_objective)(chosen)
    return split_parameters(jax.tree.map(jnp.zeros_like, params), parameters)[1](gradient)


def mgm(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    *,
    objective: Objective = "loss",
    parameters: Parameters = "all",
) -> Float[Array, ""]:
    """Return Eq. (15): the mean over all pairs, diagonal included, of the inner products of per-example gradients.

    Exact for any model, also if the examples of a batch depend on each other. Cost: one forward and one backward pass; memory for one
    gradient. Traceable: call it inside ``jax.jit``.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``.
        params: any pytree of arrays; only floating-point leaves are differentiated.
        x: the inputs, passed to ``apply`` unchanged.
        labels: class indices ``[n]``, needed by ``objective="loss"``.
        objective: ``"loss"`` or ``"logits"`` (the module docstring says which one the paper means).
        parameters: ``"all"``, ``"weights"``, ``"without_head"``, or a predicate on the leaf's path.

    Returns:
        A non-negative scalar in the dtype of the gradients, at least float32; NaN or infinity if the model produces them.

    Raises:
        KernelError: an unknown name, missing labels, or shapes that do not fit.
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    >>> import jax.numpy as jnp
    >>> x, w = jnp.array([[1.0, 2.0], [3.0, -1.0]]), jnp.ones((2, 1))
    >>> float(mgm(lambda w, x: x @ w, w, x, objective="logits"))  # || mean of the rows ||^2 = 2^2 + 0.5^2
    4.25
    """
    return sum_of_squares(mean_gradient(apply, params, x, labels, objective=objective, parameters=parameters))


def sum_of_squares(gradients: PyTree) -> Float[Array, ""]:
    """Return the squared Euclidean norm of a whole tree, accumulated in at least float32."""
    return jnp.sum(jnp.stack([jnp.sum(jnp.square(wide(leaf))) for leaf in _floating(gradients)]))


def _floating(gradients: PyTree) -> list[jax.Array]:
    return [leaf for leaf in jax.tree.leaves(gradients) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def wide(values: jax.Array) -> jax.Array:
    """Widen half-precision numbers, whose sums would lose digits, to float32; return others unchanged."""
    return values if values.dtype.itemsize >= 4 else values.astype(jnp.float32)


def every_leaf(gradients: PyTree) -> list[tuple[jax.Array, jax.Array]]:
    """Take every floating-point leaf of a gradient tree as one layer, the default of :func:`mgm_layerwise`."""
    return [(leaf[None], jnp.ones((1,), leaf.dtype)) for leaf in _floating(gradients)]


def mgm_layerwise(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    *,
    key: PRNGKeyArray,
    objective: Objective = "loss",
    samples: int = 50,
    layers: Layers = every_leaf,
) -> Float[Array, ""]:
    r"""Return Eq. (16): per layer the MGM of ``samples`` randomly chosen parameters, averaged over the M layers.

    .. math:: g = \frac{1}{M} \sum_{m=1}^{M} \Bigl\| \frac{1}{n} \sum_i \hat g_i^{(m)} \Bigr\|^2

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``.
        params: any pytree of arrays; only floating-point leaves are differentiated.
        x: the inputs, passed to ``apply`` unchanged.
        labels: class indices ``[n]``, needed by ``objective="loss"``.
        key: draws the parameters, one from each of ``samples`` equal stretches of the flattened layer, so none twice. A layer with at most
            ``samples`` parameters contributes all of them.
        objective: as in :func:`mgm`.
        samples: parameters per layer (50 in the paper).
        layers: cuts the gradient into layers; by default every floating-point leaf is a layer. The leaves of the cell networks stack the
            cells of a stage: pass :func:`jknas.networks.nasbench201.torch_order.kernel_layers`.

    Returns:
        A non-negative scalar, accumulated in at least float32.

    Raises:
        KernelError: as :func:`mgm`, and ``samples < 1``.
        UnsoundBackendError: the installed JAX computes wrong matrix products.
    """
    if samples < 1:
        raise KernelError(f"samples must be at least 1, got {samples}")
    stacks = layers(mean_gradient(apply, params, x, labels, objective=objective))
    total = count = jnp.zeros((), wide(stacks[0][0]).dtype)
    for stack_key, (stack, weights) in zip(jax.random.split(key, len(stacks)), stacks, strict=True):
        flat = stack.reshape(stack.shape[0], -1)
        if flat.shape[1] > samples:
            flat = jnp.take_along_axis(flat, _one_per_stretch(stack_key, flat.shape, samples), axis=1)
        total = total + jnp.sum(weights.astype(total.dtype) * jnp.sum(jnp.square(wide(flat)), axis=1))
        count = count + jnp.sum(weights.astype(total.dtype))
    return total / count


def _one_per_stretch(key: jax.Array, shape: tuple[int, ...], samples: int) -> jax.Array:
    rows, size = shape
    edges = np.arange(samples + 1) * size // samples  # on the host, in 64 bits: the products of a large layer overflow 32
    return jax.random.randint(key, (rows, samples), edges[None, :-1], edges[None, 1:])
