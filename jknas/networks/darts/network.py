"""The DARTS macro networks as pure functions: stacks of normal and reduction cells for CIFAR and for ImageNet.

    stem
    cells; those with index floor(L / 3) and floor(2 L / 3) are reduction cells, which halve the resolution and double the channels
    global average, linear classifier; for training, an auxiliary classifier behind the second reduction

The *wiring*, an argument of ``apply``, says which operations the cells hold (see :mod:`jknas.networks.darts.wiring`).

References:
    Liu, Simonyan and Yang, "DARTS: Differentiable Architecture Search", arXiv:1806.09055, section 3 and appendix A, and its released code,
    github.com/quark0/darts (``cnn/model.py``).
    Larsson, Maire and Shakhnarovich, "FractalNet", arXiv:1605.07648 (drop path).

Deviations:
    The networks that the released search differentiates have no affine normalisations, and one behind each pooling; here a code or a
    mixture runs the operations of the networks that are trained in the end. TE-NAS's own code keeps normalisations without scales behind
    the pools of the trained network, too. Equal cells in a row are one loop over their stacked parameters.
"""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from jknas.errors import NetworkError
from jknas.kernels.mgm import Layers
from jknas.networks.darts import torch_names
from jknas.networks.darts.auxiliary import auxiliary_shapes, check_extents, run_auxiliary
from jknas.networks.darts.blocks import observed_cell, observed_run, walk_blocks
from jknas.networks.darts.cell import Drop, moved_averages, run_cell
from jknas.networks.darts.layers import kernel_layers
from jknas.networks.darts.operations import plain_layer
from jknas.networks.darts.parameters import (
    ROWS,
    CellPlan,
    CellRun,
    is_complete,
    replaced_in_cell,
    restrict,
    restrict_cell,
    run_shapes,
    used_operations,
)
from jknas.networks.darts.stem import observed_stem, stem_shapes
from jknas.networks.darts.tenas import TenasDartsNetwork
from jknas.networks.darts.tenas_thin import TenasDartsThinNetwork
from jknas.networks.darts.wiring import resolve_wiring
from jknas.networks.layers.initialisation import Scheme, draw_parameters
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.macro import MacroNetwork
from jknas.networks.observation import Layer, Observation, ObservedBlock, ObservedLayer, RunBlock, Seen, Visit, frozen
from jknas.networks.parameters import Averages, Shapes, WeightTree, classifier_shapes, joined, moved, unit_averages
from jknas.networks.wiring import SampledCode, Wiring
from jknas.spaces.darts.cost import Stem
from jknas.spaces.darts.genotype import OPERATIONS, DartsGenotype

_EDGES_OF_A_CELL = 8


