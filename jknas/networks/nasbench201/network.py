"""The NAS-Bench-201 macro network as a pure pair ``(init, apply)``.

    stem: 3x3 convolution, batch normalisation
    stage 1: cells at C channels     reduction: residual block, C -> 2C, stride 2
    stage 2: cells at 2C channels    reduction: residual block, 2C -> 4C, stride 2
    stage 3: cells at 4C channels
    batch normalisation, ReLU, global average, linear classifier

Which operations the cells hold, the *wiring*, is an argument of ``apply``, in one of three kinds:

* a :class:`~jknas.spaces.nasbench201.genotype.CellGenotype` (static): only the chosen operations exist; a new genotype is a new
compilation;
* a *code*, six integers (traced): all candidates have parameters, one branch runs; one compilation serves the whole space;
* *mixture weights*, floats ``[6, 5]`` (traced): every edge is the weighted sum of all candidates; may be batched by ``vmap``.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PyTree

from jknas.errors import NetworkError
from jknas.networks.layers.conv_norm import BatchNorm, batch_norm, declare
from jknas.networks.layers.convolution import convolution
from jknas.networks.layers.initialisation import Scheme, check_scheme, draw_parameters
from jknas.networks.layers.normalisation import Statistics, check_statistics
from jknas.networks.nasbench201.cell import KERNEL_SIZES, Cell, Reduction, edge_name
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype

Variables = dict[str, Any]
"""``{"params": ..., "batch_stats": ...}``, nested dictionaries of arrays; a stage's cells are stacked along the first axis."""

Wiring = CellGenotype | jax.Array | np.ndarray


