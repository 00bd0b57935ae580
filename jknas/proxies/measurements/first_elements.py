r"""The derivatives of every example's logits with respect to the first element of every parameter tensor, which vkdnw reads.

The network is in evaluation mode with its initial running averages, mean zero and variance one, so that a normalisation is a division by
:math:`\sqrt{1 + 10^{-5}}` and examples do not interact. Tensors are in the network's order of layers, and within a layer weights, scale
and shift, or weights and bias of the classifier. It is PyTorch's order of registration; the edges into a node of a DARTS cell are in the
order of their sources. The first element of a convolution is that of output channel 0, input channel 0 and the upper left corner.

One derivative per tensor and example needs no gradient of all weights. With *x* what a convolution reads and :math:`c_0` the cotangent of
channel 0 of the normalised output, the derivatives by the filter :math:`w_0` of that channel are correlations

.. math:: g_{abi} = \sum_{h, w} c_{0hw} \, x_{s h + a - p, \, s w + b - p, \, i}

with stride *s* and padding *p*: its first element is the convolution's derivative, up to the normalisation's gain, and
:math:`\langle g, w_0 \rangle` is the scale's. Depthwise convolutions, and others that a network computes in its own way, are
differentiated by that filter alone. So K backward passes to the activations give the derivatives of all examples, tensors and logits, where
the published code takes one forward-mode pass for each of 128 tensors.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from jknas.networks.layers.conv_norm import NormWeights
from jknas.networks.layers.normalisation import EPSILON, normalise_running
from jknas.networks.observation import LayerWeights, ObservableNetwork, RunBlock, convolved
from jknas.proxies.measurements.layers import LayerNames, for_every_layer, in_order, layer_names
from jknas.xla.soundness import require_sound_backend

_WEIGHTS, _SCALE, _SHIFT, _BIAS = range(4)

_Slopes = Callable[[Array, Array, Array], Array]
"""``slopes(x, cotangent, kernel)``, as :func:`_special_slopes`."""


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
    y, norm = convolved(read, weights._replace(relu=False, before=None)), weights.norm
    exists = (weights.kernel is not None, norm is not None, norm is not None, weights.bias is not None)
    present = jnp.asarray(exists, x.dtype)
    if y.ndim == 2:
        step = given[_WEIGHTS] * read[:, 0] + given[_BIAS]
        return y + jnp.pad(step[:, None], ((0, 0), (0, y.shape[1] - 1))), present
    if norm is not None:
        y = normalise_running(y, *norm)
    slopes = functools.partial(_filter_slopes, stride=weights.stride)
    if weights.convolve is not None:
        slopes = functools.partial(_special_slopes, convolve=weights.convolve)
    return _stepped(slopes, y, given, (read, weights.kernel, norm)), present


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _stepped(filter_slopes: _Slopes, y: Array, given: Array, layer: tuple[Array, Array | None, NormWeights | None]) -> Array:
    """Return a layer's output as it is; in reverse mode the steps ``given`` get their derivatives.

    Without a rule of their own, backward passes would compute the layer's output again.
    """
    del filter_slopes, given, layer
    return y


def _stepped_fwd(filter_slopes: _Slopes, y: Array, given: Array, layer: Any) -> tuple[Array, Any]:
    del filter_slopes, given
    return y, layer


def _stepped_bwd(filter_slopes: _Slopes, layer: Any, cotangent: Array) -> tuple[Array, Array, None]:
    read, kernel, norm = layer
    first = cotangent[..., 0]
    total = first.sum((1, 2))
    weights = scale = shift = bias = jnp.zeros_like(total)
    if kernel is None:
        met = (first * read[..., 0]).sum((1, 2))
    else:
        slopes = filter_slopes(read, first, kernel)
        weights, met = slopes[:, 0, 0], jnp.einsum("ntc,tc->n", slopes, kernel[..., 0].reshape(slopes.shape[1:]), precision="highest")
    if norm is not None:
        inverse = lax.rsqrt(norm.running_variance[0] + EPSILON)
        weights, scale, shift = weights * norm.scale[0] * inverse, (met - norm.running_mean[0] * total) * inverse, total
    return cotangent, jnp.stack([weights, scale, shift, bias]), None


_stepped.defvjp(_stepped_fwd, _stepped_bwd)


def _filter_slopes(
    x: Float[Array, "n h w c"], cotangent: Float[Array, "n ho wo"], kernel: Float[Array, "k k c co"], *, stride: int
) -> Float[Array, "n t c"]:
    """Return every example's derivatives by the filter of channel 0, its places in rows: ``[n, k^2, c]``."""
    size, (n, height, width, channels) = len(kernel), x.shape
    low = size - 1 - size // 2
    pads = [
        (low, extent + size - 1 - low - ((out - 1) * stride + 1), stride - 1)
        for extent, out in zip((height, width), cotangent.shape[1:], strict=True)
    ]
    spread = lax.pad(cotangent, jnp.zeros((), cotangent.dtype), ((0, 0, 0), *pads))
    places = [(size - 1 - row, size - 1 - column) for row in range(size) for column in range(size)]
    shifted = jnp.stack([spread[:, row : row + height, column : column + width] for row, column in places], 1)
    pixels = height * width
    return jnp.einsum("ntp,npc->ntc", shifted.reshape(n, -1, pixels), x.reshape(n, pixels, channels), precision="highest")


def _special_slopes(
    x: Float[Array, "n h w c"],
    cotangent: Float[Array, "n ho wo"],
    kernel: Float[Array, "k k ci co"],
    *,
    convolve: Callable[[Array, Array], Array],
) -> Float[Array, "n t ci"]:
    """Return the same for a convolution that ``convolve`` computes; ``ci`` is 1 where it is depthwise, and reads channel 0 alone."""
    own = kernel[..., :1]

    def one(x: Array, cotangent: Array) -> Array:
        return jax.vjp(lambda kernel: convolve(x[None], kernel), own)[1](cotangent[None, ..., None])[0]

    slopes = jax.vmap(one)(x[..., : kernel.shape[2]], cotangent)
    return slopes.reshape(len(x), -1, kernel.shape[2])
