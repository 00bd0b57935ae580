"""The exact kernel of a whole data set, on disk."""

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

from jknas.errors import KernelError
from jknas.kernels.chunks import count_examples, joined, padded
from jknas.kernels.examples import (
    Examples,
    Interaction,
    Setup,
    forward,
    gradient_slice,
    prepared,
    prepared_second,
    scalar_of,
)
from jknas.kernels.gram import pair
from jknas.kernels.objectives import Apply, Objective, Parameters, chosen_names
from jknas.kernels.tape.rows import inner_products
from jknas.kernels.tape.sketching import widest
from jknas.kernels.tile_file import TileFile, read_journal
from jknas.kernels.tile_plan import Plan, Scheme, Sizes, plan_tiles, tiles
from jknas.kernels.tile_sizes import measure
from jknas.kernels.tile_sweep import Tile, by_pairs, by_slices, one_ahead
from jknas.xla.programs import PROGRAMS

_HASHED_AT_ONCE = 2**26  # bytes
_AXIS = "examples"

Progress = Callable[[int, int, float], None]
"""``progress(done, total, seconds_left)``, called after every tile."""


@dataclass(frozen=True, eq=False)
class TiledGram:
    """A kernel on disk and its definition.

    Attributes:
        path: the ``.npy`` file.
        objective: ``"logits"`` or ``"loss"``.
        outputs: how the outputs of one example are combined.
        parameters: paths of the parameters that were differentiated.
        plan: scheme, tile and cost.
        resumed: tiles that an earlier call had finished.
        repaired: tiles that an earlier call had recorded, but that were damaged, and were computed again.
    """

    path: Path
    objective: Objective
    outputs: str
    parameters: tuple[str, ...]
    plan: Plan
    resumed: int
    repaired: tuple[Tile, ...]

    @property
    def matrix(self) -> np.memmap:
        """The kernel ``[n, n]`` or ``[n, n2]``, mapped from the file, read-only."""
        found: np.memmap = np.load(self.path, mmap_mode="r")
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return the matrix for NumPy functions."""
        return np.asarray(self.matrix, dtype=dtype, copy=copy)


def tiled_gram(
    apply: Apply,
    params: PyTree,
    x: PyTree,
    x2: PyTree | None = None,
    *,
    out: str | Path,
    objective: Objective = "logits",
    labels: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    labels2: Int[Array, " n2"] | Int[np.ndarray, " n2"] | None = None,
    outputs: Literal["sum", "trace"] = "sum",
    parameters: Parameters = "all",
    tile: int | Literal["auto"] = "auto",
    scheme: Scheme = "auto",
    memory: int = 2**31,
    devices: Sequence[jax.Device] | None = None,
    resume: bool = True,
    interaction: Interaction = "refuse",
    progress: Progress | None = None,
) -> TiledGram:
    r"""Write the kernel of :func:`jknas.gram` to a file, tile by tile: for as many examples as the disk holds.

    ``np.load(out, mmap_mode="r")`` reads the file. A call that was interrupted, even by ``kill -9``, goes on where it was when it is
    repeated, and ends in the same bytes. Its journal ``<out>.progress`` stays beside the file: a finished kernel is checked and returned.

    **Cost.** A symmetric kernel is computed in its upper half only. There are two schemes. With N examples, t rows per tile, P gradient
    entries per example, the passes (single-example forward and backward passes) are

    * ``pairs``: the one-pass program on every pair of blocks, :math:`N^2 / t` passes, tiles as large as activations and the gradients of
      the largest parameter allow. It contracts each layer in its cheapest form, far below :math:`N^2 P` for layers of few positions.
    * ``slices``: the gradients of a strip of blocks stay in memory, the others pass by: N passes if all gradients fit,
      about :math:`N^2 P w / (2 \cdot \text{memory})` otherwise (w bytes per number), and :math:`N^2 P / 2` multiplications. Where it saves
      work, only a group of parameters is taken at a time; such a pass costs about half.

    :mod:`jknas.kernels.tile_plan` has the whole model: FLOPs of both, as XLA counts those of the traced programs, with a backward pass's
    counting twice. ``scheme="auto"`` takes the cheaper one. On the device are ``memory`` bytes, as planned from the sizes of all
    intermediate values; the host holds some tiles. (Pages of ``out`` and of a memory-mapped ``x`` are the system's to reclaim.)

    Args:
        apply: the model, ``apply(params, x) -> [n, k]`` (or ``[n]``).
        params: any pytree of arrays; real floating-point leaves are differentiated.
        x: inputs, a pytree of arrays ``[n, ...]``; of NumPy arrays and memory maps only the blocks in use are read.
        x2: other inputs ``[n2, ...]`` for a rectangular kernel.
        out: the ``.npy`` file to write.
        objective: ``"logits"`` or ``"loss"``.
        labels: class indices ``[n]``, needed by ``"loss"``.
        labels2: class indices of ``x2``.
        outputs: ``"sum"`` or ``"trace"``.
        parameters: ``"all"``, ``"weights"``, or a predicate on the leaf's path.
        tile: rows and columns of a tile, a multiple of the number of devices.
        scheme: ``"pairs"``, ``"slices"``, or ``"auto"`` for the cheaper one.
        memory: bytes to use on each device.
        devices: what to compute on: each takes an equal share of every block of examples (``slices``) or its own tiles (``pairs``). None
            takes JAX's default device.
        resume: go on with what is at ``out``; False overwrites it. Parameters, inputs and options are compared with those of the file; of
            ``apply``, its outputs for the first example.
        interaction: as in :func:`jknas.gram`.
        progress: called after every tile. An exception that it raises ends the call; what is done stays.

    Returns:
        The kernel, in the widest dtype of the parameters, at least float32, accumulated at the highest matrix product precision.

    Raises:
        KernelError: what :func:`jknas.gram` refuses; ``outputs="full"``; a file of another kernel, or without a journal; no space on disk;
            a memory that is too small, for the plan or in fact.
        UnsoundBackendError: the installed JAX computes wrong matrix products.
    """
    if outputs == "full":
        raise KernelError(
            'outputs="full" has K x K numbers for each pair: take outputs="trace", or let apply return the output of interest'
        )
    definition, first = prepared(
        Setup(apply, objective, outputs, parameters), params, x, labels, chunk_size=None, interaction=interaction, on_host=True
    )
    second = None if x2 is None else prepared_second(definition, params, first, x2, labels2, on_host=True)
    run, path = _Run(definition, params, first, second, devices), Path(out)
    journal = read_journal(path) if resume else None
    with _advice("one example alone takes too much"):
        identity = run.identity()
    if journal is None:
        plan = plan_tiles(run.sizes(), memory, scheme=scheme, tile=tile)
    else:
        plan = _same(path, journal.header, identity, scheme=scheme, tile=tile)
    header = {**identity, "plan": plan._asdict()}
    shape = (count_examples(run.sides[0]), count_examples(run.sides[-1]))
    file = TileFile(path, shape, run.dtype, plan.tile, symmetric=second is None, header=header, journal=journal)
    resumed = len(file.done)
    try:
        wanted = tiles(shape[0], None if second is None else shape[1], plan.tile)
        with _advice(f"tile={plan.tile}, scheme={plan.scheme!r} was planned for {plan.memory} bytes"):
            _fill(file, run.tiles(plan, [at for at in wanted if at not in file.done]), len(wanted), progress)
    finally:
        file.close()
    return TiledGram(path, objective, outputs, tuple(run.names), plan, resumed, file.repaired)


@contextlib.contextmanager
def _advice(why: str) -> Iterator[None]:
    """Say what to do when the memory is exhausted."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            raise KernelError(
                f"out of memory ({why}): lower memory= or tile=, and pass resume=False, for tiles of another size cannot be kept"
            ) from error
        raise


