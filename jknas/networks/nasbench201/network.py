"""The NAS-Bench-201 macro network as a pure pair ``(init, apply)``.

    stem: 3x3 convolution, batch normalisation
    stage 1: cells at C channels     reduction: residual block, C -> 2C, stride 2
    stage 2: cells at 2C channels    reduction: residual block, 2C -> 4C, stride 2
    stage 3: cells at 4C channels
    batch normalisation, ReLU, global average, linear classifier

The *wiring*, an argument of ``apply``, says which operations the cells hold: a genotype, a code of six digits, mixture weights
``[6, 5]``, a sampled code, or a code for each cell, integers ``[3, N, 6]`` (see :mod:`jknas.networks.wiring`).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from jknas.errors import NetworkError
from jknas.networks.layers.conv_norm import Moments
from jknas.networks.layers.normalisation import Statistics
from jknas.networks.macro import MacroNetwork
from jknas.networks.nasbench201 import modules, torch_order
from jknas.networks.nasbench201.blocks import BLOCKS, kind_of, walk_blocks
from jknas.networks.nasbench201.cell import LAYERS, cell_shapes, coded_cell, edge_name, edge_weights, plain_layer, run_cell
from jknas.networks.nasbench201.sampled import sampled_cell
from jknas.networks.nasbench201.tenas import ThinCellNetwork
from jknas.networks.nasbench201.wiring import resolve_wiring
from jknas.networks.observation import Layer, Observation, ObservedBlock, ObservedLayer, RunBlock, Seen, Visit, frozen
from jknas.networks.parameters import (
    Averages,
    Shapes,
    Variables,
    WeightTree,
    array,
    classifier_shapes,
    conv_shapes,
    joined,
    moved,
    norm_shapes,
    stacked,
    unit_averages,
)
from jknas.networks.wiring import SampledCode, Wiring
from jknas.spaces.nasbench201.genotype import EDGES, KERNEL_SIZES, OPERATIONS, CellGenotype

_STAGES = ("stage1", "stage2", "stage3")
_REDUCTIONS = ("reduction1", "reduction2")
_SUPERNET = ("affine", "averages", "last_as_cells")


@dataclass(frozen=True, repr=False)
class CellNetwork(MacroNetwork):
    """The macro network's size; its methods are pure functions of their arguments.

    Images are multiples of 4 pixels high and wide, and at least 8 where they are normalised over.

    The last three attributes are the settings of a supernet whose weights all cells share. There the cells' normalisations have neither
    scales and shifts nor running averages: in evaluation mode (``statistics="running"``) they normalise over the batch that is evaluated,
    and the other normalisations by their running averages.

    Attributes:
        channels: channels of the first stage, C (16 in the published benchmark).
        cells: cells in each of the three stages, N (5 in the published benchmark).
        classes: number of outputs, K.
        input_channels: channels of the images.
        affine: whether the normalisations in the cells have scales and shifts.
        averages: whether they have running averages.
        last_as_cells: whether ``affine`` and ``averages`` hold for the last normalisation, too.
    """

    affine: bool = True
    averages: bool = True
    last_as_cells: bool = False

    genotypes: ClassVar[type] = CellGenotype
    recipe: ClassVar[str] = "nasbench201-12"
    score_statistics: ClassVar[Statistics] = "example"
    tenas_batch: ClassVar[int] = 72

    def __repr__(self) -> str:
        # The settings of a supernet where they differ: what was trained before there were any is found under the same name.
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        shown = (f"{name}={value!r}" for name, value in given.items() if name not in _SUPERNET or value != getattr(CellNetwork, name))
        return f"{type(self).__name__}({', '.join(shown)})"

    def supernet(self, *, affine: bool = False, averages: bool = False, last_as_cells: bool = False) -> "CellNetwork":
        """Return the network whose weights all cells share, with the normalisations of the published weight-sharing searches."""
        return dataclasses.replace(self, affine=affine, averages=averages, last_as_cells=last_as_cells)

    @property
    def cell_axes(self) -> tuple[int, int]:
        """Stages and cells of a stage: the first axes of codes that differ from cell to cell."""
        return len(_STAGES), self.cells

    def draw_cells(self, key: Array) -> Int[Array, "3 N 6"]:
        """Draw a code for each cell, uniformly among those in which every node has an input other than ``none``."""
        digits: list[Array] = []
        for node in (1, 2, 3):
            edges = sum(target == node for target, _ in EDGES)
            # The operation ``none`` is digit 0, so that a node without input is the number 0.
            number = jax.random.randint(jax.random.fold_in(key, node), self.cell_axes, 1, len(OPERATIONS) ** edges, jnp.int32)
            digits.extend(number // len(OPERATIONS) ** place % len(OPERATIONS) for place in range(edges))
        return jnp.stack(digits, -1)

    def used(self, params: PyTree, chosen: Bool[Array, "*cells 6 5"]) -> PyTree:
        """Return for every parameter whether it belongs to one of the chosen operations, or to none; it broadcasts to the parameter."""
        masks = jax.tree.map(lambda _: jnp.ones((), bool), params)
        for level, stage in enumerate(_STAGES):
            own = chosen[level] if chosen.ndim == 4 else chosen
            for edge, operation, key in LAYERS:
                mask = own[..., edge, OPERATIONS.index(operation)]
                masks[stage][key] = jax.tree.map(lambda leaf, mask=mask: mask.reshape(-1, *(1,) * (leaf.ndim - 1)), params[stage][key])
        return masks

    def _shapes(self) -> Shapes:
        return self._without_scales(self._full_shapes())

    def _full_shapes(self) -> Shapes:
        shapes: Shapes = {"stem": array(3, 3, self.input_channels, self.channels), "stem_norm": norm_shapes(self.channels)}
        for level, stage in enumerate(_STAGES):
            features = self.channels * 2**level
            shapes[stage] = stacked(cell_shapes(features), self.cells)
            if level:
                shapes[_REDUCTIONS[level - 1]] = {
                    "conv_a": conv_shapes(3, features // 2, features),
                    "conv_b": conv_shapes(3, features, features),
                    "downsample": array(1, 1, features // 2, features),
                }
        last = 4 * self.channels
        return {**shapes, "last_norm": norm_shapes(last), **classifier_shapes(last, self.classes)}

    def restrict(self, tree: PyTree, genotype: CellGenotype) -> PyTree:
        """Return :func:`restrict` of the tree."""
        return restrict(tree, genotype)

    def train_apply(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: Float[Array, "n h w c"],
        wiring: Wiring,
        *,
        key: jax.Array | None = None,
        drop_path: float | Float[Array, ""] = 0.0,
    ) -> tuple[Float[Array, "n k"], None, PyTree]:
        """Return what :meth:`apply_and_update` does, and None for the logits of an auxiliary classifier, which this network does not have.

        Raises:
            NetworkError: a drop path other than the number 0, which this network does not have either; and as :meth:`apply`.
        """
        del key
        if not isinstance(drop_path, (int, float)) or drop_path != 0:
            raise NetworkError(f"{type(self).__name__} has no drop path; expected drop_path=0.0, got {drop_path!r}")
        logits, averages = self.apply_and_update(params, batch_stats, x, wiring)
        return logits, None, averages

    def apply_normalising_reductions(self, params: PyTree, x: Float[Array, "n h w c"], wiring: Wiring) -> Float[Array, "n k"]:
        """Return the logits of the network whose only normalisations are those of the two reduction blocks, over the batch."""
        return self._run(params, self.unit_averages(params), x, wiring, "none", reductions="batch")[0]

    kernel_layers = torch_order.kernel_layers
    leading_entries = torch_order.leading_entries
    torch_tensors = torch_order.tensors

    def tenas_network(self) -> "CellNetwork":
        """Return TE-NAS's small network for the tangent kernel, for the same classes and images."""
        return CellNetwork(3, 1, self.classes, self.input_channels)

    def thin_network(self) -> ThinCellNetwork:
        """Return TE-NAS's network for counting linear regions, for the same classes."""
        return ThinCellNetwork(classes=self.classes)

    # ---- observation

    module_outputs = staticmethod(modules.module_outputs)
    times_hooked = staticmethod(modules.times_hooked)

    def walk(
        self, params: PyTree, x: Float[Array, "n h w c"], wiring: Wiring, visit: Visit, extras: Mapping[str, PyTree] | None = None
    ) -> Observation:
        """Run the network block by block, see :meth:`jknas.networks.observation.ObservableNetwork.walk`.

        The blocks are :data:`~jknas.networks.nasbench201.blocks.BLOCKS`; in a cell, records are by edge, as ``edge_3_2``.

        Raises:
            NetworkError: mixture weights (an edge that is several operations at once has no one thing to look at), an array that is no
                wiring, or images of another number of channels or with a side that is no multiple of 4.
            TypeError: the wiring is a string.
        """
        genotype, code = resolve_wiring(wiring)
        if code is not None and code.ndim == 2:
            raise NetworkError("mixture weights have no activations to observe: give a genotype or a code")
        if x.ndim != 4 or x.shape[-1] != self.input_channels or x.shape[1] % 4 or x.shape[2] % 4:
            raise NetworkError(
                f"images must be [n, height, width, {self.input_channels}] with sides that are multiples of 4, got {tuple(x.shape)}"
            )
        _check_operations("params", params, genotype)

        def without_gradients(kind: str, run: RunBlock, x: Array, extra: PyTree) -> tuple[Array, PyTree]:
            return visit(kind, lambda layer, x, given: run(frozen(layer), x, given), x, extra)

        params = self._filled(params)
        weights = joined(params, unit_averages(params))
        return walk_blocks(weights, x, code if genotype is None else genotype, without_gradients, extras or {}, self.cells)

    def observed_layers(self, wiring: Wiring) -> dict[str, ObservedBlock]:
        """Return the blocks in their order, with the fan-in of each layer; zero on an edge without a convolution."""
        genotype, code = resolve_wiring(wiring)
        operations = jnp.asarray(genotype.code) if genotype is not None else code
        taps = jnp.asarray([float(KERNEL_SIZES.get(name, 0) ** 2) for name in OPERATIONS], jnp.result_type(float))[operations]
        found, width = {}, self.channels
        for name in BLOCKS:
            fan_in: dict[str, Any] = {}
            if name == "stem":
                fan_in = {"stem": 9.0 * self.input_channels}
            elif name in _REDUCTIONS:
                width *= 2
                fan_in = {"conv_a": 9.0 * width / 2, "conv_b": 9.0 * width, "downsample": width / 2}
            elif name in _STAGES:
                fan_in = {edge_name(edge): taps[edge] * width for edge in range(len(EDGES))}
            elif name == "classifier":
                fan_in = {"classifier": float(width)}
            channels = self.classes if name == "classifier" else width
            layers = {layer: ObservedLayer(channels, fan) for layer, fan in fan_in.items()}
            found[name] = ObservedBlock(kind_of(name), self.cells if name in _STAGES else None, layers)
        return found

    # ---- the forward pass

    def _run(
        self,
        params: PyTree,
        batch_stats: PyTree,
        x: jax.Array,
        wiring: Wiring,
        statistics: Statistics,
        *,
        reductions: Statistics | None = None,
    ) -> tuple[jax.Array, None, PyTree]:
        self._check_images(x, self._statistics_of("cell", statistics))
        sampled = wiring if isinstance(wiring, SampledCode) else None
        genotype, traced = self._resolve(wiring if sampled is None else sampled.code)
        _check_operations("params", params, genotype)
        params, stats = self._filled(params), batch_stats
        if not self.averages:
            stats = {**unit_averages(params), **batch_stats}
        _check_operations("batch_stats", stats, genotype)
        weights = joined(params, stats)
        weights, own = (weights, traced) if genotype is None else (restrict(weights, genotype), genotype)
        moving, in_cells = statistics == "batch", self._statistics_of("cell", statistics)

        def visit(kind: str, run: RunBlock, x: Array, _extra: PyTree) -> tuple[Array, PyTree]:
            own = reductions if kind == "reduction" and reductions else self._statistics_of(kind, statistics)
            seen = run(plain_layer(own), x, {})
            return seen.output, seen.records if moving else ()

        cell: Callable[..., Seen] = run_cell
        if sampled is not None:
            cell = functools.partial(_sampled_cell, in_cells, sampled.weights)
        elif traced is not None and not jnp.issubdtype(traced.dtype, jnp.floating):
            cell = functools.partial(_fast_cell, in_cells)
        logits, records = walk_blocks(weights, x, own, visit, {}, self.cells, cell)
        if not moving:
            return logits, None, batch_stats
        averages = _moved(stats, weights, records, own)
        return logits, None, {name: averages[name] for name in averages if self.averages or not self._as_cells(name)}

    def _resolve(self, wiring: Wiring) -> tuple[CellGenotype | None, jax.Array | None]:
        """Tell the kinds of wiring apart, codes of all cells included."""
        if getattr(wiring, "shape", None) == (len(_STAGES), self.cells, len(EDGES)) and jnp.issubdtype(wiring.dtype, jnp.integer):
            return None, jnp.asarray(wiring)
        return resolve_wiring(wiring)

    def _as_cells(self, name: str) -> bool:
        """Return whether ``affine`` and ``averages`` hold for a block."""
        return name == "cell" or name in _STAGES or (self.last_as_cells and name == "last_norm")

    def _statistics_of(self, kind: str, statistics: Statistics) -> Statistics:
        """Return what a block normalises over: what has no running averages takes the batch."""
        return "batch" if statistics == "running" and not self.averages and self._as_cells(kind) else statistics

    def _filled(self, params: PyTree) -> PyTree:
        """Return the parameters with scale one and shift zero for every normalisation that has none."""
        if self.affine:
            return params
        unit = {stage: {key: {"norm": _unit_norm(layer["kernel"]), **layer} for key, layer in params[stage].items()} for stage in _STAGES}
        return {**({"last_norm": _unit_norm(params["classifier"].T)} if self.last_as_cells else {}), **params, **unit}

    def _without_scales(self, shapes: Shapes) -> Shapes:
        """Return the shapes without the scales and shifts that this network does not have."""
        if self.affine:
            return shapes
        kernels = {stage: {key: {"kernel": layer["kernel"]} for key, layer in shapes[stage].items()} for stage in _STAGES}
        return {name: kernels.get(name, value) for name, value in shapes.items() if name in _STAGES or not self._as_cells(name)}

    def unit_averages(self, params: PyTree) -> Averages:
        """Return the running averages of parameters that were not trained yet."""
        return {name: value for name, value in unit_averages(self._filled(params)).items() if self.averages or not self._as_cells(name)}

    def _check_images(self, x: jax.Array, statistics: Statistics) -> None:
        if x.ndim != 4 or x.shape[-1] != self.input_channels:
            raise NetworkError(f"images must be [n, height, width, {self.input_channels}], got {tuple(x.shape)}")
        smallest = 8 if statistics in {"example", "batch"} else 4
        if any(extent % 4 or extent < smallest for extent in x.shape[1:3]):
            raise NetworkError(
                f"height and width must be multiples of 4 and at least {smallest} with statistics={statistics!r} "
                f"(two reductions halve them), got {x.shape[1]}x{x.shape[2]}; resize the images"
            )


