"""Two-dimensional convolution whose gradients stay fast wherever they are compiled.

XLA's CPU backend only recognises convolutions in one canonical form. The gradients that autodiff writes are brought into that form in the
entry computation of a program, but not inside ``while``, ``scan`` or ``cond`` bodies, where they run tens of times slower; and the weight
gradient is slow even when recognised, because its reduction over all pixels is treated as a huge kernel. The reverse rule here therefore
spells both gradients out:

* input gradient: a stride-1 convolution of the (dilated) output cotangent with the flipped, transposed kernel;
* weight gradient: a matrix product. For a stride-1 ``k x k`` kernel, ``k`` copies of the input shifted along the width meet ``k`` copies of
  the cotangent shifted along the height, so that one ``[k C_in, pixels] x [pixels, k C_out]`` product holds every tap exactly once: the
  operands grow ``k`` times where im2col grows ``k^2`` times.

With few channels (the networks of TE-NAS have one to twelve) either would work on slivers. Neighbouring columns are then folded into
channels: ``[n, h, w, c]`` is ``[n, h, w / b, b c]`` without moving a number, and the kernel becomes a sparse one between such blocks.

On other backends the library convolutions are already good and plain autodiff is used.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
_ROWS_PER_BLOCK = 8192  # rows of the weight-gradient product taken at once: its shifted operands then fit in the second-level cache
_FOLDED = 24  # channels of a block of folded columns: enough for a matrix product to be worth its name, and few zeros in the kernel


def _folded_columns(width: int, channels: int) -> int:
    """Return how many columns to fold into channels: the largest power of two that divides the width and keeps a block small."""
    columns = 1
    while width % (2 * columns) == 0 and 2 * columns * channels <= _FOLDED:
        columns *= 2
    return columns


@functools.lru_cache
def _taps(columns: int) -> np.ndarray:
    """Return where a tap of a 3x3 kernel meets blocks of columns: ``[block, column in, column out, tap]``, ones and zeros."""
    place = np.arange(-columns, 2 * columns)[:, None, None]  # the block before, the block itself, the block behind
    met = place + 1 - np.arange(columns)[:, None] == np.arange(3)
    return met.reshape(3, columns, columns, 3).astype(np.float32)


def _point_product(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Multiply the channels by a matrix, columns folded into channels where there are few."""
    columns = _folded_columns(x.shape[2], max(matrix.shape))
    if columns == 1:
        return x @ matrix
    blocks = jnp.kron(jnp.eye(columns, dtype=matrix.dtype), matrix)
    return (x.reshape(*x.shape[:2], -1, len(blocks)) @ blocks).reshape(*x.shape[:3], matrix.shape[-1])


