"""ENAS: a controller proposes cells, the weights are trained on them, and their validation accuracy trains the controller.

At the end of an epoch the controller takes its steps. Each averages REINFORCE over some cells, every one rewarded with the accuracy of the
shared weights on a validation batch plus a little of the controller's entropy:

    loss = - log p(cell) (reward - b),      b = b_old - (1 - decay) (b_old - reward),

where ``b_old`` stays for the whole epoch, and in the first epoch ``b`` is the cell's own accuracy.

References:
    Pham, Guan, Zoph, Le and Dean, "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, arXiv:1802.03268, in the form of
    NAS-Bench-201's script. Its settings: see :mod:`jknas.search.weight_sharing.recipe`.

Deviations: those of :mod:`.darts_v1`. As in the scripts, the entropy in the reward and in the baseline is differentiated, too. Rewards are
of full batches: a smaller last one of a shuffled split is left out. The recipe ``nats`` is the script's configuration; the command that the
script documents for ENAS has other values of Adam (1e-3, epsilon 1e-3, no decay). On the DARTS space an edge's softmax is over what the
edges before it allow: two edges of a node have an operation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jknas.search.weight_sharing.method import WeightSharing
from jknas.search.weight_sharing.recipe import SharingRecipe, recipes

if TYPE_CHECKING:
    from jax import Array

    from jknas.search.weight_sharing.arrays import Shared
    from jknas.search.weight_sharing.supernet import Supernet
    from jknas.search.weight_sharing.training import Pair, Rates, Settings, SharingRun, Totals

_PUBLISHED = SharingRecipe(
    batch_size=128,
    learning_rate=0.05,
    last_learning_rate=0.0005,
    period=10,
    weight_decay=2.5e-4,
    architecture_rate=1e-3,
    architecture_betas=(0.0, 0.999),
    architecture_epsilon=1e-3,
    architecture_decay=0.0,
    candidate_batch=128,
    augmented=True,
)


@dataclass(frozen=True, kw_only=True)
class Enas(WeightSharing):
    """ENAS.

    Cost of an iteration: one pass, forwards and backwards, through one operation per edge. At the end of an epoch the controller needs
    ``controller_steps * controller_samples`` forward passes of a batch, and the comparison one for each of ``candidates`` cells.
    """

    name: ClassVar[str] = "enas"
    recipes: ClassVar[Mapping[str, SharingRecipe]] = recipes(
        _PUBLISHED,
        nats={"learning_rate": 0.025, "batch_size": 64},
        small={"epochs": 25, "controller_samples": 5, "candidate_batch": 128},
    )

    def initial(self, net: "Supernet", key: "Array") -> Any:
        """Draw the controller."""
        from jknas.search.weight_sharing.controller import draw_controller  # noqa: PLC0415 - modules of methods import no JAX

        return draw_controller(key, net.operations)

    def draw(self, net: "Supernet", shared: "Shared", key: "Array") -> "Array":
        """Draw the controller's code of the weight step."""
        from jax.random import gumbel  # noqa: PLC0415 - modules of methods import no JAX

        from jknas.search.weight_sharing.controller import choose_operations, places_of  # noqa: PLC0415

        return choose_operations(shared.architecture, gumbel(key, (net.edges, net.operations)), places_of(net)).code

    def iterate(self, net: "Supernet", shared: "Shared", pair: "Pair", rates: "Rates", drawn: Any) -> "tuple[Shared, Totals]":
        """Step the weights."""
        from jknas.search.weight_sharing import arrays  # noqa: PLC0415 - modules of methods import no JAX
        from jknas.search.weight_sharing.training import Totals  # noqa: PLC0415

        shared, first = arrays.weight_step(net, shared, pair.x, pair.y, lambda _: drawn, net.one_hot(drawn), rates.learning_rate)
        other = drawn if net.recipe.validation_pass else None
        shared, second = arrays.validation_pass(net, shared, pair.x_valid, pair.y_valid, other)
        return shared, Totals(first, second)

    def finish_epoch(self, net: "Supernet", shared: "Shared", run: "SharingRun", key: "Array") -> "Shared":
        """Train the controller."""
        from jax.numpy import asarray  # noqa: PLC0415 - modules of methods import no JAX

        from jknas.search.weight_sharing.supernet import generator  # noqa: PLC0415
        from jknas.search.weight_sharing.training import candidate_rows  # noqa: PLC0415

        recipe, rng = net.recipe, generator(key)
        count, images = recipe.controller_steps * recipe.controller_samples, len(run.valid.labels)
        size = min(recipe.candidate_batch, images)
        # Batches of one size in one program: what a split has beyond its full batches is left for its next shuffling.
        rows = [batch for batch in candidate_rows(rng, images, size, 2 * count) if len(batch) == size][:count]
        arguments = (shared, run.valid, asarray(np.stack(rows)), key)
        program = run.program("controller", train_controller, *arguments, settings=run.settings)
        trained: Shared = program(*arguments)
        return trained

    def propose(self, net: "Supernet", shared: "Shared", key: "Array") -> np.ndarray:
        """Return codes that the controller draws."""
        import jax  # noqa: PLC0415 - modules of methods import no JAX

        from jknas.search.weight_sharing.controller import choose_operations, places_of  # noqa: PLC0415

        noise, places = jax.random.gumbel(key, (net.recipe.candidates, net.edges, net.operations)), places_of(net)
        return np.asarray(jax.vmap(lambda one: choose_operations(shared.architecture, one, places).code)(noise))

    def weights(self, shared: "Shared", proposed: np.ndarray | None) -> np.ndarray:
        """Return how often the controller chose each operation of an edge for the cells that are compared."""
        assert proposed is not None
        operations = len(shared.architecture["bias"])
        return (proposed[:, :, None] == np.arange(operations)).mean(0)