def _fill(file: TileFile, found: Iterator[tuple[Tile, Any]], total: int, progress: Progress | None) -> None:
    start, before = time.perf_counter(), len(file.done)
    for at, block in one_ahead(found):
        file.write(at, np.asarray(block))
        if progress is not None:
            done = len(file.done)
            progress(done, total, (time.perf_counter() - start) / (done - before) * (total - done))


def _cut(examples: PyTree, start: int, stop: int) -> PyTree:
    return jax.tree.map(lambda a: a[start:stop], examples)


def _same(path: Path, header: dict[str, Any], identity: dict[str, Any], *, scheme: Scheme, tile: int | Literal["auto"]) -> Plan:
    """Return the plan of an earlier call.

    Raises:
        KernelError: that call was for another kernel, or another plan was asked for.
    """
    theirs, ours = header["digests"], identity["digests"]
    different = [name for name in ours if theirs.get(name) != ours[name]]
    if np.shape(header["outputs"]) != np.shape(identity["outputs"]) or not np.allclose(
        header["outputs"], identity["outputs"], rtol=1e-3, atol=1e-6, equal_nan=True
    ):
        different.append("the model's outputs")
    if different:
        raise KernelError(
            f"{path} is another kernel: it differs in {', '.join(different)}. Pass resume=False to overwrite it, or another path"
        )
    plan = Plan(**header["plan"])
    plan = plan._replace(groups=tuple(tuple(group) for group in plan.groups))
    if scheme not in ("auto", plan.scheme) or tile not in ("auto", plan.tile):
        raise KernelError(
            f"{path} was begun with scheme={plan.scheme!r}, tile={plan.tile}: pass these or 'auto' to go on, or resume=False to begin anew"
        )
    return plan