def _convolve_folded(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve with a 3x3 kernel at stride 1 and padding 1, columns folded into channels."""
    (n, height, width, c_in), c_out = x.shape, kernel.shape[-1]
    columns = _folded_columns(width, max(c_in, c_out))
    blocks = jnp.einsum("duvb,abio->aduivo", jnp.asarray(_taps(columns), kernel.dtype), kernel)
    blocks = blocks.reshape(3, 3, columns * c_in, columns * c_out)
    folded = x.reshape(n, height, width // columns, columns * c_in)
    return _plain(folded, blocks, 1, 1).reshape(n, height, width, c_out)


def _folded_product(x: jax.Array, cotangent: jax.Array) -> jax.Array:
    """Weight gradient of a 3x3 kernel at stride 1 and padding 1, columns folded into channels."""
    (n, height, width, c_in), c_out = x.shape, cotangent.shape[-1]
    columns = _folded_columns(width, 2 * max(c_in, c_out))
    padded = jnp.pad(x, ((0, 0), (1, 1), (columns, columns), (0, 0))).reshape(n, height + 2, width // columns + 2, columns * c_in)
    count = width // columns
    rows = [
        part
        for shift in range(3)
        for strip in (padded[:, shift : shift + height],)
        for part in (strip[:, :, :count, -c_in:], strip[:, :, 1 : count + 1], strip[:, :, 2:, :c_in])
    ]
    product = _product_over_pixels(
        jnp.concatenate(rows, axis=-1).reshape(-1, 3 * (columns + 2) * c_in), cotangent.reshape(-1, columns * c_out)
    )
    met = _taps(columns).reshape(3 * columns, columns, 3)[columns - 1 : 2 * columns + 1]
    return jnp.einsum("auivo,uvb->abio", product.reshape(3, columns + 2, c_in, columns, c_out), jnp.asarray(met, x.dtype))


def _forward(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    plain = functools.partial(_plain, stride=stride, padding=padding)
    folded = {(1, 1, 0): lambda x, kernel: _point_product(x, kernel[0, 0]), (3, 1, 1): _convolve_folded}.get(
        (kernel.shape[0], stride, padding)
    )
    if folded is None or _folded_columns(x.shape[2], max(kernel.shape[2:])) == 1:
        return plain(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=folded, default=plain)


def _plain(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    if x.shape[-1] == 1 and x.dtype == jnp.float64:
        # jaxlib 0.10.1 on CPU: a padded float64 convolution of one channel reads in front of its input. Without the barrier XLA would
        # move the padding back into the convolution.
        x = lax.optimization_barrier(jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0))))
        padding = 0
    pads = ((padding, padding), (padding, padding))
    return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=_DIMENSIONS)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolution(
    x: Float[Array, "n h w c_in"], kernel: Float[Array, "k k c_in c_out"], stride: int = 1, padding: int = 0
) -> Float[Array, "n h_out w_out c_out"]:
    """Convolve a batch of images with a square kernel, with PyTorch's symmetric zero padding.

    Args:
        x: images, channels last.
        kernel: square kernel, ``[height, width, in, out]``.
        stride: step of both axes.
        padding: zeros added on each side of both axes. XLA's ``SAME`` differs for stride 2 on even sizes: it samples a shifted grid.

    Returns:
        The images of height ``(h + 2 padding - k) // stride + 1``, likewise the width.

    Differentiable in reverse mode to any order. Forward mode (``jax.jvp``) is not defined, as for every ``jax.custom_vjp`` function.
    """
    return _forward(x, kernel, stride, padding)


def _convolution_fwd(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolution_inside(x, kernel, stride, padding), (x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolution_inside(
    x: Float[Array, "n h w c_in"], kernel: Float[Array, "k k c_in c_out"], stride: int, padding: int
) -> Float[Array, "n h_out w_out c_out"]:
    """Return what :func:`convolution` returns, for the inside of reverse rules, see :func:`jknas.xla.switch.add_chosen_inside`."""
    return _forward(x, kernel, stride, padding)


def _convolution_inside_fwd(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolution_inside(x, kernel, stride, padding), lax.optimization_barrier((x, kernel))


def _input_gradient(cotangent: jax.Array, kernel: jax.Array, shape: tuple[int, ...], stride: int, padding: int) -> jax.Array:
    size, (_, height, width, _) = kernel.shape[0], shape
    if size == 1 and stride == 1 and padding == 0:
        return _point_product(cotangent, kernel[0, 0].T)
    # Rows and columns that no output looks at (stride does not divide the size) come back as zeros from the asymmetric padding.
    low = size - 1 - padding
    inside = low if (size, padding) == (3, 1) else 0  # padding that the convolution brings itself
    pads = [
        (low - inside, extent + 2 * padding - size - (out - 1) * stride + low - inside, stride - 1)
        for extent, out in zip((height, width), cotangent.shape[1:3], strict=True)
    ]
    spread = lax.pad(cotangent, jnp.zeros((), cotangent.dtype), ((0, 0, 0), *pads, (0, 0, 0)))
    return _forward(spread, kernel[::-1, ::-1].transpose(0, 1, 3, 2), 1, inside)


def _blocks(rows: int, n: int) -> int:
    """Return into how many equal parts to cut the batch so that a part has about ``_ROWS_PER_BLOCK`` rows."""
    wanted = max(1, rows // _ROWS_PER_BLOCK)
    return next(count for count in range(min(wanted, n), 0, -1) if n % count == 0)


def _product_over_pixels(a: jax.Array, b: jax.Array) -> jax.Array:
    # As two halves: XLA's CPU backend runs the members of a batched product in parallel, one long product it hardly splits.
    halves = 2 - a.shape[0] % 2
    a, b = a.reshape(halves, -1, a.shape[-1]), b.reshape(halves, -1, b.shape[-1])
    return jnp.einsum("hpi,hpo->hio", a, b).sum(0)


def _shifted_product(x: jax.Array, cotangent: jax.Array, size: int, padding: int) -> jax.Array:
    """Weight gradient at stride 1 as ``[k C_in, k C_out]``: width shifts of the input against height shifts of the cotangent."""
    height_in, (_, height, width, _) = x.shape[1], cotangent.shape
    wide = jnp.pad(x, ((0, 0), (0, 0), (padding, padding), (0, 0)))
    tall = jnp.pad(cotangent, ((0, 0), (size - 1 - padding, padding + height_in - height), (0, 0), (0, 0)))
    a = jnp.concatenate([wide[:, :, shift : shift + width] for shift in range(size)], axis=-1)
    b = jnp.concatenate([tall[:, size - 1 - shift :][:, :height_in] for shift in range(size)], axis=-1)
    return _product_over_pixels(a, b)


def _kernel_gradient(x: jax.Array, cotangent: jax.Array, size: int, stride: int, padding: int) -> jax.Array:
    c_in, (n, height, width, c_out) = x.shape[-1], cotangent.shape
    if size == 1 and padding == 0:
        return _product_over_pixels(x[:, ::stride, ::stride], cotangent)[None, None]
    if stride != 1 or padding >= size:
        padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        reach_h, reach_w = (height - 1) * stride + 1, (width - 1) * stride + 1
        taps = [padded[:, i : i + reach_h : stride, j : j + reach_w : stride] for i in range(size) for j in range(size)]
        return _product_over_pixels(jnp.concatenate(taps, axis=-1), cotangent).reshape(size, size, c_in, c_out)
    if (size, padding) == (3, 1) and _folded_columns(width, max(c_in, c_out)) > 1:
        return _folded_product(x, cotangent)
    blocks = _blocks(n * height * width, n)
    if blocks == 1:
        total = _shifted_product(x, cotangent, size, padding)
    else:
        parts = jax.tree.map(lambda a: a.reshape(blocks, n // blocks, *a.shape[1:]), (x, cotangent))

        def add(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            return total + _shifted_product(*part, size=size, padding=padding), None

        total, _ = lax.scan(add, jnp.zeros((size * c_in, size * c_out), x.dtype), parts)
    return total.reshape(size, c_in, size, c_out).transpose(2, 0, 1, 3)


def convolution_backward(
    stride: int, padding: int, saved: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the gradients of ``(x, kernel) = saved``: the reverse rule, for those who build a larger one around it."""

    def spelled_out(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        dx = _input_gradient(cotangent, kernel, x.shape, stride, padding)
        return dx, _kernel_gradient(x, cotangent, kernel.shape[0], stride, padding)

    def autodiff(x: jax.Array, kernel: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.vjp(lambda x, kernel: _forward(x, kernel, stride, padding), x, kernel)[1](cotangent)

    return lax.platform_dependent(*saved, cotangent, cpu=spelled_out, default=autodiff)


convolution.defvjp(_convolution_fwd, convolution_backward)
convolution_inside.defvjp(_convolution_inside_fwd, convolution_backward)
