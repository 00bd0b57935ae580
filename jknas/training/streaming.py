"""A split of files as batches on the device: decoded in threads on the host, while the device computes the batch before.

Two batches are decoded ahead. The order of an epoch, and the seeds of the random parts and colours, follow from the epoch's key alone.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

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

    def decoded(start: int) -> Pixels:
        rows = order[start : start + size]
        pixels = images.augmented(rows, seeds[rows]) if resized_crop else images[rows]
        return Pixels(jnp.asarray(pixels), jnp.asarray(labels[rows]), *constants)

    with ThreadPoolExecutor(1) as thread:  # of batches; each decodes its images in threads of its own
        waiting: list[Future[Pixels]] = []
        for start in range(0, len(labels), size):
            waiting.append(thread.submit(decoded, start))
            if len(waiting) > _AHEAD:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()


def plus(one: tuple[Totals, int], other: tuple[Totals, int]) -> tuple[Totals, int]:
    """Return the totals and the number of images of two parts together."""
    (first, n), (second, m) = one, other
    return Totals((first.loss * n + second.loss * m) / (n + m), first.correct + second.correct), n + m
