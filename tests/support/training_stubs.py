"""A network and a data set so small that a training program compiles in a second."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jknas.data import Dataset
from jknas.spaces.nasbench201.genotype import CellGenotype

CELL = CellGenotype.from_code([3, 0, 1, 2, 4, 1])


@dataclass(frozen=True)
class PlainNetwork:
    """Batch normalisation of the mean pixel colours, then a linear layer; the wiring only scales the logits."""

    classes: int = 4
    input_channels: int = 3

    channels = cells = 1
    genotypes = CellGenotype
    auxiliary = False
    has_drop_path = False

    def init(self, key: jax.Array, genotype: CellGenotype | None = None, *, scheme: str = "pytorch") -> dict[str, Any]:
        del genotype, scheme
        shape = (self.input_channels, self.classes)
        params = {"kernel": jax.random.normal(key, shape), "bias": jnp.zeros(self.classes), "scale": jnp.ones(self.input_channels)}
        return {"params": params, "batch_stats": {"mean": jnp.zeros(self.input_channels), "var": jnp.ones(self.input_channels)}}

    def _logits(self, params, mean, variance, x, wiring):
        pooled = x.mean((1, 2)).astype(jnp.float32)
        normal = (pooled - mean[None]) * jax.lax.rsqrt(variance + 1e-5)[None] * params["scale"][None]
        code = jnp.asarray(wiring.code if isinstance(wiring, CellGenotype) else wiring)
        return (normal @ params["kernel"] + params["bias"][None]).astype(x.dtype) * (1 + code.sum() / 100).astype(x.dtype)

    def apply(self, params, x, wiring, *, statistics, batch_stats):
        assert statistics == "running"
        return self._logits(params, batch_stats["mean"], batch_stats["var"], x, wiring)

    def train_apply(self, params, batch_stats, x, wiring):
        logits, moved = self.apply_and_update(params, batch_stats, x, wiring)
        return logits, None, moved

    def restrict(self, tree, genotype):
        return tree

    def apply_and_update(self, params, batch_stats, x, wiring):
        pooled = x.mean((1, 2)).astype(jnp.float32)
        mean, variance = pooled.mean(0), pooled.var(0)
        moved = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, batch_stats, {"mean": mean, "var": variance})
        return self._logits(params, mean, variance, x, wiring), moved


def coloured_dataset(*, train: int = 22, crop_padding: int = 1, horizontal_flip: bool = True, seed: int = 0) -> Dataset:
    """Return 8x8 images in which the class shifts the colour; 22 training images in batches of 8 leave a batch of 6."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(40, 200, (4, 3))

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 4, count).astype(np.int32)
        return (colours[labels][:, None, None] + rng.integers(0, 56, (count, 8, 8, 3))).astype(np.uint8), labels

    (x, y), (xv, yv), (xt, yt) = split(train), split(13), split(9)
    constants = {"mean": (0.5, 0.45, 0.4), "std": (0.25, 0.2, 0.3)}
    extra = {"crop_padding": crop_padding, "horizontal_flip": horizontal_flip, "source": "drawn at random"}
    return Dataset("coloured", x, y, xv, yv, xt, yt, 4, **constants, **extra)


def slow_cutout(x: np.ndarray, centres: np.ndarray, side: int) -> np.ndarray:
    """Clip the square's corners to the image, one image after the other."""
    out = x.copy()
    for image, (row, column) in zip(out, centres, strict=True):
        top, bottom = np.clip([row - side // 2, row + side // 2], 0, x.shape[1])
        left, right = np.clip([column - side // 2, column + side // 2], 0, x.shape[2])
        image[top:bottom, left:right] = 0
    return out
