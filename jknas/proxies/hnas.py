r"""hnas: the root of the mean squared norm of the examples' gradients, which is the trace of a tangent kernel.

With :math:`g_n` the gradient of the output of example *n*'s own class with respect to the weights of the layers, and :math:`K` the tangent
kernel of these gradients,

.. math:: s = \sqrt{\tfrac{1}{N} \sum_n \|g_n\|_2^2} = \sqrt{\operatorname{tr} K / N}

``objective``
    whose gradient: ``target`` (default), the output of the image's own class, as in the released code; ``logits``, the sum of its outputs;
    or ``loss``, its cross-entropy.

The other settings are those of :mod:`jknas.proxies.measurements.example_gradients`.

Reference: Shu, Dai, Wu and Low, "Unifying and Boosting Gradient-Based Training-Free Neural Architecture Search", NeurIPS 2022,
arXiv:2201.09785 (``M_Trace``).

Deviations:
    The released code runs one training-mode batch and attributes its gradient to the images by where the signal enters each layer, which is
    not the gradient of an image's output; this score is, with either kind of statistics. The released code counts the classifier's bias,
    whose squared gradient is one for every architecture; here only the weights of layers count. HNAS combines the score with others in its
    search; this is the score alone.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree, Real

from jknas.errors import KernelError, choose
from jknas.kernels.mgm import Layers
from jknas.kernels.objectives import Apply, per_example
from jknas.kernels.per_layer import every_kernel, stacks, sum_over_layers
from jknas.proxies.measurements.example_gradients import Examples, on_examples, row, sum_over_examples

Target = Literal["target", "logits", "loss"]
"""``target``: the output of the example's own class. ``logits``: the sum of its outputs. ``loss``: its cross-entropy."""


def mean_squared_gradient(
    apply: Apply,
    params: PyTree,
    x: Real[Array, "n ..."],
    labels: Int[Array, " n"],
    *,
    objective: Target = "target",
    layers: Layers = every_kernel,
    examples: Examples = "alone",
    chunk_size: int = 8,
) -> Float[Array, ""]:
    """Return the mean over the examples of the squared norm of their gradients, the trace of the tangent kernel over N. Traceable.

    The kernel itself is not formed. Cost and memory are those of :func:`jknas.proxies.gradsign.gradsign`.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``.
        params: any pytree of arrays.
        x: the inputs, one array.
        labels: class indices.
        objective: see :data:`Target`.
        layers: cuts gradients into layers; by default every array of two or more axes is one.
        examples: ``"alone"`` or ``"together"``.
        chunk_size: examples at once.

    Raises:
        KernelError: for an unknown name, shapes that do not fit, a model without layers, or ``chunk_size < 1``.
        UnsoundBackendError: the installed JAX computes wrong matrix products.
    """
    choose("objective", objective, get_args(Target), error=KernelError)

    def scalars(outputs: jax.Array, labels: jax.Array) -> jax.Array:
        if objective == "target":
            return jnp.take_along_axis(outputs, labels[:, None], axis=-1)[:, 0]
        return per_example(outputs, labels, objective=objective)

    squares = sum_over_examples(
        apply,
        params,
        x,
        labels,
        objective=scalars,
        summand=lambda gradients: [jnp.sum(jnp.square(gradient), 1) for gradient in gradients],
        layers=layers,
        examples=examples,
        chunk_size=chunk_size,
    )
    return sum_over_layers(squares, stacks(layers, params)) / len(labels)


PROXY = row(
    name="hnas",
    measure=on_examples(lambda *arguments, **settings: jnp.sqrt(mean_squared_gradient(*arguments, **settings))),
    summary="root of the mean squared norm of the examples' gradients: of the trace of the tangent kernel over N",
    reference="Shu et al., Unifying and Boosting Gradient-Based Training-Free NAS (HNAS), NeurIPS 2022, arXiv:2201.09785, M_Trace",
    settings={"statistics": "example", "objective": "target", "chunk_size": 8},
)
