"""Depthwise convolution whose gradients stay fast wherever they are compiled.

XLA's CPU backend has no fast path for grouped convolutions. Two other forms are used there:

* *shifts*: one multiply-add per tap over a padded copy, one pass over memory; so is the input gradient. The kernel's gradient is one sum
  over all pixels per tap; the sum over the rows is separate, because one sum over all axes but the channels is neither vectorised
  nor spread over the cores;
* *bands*, where the channels are too few to fill a vector register: the shifts along the width become a banded matrix, so that value and
  gradients are matrix products, of more multiplications but few and fast ones, which also compile fast.

On other backends the library's grouped convolution and plain autodiff are used.

Time of the shifts on two cores, float32, ``[64, 32, 32, 16]``, 5x5: forward 5 ms (grouped convolution: 330 ms), forward and both
gradients 17 ms (890 ms).
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

_FEW_CHANNELS, _NARROW = 4, 64  # up to here a banded matrix is used


def window_taps(padded: jax.Array, size: int, stride: int, dilation: int, extents: tuple[int, int]) -> Iterator[jax.Array]:
    """Yield for every entry of a window, in row-major order, its pixels in all windows: arrays ``[n, *extents, c]``."""
    reach = [(extent - 1) * stride + 1 for extent in extents]
    for i in range(0, size * dilation, dilation):
        for j in range(0, size * dilation, dilation):
            stop = (padded.shape[0], i + reach[0], j + reach[1], padded.shape[3])
            yield lax.slice(padded, (0, i, j, 0), stop, (1, stride, stride, 1))


def _correlate(padded: jax.Array, kernel: jax.Array, stride: int, dilation: int, extents: tuple[int, int]) -> jax.Array:
    weights = kernel.reshape(-1, kernel.shape[-1])
    taps = window_taps(padded, len(kernel), stride, dilation, extents)
    # In a buffer of its own: what comes behind would compute the sum once a use.
    return lax.optimization_barrier(functools.reduce(jnp.add, (tap * lax.broadcast_to_rank(weights[at], 4) for at, tap in enumerate(taps))))


def pad(x: jax.Array, padding: int, fill: float = 0.0) -> jax.Array:
    """Surround images by ``padding`` pixels of value ``fill``, in a buffer of its own.

    Inside a loop over pixels the padding would test every tap for the border, and XLA would compute what comes before once a tap: windows
    behind windows then take exponential time to compile.
    """
    return lax.optimization_barrier(jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=fill))


def spread(cotangent: jax.Array, stride: int, padding: int, extents: tuple[int, int], fill: int = 0) -> jax.Array:
    """Return what windows of stride 1 over the image's ``extents`` see of an output's cotangent, in a buffer of its own.

    Args:
        cotangent: of an image made with this stride and padding.
        stride: pixels between them are filled.
        padding: half the reach of the window.
        extents: height and width of the input.
        fill: what surrounds the pixels.
    """
    pads = [
        (padding, padding + extent - 1 - (out - 1) * stride, stride - 1) for extent, out in zip(extents, cotangent.shape[1:3], strict=True)
    ]
    return lax.optimization_barrier(lax.pad(cotangent, jnp.asarray(fill, cotangent.dtype), ((0, 0, 0), *pads, (0, 0, 0))))


@functools.lru_cache
def _bands(size: int, stride: int, dilation: int, width: int) -> np.ndarray:
    """Return which tap connects which input pixel of a row with which output pixel, ``[taps, width, width_out]``."""
    taps, inputs, outputs = np.ogrid[:size, :width, : -(-width // stride)]
    return inputs == stride * outputs + dilation * taps - _padding(size, dilation)


def _banded(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    size, (_, height, width, channels) = len(kernel), x.shape
    padding, out = _padding(size, dilation), -(-height // stride)
    tall = jnp.pad(x, ((0, 0), (padding, padding), (0, 0), (0, 0)))
    starts = range(0, size * dilation, dilation)
    rows = [lax.slice_in_dim(tall, start, start + (out - 1) * stride + 1, stride, 1) for start in starts]
    matrix = jnp.einsum("ijc,juw->iuwc", kernel[:, :, 0], jnp.asarray(_bands(size, stride, dilation, width), x.dtype))
    return jnp.einsum("nhmc,mwc->nhwc", jnp.concatenate(rows, 2), matrix.reshape(size * width, -1, channels))


def _is_banded(x: jax.Array) -> bool:
    return x.shape[-1] <= _FEW_CHANNELS and x.shape[2] <= _NARROW


def _padding(size: int, dilation: int) -> int:
    return dilation * (size - 1) // 2


def _grouped(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((_padding(len(kernel), dilation),) * 2,) * 2,
        rhs_dilation=(dilation, dilation),
        feature_group_count=x.shape[-1],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k 1 c"], stride: int = 1, dilation: int = 1
) -> Float[Array, "n h_out w_out c"]:
    """Convolve every channel with its own kernel, padded symmetrically so that stride 1 keeps the size.

    Args:
        x: images, channels last.
        kernel: one square kernel of odd size a channel.
        stride: step of both axes.
        dilation: distance between neighbouring taps.

    Returns:
        The images of height ``ceil(h / stride)``, likewise the width. Differentiable in reverse mode to any order.
    """

    def shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
        if _is_banded(x):
            return _banded(x, kernel, stride, dilation)
        extents = (-(-x.shape[1] // stride), -(-x.shape[2] // stride))
        return _correlate(pad(x, _padding(len(kernel), dilation)), kernel, stride, dilation, extents)

    return lax.platform_dependent(x, kernel, cpu=shifted, default=lambda x, kernel: _grouped(x, kernel, stride, dilation))


def _depthwise_fwd(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return depthwise(x, kernel, stride, dilation), (x, kernel)


def _input_gradient(cotangent: jax.Array, kernel: jax.Array, stride: int, dilation: int, extents: tuple[int, int]) -> jax.Array:
    around = spread(cotangent, stride, _padding(len(kernel), dilation), extents)
    return _correlate(around, kernel[::-1, ::-1], 1, dilation, extents)


def _kernel_gradient(x: jax.Array, cotangent: jax.Array, size: int, stride: int, dilation: int) -> jax.Array:
    channels, extents = x.shape[-1], (cotangent.shape[1], cotangent.shape[2])
    padded = pad(x, _padding(size, dilation))
    taps = window_taps(padded, size, stride, dilation, extents)
    # The barrier keeps XLA from merging the two sums.
    rows = lax.optimization_barrier([jnp.sum(tap * cotangent, 1) for tap in taps])
    total = jnp.stack([jnp.sum(row, (0, 1)) for row in rows])
    return total.reshape(size, size, 1, channels)


def _depthwise_bwd(stride: int, dilation: int, saved: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    def shifted(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        if _is_banded(x):
            return jax.vjp(lambda x, kernel: _banded(x, kernel, stride, dilation), x, kernel)[1](cotangent)
        dx = _input_gradient(cotangent, kernel, stride, dilation, (x.shape[1], x.shape[2]))
        return dx, _kernel_gradient(x, cotangent, len(kernel), stride, dilation)

    def autodiff(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(lambda x, kernel: _grouped(x, kernel, stride, dilation), x, kernel)[1](cotangent)

    return lax.platform_dependent(*saved, cotangent, cpu=shifted, default=autodiff)


depthwise.defvjp(_depthwise_fwd, _depthwise_bwd)
