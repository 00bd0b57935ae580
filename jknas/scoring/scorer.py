"""Score many architectures with one compiled program.

Everything that a score depends on except the genotype (batch, weights, proxy and its settings) is fixed in a :class:`Scorer`; the genotype
enters the compiled program as data. Results come one by one, each already written to the store when it is handed out.

Proxies that read different numbers off one measurement (the spectrum of a kernel, the gradient of a loss) are scored together at the price
of one of them: :func:`score_together`. It takes a pool of workers, too: other processes compute then, and this one keeps the store.
"""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp

from jknas import proxies, spaces
from jknas.data import Dataset
from jknas.errors import ProxyError
from jknas.networks.families import check_fit, network_for
from jknas.networks.layers.initialisation import Scheme, check_scheme
from jknas.networks.network import Network, facts_of
from jknas.proxies import Batch, NetworkProxy, Proxy, Setup, SizeProxy
from jknas.proxies.proxy import Setting
from jknas.scoring.environment import device, versions
from jknas.scoring.store import ScoreKey, ScoreRecord, Store, canonical_json
from jknas.spaces.space import Genotype, Space
from jknas.workers import Pool
from jknas.xla.programs import PROGRAMS

_QUEUE = 4
"""Scores that a worker is given at a time: enough for it not to wait while this process writes one to the disk."""


_BLOCK = 3000
"""Scores that are read from a store at a time."""


class _Measured(NamedTuple):
    found: Any
    seconds: float


class _Job(NamedTuple):
    """One architecture, and by which of the scorers it is to be scored."""

    genotype: Genotype
    places: tuple[int, ...]

    def __str__(self) -> str:
        return str(self.genotype)


class _Compiled(NamedTuple):
    program: Callable[..., Any]
    arguments: tuple[Any, ...]
    seconds: float


def run(
    params: Any, data: Batch, key: jax.Array, code: jax.Array, *, measure: Any, network: Network, settings: tuple[tuple[str, Setting], ...]
) -> Any:
    """Compute the device part of a proxy: what is compiled once for a space."""
    return measure(network, params, code, data, key, **dict(settings))


@dataclass(frozen=True, eq=False)
class Scorer:
    """One proxy on one batch and one draw of weights, compiled once for all genotypes of a space. Made by :func:`make_scorer`.

    Nothing is drawn or compiled before the first score that is not in a store. A scorer can be pickled: the space and the proxy travel by
    name, the images with it, and what it has drawn and compiled stays behind.

    Attributes:
        space: where the genotypes come from.
        proxy: what is computed.
        settings: its settings, defaults included.
        network: what is measured: the network that was asked for, or the one that the proxy's definition fixes.
        resolution: height and width of the images, or tokens of a sequence.
        scheme: initialisation.
        dataset: name and digest of the data.
        seed: of the weights, the batch and whatever the proxy samples.
        batch_size: examples; 0 for a :class:`~jknas.proxies.SizeProxy`.
    """

    space: Space
    proxy: Proxy
    settings: Mapping[str, Setting]
    network: Network
    resolution: int
    scheme: Scheme
    dataset: str
    seed: int
    batch_size: int
    _images: tuple[Any, ...]
    _on_compile: Callable[[], None] | None
    _versions: Mapping[str, str]
    _device: str

    def __reduce__(self) -> tuple[Any, ...]:
        fields = ("settings", "network", "resolution", "scheme", "dataset", "seed", "batch_size", "_images")
        return _arrived, (spaces.reference_of(self.space), proxies.reference_of(self.proxy), {name: getattr(self, name) for name in fields})

    def _precision(self) -> AbstractContextManager[Any]:
        double = isinstance(self.proxy, NetworkProxy) and self.proxy.precision == "float64"
        return jax.enable_x64(True) if double else nullcontext()

    def _draw(self) -> tuple[Any, ...]:
        """Draw the weights, and put them and the batch on the device."""
        proxy = cast("NetworkProxy", self.proxy)
        return _drawn(proxy.setup, self.network, self.scheme, self.seed, *self._images)

    @functools.cached_property
    def _compiled(self) -> _Compiled:
        start, proxy = time.perf_counter(), cast("NetworkProxy", self.proxy)
        arguments = self._draw()
        fixed = {"measure": proxy.measure, "network": self.network, "settings": tuple(sorted(self.settings.items()))}
        with self._precision():
            arguments = _widened(arguments) if proxy.precision == "float64" else arguments
            code = jnp.zeros((self.space.num_edges,), int)
            try:
                program = PROGRAMS.compiled(run, *arguments, code, fixed=fixed, on_compile=self._on_compile).program
            except ValueError as error:  # tracing computes nothing: it can only have met values or shapes that do not fit
                raise ProxyError(f"proxy {proxy.name!r} cannot be computed so: {error}") from error
        return _Compiled(program, arguments, time.perf_counter() - start)

    @property
    def compile_seconds(self) -> float:
        """What drawing, tracing and compiling took: zero until the first score is computed, and for a size proxy."""
        return self._compiled.seconds if "_compiled" in vars(self) else 0.0

    def key(self, genotype: Genotype) -> ScoreKey:
        """Return what identifies the score of ``genotype`` in a store."""
        run = {"batch": self.batch_size, "scheme": self.scheme} if isinstance(self.proxy, NetworkProxy) else {}
        return ScoreKey(
            space=self.space.name,
            genotype=str(genotype),
            proxy=self.proxy.name,
            settings=canonical_json({**self.settings, **run}),
            dataset=self.dataset,
            seed=self.seed,
            network=canonical_json({**facts_of(self.network), "resolution": self.resolution}),
            revision=self.proxy.revision,
        )

    @property
    def measurement(self) -> tuple[Any, ...]:
        """What decides the result of the computation: scorers with equal measurements only differ in what they read from it."""
        proxy, size = self.proxy, (self.network, self.resolution)
        if isinstance(proxy, SizeProxy):
            return (self.space.name, proxy.count, *size)
        drawn = (self.scheme, self.dataset, self.seed, self.batch_size)
        return (self.space.name, proxy.measure, proxy.precision, proxy.setup, canonical_json(dict(self.settings)), *size, *drawn)

    def score(self, genotype: Genotype) -> ScoreRecord:
        """Compute one score; the seconds are those of the run, without compilation.

        Raises:
            ProxyError: by the first score: settings, batch or images that the proxy or the network cannot take.
        """
        return self._finished(genotype, self._measured(genotype))

    def _measured(self, genotype: Genotype) -> _Measured:
        if isinstance(self.proxy, SizeProxy):
            start = time.perf_counter()
            found: Any = self.proxy.count(self.space, genotype, self.network, self.resolution)
        else:
            compiled, start = self._compiled, time.perf_counter()
            with self._precision():
                found = jax.device_get(compiled.program(*compiled.arguments, jnp.asarray(genotype.code)))
        return _Measured(found, time.perf_counter() - start)

    def _finished(self, genotype: Genotype, measured: _Measured) -> ScoreRecord:
        start = time.perf_counter()
        score, status, extras = self.proxy.read(measured.found)
        seconds = measured.seconds + time.perf_counter() - start
        if status != "non_finite" and self.space.is_dead(genotype):
            status = "dead"  # says why a kernel is singular
        canonical = str(self.space.canonical(genotype))
        return ScoreRecord(self.key(genotype), canonical, score, status, seconds, extras, dict(self._versions), self._device)