@dataclass(frozen=True)
class DartsNetwork(MacroNetwork):
    """The macro network's size; its methods are pure functions of their arguments.

    Attributes:
        channels: channels of a node in the first cells, C (16 in the published search, 36 in training on CIFAR, 48 on ImageNet).
        cells: number of cells, L (8, 20, 14).
        classes: number of outputs, K.
        input_channels: channels of the images.
        stem: ``"cifar"`` or ``"imagenet"``.
        auxiliary: whether there is an auxiliary classifier; :meth:`train_apply` alone runs it.
    """

    cells: int = 8
    stem: Stem = "cifar"
    auxiliary: bool = False

    genotypes: ClassVar[type] = DartsGenotype
    has_drop_path: ClassVar[bool] = True
    recipe: ClassVar[str] = "darts"
    supernet_recipe: ClassVar[str] = "darts"
    score_statistics: ClassVar[Statistics] = "batch"
    tenas_batch: ClassVar[int] = 14

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stem not in get_args(Stem):
            raise NetworkError(f"stem={self.stem!r} is not known; choose one of {', '.join(map(repr, get_args(Stem)))}")
        if self.stem == "imagenet" and self.channels % 2:
            raise NetworkError(f'stem="imagenet" begins with channels / 2 channels, so channels must be even, got {self.channels}')

    # ---- structure

    @property
    def reductions(self) -> tuple[int, ...]:
        """Indices of the reduction cells: floor(L / 3) and floor(2 L / 3), which are the same for a single cell."""
        return tuple(sorted({self.cells // 3, 2 * self.cells // 3}))

    def plans(self) -> tuple[CellPlan, ...]:
        """Return what each cell is."""
        wide, features = (3 if self.stem == "cifar" else 1) * self.channels, self.channels
        before_last, last, halved, plans = wide, wide, self.stem == "imagenet", []
        for index in range(self.cells):
            reduction = index in self.reductions
            features *= 2 if reduction else 1
            plans.append(CellPlan(before_last, last, features, reduction, halved))
            before_last, last, halved = last, 4 * features, reduction
        return tuple(plans)

    def runs(self) -> tuple[CellRun, ...]:
        """Return the cells as runs of equal ones; a reduction cell is always a run of its own."""
        runs: list[CellRun] = []
        for index, plan in enumerate(self.plans()):
            if runs and runs[-1].plan == plan:
                runs[-1] = runs[-1]._replace(last=index)
            else:
                runs.append(CellRun(index, index, plan))
        return tuple(runs)

    def _shapes(self) -> Shapes:
        return {
            "stem": stem_shapes(self.stem, self.input_channels, self.channels),
            "cells": {run.name: run_shapes(run) for run in self.runs()},
            **classifier_shapes(4 * self.plans()[-1].features, self.classes),
        }

    # ---- functions

    def _draw(self, key: PRNGKeyArray, scheme: Scheme) -> PyTree:
        params = super()._draw(key, scheme)
        if self.auxiliary:  # its draw does not influence the others'
            shapes = auxiliary_shapes(self.stem, 4 * self.plans()[self.reductions[-1]].features, self.classes)
            params = {**params, "auxiliary": draw_parameters(jax.random.fold_in(key, 1), shapes, scheme)}
        return params

    def train_apply(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: Float[Array, "n h w c"],
        wiring: Wiring,
        *,
        key: PRNGKeyArray | None = None,
        drop_path: float | Float[Array, ""] = 0.0,
    ) -> tuple[Float[Array, "n k"], Float[Array, "n k"] | None, PyTree]:
        """Compute the logits in training mode with auxiliary classifier and drop path.

        Args:
            params: parameters from :meth:`init`.
            batch_stats: running averages.
            x: images; with the auxiliary classifier, of a size that the second reduction brings to 8x8 to 10x10 (CIFAR stem) or 7x7 to 8x8
                (ImageNet stem) pixels.
            wiring: as :meth:`apply`; drop path is defined for genotypes only.
            key: random key of the drop path; needed unless ``drop_path`` is the number 0.
            drop_path: probability with which the output of an edge is zero for an example; else it is divided by ``1 - drop_path``.
                Identities are never dropped. It may be traced, so that a schedule compiles once.

        Returns:
            Logits, auxiliary logits (None without auxiliary classifier), moved running averages.

        Raises:
            ValueError: a missing key, drop path without a genotype, images whose size does not suit the auxiliary classifier, and as
                :meth:`apply`.
        """
        dropping = not (isinstance(drop_path, (int, float)) and drop_path == 0)
        if dropping and not isinstance(wiring, DartsGenotype):
            raise NetworkError(
                "drop path drops the edges of a genotype; pass a DartsGenotype, or drop_path=0.0 with a code or mixture weights"
            )
        if dropping and key is None:
            raise NetworkError("drop_path > 0 needs key=..., a JAX random key that is new in every step")
        drop = (key, drop_path) if dropping else None
        return self._run(params, batch_stats, x, wiring, "batch", drop=drop, auxiliary=self.auxiliary)

    def kernel_layers(self, wiring: Wiring) -> Layers:
        """Return the function that cuts a gradient into its layers, see :mod:`jknas.networks.darts.layers`."""
        return kernel_layers(wiring)

    torch_tensors = torch_names.tensors

    def tenas_network(self) -> TenasDartsNetwork:
        """Return TE-NAS's small network for the tangent kernel, for the same classes and images."""
        return TenasDartsNetwork(self.classes, self.input_channels)

    def thin_network(self) -> TenasDartsThinNetwork:
        """Return TE-NAS's network for counting linear regions, for the same classes."""
        return TenasDartsThinNetwork(self.classes)

    def supernet(self, *, last_as_cells: bool = False) -> "DartsNetwork":
        """Return the network whose weights all genotypes share: without auxiliary classifier, its normalisations as they are.

        Raises:
            NetworkError: ``last_as_cells``, since there is no last normalisation behind the cells.
        """
        if last_as_cells:
            raise NetworkError(f"{type(self).__name__} has no normalisation behind its cells: set last_as_cells=False")
        return dataclasses.replace(self, auxiliary=False)

    def used(self, params: PyTree, chosen: Bool[Array, "28 8"]) -> PyTree:
        """Return for every parameter whether it belongs to one of the chosen operations, or to none; it broadcasts to the parameter."""
        masks = jax.tree.map(lambda _: jnp.ones((), bool), params)
        for run in self.runs():
            own = chosen.reshape(2, -1, len(OPERATIONS))[int(run.plan.reduction)]
            for group, rows in ROWS.items():
                for name, blocks in params["cells"][run.name][group].items():
                    mask = own[np.array(rows), OPERATIONS.index(name)]
                    put = jax.tree.map(lambda leaf, mask=mask: mask.reshape(1, -1, *(1,) * (leaf.ndim - 2)), blocks)
                    masks["cells"][run.name][group][name] = put
        return masks

    def check_auxiliary(self, height: int, width: int) -> None:
        """Raise ValueError unless the auxiliary classifier can be trained on images of this size."""
        shrunk = 2 ** (len(self.reductions) + (0 if self.stem == "cifar" else 3))
        check_extents(self.stem, -(-height // shrunk), -(-width // shrunk))

    def restrict(self, tree: PyTree, genotype: DartsGenotype) -> PyTree:
        """Return :func:`~jknas.networks.darts.parameters.restrict` of the tree."""
        return restrict(tree, genotype)

    def _run(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: jax.Array,
        wiring: Wiring,
        statistics: Statistics,
        *,
        drop: Any = None,
        auxiliary: bool = False,
    ) -> tuple[jax.Array, jax.Array | None, PyTree]:
        self._check_images(x, statistics)
        genotype, traced = resolve_wiring(wiring.code if isinstance(wiring, SampledCode) else wiring)
        self._check_operations("params", params, genotype)
        self._check_operations("batch_stats", batch_stats, genotype)
        own = genotype if genotype is not None else traced
        assert own is not None
        weights = joined({name: value for name, value in params.items() if name != "cells"}, batch_stats)
        weights["cells"] = {}
        for run in self.runs():
            cells, stats = (tree["cells"][run.name] for tree in (params, batch_stats))
            if genotype is not None:
                cells, stats = (restrict_cell(tree, genotype, reduction=run.plan.reduction) for tree in (cells, stats))
            own_keys = {} if drop is None else {"drop": jax.vmap(functools.partial(jax.random.fold_in, drop[0]))(_indices(run))}
            weights["cells"][run.name] = joined(cells, stats) | own_keys

        def visit(kind: str, block: RunBlock, x: Array, _extra: PyTree) -> tuple[Array, PyTree]:
            seen = block(plain_layer(statistics), x, {})
            return seen.output, (seen.records, seen.output if auxiliary and kind == "reduction" else None)

        drawn = wiring.weights if isinstance(wiring, SampledCode) else None
        cell = functools.partial(_plain_cell, None if drop is None else drop[1], drawn)
        logits, found = walk_blocks(self.stem, self.runs(), weights, x, own, visit, {}, cell)
        averages: Averages = {"cells": {}, "stem": {}}
        for name in observed_stem(self.stem, self.input_channels, self.channels):
            for part, moments in found[name][0].items():
                averages["stem"][part] = {"norm": moved(weights["stem"][part]["norm"], moments)}
        side = None
        for run in self.runs():
            new, output = found[run.name]
            new = new if run.length > 1 else jax.tree.map(lambda leaf: leaf[None], new)
            if genotype is not None:
                new = replaced_in_cell(batch_stats["cells"][run.name], new, genotype, reduction=run.plan.reduction)
            averages["cells"][run.name] = new
            if auxiliary and run.last == self.reductions[-1]:
                side, averages["auxiliary"] = run_auxiliary(self.stem, weights["auxiliary"], output)
        return logits, side, {**batch_stats, **averages}

    # ---- observation

    def walk(
        self, params: PyTree, x: Float[Array, "n h w c"], wiring: Wiring, visit: Visit, extras: Mapping[str, PyTree] | None = None
    ) -> Observation:
        """Run the network block by block, see :meth:`jknas.networks.observation.ObservableNetwork.walk`.

        The blocks are ``stem`` (``stem0`` and ``stem1`` of the ImageNet network), the runs of cells by name, and ``classifier``. In a cell,
        records are by layer: ``preprocess1``, ``edge_3_2_first_depthwise`` (see :mod:`jknas.networks.darts.operations`).

        Raises:
            NetworkError: mixture weights (an edge that is several operations at once has no one thing to look at), and as :meth:`apply`.
            TypeError: the wiring is a string.
        """
        genotype, code = _resolve_observed(wiring)
        self._check_images(x, "batch")
        self._check_operations("params", params, genotype)
        own = params if genotype is None else restrict(params, genotype)

        def without_gradients(kind: str, run: RunBlock, x: Array, extra: PyTree) -> tuple[Array, PyTree]:
            return visit(kind, lambda layer, x, given: run(frozen(layer), x, given), x, extra)

        weights, chosen = joined(own, unit_averages(own)), code if genotype is None else genotype
        return walk_blocks(self.stem, self.runs(), weights, x, chosen, without_gradients, extras or {}, observed_cell)

    def observed_layers(self, wiring: Wiring) -> dict[str, ObservedBlock]:
        """Return the blocks in their order, with the fan-in of each layer; with a code, zero where an edge has no such layer."""
        genotype, code = _resolve_observed(wiring)
        runs = {run.name: observed_run(run, code if genotype is None else genotype) for run in self.runs()}
        last = ObservedLayer(self.classes, float(4 * self.plans()[-1].features))
        return {
            **observed_stem(self.stem, self.input_channels, self.channels),
            **runs,
            "classifier": ObservedBlock("classifier", None, {"classifier": last}),
        }

    # ---- checks

    def _check_images(self, x: jax.Array, statistics: Statistics) -> None:
        if x.ndim != 4 or x.shape[-1] != self.input_channels:
            raise NetworkError(f"images must be [n, height, width, {self.input_channels}], got {tuple(x.shape)}")
        smallest = 1 if statistics in {"running", "none"} else 8 if self.stem == "cifar" else 64
        if min(x.shape[1:3]) < smallest:
            raise NetworkError(
                f'with stem="{self.stem}" and statistics={statistics!r} images must be at least {smallest} pixels high and wide, so that '
                f"there is something to normalise over behind the last reduction, got {x.shape[1]}x{x.shape[2]}; enlarge the images"
            )

    def _check_operations(self, what: str, tree: Mapping[str, Any], genotype: DartsGenotype | None) -> None:
        """Refuse variables that are not this network's, or lack an operation that the wiring may use."""
        for run in self.runs():
            cells = tree.get("cells", {}).get(run.name)
            if cells is None:
                raise NetworkError(f"{what} hold no cells {run.name!r}: they are those of another network; draw them with this one's init")
            if is_complete(cells):
                continue
            if genotype is None:
                raise NetworkError(
                    f"a code or mixture weights choose among all operations, and the {what} of {run.name} are those of one genotype; draw "
                    "all with init(key), without a genotype, or give that genotype as the wiring"
                )
            needed = [key for key, *_ in used_operations(genotype, reduction=run.plan.reduction)]
            missing = [key for key in needed if key not in cells]
            if missing:
                raise NetworkError(
                    f"{what} hold no {missing[0]} in {run.name}, which the genotype uses: they are those of another one; "
                    "draw them with init(key, genotype), or those of all operations with init(key)"
                )


def _indices(run: CellRun) -> jax.Array:
    return jnp.arange(run.first, run.last + 1)


def _resolve_observed(wiring: Wiring) -> tuple[DartsGenotype | None, Any]:
    genotype, code = resolve_wiring(wiring)
    if code is not None and code.ndim == 2:
        raise NetworkError("mixture weights have no activations to observe: give a genotype or a code")
    return genotype, code


def _plain_cell(  # noqa: PLR0917
    drop_path: Any,
    drawn: Any,
    plan: CellPlan,
    weights: WeightTree,
    before_last: Array,
    wiring: Any,
    layer: Layer,
    last: Array,
    given: Mapping[str, Any],
) -> Seen:
    """Run a cell; its records are its moved running averages."""
    drop = _drop(weights["drop"], drop_path) if "drop" in weights else None
    seen = run_cell(plan, weights, before_last, wiring, layer, last, given, drop, drawn)
    return Seen(seen.output, (), moved_averages(weights, seen.records, wiring, plan))


def _drop(key: jax.Array, probability: Any) -> Drop:
    """Return drop path with one key per cell."""
    keys = jax.random.split(key, _EDGES_OF_A_CELL)

    def drop(place: int, y: jax.Array) -> jax.Array:
        keep = 1 - jnp.asarray(probability, y.dtype)
        kept = jax.random.bernoulli(keys[place], keep, (y.shape[0], 1, 1, 1))
        return jnp.where(kept, y / keep, jnp.zeros_like(y))

    return drop
