"""The supernet of a space, and how weights of its operations become a cell."""

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


@dataclass(frozen=True)
class Supernet:
    """A network that all cells of a space share, and how it is trained; fixed in every compiled program.

    Attributes:
        network: with the supernet's normalisations.
        recipe: of its training.
        edges: places of a cell that choose an operation.
        operations: among how many they choose.
        per_cell: whether every cell draws by itself.
    """

    network: Any
    recipe: SharingRecipe
    edges: int
    operations: int
    per_cell: bool = False

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
            optax.trace(recipe.momentum, nesterov=True),
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
        """Draw the operation of each edge uniformly."""
        return jax.random.randint(key, (self.edges,), 0, self.operations, jnp.int32)

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
    return Supernet(network, recipe, problem.space.num_edges, len(problem.space.operations), per_cell)


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
        kept -= set(sorted(group, key=lambda edge: -strength[edge])[2:])
    return plan.genotype([int(chosen[edge]) if edge in kept else -1 for edge in range(len(weights))])


def generator(key: Array) -> np.random.Generator:
    """Return NumPy's generator of a random key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())


def most_probable(log_weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the codes with the largest sums of log-weights ``[edges, operations]``, and the sums; the largest first.

    The best sums over the first edges are extended edge by edge, of which no more than ``count`` can be part of the best over all.
    """
    codes, sums = np.zeros((1, 0), np.int32), np.zeros(1)
    for row in log_weights:
        spread = (sums[:, None] + row[None]).ravel()
        best = np.argsort(-spread, kind="stable")[:count]
        codes = np.concatenate([codes[best // len(row)], (best % len(row))[:, None].astype(np.int32)], axis=1)
        sums = spread[best]
    return codes, sums


def distinct_codes(rng: np.random.Generator, sizes: Sequence[int], count: int) -> np.ndarray:
    """Return ``count`` different codes, with digits below ``sizes[edge]``, drawn uniformly; all codes where there are no more."""
    wanted = min(count, math.prod(sizes))
    found: dict[tuple[int, ...], None] = {}
    while len(found) < wanted:
        found[tuple(rng.integers(0, sizes).tolist())] = None
    return np.array(list(found), np.int32)
