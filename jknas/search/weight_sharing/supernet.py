"""The supernet of a space, and how weights of its operations become a cell."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from jknas.errors import SearchError
from jknas.networks.families import require
from jknas.search.weight_sharing.recipe import SharingRecipe
from jknas.spaces.pruning import PruningPlan
from jknas.spaces.space import Space
from jknas.training.epoch import losses_and_hits

INPUTS = 2
"""The edges of a node that stay where not all do."""


@dataclass(frozen=True)
class Supernet:
    """A network that all cells of a space share, and how it is trained; fixed in every compiled program.

    Attributes:
        network: with the supernet's normalisations.
        recipe: of its training.
        edges: places of a cell that choose an operation.
        operations: among how many they choose.
        per_cell: whether every cell draws by itself.
        nodes: the edges that lead to each node where exactly two of them have an operation and the others are absent (DARTS), in the order
            of the edges; empty where every code is a cell.
        absent: the operation of an absent edge.
    """

    network: Any
    recipe: SharingRecipe
    edges: int
    operations: int
    per_cell: bool = False
    nodes: tuple[tuple[int, ...], ...] = ()
    absent: int = 0

    @property
    def sampled_shape(self) -> tuple[int, ...]:
        """The shape of what says which operations are used: edges and operations, behind stages and their cells where these differ."""
        return (*(self.network.cell_axes if self.per_cell else ()), self.edges, self.operations)

    def forward(self, params: PyTree, batch_stats: PyTree, wiring: Any, x: Array, y: Array) -> "Forward":
        """Run the network in training mode."""
        logits, averages = self.network.apply_and_update(params, batch_stats, x, wiring)
        return Forward(*cross_entropy(logits, y), averages)

    def weight_optimiser(self, learning_rate: Any) -> tuple[optax.GradientTransformation, ...]:
        """Return the parts of SGD: the decay that is added to the gradient, the momentum, and the step."""
        recipe = self.recipe
        return (
            optax.add_decayed_weights(recipe.weight_decay),
            optax.trace(recipe.momentum, nesterov=recipe.nesterov),
            optax.scale_by_learning_rate(learning_rate),
        )

    @property
    def architecture_optimiser(self) -> optax.GradientTransformation:
        """The architecture's Adam."""
        recipe, (first, second) = self.recipe, self.recipe.architecture_betas
        return optax.chain(
            optax.add_decayed_weights(recipe.architecture_decay),
            optax.adam(recipe.architecture_rate, b1=first, b2=second, eps=recipe.architecture_epsilon),
        )

    @property
    def everything(self) -> Array:
        """What says that all operations are used."""
        return jnp.ones(self.sampled_shape, bool)

    def random_code(self, key: Array) -> Int[Array, " edges"]:
        """Draw a cell uniformly."""
        if not self.nodes:
            return jax.random.randint(key, (self.edges,), 0, self.operations, jnp.int32)
        first, second = jax.random.split(key)
        present = jax.random.randint(first, (self.edges,), 0, self.operations - 1, jnp.int32)
        present, places = present + (present >= self.absent).astype(jnp.int32), jax.random.uniform(second, (self.edges,))
        ranks = [jnp.argsort(jnp.argsort(places[jnp.asarray(node)])) for node in self.nodes]
        return jnp.where(jnp.concatenate(ranks) < INPUTS, present, self.absent)

    def choices(self) -> list[Int[np.ndarray, "m n"]]:
        """Return what can be chosen independently, in the order of the edges: the codes of single edges, or of a node's."""
        if not self.nodes:
            return [np.arange(self.operations, dtype=np.int32)[:, None]] * self.edges
        present = [digit for digit in range(self.operations) if digit != self.absent]
        found = []
        for size in map(len, self.nodes):
            codes = np.full((math.comb(size, INPUTS), len(present) ** INPUTS, size), self.absent, np.int32)
            for part, edges in zip(codes, itertools.combinations(range(size), INPUTS), strict=True):
                part[:, edges] = list(itertools.product(present, repeat=INPUTS))
            found.append(codes.reshape(-1, size))
        return found

    def one_hot(self, code: Int[Array, "*cells edges"]) -> Array:
        """Return which operations a code chooses, ``[*cells, edges, operations]``."""
        return jax.nn.one_hot(code, self.operations, dtype=bool)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Forward:
    """A pass in training mode: mean cross-entropy in nats, images that are classified rightly, and the moved running averages."""

    loss: Float[Array, ""]
    correct: Int[Array, ""]
    batch_stats: PyTree


