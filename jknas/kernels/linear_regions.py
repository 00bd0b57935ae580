"""The number of linear regions that a ReLU network cuts its inputs into, counted by activation patterns.

A ReLU network is linear wherever the signs of its pre-activations do not change. Two inputs belong to one region exactly when *every*
observed unit is positive for both or for neither; a unit at zero is off. TE-NAS measures the expressivity of an architecture by the number
of distinct patterns among a sample of inputs. The sample size bounds this number: see :attr:`LinearRegions.status`.

:func:`linear_regions` counts on the host, in chunks of any number of inputs. :func:`count_patterns` counts inside a compiled program, from
arrays of fixed shape. Both compare whole patterns, not hashes.

References:
    Chen, Gong and Wang, "Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired Perspective", ICLR 2021,
    arXiv:2102.11535, section 3.1.2.
    Xiong et al., "On the Number of Linear Regions of Convolutional Neural Networks", ICML 2020, arXiv:2006.00978.

Deviations:
    The TE-NAS paper samples 5,000 images; its released code, which :func:`tenas_crops` follows, 3,000 one-channel patches of 3x3 pixels in
    three batches of 1,000, so that no count exceeds 3,000.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float32, Int, Num, PyTree, Shaped, UInt32

from jknas.errors import KernelError
from jknas.kernels.chunks import check_chunk_size

RegionStatus = Literal["ok", "saturated", "dead", "non_finite"]
"""How far to trust a count: see :attr:`LinearRegions.status`."""

Activations = Callable[[Any], PyTree]
"""``x [n, ...] -> pytree of arrays [n, ...]``: the input *or* the output of every ReLU; units are on where positive, or True."""


@dataclass(frozen=True)
class LinearRegions:
    """A count of activation patterns.

    Attributes:
        count: distinct patterns.
        samples: number of inputs, N.
        neurons: units per input, the length of a pattern.
        non_finite: inputs with a unit that was NaN or infinite.
    """

    count: int
    samples: int
    neurons: int
    non_finite: int

    @property
    def status(self) -> RegionStatus:
        """How far to trust the count.

        ``non_finite``: some unit is NaN or infinite; NaN counts as off, and the count means nothing.
        ``dead``: there is no unit, or several inputs all have the same pattern: no ReLU switches on this sample.
        ``saturated``: every input has its own pattern. The count equals the sample size and only bounds the number of regions from below.
        It cannot tell networks apart; take more inputs.
        ``ok``: anything between.
        """
        if self.non_finite:
            return "non_finite"
        if self.neurons == 0 or self.count < min(2, self.samples):
            return "dead"
        return "saturated" if self.count == self.samples else "ok"


def linear_regions(
    apply_with_activations: Activations, x: Shaped[Array, "n ..."] | Shaped[np.ndarray, "n ..."], *, chunk_size: int = 1000
) -> LinearRegions:
    """Count the distinct activation patterns of a network among the inputs ``x``.

    Args:
        apply_with_activations: ``x -> pytree of arrays [n, ...]`` with one row per input: the input or the output of every ReLU that
            counts. Every array returned counts, so leave the logits out. Pass a jitted function: it is called once per chunk, and traced
            again for a last chunk of another length.
        x: the inputs ``[n, ...]``, NumPy or JAX.
        chunk_size: inputs per call. For networks whose examples interact (training-mode batch normalisation) this is the batch that they
            are normalised over and part of the definition (1,000 in TE-NAS); otherwise it only bounds memory.

    Returns:
        The exact count, with sample size, pattern length and status.

        Memory: the activations of one chunk, one byte per unit and input of the chunk, and ``neurons / 8`` bytes (and about a hundred
        more) per *distinct* pattern. Time: linear in N.

    Raises:
        KernelError: no inputs, a chunk size below one, an array without one row per input, or another number of units in a later chunk.

    >>> import numpy as np
    >>> linear_regions(lambda x: [x - 1.0, x - 2.0], np.array([[0.0], [0.5], [1.5], [3.0]]))
    LinearRegions(count=3, samples=4, neurons=2, non_finite=0)
    """
    check_chunk_size(chunk_size)
    if x.ndim == 0 or len(x) == 0:
        raise KernelError(f"there are no inputs to count regions over: x has shape {x.shape}; expected [n, ...] with n >= 1")
    patterns: set[bytes] = set()
    neurons, non_finite = None, 0
    for start in range(0, len(x), chunk_size):
        chunk = x[start : start + chunk_size]
        signs, broken = _signs(apply_with_activations(chunk), len(chunk))
        if neurons not in {None, signs.shape[1]}:
            raise KernelError(
                f"patterns have {neurons} units in the first chunk and {signs.shape[1]} in a later one; observe the same ReLUs in each"
            )
        neurons, non_finite = signs.shape[1], non_finite + int(broken.sum())
        packed = np.packbits(signs, axis=1)
        patterns.update(row.tobytes() for row in packed)
    return LinearRegions(len(patterns), len(x), int(neurons or 0), non_finite)


def _signs(activations: PyTree, n: int) -> tuple[Bool[np.ndarray, "n units"], Bool[np.ndarray, " n"]]:
    """Return which units are on, and which inputs have a unit that is not finite."""
    signs, broken = [np.zeros((n, 0), bool)], np.zeros(n, bool)
    for leaf in _rows(activations, n):
        library = jnp if isinstance(leaf, jax.Array) else np
        signs.append(np.asarray(_on(leaf)))
        broken |= ~np.asarray(library.isfinite(leaf).all(1))
    return np.concatenate(signs, axis=1), broken


def _on(leaf: Any) -> Any:
    return leaf if leaf.dtype == bool else leaf > 0


def _rows(activations: PyTree, n: int | None) -> list[Any]:
    """Return the leaves as ``[n, units]``; without ``n``, the first leaf determines the number of rows."""
    leaves = jax.tree.leaves(activations)
    n = leaves[0].shape[0] if n is None and leaves and leaves[0].ndim else n
    for leaf in leaves:
        if leaf.ndim == 0 or leaf.shape[0] != n:
            raise KernelError(
                f"activations must have one row per input, [{'n' if n is None else n}, ...], but one has shape {leaf.shape}; "
                "return the inputs or outputs of the ReLUs with the batch axis first, and nothing else"
            )
    return [leaf.reshape(leaf.shape[0], math.prod(leaf.shape[1:])) for leaf in leaves]


class PatternCount(NamedTuple):
    """The result of :func:`count_patterns`, int32 scalars.

    Attributes:
        patterns: distinct patterns.
        non_finite: inputs with a NaN or infinite unit; any such input voids the count.
    """

    patterns: Int[Array, ""]
    non_finite: Int[Array, ""]


def count_patterns(activations: PyTree) -> PatternCount:
    """Count distinct activation patterns inside a compiled program.

    Args:
        activations: pytree of arrays ``[n, ...]``, as for :func:`linear_regions`. Units that do not count (a branch that a traced wiring
            does not take) must hold one constant for all inputs, for example zero.

    Returns:
        The counts. Works under ``jax.jit`` and ``jax.vmap``; each new shape compiles again.

    Raises:
        KernelError: there is no array, or the arrays disagree about n.
    """
    leaves = _rows(activations, None)
    if not leaves:
        raise KernelError("there are no activations to count patterns of; return at least one array [n, ...]")
    broken = ~jnp.stack([jnp.isfinite(leaf).all(1) for leaf in leaves]).all(0)
    words = pack_words(jnp.concatenate([_on(leaf) for leaf in leaves], axis=1))
    return PatternCount(count_distinct(words), jnp.sum(broken, dtype=jnp.int32))


def count_patterns_in_batches(activations: Activations, x: Num[Array, "n ..."], batches: int) -> PatternCount:
    """Count as :func:`count_patterns` does, but run (and normalise) ``batches`` equal parts of the inputs separately.

    Args:
        activations: as for :func:`linear_regions`.
        x: the inputs ``[n, ...]``.
        batches: a divisor of n.
    """
    n = len(x)
    found = jax.vmap(activations)(x.reshape(batches, n // batches, *x.shape[1:]))
    return count_patterns(jax.tree.map(lambda a: a.reshape(n, *a.shape[2:]), found))


def pack_words(bits: Bool[Array, "n b"]) -> UInt32[Array, "n w"]:
    """Pack rows of bits into 32-bit words: bit *i* of a row becomes bit ``i % 32`` of word ``i // 32``. Zeros fill the last word."""
    n, length = bits.shape
    padded = jnp.pad(bits, ((0, 0), (0, -length % 32))).reshape(n, -(-length // 32), 32)
    return jnp.sum(padded.astype(jnp.uint32) << jnp.arange(32, dtype=jnp.uint32)[None, None], axis=2, dtype=jnp.uint32)


def count_distinct(words: UInt32[Array, "n w"]) -> Int[Array, ""]:
    """Count the distinct rows exactly, in O(w n log n) time and O(n w) memory; works under ``jax.jit``.

    Rows are ranked by their first word, then by that rank and their second word, and so on. One small sort runs in a loop over the words,
    so the compiled program does not grow with the width.
    """
    n = words.shape[0]
    if n == 0:
        return jnp.zeros((), jnp.int32)

    def refine(rank: jax.Array, word: jax.Array) -> tuple[jax.Array, None]:
        rank, word, place = lax.sort((rank, word, jnp.arange(n, dtype=jnp.int32)), num_keys=2)
        differs = (rank[1:] != rank[:-1]) | (word[1:] != word[:-1])
        refined = jnp.pad(jnp.cumsum(differs, dtype=jnp.int32), (1, 0))
        return jnp.zeros_like(rank).at[place].set(refined), None

    rank, _ = lax.scan(refine, jnp.zeros(n, jnp.int32), words.T)
    return rank.max() + 1


def tenas_crops(
    images: Any,
    rng: np.random.Generator,
    n: int,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    size: int = 3,
) -> Float32[np.ndarray, "n size size 1"]:
    """Draw TE-NAS's inputs: one random patch per image, of one random channel, normalised and without padding.

    Args:
        images: pixels 0 to 255, uint8 ``[m, h, w, c]``: an array, or what gives one for an index array. Load ImageNet's at 32x32.
        rng: the source of randomness; it advances.
        n: how many patches (3,000 in TE-NAS, evaluated in batches of 1,000).
        mean: mean of each channel, in units of pixel/255.
        std: standard deviation of each channel, in units of pixel/255.
        size: side of a patch in pixels.

    Returns:
        ``(pixel / 255 - mean) / std`` of the drawn channel, float32 ``[n, size, size, 1]``. Every image is used once before any is used
        again.

    Raises:
        KernelError: images, constants or sizes do not fit.
        TypeError: ``rng`` is not a ``numpy.random.Generator``.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy.random.Generator, got {type(rng).__name__}; make one with numpy.random.default_rng(seed)")
    if images.ndim != 4 or images.dtype != np.uint8 or len(images) == 0:
        raise KernelError(f"images must be uint8 [m, h, w, c] with m >= 1, got {images.dtype} {images.shape}")
    m, height, width, channels = images.shape
    if len(mean) != channels or len(std) != channels:
        raise KernelError(f"the images have {channels} channels, but mean has {len(mean)} entries and std {len(std)}; give one per channel")
    if n < 1 or not 1 <= size <= min(height, width):
        raise KernelError(f"n must be at least 1 and size between 1 and {min(height, width)}, the images' side; got n={n}, size={size}")
    image = np.concatenate([rng.permutation(m) for _ in range(-(-n // m))])[:n]
    if not isinstance(images, np.ndarray):  # decodes the images that are drawn, each once
        used, image = np.unique(image, return_inverse=True)
        images = images[used]
    top, left = rng.integers(height - size + 1, size=n), rng.integers(width - size + 1, size=n)
    channel = rng.integers(channels, size=n)
    rows, columns = top[:, None] + np.arange(size), left[:, None] + np.arange(size)
    patches = images[image[:, None, None], rows[:, :, None], columns[:, None, :], channel[:, None, None]]
    centre, spread = (np.asarray(constant, np.float32)[channel][:, None, None] for constant in (mean, std))
    return ((patches.astype(np.float32) / 255 - centre) / spread)[..., None]
