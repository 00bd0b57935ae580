r"""The kernel that a NAS-Bench-201 network has when its layers are infinitely wide: no seed, no noise of initialisation.

As the number of channels of every layer goes to infinity the outputs at random parameters become a Gaussian process, whose covariance is
the NNGP kernel, and :math:`\langle \partial f(x_i) / \partial w, \partial f(x_j) / \partial w \rangle` converges to a fixed matrix, the
NTK. Both are computed layer by layer, here by ``neural_tangents.stax``. They depend on the cell and the images alone, and so show what of a
finite kernel's spectrum is the architecture's and what is one initialisation's.

**Sums of nodes.** ``stax.FanInSum`` adds the kernels of its branches, which is right for branches that are uncorrelated (it warns that it
does not look), and wrong for ``x + x`` (kernel 4 K, not 2 K) and for ``x + pool(x)``, both common in cells. A node's value is therefore
kept as a formal sum :math:`\sum_s Q_s s` over *sources* *s*: the cell's input and the outputs of its convolutions. :math:`Q_s = \sum_k m_k
P^k` is a polynomial of the 3x3 average pooling :math:`P`. Convolutions have independent weights with mean zero, so different sources are
uncorrelated, also with what is upstream of them, and

.. math:: K = \sum_s Q_s K_s Q_s^\top, \qquad \Theta = \sum_s Q_s \Theta_s Q_s^\top .

An operation "none" contributes no term, a skip connection its source's terms, pooling raises powers by one. Cells that compute the same
function have the same formal sums, and so the same kernel.

References: Jacot, Gabriel and Hongler, "Neural Tangent Kernel", NeurIPS 2018, arXiv:1806.07572; Novak et al., "Bayesian Deep Convolutional
Networks with Many Channels are Gaussian Processes", ICLR 2019, arXiv:1810.05148; Novak et al., "Neural Tangents", ICLR 2020,
arXiv:1912.02803; the network: Dong and Yang, "NAS-Bench-201", ICLR 2020, arXiv:2001.00326.

Deviations from :class:`jknas.networks.CellNetwork`:
    Batch normalisation has no limit of its own: a channel's mean and variance over an image, or over a batch of them, stay random at any
    width. Normalisation over height, width *and channels* of each example takes its place (``stax.LayerNorm``), the one that is nearest to
    ``statistics="example"`` and has a limit: it divides by the root mean variance of the image's pixels, and what it subtracts is zero in
    the limit. In particular the mean of a channel over the image is not removed.
    Normalisations have no trainable scale and shift, and the classifier no bias: their gradients are no part of the NTK. A convolution of
    nothing is nothing, whereas batch normalisation would add its shift.
    Weights are in NTK parametrisation: a layer's share of the NTK does not grow with its number of channels, as it does for the gradients
    of the finite network, whose layers with more channels weigh more.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jknas.errors import NetworkError
from jknas.kernels.neural_tangents.shim import import_neural_tangents
from jknas.networks.layers.normalisation import EPSILON
from jknas.networks.layers.pooling import window_means
from jknas.networks.sizes import check_sizes
from jknas.spaces.nasbench201.genotype import EDGES, KERNEL_SIZES, CellGenotype
from jknas.spaces.nasbench201.space import is_dead
from jknas.xla.soundness import require_sound_backend

Kind = Literal["ntk", "nngp"]
"""``ntk``: the neural tangent kernel, of gradients. ``nngp``: the covariance of the outputs."""

Layer = Callable[..., Any]
"""The kernel part of a ``stax`` layer: from the kernel of its input, or from two arrays of images, to the kernel of its output."""

Terms = Counter[tuple[int, int]]
"""A formal sum: (source, power of the pooling) and how often."""

_INPUT = -1  # the source of the cell's input; the source of a convolution is its edge
_LARGEST_ARRAY = 2**26  # bytes; some ten arrays of that size are alive at a time


def infinite_width_kernel(
    genotype: CellGenotype,
    x: Float[Array | np.ndarray, "n h w c"],
    x2: Float[Array | np.ndarray, "m h w c"] | None = None,
    *,
    kind: Kind = "ntk",
    cells: int = 1,
    weight_variance: float = 1 / 3,
    block_size: int | None = None,
) -> Float[np.ndarray, "n m"]:
    """Return the kernel of the infinitely wide NAS-Bench-201 network with this cell, per output.

    The network: 3x3 convolution and normalisation; three stages of ``cells`` cells, with a residual reduction before the second and the
    third; normalisation, ReLU, global average, linear classifier. All outputs have the same kernel and different outputs are uncorrelated:
    the kernel of the *sum* of K logits is K times this one, with the same condition number.

    Cost: ``n m (h w)^2`` numbers an array, since covariances of all pairs of pixels are needed for the global average, and a few passes
    over such an array per layer. 8x8 images take 32 KiB a pair of images, 32x32 ones 8 MiB. A function of the host: it computes in float64
    in blocks of images, and cannot be traced. Some twenty small programs, one a kind of layer and of sum, are compiled for each size of
    image and of block, in ten to twenty seconds of processor time; all genotypes share them.

    Args:
        genotype: the cell.
        x: images ``[n, h, w, c]``, height and width multiples of 4. Only inner products over the channels of pixels enter.
        x2: images of the columns; None for those of the rows.
        kind: ``"ntk"`` or ``"nngp"``.
        cells: cells per stage, N (5 in the published benchmark).
        weight_variance: variance of the weights times their fan-in: 1/3 for scheme ``pytorch``, 2 for ``he_normal``. A layer that is
            normalised does not feel it: it scales the kernel as a whole through the classifier, and sets the shortcuts of the reductions,
            which have no normalisation, against the rest.
        block_size: images a block; None takes as many as make arrays of 64 MiB.

    Returns:
        The matrix ``[n, m]`` (``[n, n]`` without ``x2``) in float64, positive semi-definite up to rounding; accurate to about 1e-8, because
        the angle between two equal images is the root of a rounding error. Exactly zero for a dead cell, whose output is zero whatever the
        image: :func:`jknas.kernels.spectrum.spectrum` gives it the status "dead". NaN where the images hold one.

    Raises:
        NeuralTangentsImportError: if neural-tangents is not installed; with the command that installs it.
        ValueError: for an unknown kind, sizes that are not positive, or images of the wrong shape.
        TypeError: if the genotype is not one.
        UnsoundBackendError: if the installed JAX computes wrong matrix products.
    """
    _check(genotype, kind, cells=cells, block_size=1 if block_size is None else block_size)
    if not weight_variance > 0:
        raise NetworkError(f"weight_variance must be positive, got {weight_variance}; 1/3 is that of PyTorch's initialisation, 2 is He's")
    rows = _images("x", x)
    columns = rows if x2 is None else _images("x2", x2)
    if rows.shape[1:] != columns.shape[1:]:
        raise NetworkError(f"x and x2 must be images of one size, got {rows.shape[1:]} and {columns.shape[1:]}")
    import_neural_tangents()
    require_sound_backend()
    matrix = np.zeros((len(rows), len(columns)))
    if is_dead(genotype):
        return matrix
    pixels = rows.shape[1] * rows.shape[2]
    block = block_size or max(1, int((_LARGEST_ARRAY / 8) ** 0.5) // pixels)
    kernel = _network(genotype, cells, float(weight_variance) ** 0.5)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.default_matmul_precision("highest"):
        for start, stop in _blocks(len(rows), block):
            for left, right in _blocks(len(columns), block):
                if x2 is None and left < start:
                    matrix[start:stop, left:right] = matrix[left:right, start:stop].T
                else:
                    matrix[start:stop, left:right] = getattr(kernel(rows[start:stop], columns[left:right]), kind)
    return matrix


def _check(genotype: object, kind: str, **sizes: int) -> None:
    if not isinstance(genotype, CellGenotype):
        raise TypeError(f"genotype must be a CellGenotype, got {type(genotype).__name__}; parse strings with CellGenotype.parse")
    if kind not in get_args(Kind):
        raise NetworkError(f"kind={kind!r} is not known; choose 'ntk' (the kernel of gradients) or 'nngp' (the covariance of outputs)")
    check_sizes(SimpleNamespace(**sizes), *sizes)


def _images(name: str, x: Any) -> np.ndarray:
    images = np.asarray(x, np.float64)
    if images.ndim != 4 or 0 in images.shape or images.shape[1] % 4 or images.shape[2] % 4:
        raise NetworkError(
            f"{name} must be images [n, height, width, channels] with height and width multiples of 4 (two reductions halve them), "
            f"got {images.shape}"
        )
    return images


def _blocks(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + size, count)) for start in range(0, count, size))


def _network(genotype: CellGenotype, cells: int, gain: float) -> Layer:
    """Build the network. Layers with weights are kept and compiled by themselves, so that networks of all genotypes share them."""
    stage = [_cell(genotype, {name: _operation(side, gain, 1) for name, side in KERNEL_SIZES.items()})] * cells
    residual = _serial(_operation(3, gain, 2), _operation(3, gain, 1))
    reduction = _sum(residual, _shortcut(gain))
    return _serial(_stem(gain), *stage, reduction, *stage, reduction, *stage, _head(gain))


def _stax() -> Any:
    return import_neural_tangents().stax


def _normalisation() -> Layer:
    return _stax().LayerNorm(axis=(1, 2, 3), eps=EPSILON)[2]


def _convolution(side: int, gain: float, stride: int = 1) -> Layer:
    """Convolve with zeros around the image, as many as keep its size at stride 1 (which is not what "SAME" means at stride 2).

    The zeros are added beforehand: up to jaxlib 0.10.1, a padded float64 convolution with a single channel, which is what the covariances
    go through, reads memory in front of its input on CPU and can end the process.
    """
    around = side // 2

    def pad(images: jax.Array) -> jax.Array:
        return jnp.pad(images, [(0, 0), (around, around), (around, around), (0, 0)])

    def kernel(first: Any, *second: jax.Array) -> Any:
        if second:  # two arrays of images: covariances of all pairs of pixels are asked for
            return inner(pad(first), pad(*second), get=None, diagonal_spatial=False)
        grown = [(*shape[:1], shape[1] + 2 * around, shape[2] + 2 * around, *shape[3:]) for shape in (first.shape1, first.shape2)]
        padded = _map(lambda array: jnp.pad(array, [(0, 0)] * (array.ndim - 4) + [(around, around)] * 4), first)
        # The barrier keeps the compiler from making it a padded convolution again.
        return inner(jax.lax.optimization_barrier(padded).replace(shape1=grown[0], shape2=grown[1]))

    inner = _stax().Conv(1, (side, side), (stride, stride), padding="VALID", W_std=gain)[2]
    return kernel


@functools.lru_cache
def _stem(gain: float) -> Layer:
    return _compiled(_serial(_convolution(3, gain), _normalisation()))


@functools.lru_cache
def _operation(side: int, gain: float, stride: int) -> Layer:
    return _compiled(_serial(_stax().Relu()[2], _convolution(side, gain, stride), _normalisation()))


@functools.lru_cache
def _shortcut(gain: float) -> Layer:
    return _compiled(_serial(_stax().AvgPool((2, 2), (2, 2))[2], _convolution(1, gain)))


@functools.lru_cache
def _head(gain: float) -> Layer:
    return _compiled(_serial(_normalisation(), _stax().Relu()[2], _stax().GlobalAvgPool()[2], _stax().Dense(1, W_std=gain)[2]))


_compiled = jax.jit


def _serial(first: Layer, *others: Layer) -> Layer:
    """Apply one layer after another. ``stax.serial`` does the same and traces a finite network anew at every level of nesting."""
    return lambda *inputs: functools.reduce(lambda kernel, layer: layer(kernel), others, first(*inputs))


def _sum(*branches: Layer) -> Layer:
    """Add the outputs of branches that each hold a convolution: uncorrelated, so that the kernels add up too."""
    return lambda kernel: _add([_upright(branch(kernel)) for branch in branches])


def _cell(genotype: CellGenotype, operations: Mapping[str, Layer]) -> Layer:
    """Build a cell from the two operations that have weights."""
    sums = _formal_sums(genotype)

    def cell(k: Any) -> Any:
        @functools.cache
        def source(name: int) -> Any:
            return _upright(k if name == _INPUT else operations[genotype.operations[name]](node(EDGES[name][1])))

        @functools.cache
        def node(number: int) -> Any:
            return _add([_pooled(source(name), powers) for name, powers in sums[number]])

        return node(3)

    return cell


def _formal_sums(genotype: CellGenotype) -> list[list[tuple[int, tuple[int, ...]]]]:
    """Return every node's sum: sources, and for each the multiplicities of the powers 0, 1, ... of the pooling."""
    sums: list[Terms] = [Counter({(_INPUT, 0): 1}), Counter(), Counter(), Counter()]
    for edge, (name, (node, source)) in enumerate(zip(genotype.operations, EDGES, strict=True)):
        if name == "skip_connect":
            sums[node] += sums[source]
        elif name == "avg_pool_3x3":
            sums[node] += Counter({(origin, power + 1): count for (origin, power), count in sums[source].items()})
        elif name != "none" and sums[source]:
            sums[node][edge, 0] += 1
    return [[(origin, _multiplicities(terms, origin)) for origin in sorted({origin for origin, _ in terms})] for terms in sums]