def cross_entropy(logits: Float[Array, "n k"], labels: Int[Array, " n"]) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """Return the mean cross-entropy in nats, and how many largest logits are their labels'."""
    losses, hits = losses_and_hits(logits, labels)
    return losses.mean(), hits.sum()


def check_problem(problem: Any, method: str) -> None:
    """Raise SearchError unless the problem's space has a supernet that the method can train."""
    require(problem.network, "supernet", f"the search method {method!r}", error=SearchError)
    if problem.space.pruning is None:
        raise SearchError(
            f"{method} derives a cell from weights of operations, and the space {problem.space.name!r} does not say how: give it a "
            "PruningPlan (Space.pruning)."
        )
    if problem.dataset.streamed:
        raise SearchError(f"{method} keeps its images in memory, and {problem.dataset.name} is a folder of files: search arrays.")


def supernet_of(problem: Any, recipe: SharingRecipe, *, per_cell: bool = False) -> Supernet:
    """Return the supernet of a problem.

    Raises:
        SearchError: cells are to draw by themselves, and the network's cannot.
    """
    network = problem.network.supernet(last_as_cells=recipe.last_as_cells)
    if per_cell and not hasattr(network, "draw_cells"):
        raise SearchError(f"the recipe has per_cell=True, and all cells of a {type(network).__name__} are wired alike: set per_cell=False.")
    plan: PruningPlan = problem.space.pruning
    nodes = tuple(node for cell in plan.kept or () for node in cell)
    if nodes and [edge for node in nodes for edge in node] != list(range(problem.space.num_edges)):
        raise SearchError(
            f"the groups of edges of {problem.space.name!r} are {nodes}; expected all edges, in their order (PruningPlan.kept)."
        )
    return Supernet(network, recipe, problem.space.num_edges, len(problem.space.operations), per_cell, nodes, plan.absent)


def derive(space: Space[Any], weights: np.ndarray) -> Any:
    """Return the cell of weights ``[edges, operations]``.

    On every edge the operation with the largest weight is taken, of equal ones the first. Where nodes keep two edges only (DARTS), the
    absent operation is left out, and the two edges whose operations have the largest weights stay.
    """
    plan: PruningPlan = space.pruning  # type: ignore[assignment]
    weights = np.array(weights, float)
    if plan.kept is not None or not plan.absent_competes:
        weights[:, plan.absent] = -np.inf
    chosen, strength = weights.argmax(1), weights.max(1)
    kept = set(range(len(weights)))
    for group in (group for cell in plan.kept or () for group in cell):
        kept -= set(sorted(group, key=lambda edge: -strength[edge])[INPUTS:])
    return plan.genotype([int(chosen[edge]) if edge in kept else -1 for edge in range(len(weights))])


def generator(key: Array) -> np.random.Generator:
    """Return NumPy's generator of a random key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())


def most_probable(choices: Sequence[np.ndarray], log_weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes with the largest sums of log-weights, and the sums; the largest first.

    The best sums over the first choices are extended choice by choice, of which no more than ``count`` can be part of the best over all.

    Args:
        choices: what can be chosen independently, see :meth:`Supernet.choices`.
        log_weights: of the operations, ``[edges, operations]``.
        count: how many codes.
    """
    codes, sums = np.zeros((1, 0), np.int32), np.zeros(1)
    for options in choices:
        edges = codes.shape[1] + np.arange(options.shape[1])
        spread = (sums[:, None] + log_weights[edges, options].sum(1)[None]).ravel()
        best = np.argsort(-spread, kind="stable")[:count]
        codes = np.concatenate([codes[best // len(options)], options[best % len(options)]], axis=1)
        sums = spread[best]
    return codes, sums


def distinct_codes(rng: np.random.Generator, sizes: Sequence[int], count: int) -> np.ndarray:
    """Return ``count`` different codes, with digits below ``sizes[edge]``, drawn uniformly; all codes where there are no more."""
    wanted = min(count, math.prod(sizes))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < wanted:
        found[tuple(rng.integers(0, sizes).tolist())] = None
    return np.array(list(found), np.int32)