def _arrived(space: str, proxy: str, fields: Mapping[str, Any]) -> Scorer:
    """Return a scorer that came from another process; versions and device are those of this one."""
    return Scorer(spaces.get(space), proxies.get(proxy), **fields, _on_compile=None, _versions=versions(), _device=device())


def _widened(arguments: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, arguments)


def _drawn(setup: Setup, network: Network, scheme: Scheme, seed: int, images: Any, labels: Any) -> tuple[Any, ...]:  # noqa: PLR0917
    initial, sampling = jax.random.split(jax.random.key(seed))
    params = setup.init(network, initial, scheme)
    return jax.device_put((params, Batch(jnp.asarray(images), jnp.asarray(labels)), sampling))


def make_scorer(
    proxy: Proxy,
    dataset: Dataset,
    space: Space,
    *,
    channels: int | None = None,
    cells: int | None = None,
    stem: str | None = None,
    weights: str | Path | None = None,
    seed: int = 0,
    scheme: Scheme = "pytorch",
    batch_size: int | None = None,
    settings: Mapping[str, Setting] | None = None,
    on_compile: Callable[[], None] | None = None,
) -> Scorer:
    """Fix what a score depends on besides the genotype: data, weights, proxy and settings.

    Args:
        proxy: what to compute.
        dataset: supplies the batch: examples of its training part drawn without replacement, normalised, not augmented (unless the proxy is
            defined over other inputs).
        space: the search space.
        channels: channels of the first cells, unless the proxy is defined for one number of them; by default the space's usual number.
        cells: cells, counted as the space counts them (in each of three stages for NAS-Bench-201, in all for DARTS), unless the proxy is
            defined for one number of them; by default the space's usual number.
        stem: one of ``Space.stems``, unless the proxy is defined for a network of its own; the space's first by default.
        weights: folder of pre-trained weights, for spaces whose networks have them.
        seed: fixes weights, batch and whatever the proxy samples. Every architecture of a scorer gets the same weights where it has the
            same operation on the same edge.
        scheme: initialisation, see :mod:`jknas.networks.layers.initialisation`.
        batch_size: examples; the proxy's published number for the space by default.
        settings: overrides of the proxy's settings.
        on_compile: called before the scoring program is compiled: by the first score that is not in a store, if it needs a network and an
            equal program was not compiled before.

    Raises:
        ProxyError: a setting that the proxy does not have, a network that lacks a capability, or images that the network cannot take.
        DataError: a batch larger than the training part.
        ValueError: an unknown scheme, or a network size that is not positive.
    """
    check_scheme(scheme)
    asked = network = network_for(space, dataset, channels=channels, cells=cells, stem=stem, weights=weights)
    chosen = proxy.with_settings(settings or {}, asked)
    proxy.check(asked, chosen)
    size, images = 0, cast("tuple[Any, ...]", ())
    if isinstance(proxy, NetworkProxy):
        check_fit(asked, dataset, error=ProxyError)
        network, size = proxy.setup.network(asked), proxy.examples(asked) if batch_size is None else batch_size
        images = proxy.setup.batch(dataset, size, seed)
    name = f"{dataset.name}@{dataset.digest[:16]}"
    return Scorer(space, proxy, chosen, network, dataset.resolution, scheme, name, seed, size, images, on_compile, versions(), device())


