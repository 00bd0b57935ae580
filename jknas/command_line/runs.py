"""What the commands that compute share: their options, as records, and the preparation that follows from them.

A command takes a record as a parameter, and :func:`expanded` turns each of the record's fields into an option.
"""

import dataclasses
import functools
import inspect
import os
import typing
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jknas.command_line import architectures, options
from jknas.command_line.output import Bars
from jknas.errors import CommandError

if TYPE_CHECKING:
    from jknas.data import Dataset
    from jknas.networks.layers.initialisation import Scheme
    from jknas.proxies import Proxy
    from jknas.scoring.scorer import Scorer
    from jknas.scoring.store import ScoreRecord, Store
    from jknas.spaces import Space
    from jknas.training.recipe import AnyRecipe
    from jknas.workers import Pool

# The embedded images have 8x8 pixels. Two reductions halve an image, so that the last stage would normalise over four of them.
_DIGITS_RESOLUTION = 16
_DIGITS_TRAINING_RESOLUTION = 12  # has about half the pixels of 16
# The auxiliary classifier is made for CIFAR's 32x32, and so is the size of the squares that are cut out.
_DIGITS_DARTS_RESOLUTION = 32
_REPLACED_BY_DIGITS = "nasbench201-12"  # the recipe in whose place the embedded images have their own


@dataclass(frozen=True, kw_only=True)
class Run:
    """The options of every command that computes on images."""

    space: options.Space = "nasbench201"
    folder: options.Folder = None
    resolution: options.Resolution = None
    limit: options.Limit = None
    channels: options.Channels = None
    cells: options.Cells = None
    stem: options.Stem = None
    weights: options.Weights = None
    tokenizer: options.Tokenizer = None
    init: options.Init = "pytorch"
    seed: options.Seed = 0
    compile_cache: options.CompileCache = None
    json: options.Json = False

    def begin(self) -> "Space[Any]":
        """Set up the cache of compiled programs, which has to come before the first array, and return the search space."""
        options.use_compile_cache(self.compile_cache)
        from jknas import spaces

        return spaces.get(self.space)

    def given(self, *names: str) -> dict[str, Any]:
        """Return the named options, None where they are as they are without being given."""
        values = {name: getattr(self, name) for name in names}
        return {name: None if value == getattr(type(self), name) else value for name, value in values.items()}

    def scheme(self) -> "Scheme":
        """Return the initialisation, or refuse it."""
        from jknas.networks.layers.initialisation import check_scheme

        check_scheme(self.init)
        return typing.cast("Scheme", self.init)

    def load(self, data: str, recipe: "AnyRecipe | None" = None) -> "Dataset":
        """Load a data set, for a training recipe if one is given."""
        from jknas.data import load

        resolution = self.resolution
        if resolution is None and data == "digits":
            resolution = _DIGITS_RESOLUTION
            if recipe is not None:
                resolution = _DIGITS_DARTS_RESOLUTION if recipe.auxiliary_weight or recipe.cutout else _DIGITS_TRAINING_RESOLUTION
        limit, tokenizer = options.limit_of(self.limit), options.tokenizer_folder(self.tokenizer) or self.weights_folder()
        return load(data, folder=self.folder, resolution=resolution, limit=limit, tokenizer=tokenizer)

    def weights_folder(self) -> "Path | None":
        """Return the folder of the pre-trained weights, or refuse them for a space without."""
        if self.weights is None:
            return None
        from jknas import spaces
        from jknas.networks.families import macro_of, require

        macro = macro_of(spaces.get(self.space))
        require(macro, "pretrained", "--weights", error=CommandError)
        folder: Path = macro.weights_folder(self.weights)
        return folder


@dataclass(frozen=True, kw_only=True)
class PooledRun(Run):
    """The options of the commands whose work other processes can do."""

    workers: options.Workers = None
    threads: options.Threads = 1
    ray: options.Ray = None

    def begin(self) -> "Space[Any]":
        """Do as every command does; where there are workers, leave the memory of a GPU to them."""
        if self.workers is not None:
            os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        return super().begin()

    @property
    def asks_for_workers(self) -> bool:
        """Whether other processes are to compute."""
        return self.workers is not None or self.ray is not None

    def pool(self, bars: Bars) -> "AbstractContextManager[Pool | None]":
        """Return the workers, as a context that ends them; None where this process computes."""
        if self.ray is not None:
            from jknas.workers.ray_actors import RayActors

            return RayActors(self.ray, self.workers, threads=self.threads, note=bars.note)
        if self.workers is not None:
            from jknas.workers.processes import Processes

            return Processes(self.workers, threads=self.threads, note=bars.note)
        if self.threads != 1:
            raise CommandError("--threads are those of a worker: give --workers N, too; this process uses all cores.")
        return nullcontext()