def _outputs(definition: Setup, params: PyTree, x: PyTree) -> jax.Array:
    return definition.apply(params, x).reshape(-1)[:16].astype(jnp.float32)


def _passed(definition: Setup, group: tuple[int, ...], batch: int, shared: tuple[PyTree, jax.Array], block: Examples) -> jax.Array:
    """Return the gradients of ``batch`` examples of a block from a given one on."""
    params, start = shared
    return gradient_slice(definition, group, params, jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, batch), block))


def _stacked(_: Any, *parts: jax.Array) -> jax.Array:
    return jnp.concatenate(parts)


def _multiplied(right: jax.Array, left: jax.Array, *total: jax.Array) -> jax.Array:
    """Return the inner products of the rows of two blocks, added to ``total`` if there is one."""
    found = inner_products([left], [right])
    return found + total[0] if total else found


def _on(mesh: Mesh | None, function: Callable[..., Any], fixed: tuple[Any, ...], shared: Any, *split: Any) -> Any:
    """Run ``function(*fixed, shared, *split)``; on a mesh each device has all of ``shared`` and its rows of the others."""
    run = functools.partial(function, *fixed)
    if mesh is None:
        return run(shared, *split)
    rows = PartitionSpec(_AXIS)
    specs = (PartitionSpec(), *[rows] * len(split))
    return jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False)(shared, *split)


