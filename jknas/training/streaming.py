"""A split of files as batches on the device: decoded in threads on the host, while the device computes the batch before.

Two batches are decoded ahead. The order of an epoch, and the seeds of the random parts and colours, follow from the epoch's key alone.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from jknas.data import Dataset
from jknas.data.dataset import pixel_constants
from jknas.training.augmentation import draw_words
from jknas.training.epoch import Pixels, Totals

_AHEAD = 2


def batches(dataset: Dataset, split: str, size: int, *, key: jax.Array | None = None, resized_crop: bool = False) -> Iterator[Pixels]:
    """Yield a split in batches of ``size``, the last one smaller where they do not share it out.

    Args:
        dataset: of files (``dataset.streamed``).
        split: its name.
        size: images per batch.
        key: of an epoch, which shuffles; None keeps the order of the split.
        resized_crop: whether images are augmented as :meth:`~jknas.data.images.FolderImages.augmented`; needs a key.

    Raises:
        DataError: a file cannot be decoded.
    """
    images, labels = dataset.split(split)
    constants = tuple(map(jnp.asarray, pixel_constants(dataset)))
    order, seeds = np.arange(len(labels)), np.zeros(len(labels), np.uint32)
    if key is not None:
        words = np.asarray(draw_words(key, len(labels)))
        order, seeds = np.argsort(words[:, 0], kind="stable"), words[:, 2]

    def decoded(rows: np.ndarray) -> np.ndarray:
        return images.augmented(rows, seeds[rows]) if resized_crop else images[rows]

    parts = (order[start : start + size] for start in range(0, len(order), size))
    with ThreadPoolExecutor(1) as thread:  # decodes batches, each in threads of its own; only the caller's thread computes with JAX
        waiting = deque((rows, thread.submit(decoded, rows)) for rows in itertools.islice(parts, _AHEAD))
        while waiting:
            rows, pixels = waiting.popleft()
            waiting.extend((more, thread.submit(decoded, more)) for more in itertools.islice(parts, 1))
            yield Pixels(jnp.asarray(pixels.result()), jnp.asarray(labels[rows]), *constants)


def plus(one: tuple[Totals, int], other: tuple[Totals, int]) -> tuple[Totals, int]:
    """Return the totals and the number of images of two parts together."""
    (first, n), (second, m) = one, other
    return Totals((first.loss * n + second.loss * m) / (n + m), first.correct + second.correct), n + m