def _fast_cell(
    statistics: Statistics, weights: WeightTree, code: jax.Array, _layer: Layer, x: jax.Array, _given: Mapping[str, Any]
) -> Seen:
    """Run the cell of a code under its own reverse rule; nothing but its output and its records is shown."""
    y, moments = coded_cell(x, edge_weights(weights), code, statistics)
    return Seen(y, (), {edge_name(edge): found for edge, found in enumerate(moments)})


def _sampled_cell(
    statistics: Statistics,
    drawn: Float[Array, "6 5"],
    weights: WeightTree,
    code: jax.Array,
    _layer: Layer,
    x: jax.Array,
    _given: Mapping[str, Any],
) -> Seen:
    """Run the cell of a sampled code, whose drawn weights get a gradient."""
    y, moments = sampled_cell(x, edge_weights(weights), code, drawn, statistics)
    return Seen(y, (), {edge_name(edge): found for edge, found in enumerate(moments)})


def _unit_norm(kernel: jax.Array) -> dict[str, jax.Array]:
    """Return scale one and shift zero for what a kernel, or a stack of them, gives."""
    shape = (*kernel.shape[:-4], kernel.shape[-1])
    return {"scale": jnp.ones(shape, kernel.dtype), "bias": jnp.zeros(shape, kernel.dtype)}