class _Run:
    """One kernel's model and examples, and the devices that they are sent to."""

    def __init__(
        self, definition: Setup, params: PyTree, first: Examples, second: Examples | None, devices: Sequence[jax.Device] | None
    ) -> None:
        self.definition, self.params, self.sides = definition, params, [first] if second is None else [first, second]
        self.names = chosen_names(params, definition.parameters)
        self.devices = tuple(devices) if devices is not None else ()
        self.mesh = Mesh(np.array(self.devices), (_AXIS,)) if len(self.devices) > 1 else None
        self.one = jax.eval_shape(lambda examples: examples, _cut(first, 0, 1))
        self.leaves = jax.eval_shape(lambda params: scalar_of(definition, params)[0], params)
        self.dtype = widest([leaf.dtype for leaf in self.leaves])

    def sizes(self) -> Sizes:
        """Trace the programs and count what they cost."""
        first, *others = self.sides
        found = measure(
            functools.partial(forward, self.definition),
            lambda t: functools.partial(pair, self.definition, t),
            self.leaves,
            self.params,
            self.one,
            rows=count_examples(first),
            columns=count_examples(others[0]) if others else None,
            repeats=self.definition.classes,
            devices=max(1, len(self.devices)),
        )
        if found is None:
            raise KernelError("apply closes over a traced value: call tiled_gram outside of jax.jit and other transformations")
        return found

    def identity(self) -> dict[str, Any]:
        """Return what tells this kernel from others: digests, and the outputs of the first example."""
        definition, device = self.definition, (self.devices or tuple(jax.devices()))[0]
        options = [definition.objective, definition.outputs, self.names, str(self.dtype)]
        machine = [jax.__version__, device.platform, device.device_kind, len(self.devices) or 1]
        digests = {"params": _digest(self.params), "options": options, "JAX or devices": machine}
        for name, side in zip(("x", "x2"), self.sides, strict=False):
            digests |= {name: _digest(side.x), name.replace("x", "labels"): _digest(side.labels)}
        found = PROGRAMS.jitted(_outputs, definition)(self.params, _cut(self.sides[0].x, 0, 1))
        return {"digests": digests | {"sides": len(self.sides)}, "outputs": [float(value) for value in np.asarray(found)]}

    def _sent(self, value: Any, *, split: bool) -> Any:
        if self.mesh is not None:
            return jax.device_put(value, NamedSharding(self.mesh, PartitionSpec(_AXIS) if split else PartitionSpec()))
        return jax.device_put(value, self.devices[0] if self.devices else None)

    def _block(self, side: int, at: int, tile: int) -> Examples:
        """Return a block of examples on the host, the last one padded with its first example."""
        return padded(_cut(self.sides[side], at * tile, (at + 1) * tile), tile)

    def tiles(self, plan: Plan, wanted: list[Tile]) -> Iterator[tuple[Tile, Any]]:
        """Compute the wanted tiles in the scheme of the plan."""
        if not wanted:
            return iter(())
        params, symmetric, tile = self._sent(self.params, split=False), len(self.sides) == 1, plan.tile
        if plan.scheme == "pairs":

            def kernels(some: list[Tile]) -> list[Any]:
                sides = [[self._block(side, place[axis], tile) for place in some] for axis, side in ((0, 0), (1, 0 if symmetric else 1))]
                whole = [self._sent(joined(*blocks), split=True) for blocks in sides]
                found = PROGRAMS.jitted(_on, self.mesh, pair, (self.definition, tile))(params, *whole)
                if len(some) == 1:
                    return [found]
                return list(np.asarray(found).reshape(len(some), tile, tile))

            return by_pairs(kernels, wanted, together=max(1, len(self.devices)))
        share = tile // max(1, len(self.devices))
        stack, product = PROGRAMS.jitted(_on, self.mesh, _stacked, ()), PROGRAMS.jitted(_on, self.mesh, _multiplied, ())

        def gradients(side: int, at: int, group: int) -> Any:
            block = self._sent(self._block(side, at, tile), split=True)
            program = PROGRAMS.jitted(_on, self.mesh, _passed, (self.definition, plan.groups[group], plan.batch))
            parts = [program((params, start), block) for start in range(0, share, plan.batch)]
            return parts[0] if len(parts) == 1 else stack((), *parts)

        return by_slices(
            gradients,
            lambda left, right, *total: product(right, left, *total),
            wanted,
            strip=plan.strip,
            groups=len(plan.groups),
            symmetric=symmetric,
            spread=lambda block: block if self.mesh is None else self._sent(block, split=False),
        )


def _digest(tree: PyTree) -> str:
    """Return a digest of a pytree's structure, dtypes, shapes and bytes, read in pieces."""
    found = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(tree):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)  # noqa: PLW2901
        rows = np.atleast_1d(leaf) if not isinstance(leaf, jax.Array) or leaf.ndim == 0 else leaf
        found.update(f"{jax.tree_util.keystr(path)} {rows.dtype} {rows.shape};".encode())
        step = max(1, _HASHED_AT_ONCE // max(1, rows.nbytes // max(1, len(rows))))
        for start in range(0, len(rows), step):
            found.update(np.ascontiguousarray(rows[start : start + step]).tobytes())
    return found.hexdigest()