class _Macro(nn.Module):
    channels: int
    cells: int
    classes: int
    statistics: Statistics
    reductions: Statistics
    chosen: tuple[str, ...] | None

    @nn.compact
    def __call__(self, x: jax.Array, wiring: jax.Array | None) -> jax.Array:
        kernel = declare(self, "stem", 3, 3, x.shape[-1], self.channels)
        stem_norm = BatchNorm(self.channels, name="stem_norm")
        x, moments = batch_norm(convolution(x, kernel.astype(x.dtype), 1, 1), stem_norm.weights(), self.statistics)
        stem_norm.record(moments)
        stage = nn.scan(
            Cell,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.cells,
        )
        for level in (1, 2, 3):
            features = self.channels * 2 ** (level - 1)
            if level > 1:
                x = Reduction(features // 2, features, self.reductions, name=f"reduction{level - 1}")(x)
            x, _ = stage(features, self.statistics, self.chosen, name=f"stage{level}")(x, wiring)
        last_norm = BatchNorm(4 * self.channels, name="last_norm")
        x, moments = batch_norm(x, last_norm.weights(), self.statistics)
        last_norm.record(moments)
        pooled = jax.nn.relu(x).mean((1, 2))
        weights = declare(self, "classifier", 4 * self.channels, self.classes)
        bias = declare(self, "classifier_bias", self.classes)
        return pooled @ weights.astype(x.dtype) + lax.broadcast_to_rank(bias.astype(x.dtype), 2)


@dataclass(frozen=True)
class CellNetwork:
    """The macro network's size; its methods are pure functions of their arguments.

    Attributes:
        channels: channels of the first stage, C (16 in the published benchmark).
        cells: cells in each of the three stages, N (5 in the published benchmark).
        classes: number of outputs, K.
        input_channels: channels of the images.
    """

    channels: int = 16
    cells: int = 5
    classes: int = 10
    input_channels: int = 3

    genotypes: ClassVar[type] = CellGenotype
    auxiliary: ClassVar[bool] = False
    has_drop_path: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("channels", "cells", "classes", "input_channels"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise NetworkError(f"{name} must be a positive integer, got {value!r}")

    def _module(self, statistics: Statistics, genotype: CellGenotype | None, reductions: Statistics | None = None) -> _Macro:
        chosen = None if genotype is None else genotype.operations
        return _Macro(self.channels, self.cells, self.classes, statistics, reductions or statistics, chosen)

    def init(self, key: jax.Array, genotype: CellGenotype | None = None, *, scheme: Scheme = "pytorch") -> Variables:
        """Draw parameters.

        Args:
            key: a JAX random key.
            genotype: draw only this cell's parameters; None draws those of every candidate operation, for code and mixture wirings.
                The full set is drawn all the same and cut, so that a genotype's parameters equal its part of it.
            scheme: see :mod:`jknas.networks.layers.initialisation`.

        Returns:
            ``{"params", "batch_stats"}``.

        Raises:
            ValueError: for an unknown scheme.
            TypeError: if ``genotype`` is neither a genotype nor None.
        """
        check_scheme(scheme)
        if genotype is not None and not isinstance(genotype, CellGenotype):
            raise TypeError(f"init takes a CellGenotype or None, got {type(genotype).__name__}; parse strings with CellGenotype.parse")
        params = draw_parameters(key, _parameter_shapes(self), scheme)
        averages = _unit_averages(params)
        if genotype is None:
            return {"params": params, "batch_stats": averages}
        return {"params": restrict(params, genotype), "batch_stats": restrict(averages, genotype)}

    def apply(
        self,
        params: PyTree,
        x: Float[Array, "n h w c"],
        wiring: Wiring,
        *,
        statistics: Statistics = "example",
        batch_stats: PyTree | None = None,
        reductions: Statistics | None = None,
    ) -> Float[Array, "n k"]:
        """Compute the logits.

        Args:
            params: parameters from :meth:`init`; a genotype also runs on the full set.
            x: images, channels last; height and width multiples of 4, and at least 8 where the images themselves are normalised over.
            wiring: genotype, code, or mixture weights (see the module's text).
            statistics: what batch normalisation normalises over; ``"running"`` needs ``batch_stats``.
            batch_stats: running averages.
            reductions: what the two reduction blocks normalise over, where that is not ``statistics``.

        Raises:
            ValueError: for an unknown statistics name, missing running averages, images of the wrong shape, an array that is no wiring, or
                parameters without an operation that the wiring may use.
            TypeError: if the wiring is a string.
        """
        return self._run(params, batch_stats, x, wiring, statistics, mutable=False, reductions=reductions)

    def apply_and_update(
        self, params: PyTree, batch_stats: PyTree, x: Float[Array, "n h w c"], wiring: Wiring
    ) -> tuple[Float[Array, "n k"], PyTree]:
        """Compute the logits in training mode (batch statistics) and return them with the moved running averages.

        As in PyTorch the averages keep nine tenths of their value and take the *unbiased* batch variance. With a code, operations that
        are not chosen keep theirs.
        """
        return self._run(params, batch_stats, x, wiring, "batch", mutable=True)

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
            ValueError: a drop path other than the number 0, which this network does not have either; and as :meth:`apply`.
        """
        del key
        if not isinstance(drop_path, (int, float)) or drop_path != 0:
            raise NetworkError(f"{type(self).__name__} has no drop path; expected drop_path=0.0, got {drop_path!r}")
        logits, averages = self.apply_and_update(params, batch_stats, x, wiring)
        return logits, None, averages

    def restrict(self, tree: PyTree, genotype: CellGenotype) -> PyTree:
        """Return :func:`restrict` of the tree."""
        return restrict(tree, genotype)

    def _run(
        self,
        params: PyTree,
        batch_stats: PyTree | None,
        x: jax.Array,
        wiring: Wiring,
        statistics: Statistics,
        *,
        mutable: bool,
        reductions: Statistics | None = None,
    ) -> Any:
        check_statistics(statistics)
        check_statistics(reductions or statistics)
        if "running" in (statistics, reductions) and batch_stats is None:
            raise NetworkError('statistics="running" needs batch_stats=..., the running averages that init and training return')
        self._check_images(x, statistics)
        genotype, traced = resolve_wiring(wiring)
        _check_operations("params", params, genotype)
        if batch_stats is not None:
            _check_operations("batch_stats", batch_stats, genotype)
        module = self._module(statistics, genotype, reductions)
        # Only running averages are read; batch and example statistics get placeholders of the right structure for free.
        state = batch_stats if batch_stats is not None else _unit_averages(params)
        variables = {"params": params, "batch_stats": state}
        if not mutable:
            return module.apply(variables, x, traced)
        logits, updated = module.apply(variables, x, traced, mutable=["batch_stats"])
        return logits, _merge(state, updated["batch_stats"])

    def _check_images(self, x: jax.Array, statistics: Statistics) -> None:
        if x.ndim != 4 or x.shape[-1] != self.input_channels:
            raise NetworkError(f"images must be [n, height, width, {self.input_channels}], got {tuple(x.shape)}")
        smallest = 8 if statistics in {"example", "batch"} else 4
        if any(extent % 4 or extent < smallest for extent in x.shape[1:3]):
            raise NetworkError(
                f"height and width must be multiples of 4 and at least {smallest} with statistics={statistics!r} "
                f"(two reductions halve them), got {x.shape[1]}x{x.shape[2]}; resize the images"
            )


@functools.lru_cache
def _parameter_shapes(network: CellNetwork) -> PyTree:
    """Shapes of the full set. Cached: to trace the network takes about a second, to draw its numbers almost nothing."""

    def declared() -> Any:
        images = jnp.zeros((1, 8, 8, network.input_channels), jnp.result_type(float))
        return dict(network._module("batch", None).init(jax.random.key(0), images, None))

    return jax.eval_shape(declared)["params"]


def resolve_wiring(wiring: Wiring) -> tuple[CellGenotype | None, jax.Array | None]:
    """Tell the kinds of wiring apart: ``(genotype, None)``, or ``(None, array)`` with a code or mixture weights, told apart by their shape.

    Raises:
        ValueError: for an array that is no wiring, or a code with a digit that means no operation.
        TypeError: for a string.
    """
    if isinstance(wiring, CellGenotype):
        return wiring, None
    if isinstance(wiring, str):
        raise TypeError("wiring is a string; parse it first: CellGenotype.parse(text)")
    array = jnp.asarray(wiring)
    if array.shape == (len(EDGES),) and jnp.issubdtype(array.dtype, jnp.integer):
        # A traced code cannot be looked at: a digit out of range is then moved to the nearest operation.
        if not isinstance(array, jax.core.Tracer) and not all(0 <= digit < len(OPERATIONS) for digit in array.tolist()):
            raise NetworkError(f"a code has digits 0 to {len(OPERATIONS) - 1}, got {array.tolist()}")
        return None, array
    if array.shape == (len(EDGES), len(OPERATIONS)) and jnp.issubdtype(array.dtype, jnp.floating):
        return None, array
    raise NetworkError(
        f"wiring must be a CellGenotype, a code (integers [{len(EDGES)}]) or mixture weights (floats [{len(EDGES)}, {len(OPERATIONS)}]), "
        f"got {array.dtype}{list(array.shape)}"
    )


def _check_operations(name: str, tree: Mapping[str, Any], genotype: CellGenotype | None) -> None:
    """Refuse variables without an operation that a genotype, or a code or mixture weights (None), may use."""
    used = [
        f"{edge_name(edge)}_{operation}"
        for edge in range(len(EDGES))
        for operation in KERNEL_SIZES
        if genotype is None or operation == genotype.operations[edge]
    ]
    for stage in ("stage1", "stage2", "stage3"):
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


def _unit_averages(params: Mapping[str, Any]) -> Variables:
    """Mean zero and variance one for every batch normalisation found in ``params``."""
    found: Variables = {}
    for name, value in params.items():
        if not isinstance(value, Mapping):
            continue
        if "scale" in value:
            found[name] = {"mean": jnp.zeros_like(value["scale"]), "var": jnp.ones_like(value["scale"])}
        elif inner := _unit_averages(value):
            found[name] = inner
    return found


def _merge(old: Any, new: Any) -> Any:
    """Return ``old`` with the leaves that ``new`` holds replaced."""
    if not isinstance(old, Mapping):
        return new
    return {name: _merge(value, new[name]) if name in new else value for name, value in old.items()}


def restrict(tree: PyTree, genotype: CellGenotype) -> PyTree:
    """Return the part of full ``params`` or ``batch_stats`` that a genotype uses.

    ``restrict(network.init(key)["params"], genotype)`` equals ``network.init(key, genotype)["params"]``.
    """
    wanted = {f"{edge_name(edge)}_{operation}" for edge, operation in enumerate(genotype.operations)}
    kept: Variables = {}
    for name, value in tree.items():
        kept[name] = {layer: value[layer] for layer in value if layer in wanted} if name.startswith("stage") else value
    return kept