def score_many(
    scorer: Scorer, genotypes: Iterable[Genotype], *, store: Store | None = None, deduplicate: bool = False
) -> Iterator[tuple[ScoreRecord, bool]]:
    """Yield the record of every genotype, in order, and whether it was computed now.

    Args:
        scorer: what to compute.
        genotypes: architectures of its space.
        store: read first and written after every score; a score that it holds is not computed again. An interruption loses at most the
            score in flight.
        deduplicate: score the representative of each genotype's canonical class instead (see ``Space.canonical``): cells that compute
            the same function then share one score. Without it they draw different weights and their scores differ by that noise.

    Yields:
        ``(record, fresh)``. With ``deduplicate`` the record's genotype is the representative.
    """
    return score_together([scorer], genotypes, store=store, deduplicate=deduplicate)


def score_together(
    scorers: Sequence[Scorer],
    genotypes: Iterable[Genotype],
    *,
    store: Store | None = None,
    deduplicate: bool = False,
    pool: Pool | None = None,
) -> Iterator[tuple[ScoreRecord, bool]]:
    """Yield the records of every genotype by every scorer, and whether they were computed now.

    Scorers of equal :attr:`Scorer.measurement` share its computation; the seconds of each of their records hold all of it.

    Args:
        scorers: what to compute, of one space.
        genotypes: architectures of that space.
        store: as in :func:`score_many`. This process alone writes it, each score as soon as it is there.
        deduplicate: as in :func:`score_many`.
        pool: workers that compute; None computes here, and so do scorers that need no network. What is yielded is the same in either case,
            up to the last digits of scores where workers have another number of threads than this process.

    Yields:
        ``(record, fresh)``, for the first genotype by all scorers in their order, then for the second.
    """
    wanted = [scorer.space.canonical(genotype) if deduplicate else genotype for scorer in scorers[:1] for genotype in genotypes]
    keys = [[scorer.key(genotype) for scorer in scorers] for genotype in wanted]
    every = [key for row in keys for key in row]
    missing = set(every if store is None else store.missing(every))
    jobs = _jobs(wanted, keys, missing)
    compute, here = _Computation(tuple(scorers)), pool is None or all(isinstance(scorer.proxy, SizeProxy) for scorer in scorers)
    computed = map(compute, jobs) if here else (found for _, found in cast("Pool", pool).each(compute, jobs, queue=_QUEUE))
    held: dict[ScoreKey, ScoreRecord] = {}
    fresh: set[ScoreKey] = set()
    left = Counter(every)
    for start in range(0, len(every), _BLOCK):
        block = every[start : start + _BLOCK]
        held |= {} if store is None else store.get_many(key for key in block if key not in missing)
        for key in block:
            while key not in held:
                for record in next(computed):
                    if store is not None:
                        store.put(record)
                    held[record.key] = record
                    fresh.add(record.key)
            yield held[key], key in fresh
            fresh.discard(key)
            left[key] -= 1
            if not left[key]:  # it does not come again, and a sweep of a whole space must not fill the memory
                del held[key]


def _jobs(genotypes: Sequence[Genotype], keys: Sequence[Sequence[ScoreKey]], missing: set[ScoreKey]) -> Iterator[_Job]:
    """Yield what has to be computed, each score once."""
    coming = set(missing)
    for genotype, row in zip(genotypes, keys, strict=True):
        places = {key: place for place, key in reversed([*enumerate(row)]) if key in coming}
        if places:
            coming.difference_update(places)
            yield _Job(genotype, tuple(sorted(places.values())))


@dataclass(frozen=True)
class _Computation:
    """The scores of one architecture by some of the scorers; what workers are sent."""

    scorers: tuple[Scorer, ...]

    @functools.cached_property
    def _measurements(self) -> list[tuple[Any, ...]]:
        return [scorer.measurement for scorer in self.scorers]

    def __call__(self, job: _Job) -> list[ScoreRecord]:
        measured: dict[tuple[Any, ...], _Measured] = {}
        found = []
        for place in job.places:
            what = self._measurements[place]
            if what not in measured:
                measured[what] = self.scorers[self._measurements.index(what)]._measured(job.genotype)
            found.append(self.scorers[place]._finished(job.genotype, measured[what]))
        return found


def sharing(scorers: Iterable[Scorer]) -> list[list[Scorer]]:
    """Return the scorers in groups of equal measurements, in the order in which each first comes.

    Scored group by group, one compiled program is in memory at a time.
    """
    groups: dict[tuple[Any, ...], list[Scorer]] = {}
    for scorer in scorers:
        groups.setdefault(scorer.measurement, []).append(scorer)
    return list(groups.values())