def train_controller(shared: "Shared", valid: Any, rows: "Array", key: "Array", *, settings: "Settings") -> "Shared":
    """Take the controller's steps of one epoch; ``rows [steps * samples, n]`` are the images of each reward."""
    import jax  # noqa: PLC0415 - modules of methods import no JAX
    import jax.numpy as jnp  # noqa: PLC0415

    from jknas.search.weight_sharing.controller import choose_operations, places_of  # noqa: PLC0415
    from jknas.search.weight_sharing.training import accuracy  # noqa: PLC0415

    net, recipe = settings.net, settings.net.recipe
    before, samples, allowed = shared.baseline, recipe.controller_samples, places_of(net)
    noise = jax.random.gumbel(key, (*rows.shape[:1], net.edges, net.operations))

    def step(shared: Any, part: Any) -> Any:
        def look(_: None, one: Any) -> Any:
            noise, places, number = one
            code = choose_operations(shared.architecture, noise, allowed).code
            return None, (code, accuracy(shared, valid, code, places, jax.random.fold_in(key, number), settings))

        codes, accuracies = jax.lax.scan(look, None, part)[1]
        return controller_step(net, shared, codes, accuracies, before)

    grouped = jax.tree.map(lambda leaf: leaf.reshape(-1, samples, *leaf.shape[1:]), (noise, rows, jnp.arange(len(rows))))
    shared, baselines = jax.lax.scan(step, shared, grouped)
    return shared._replace(baseline=baselines.mean() if recipe.mean_baseline else baselines[-1, -1])


def controller_step(net: "Supernet", shared: "Shared", codes: "Array", accuracies: "Array", before: "Array") -> "tuple[Shared, Array]":
    """Step the controller by the mean of REINFORCE over some cells; return their baselines, too.

    Args:
        net: the supernet, for its recipe.
        shared: whose architecture is the controller.
        codes: the cells, ``[samples, edges]``.
        accuracies: of the shared weights, 0..1, ``[samples]``.
        before: baseline at the beginning of the epoch; below zero in the first one.
    """
    import jax  # noqa: PLC0415 - modules of methods import no JAX
    import jax.numpy as jnp  # noqa: PLC0415

    from jknas.search.weight_sharing.arrays import adam_step, clipped  # noqa: PLC0415
    from jknas.search.weight_sharing.controller import follow, places_of  # noqa: PLC0415

    recipe, places = net.recipe, places_of(net)

    def loss(controller: Any) -> Any:
        said = jax.vmap(lambda code: follow(controller, code, places))(codes)
        rewards = accuracies + recipe.entropy_weight * said.entropy
        baselines = jnp.where(before < 0, accuracies, before - (1 - recipe.baseline_decay) * (before - rewards))
        return (-said.log_probability * (rewards - baselines)).mean(), baselines

    gradient, baselines = jax.grad(loss, has_aux=True)(shared.architecture)
    if recipe.controller_clip:
        gradient = clipped(gradient, recipe.controller_clip)
    stepped = adam_step(net, shared, gradient)
    # The weight step clips the weights' gradient alone.
    return stepped._replace(left=jax.tree.map(jnp.zeros_like, gradient)), baselines
