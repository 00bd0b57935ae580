r"""The derivatives of every example's logits with respect to the first element of every parameter tensor, which vkdnw reads.

The network is in evaluation mode with its initial running averages, mean zero and variance one, so that a normalisation is a division by
:math:`\sqrt{1 + 10^{-5}}` and examples do not interact. Tensors are in the network's order of layers, and within a layer weights, scale
and shift, or weights and bias of the classifier. It is PyTorch's order of registration. The first element of a convolution is that of
output channel 0, input channel 0 and the upper left corner.

One derivative per tensor and example needs no gradient of the weights: the first element of a convolution has the derivative

.. math:: \frac{\partial z_k}{\partial w_0} = \sum_{h, w} \frac{\partial z_k}{\partial y_{0hw}} x_{0, s h - p, s w - p}

with *x* what the convolution reads, *y* what it returns, stride *s* and padding *p*. So K backward passes to the activations give the
derivatives of all examples, tensors and logits, where the published code takes one forward-mode pass for each of 128 tensors.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from jknas.networks.layers.convolution import convolution
from jknas.networks.layers.normalisation import EPSILON, normalise_running
from jknas.networks.observation import LayerWeights, ObservableNetwork, RunBlock, convolved
from jknas.proxies.measurements.layers import LayerNames, for_every_layer, in_order, layer_names
from jknas.xla.soundness import require_sound_backend

_WEIGHTS, _SCALE, _SHIFT, _BIAS = range(4)


class FirstElements(NamedTuple):
    """Derivatives with respect to the first elements of the first parameter tensors.

    Attributes:
        logits: ``[n, k]``.
        jacobian: ``[n, k, p]``; zero behind the tensors that the network has.
        tensors: parameter tensors that the network has, in all.
    """

    logits: Float[Array, "n k"]
    jacobian: Float[Array, "n k p"]
    tensors: Float[Array, ""]


def first_elements(network: ObservableNetwork, params: PyTree, x: Float[Array, "n h w c"], wiring: Any, *, tensors: int) -> FirstElements:
    """Return the derivatives with respect to the first elements of the first ``tensors`` parameter tensors.

    Args:
        network: a network that is observable.
        params: its parameters.
        x: images.
        wiring: genotype or code.
        tensors: how many tensors to look at.

    Raises:
        UnsoundBackendError: the installed JAX computes wrong matrix products.

    Cost: K backward passes without weight gradients. Memory: the activations of one.
    """
    require_sound_backend()
    layers, steps = _steps(network, params, x, wiring)

    def logits(steps: PyTree) -> tuple[Array, PyTree]:
        found = network.walk(params, x, wiring, _visit, extras=steps)
        return found.logits, found.summaries

    with jax.default_matmul_precision("highest"):
        outputs, pull, present = jax.vjp(logits, steps, has_aux=True)

        def derivatives(direction: Array) -> Array:
            rows = in_order(layers, pull(jnp.broadcast_to(direction[None], outputs.shape))[0])
            return rows.reshape(-1, len(x))[chosen]

        used = in_order(layers, present).reshape(-1)
        # A stable sort brings the tensors that exist to the front, in their order.
        chosen = jnp.argsort(1 - used, stable=True)[:tensors]
        found = lax.map(derivatives, jnp.eye(outputs.shape[1], dtype=outputs.dtype))
    return FirstElements(outputs, found.transpose(2, 0, 1), used.sum())


def count_tensors(network: ObservableNetwork, params: PyTree, x: Float[Array, "n h w c"], wiring: Any) -> Float[Array, ""]:
    """Return the number of parameter tensors that the network has with a wiring."""
    layers, steps = _steps(network, params, x[:1], wiring)
    return in_order(layers, network.walk(params, x[:1], wiring, _visit, extras=steps).summaries).sum()


def _steps(network: ObservableNetwork, params: PyTree, x: Array, wiring: Any) -> tuple[LayerNames, PyTree]:
    layers = layer_names(network, params, x, wiring)
    return layers, for_every_layer(layers, lambda cells: jnp.zeros((*cells, 4, len(x)), x.dtype))


def _visit(_kind: str, run: RunBlock, x: Array, extra: PyTree) -> tuple[Array, PyTree]:
    seen = run(_stepping, x, extra)
    return seen.output, dict(seen.records)


def _stepping(_kind: str, x: Array, weights: LayerWeights, given: Array) -> tuple[Array, Array]:
    """Compute a layer as in evaluation mode, and take every example's step ``given`` ``[4, n]`` (of zero) on the first elements.

    The record says which of the four tensors the layer has.
    """
    read = convolved(x, weights._replace(kernel=None, bias=None))
    own = weights._replace(relu=False, before=None)
    y, norm, kernel = convolved(read, own), weights.norm, weights.kernel
    exists = (kernel is not None, norm is not None, norm is not None, weights.bias is not None)
    present = jnp.asarray(exists, x.dtype)
    if y.ndim == 2:
        step = given[_WEIGHTS] * lax.stop_gradient(read[:, 0]) + given[_BIAS]
        return y + jnp.pad(step[:, None], ((0, 0), (0, y.shape[1] - 1))), present
    factors = given[:, :, None, None]
    step, gain = jnp.zeros(y.shape[:3], y.dtype), jnp.ones((), y.dtype)
    if norm is not None:
        mean, inverse = norm.running_mean[0], lax.rsqrt(norm.running_variance[0] + EPSILON)
        gain = norm.scale[0] * inverse
        # Channel 0 on its own, so that backward passes need not compute the others again.
        first = y[..., 0] if kernel is None else convolution(read, kernel[..., :1], weights.stride, kernel.shape[0] // 2)[..., 0]
        step = factors[_SCALE] * lax.stop_gradient((first - mean) * inverse) + factors[_SHIFT]
        y = normalise_running(y, *norm)
    if kernel is not None:
        step = step + factors[_WEIGHTS] * lax.stop_gradient(gain * _corner(read[..., 0], kernel.shape[0] // 2, weights.stride, y.shape))
    return y + jnp.pad(step[..., None], ((0, 0), (0, 0), (0, 0), (0, y.shape[3] - 1))), present


def _corner(x: Float[Array, "n h w"], padding: int, stride: int, shape: tuple[int, ...]) -> Float[Array, "n ho wo"]:
    """Return what the upper left element of a kernel meets at every place of the output."""
    height, width = ((extent - 1) * stride + 1 for extent in shape[1:3])
    return jnp.pad(x, ((0, 0), (padding, padding), (padding, padding)))[:, :height:stride, :width:stride]