def _multiplicities(terms: Terms, origin: int) -> tuple[int, ...]:
    return tuple(terms[origin, power] for power in range(1 + max(power for source, power in terms if source == origin)))


def _upright(k: Any) -> Any:
    """Undo the reversed order of height and width that convolutions leave for speed."""
    return k.reverse() if k.is_reversed else k


def _map(function: Callable[..., jax.Array], first: Any, *others: Any) -> Any:
    """Return ``first`` with its covariances replaced by a function of everybody's. A covariance that is not tracked stays None."""
    replaced = {}
    for name in ("nngp", "ntk", "cov1", "cov2"):
        arrays = [getattr(k, name) for k in (first, *others)]
        replaced[name] = None if arrays[0] is None else function(*arrays)
    return first.replace(**replaced)


@jax.jit
def _add(kernels: list[Any]) -> Any:
    return _map(lambda *arrays: functools.reduce(jnp.add, arrays), *kernels)


@functools.partial(jax.jit, static_argnums=1)
def _pooled(k: Any, powers: tuple[int, ...]) -> Any:
    """Return Q K Q^T with Q the polynomial of the pooling that has these coefficients; arrays are [..., h, h', w, w']."""
    height, width = k.shape1[1:3]
    along = window_means(height, 1), window_means(width, 1)

    def polynomial(array: jax.Array, axes: tuple[int, int]) -> jax.Array:
        total = powers[-1] * array
        for coefficient in reversed(powers[:-1]):
            for matrix, axis in zip(along, axes, strict=True):
                total = jnp.moveaxis(jnp.tensordot(jnp.asarray(matrix, total.dtype), total, (1, axis)), 0, axis)
            total = total + coefficient * array if coefficient else total
        return total

    return _map(lambda array: polynomial(polynomial(array, (-4, -2)), (-3, -1)), k)