def _moved(batch_stats: PyTree, weights: WeightTree, records: Mapping[str, Any], wiring: Any) -> PyTree:
    """Return the running averages, moved by what the layers of a training pass recorded."""
    used: Any

    def towards(own: WeightTree, moments: Moments, used: Any = True) -> Averages:
        return {"norm": moved(own["norm"], moments, used)}

    found: Averages = {name: moved(weights[name], records[block][block]) for name, block in (("stem_norm", "stem"), ("last_norm",) * 2)}
    for name in _REDUCTIONS:
        found[name] = {part: towards(weights[name][part], records[name][part]) for part in ("conv_a", "conv_b")}
    for level, name in enumerate(_STAGES):
        found[name] = dict(batch_stats.get(name, {}))  # a cell without convolutions has no averages
        for edge, operation, key in LAYERS:
            if key in weights[name]:
                record, used = records[name][edge_name(edge)], True
                if isinstance(wiring, jax.Array) and wiring.ndim == 2:
                    record = record[operation]
                elif isinstance(wiring, jax.Array):  # an operation that is not chosen keeps its averages
                    used = wiring[edge] if wiring.ndim == 1 else wiring[level, :, edge, None]
                    used = used == OPERATIONS.index(operation)
                found[name][key] = towards(weights[name][key], record, used)
    return {**batch_stats, **found}