@dataclass(frozen=True, kw_only=True)
class ScoringRun(PooledRun):
    """The options of the commands that score chosen architectures."""

    settings: options.Set = None
    arch: options.Arch = None
    archs: options.Archs = None
    sample: options.Sample = None
    whole: options.Whole = False
    batch: options.Batch = None
    seeds: options.Seeds = 1

    @property
    def names_architectures(self) -> bool:
        """Whether any option says which architectures are meant."""
        return bool(self.arch or self.archs or self.sample is not None or self.whole)

    def chosen(self, space: "Space[Any]") -> list[Any]:
        """Return the chosen architectures of a space."""
        return architectures.chosen(space, self.arch or [], self.archs, self.sample, whole=self.whole, seed=self.seed)

    def with_settings(self, proxies: "list[Proxy]", space: "Space[Any]") -> "list[tuple[Proxy, dict[str, Any]]]":
        """Return each proxy with the settings given for it; refuse what it cannot compute, before hours are spent on the others."""
        from jknas.networks.families import macro_of

        macro, found = macro_of(space), list(zip(proxies, options.settings_for(proxies, self.settings), strict=True))
        for proxy, given in found:
            proxy.check(macro, proxy.with_settings(given, macro))
        return found

    def groups(
        self, proxies: "list[tuple[Proxy, dict[str, Any]]]", dataset: "Dataset", space: "Space[Any]", bars: Bars
    ) -> "list[list[Scorer]]":
        """Return what computes every proxy by every seed, in groups that share a measurement.

        Args:
            proxies: with their settings, see :meth:`with_settings`.
            dataset: the images.
            space: the search space.
            bars: say what is compiled.
        """
        from jknas.proxies import SizeProxy
        from jknas.scoring.scorer import make_scorer, sharing

        fixed: dict[str, Any] = {
            "channels": self.channels,
            "cells": self.cells,
            "stem": self.stem,
            "weights": self.weights_folder(),
            "scheme": self.scheme(),
            "batch_size": self.batch,
        }

        def scorer(proxy: "Proxy", given: dict[str, Any], seed: int) -> "Scorer":
            note = functools.partial(bars.note, f"{proxy.name}: compiling the scoring program")
            return make_scorer(proxy, dataset, space, settings=given, on_compile=note, seed=seed, **fixed)

        drawn = [(proxy, given, self.seed + more) for proxy, given in proxies for more in range(self.seeds)]
        return sharing(scorer(*one) for one in drawn if one[2] == self.seed or not isinstance(one[0], SizeProxy))

    def score(
        self,
        groups: "list[list[Scorer]]",
        genotypes: list[Any],
        bars: Bars,
        *,
        store: "Store | None",
        pool: "Pool | None" = None,
        label: str = "",
        deduplicate: bool = False,
    ) -> "Iterator[tuple[ScoreRecord, bool]]":
        """Yield the record of every architecture by every scorer, and whether it was computed now; move the bars.

        Args:
            groups: from :meth:`groups`. The list is emptied: a group that is finished is dropped with its compiled program.
            genotypes: architectures of the space.
            bars: one bar for each group.
            store: of scores; None keeps none.
            pool: the workers that compute; None computes here.
            label: what the names of the bars begin with.
            deduplicate: whether to score one representative of architectures that compute the same function.
        """
        from jknas.scoring.scorer import score_together

        while groups:
            group = groups.pop(0)
            name = label + ", ".join(scorer.proxy.name for scorer in group)
            name += f" by seed {group[0].seed}" if self.seeds > 1 else ""
            bars.update(name, 0, len(genotypes))
            scored = score_together(group, genotypes, store=store, deduplicate=deduplicate, pool=pool)
            for done, result in enumerate(scored, start=1):
                yield result
                bars.update(name, done // len(group), len(genotypes))


@dataclass(frozen=True, kw_only=True)
class TrainingRun(Run):
    """The options of the commands that train networks."""

    train_batch: options.TrainBatch = None
    learning_rate: options.LearningRate = None
    weight_decay: options.WeightDecay = None
    precision: options.Precision = "float32"
    group_by_length: options.GroupByLength = None

    def recipe(self, space: "Space[Any]", data: str, name: str | None = None, **changes: Any) -> "AnyRecipe":
        """Return a recipe with the options that were given in place of its values.

        Args:
            space: its networks name the default recipe.
            data: the digits are a fiftieth of CIFAR-10: they have a recipe of their own, and its batch size in all others.
            name: of the recipe.
            **changes: further fields of the recipe; None for what was not given.
        """
        from jknas.networks.families import macro_of
        from jknas.training import preset

        name = macro_of(space).recipe if name is None else name
        base, digits = preset(name), preset("digits")
        if data == "digits":
            base = digits if name == _REPLACED_BY_DIGITS else dataclasses.replace(base, batch_size=digits.batch_size)
        changes |= {"batch_size": self.train_batch, "learning_rate": self.learning_rate}
        changes |= {"group_by_length": self.group_by_length}
        changes |= {"weight_decay": self.weight_decay, "precision": None if self.precision == base.precision else self.precision}
        return self.changed(base, **{field: value for field, value in changes.items() if value is not None})

    @staticmethod
    def changed(recipe: "AnyRecipe", **values: Any) -> "AnyRecipe":
        """Return a recipe with other values, or refuse one that recipes of its kind do not have."""
        unknown = sorted(values.keys() - {field.name for field in dataclasses.fields(recipe)})
        if unknown:
            raise CommandError(f"the recipe has no {unknown[0]} to change: leave --{unknown[0].replace('_', '-')} out.")
        changed: AnyRecipe = dataclasses.replace(recipe, **values)
        return changed

    def network(self, space: "Space[Any]", dataset: "Dataset", recipe: "AnyRecipe") -> Any:
        """Return the network to train, with an auxiliary classifier if the recipe gives its loss a weight."""
        from jknas.networks.families import network_for
        from jknas.training import with_auxiliary

        network = network_for(space, dataset, channels=self.channels, cells=self.cells, stem=self.stem, weights=self.weights_folder())
        return with_auxiliary(network) if recipe.auxiliary_weight else network


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes its own options, then the fields of the record that is its first parameter."""
    record, *others = inspect.signature(command).parameters.values()
    hints = typing.get_type_hints(record.annotation, include_extras=True)
    fields = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in dataclasses.fields(record.annotation)
    ]

    @functools.wraps(command)
    def collected(**given: Any) -> None:
        command(record.annotation(**{field.name: given.pop(field.name) for field in fields}), **given)

    collected.__signature__ = inspect.Signature([*others, *fields])  # type: ignore[attr-defined]
    return collected
