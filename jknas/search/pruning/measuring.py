"""What a pruning search asks of a supernet: condition number and linear regions, for whichever operations are left.

Two programs measure, one the kernel and one the regions, whatever is pruned: which operations are left enters as mixture weights. Two
more draw weights. All draws follow from the seed and the place in the search alone, so that a resumed search, and a worker, draw the same.
"""

import functools
import math
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jknas import spaces
from jknas.data import Dataset
from jknas.data.dataset import pixel_constants
from jknas.kernels.coupled import ntk_coupled
from jknas.kernels.gram import gram
from jknas.kernels.linear_regions import count_patterns_in_batches, tenas_crops
from jknas.kernels.spectrum import spectrum
from jknas.networks.layers.initialisation import Scheme
from jknas.search.pruning.measure import PATCHES, Job, Measure, Measurement
from jknas.search.pruning.removals import Found, Live, mixture
from jknas.search.pruning.supernets import Supernet, supernet
from jknas.spaces import reference_of
from jknas.training.augmentation import augment, normalise
from jknas.xla.programs import PROGRAMS

_SIDE = 3
_KERNEL_WEIGHTS, _THIN_WEIGHTS, _IMAGES, _CROPS = range(4)


class Measurer:
    """The compiled programs and the current draws of one search in this process.

    A measurer can be pickled: the space travels by name, and what is drawn and compiled stays behind.

    Args:
        supernet: what is pruned.
        dataset: its training split supplies images and patches.
        measure: what is measured.
        seed: draws everything.
        on_compile: called before a program is compiled, with its name.
    """

    def __init__(
        self, supernet: Supernet, dataset: Dataset, measure: Measure, *, seed: int, on_compile: Callable[[str], None] | None = None
    ) -> None:
        self._supernet, self._dataset, self._measure, self._seed = supernet, dataset, measure, seed
        self._on_compile = on_compile
        self._held: dict[Any, Any] = {}
        self.compile_seconds = 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (reference_of(self._supernet.space), self._dataset, self._measure, self._seed)

    def __call__(self, job: Job) -> Measurement:
        """Measure the supernets of a job, and the time that it takes."""
        compiled, start = self.compile_seconds, time.perf_counter()
        found = self.measure(*job)
        compiling = self.compile_seconds - compiled
        return Measurement(found, time.perf_counter() - start - compiling, compiling)

    def measure(self, stage: int, removal: int, pairs: Sequence[tuple[Live, Live]]) -> list[Found]:
        """Measure supernets on the same draws; the arguments are those of a :class:`~jknas.search.pruning.measure.Job`."""
        kernels = [mixture(live) for live, _ in pairs]
        thin = [mixture(live) for _, live in pairs]
        repeats = range(self._measure.repeats)
        conditions = [[self._condition(matrix) for matrix in self._kernels(stage, removal, repeat, kernels)] for repeat in repeats]
        regions = [self._regions(stage, removal, repeat, thin) for repeat in repeats]
        return list(map(Found, zip(*conditions, strict=True), zip(*regions, strict=True)))

    def _kernels(self, stage: int, removal: int, repeat: int, mixtures: list[Any]) -> list[np.ndarray]:
        params = self._weights(_KERNEL_WEIGHTS, stage, 0, repeat)
        images, words = self._images(stage, removal, repeat)
        found: list[np.ndarray] = []
        for start in range(0, len(mixtures), self._measure.at_once):
            wanted = mixtures[start : start + self._measure.at_once]
            filled = wanted + wanted[-1:] * (self._measure.at_once - len(wanted))
            arguments = params, images, words, jnp.asarray(filled, jnp.result_type(float))
            data = _Images(self._dataset.crop_padding, self._dataset.horizontal_flip, self._dataset.mean, self._dataset.std)
            run = self._run("kernel", _measure_kernels, *arguments, supernet=self._supernet, data=data, how=self._measure)
            found.extend(np.asarray(run)[: len(wanted)])
        return found

    def _regions(self, stage: int, removal: int, repeat: int, mixtures: list[Any]) -> list[float]:
        params = self._weights(_THIN_WEIGHTS, stage, removal, repeat)
        patches = self._crops(stage, removal, repeat)
        found = []
        for weights in mixtures:
            arguments = params, patches, jnp.asarray(weights, jnp.result_type(float))
            count = self._run("region", _count_regions, *arguments, supernet=self._supernet, batches=self._measure.samples // PATCHES)
            # Weights that overflow separate nothing.
            found.append(0.0 if int(count.non_finite) else float(count.patterns))
        return found

    def _condition(self, matrix: np.ndarray) -> float:
        found = spectrum(matrix)
        if not self._measure.unguarded:
            return math.inf if math.isnan(found.condition_number) else float(found.condition_number)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = float(np.float64(found.lambda_max) / np.float64(found.lambda_min))
        return float(np.nan_to_num(ratio, nan=1e5))

    def _weights(self, kind: int, stage: int, removal: int, repeat: int) -> PyTree:
        place = (stage, repeat) if self._measure.draws == "repeat" else (stage, removal)

        def draw(rng: np.random.Generator) -> PyTree:
            seed = rng.integers(2**32, dtype=np.uint32)
            fixed = {"supernet": self._supernet, "thin": kind == _THIN_WEIGHTS, "scheme": self._measure.schemes[kind]}
            return self._run("", _draw_weights, jnp.asarray(seed), **fixed)

        return self._hold(kind, stage, place, draw)

    def _images(self, stage: int, removal: int, repeat: int) -> tuple[jax.Array, jax.Array]:
        def draw(rng: np.random.Generator) -> tuple[jax.Array, jax.Array]:
            rows = rng.choice(len(self._dataset.y_train), size=self._measure.batch, replace=False)
            words = rng.integers(2**32, size=(self._measure.batch, 4), dtype=np.uint32)
            return jnp.asarray(self._dataset.x_train[rows]), jnp.asarray(words)

        return self._hold(_IMAGES, stage, self._place(stage, removal, repeat), draw)

    def _crops(self, stage: int, removal: int, repeat: int) -> jax.Array:
        data = self._dataset

        def draw(rng: np.random.Generator) -> jax.Array:
            return jnp.asarray(tenas_crops(data.x_train, rng, self._measure.samples, mean=data.mean, std=data.std, size=_SIDE))

        return self._hold(_CROPS, stage, self._place(stage, removal, repeat), draw)

    def _place(self, stage: int, removal: int, repeat: int) -> tuple[int, ...]:
        return (stage, repeat) if self._measure.draws == "repeat" else (stage, repeat, removal)

    def _hold(self, kind: int, stage: int, place: tuple[int, ...], draw: Callable[[np.random.Generator], Any]) -> Any:
        """Return what is drawn at a place of the search; only what the current round, or the current removal, goes on using is held."""
        name = (kind, *place)
        if name not in self._held:
            keep = self._measure.draws == "repeat"
            self._held = {n: v for n, v in self._held.items() if n[0] != kind or (keep and n[1] == stage)}
            self._held[name] = draw(np.random.default_rng([self._seed, *name]))
        return self._held[name]

    def _run(self, name: str, function: Callable[..., Any], *arguments: Any, **fixed: Hashable) -> Any:
        """Run a program; a program with a name is announced before it is compiled."""
        announce = functools.partial(self._on_compile, name) if name and self._on_compile is not None else None
        program, seconds = PROGRAMS.compiled(function, *arguments, fixed=fixed, on_compile=announce)
        self.compile_seconds += seconds
        return program(*arguments)


def _arrived(reference: str, dataset: Dataset, measure: Measure, seed: int) -> Measurer:
    """Return a measurer that came from another process."""
    return Measurer(_supernet_of(reference, dataset.num_classes, dataset.channels), dataset, measure, seed=seed)


@functools.cache
def _supernet_of(reference: str, classes: int, input_channels: int) -> Supernet:
    """Return one object for all rounds of a search: programs are kept by it."""
    return supernet(spaces.get(reference), classes=classes, input_channels=input_channels)


class _Images(NamedTuple):
    """How the images of a kernel are augmented and normalised, as in :class:`jknas.data.Dataset`."""

    crop_padding: int
    horizontal_flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _measure_kernels(
    params: PyTree, images: jax.Array, words: jax.Array, mixtures: jax.Array, *, supernet: Supernet, data: _Images, how: Measure
) -> jax.Array:
    """Return a kernel for each of the mixtures."""
    cut = augment(images, words, crop_padding=data.crop_padding, horizontal_flip=data.horizontal_flip)
    x = normalise(cut, *(jnp.asarray(constant) for constant in pixel_constants(data)))

    def one(weights: jax.Array) -> jax.Array:
        def apply(params: PyTree, x: jax.Array) -> jax.Array:
            return supernet.apply(params, x, weights, how.statistics)

        if how.statistics == "batch":
            return ntk_coupled(apply, params, x, parameters="weights")
        return gram(apply, params, x, parameters="weights", interaction="ignore").matrix

    return one(mixtures[0])[None] if how.at_once == 1 else jax.vmap(one)(mixtures)


def _count_regions(params: PyTree, patches: jax.Array, weights: jax.Array, *, supernet: Supernet, batches: int) -> Any:
    return count_patterns_in_batches(lambda x: supernet.activations(params, x, weights), patches, batches)


def _draw_weights(seed: jax.Array, *, supernet: Supernet, thin: bool, scheme: Scheme) -> PyTree:
    return (supernet.init_thin if thin else supernet.init)(jax.random.key(seed), scheme)