def _check_operations(name: str, tree: Mapping[str, Any], genotype: CellGenotype | None) -> None:
    """Refuse variables without an operation that a genotype, or a code or mixture weights (None), may use."""
    used = [key for edge, operation, key in LAYERS if genotype is None or operation == genotype.operations[edge]]
    for stage in _STAGES:
        missing = [layer for layer in used if layer not in tree.get(stage, ())]
        if missing and genotype is None:
            raise NetworkError(
                f"a code or mixture weights choose among all operations, and {name} hold {len(used) - len(missing)} of the {len(used)} of "
                f"{stage} ({missing[0]} is missing): they are those of one genotype; draw all with init(key), without a genotype, "
                "or give that genotype as the wiring"
            )
        if missing:
            raise NetworkError(
                f"{name} hold no {missing[0]} in {stage}, which the genotype {genotype} uses: they are those of another one; "
                "draw them with init(key, genotype), or those of all operations with init(key)"
            )


def restrict(tree: PyTree, genotype: CellGenotype) -> PyTree:
    """Return the part of full ``params`` or ``batch_stats`` that a genotype uses.

    ``restrict(network.init(key)["params"], genotype)`` equals ``network.init(key, genotype)["params"]``.
    """
    wanted = {f"{edge_name(edge)}_{operation}" for edge, operation in enumerate(genotype.operations)}
    kept: Variables = {}
    for name, value in tree.items():
        kept[name] = {layer: value[layer] for layer in value if layer in wanted} if name.startswith("stage") else value
    return kept
