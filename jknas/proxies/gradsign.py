r"""gradsign: how often the loss gradients of the examples agree in sign, weight by weight.

With :math:`g_n` the gradient of example *n*'s loss with respect to the weights of the layers,

.. math:: s = \sum_i \Bigl| \sum_n \operatorname{sign}(g_{n,i}) \Bigr|

Reference: Zhang and Jia, "GradSign: Model Performance Inference with Theoretical Insights", ICLR 2022, arXiv:2110.08616, Algorithm 1.
The settings are those of :mod:`jknas.proxies.measurements.example_gradients`.

Deviations:
    None from the paper. A port of GradSign's code takes the mean over the weights in place of the sum, which removes the number of
    parameters and ranks differently.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree, Real

from jknas.kernels.mgm import Layers
from jknas.kernels.objectives import Apply, per_example
from jknas.kernels.per_layer import every_kernel, stacks, sum_over_layers
from jknas.proxies.measurements.example_gradients import Examples, on_examples, row, sum_over_examples


def gradsign(
    apply: Apply,
    params: PyTree,
    x: Real[Array, "n ..."],
    labels: Int[Array, " n"],
    *,
    layers: Layers = every_kernel,
    examples: Examples = "alone",
    chunk_size: int = 8,
) -> Float[Array, ""]:
    """Return the score of any model. Traceable.

    Cost: N backward passes at batch size one (``"together"``: of the whole batch). Memory: ``chunk_size`` gradients.

    Args:
        apply: the model, ``apply(params, x) -> [n, k]``.
        params: any pytree of arrays.
        x: the inputs, one array.
        labels: class indices.
        layers: cuts gradients into layers; by default every array of two or more axes is one.
        examples: ``"alone"`` (the paper and its code) or ``"together"``.
        chunk_size: examples at once.

    Returns:
        A whole number from 0 to N times the number of weights, in the dtype of the parameters, at least float32; NaN where a gradient is.

    Raises:
        KernelError: for an unknown name, shapes that do not fit, a model without layers, or ``chunk_size < 1``.
        UnsoundBackendError: the installed JAX computes wrong matrix products.
    """
    agreement = sum_over_examples(
        apply,
        params,
        x,
        labels,
        objective=per_example,
        summand=lambda gradients: [jnp.sign(gradient) for gradient in gradients],
        layers=layers,
        examples=examples,
        chunk_size=chunk_size,
    )
    return sum_over_layers([jnp.sum(jnp.abs(total), 1) for total in agreement], stacks(layers, params))


PROXY = row(
    name="gradsign",
    measure=on_examples(gradsign),
    summary="sum over the weights of |sum over the examples of the sign of their loss gradients|",
    reference="Zhang and Jia, GradSign, ICLR 2022, arXiv:2110.08616, Algorithm 1",
    settings={"statistics": "example", "chunk_size": 8},
)
