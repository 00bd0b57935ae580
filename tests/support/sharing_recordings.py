"""Two iterations of every weight-sharing search, recorded from the public scripts; see ``tests/recorded/README.md``."""

import functools
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from jknas.networks import CellNetwork
from jknas.search.weight_sharing.arrays import Shared
from jknas.search.weight_sharing.supernet import Supernet
from jknas.search.weight_sharing.training import Pair, Rates
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype

FOLDER = Path(__file__).parents[1] / "recorded"
NETWORK = CellNetwork(4, 1, 10, 3)
_CONVOLUTIONS = ((2, "nor_conv_1x1"), (3, "nor_conv_3x3"))
_STAGES = ((1, 0), (2, 2), (3, 4))
_REDUCTIONS = ((1, 1), (2, 3))


@functools.cache
def load(name):
    with np.load(FOLDER / f"ws_{name}.npz") as file:
        return dict(file)


def state_dict():
    return {name.removeprefix("sd/"): value for name, value in load("common").items() if name.startswith("sd/")}


def alphas():
    return jnp.asarray(load("common")["alphas"], float)


def images(name):
    common = load("common")
    return jnp.asarray(common[f"x_{name}"].transpose(0, 2, 3, 1), float), jnp.asarray(common[f"y_{name}"], jnp.int32)


def pair(number):
    return Pair(*images(f"train{number}"), *images(f"valid{number}"))


def rates(learning_rate, temperature=10.0):
    return Rates(jnp.asarray(learning_rate, float), jnp.asarray(temperature, float))


def places(*, last=True):
    """Return where each tensor of the recordings is in our trees: name, path, index of the cell or None."""
    found = [("stem.0.weight", ("stem",), None)]
    found += [(f"stem.1.{torch}", ("stem_norm", ours), None) for torch, ours in (("weight", "scale"), ("bias", "bias"))]
    for stage, block in _STAGES:
        for target, source in EDGES:
            for number, operation in _CONVOLUTIONS:
                name = f"cells.{block}.edges.{target}<-{source}.{number}.op.1.weight"
                found.append((name, (f"stage{stage}", f"edge_{target}_{source}_{operation}", "kernel"), 0))
    for reduction, block in _REDUCTIONS:
        own = f"reduction{reduction}"
        for part in ("conv_a", "conv_b"):
            found.append((f"cells.{block}.{part}.op.1.weight", (own, part, "kernel"), None))
            found += [
                (f"cells.{block}.{part}.op.2.{torch}", (own, part, "norm", ours), None)
                for torch, ours in (("weight", "scale"), ("bias",) * 2)
            ]
        found.append((f"cells.{block}.downsample.1.weight", (own, "downsample"), None))
    if last:
        found += [(f"lastact.0.{torch}", ("last_norm", ours), None) for torch, ours in (("weight", "scale"), ("bias", "bias"))]
    return [*found, ("classifier.weight", ("classifier",), None), ("classifier.bias", ("classifier_bias",), None)]


def average_places(*, last=True):
    norms = [("stem.1", ("stem_norm",))]
    norms += [
        (f"cells.{block}.{part}.op.2", (f"reduction{number}", part, "norm"))
        for number, block in _REDUCTIONS
        for part in ("conv_a", "conv_b")
    ]
    norms += [("lastact.0", ("last_norm",))] if last else []
    return [(f"{name}.running_{kind}", (*path, kind), None) for name, path in norms for kind in ("mean", "var")]


def _ours(tensor):
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T


def _theirs(tensor):
    return tensor.transpose(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T


def tree(listed, tensors):
    """Return our tree of named tensors."""
    found = {}
    for name, path, cell in listed:
        inner = found
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        value = jnp.asarray(_ours(np.asarray(tensors[name], np.float64)))
        inner[path[-1]] = value if cell is None else value[None]
    return found


def named(listed, tree):
    """Return the tensors of our tree by name."""
    found = {}
    for name, path, cell in listed:
        value = functools.reduce(lambda inner, key: inner[key], path, tree)
        found[name] = _theirs(np.asarray(value if cell is None else value[cell]))
    return found


def net(recipe, *, per_cell=False):
    network = NETWORK.supernet(last_as_cells=recipe.last_as_cells)
    return Supernet(network, recipe, len(EDGES), len(OPERATIONS), per_cell)


def shared(net, architecture):
    """Return the recorded state before anything was learned."""
    last = not net.recipe.last_as_cells
    params, batch_stats = tree(places(last=last), state_dict()), tree(average_places(last=last), state_dict())
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    moments = net.architecture_optimiser.init(architecture)
    return Shared(
        params, batch_stats, zeros(params), jnp.zeros(net.sampled_shape, bool), architecture, moments, zeros(architecture), -jnp.ones(())
    )


def code_of(text):
    return jnp.asarray(CellGenotype.parse(str(text)).code, jnp.int32)


def view(shared, *, last=True):
    """Return what the recordings name of a state."""
    return SimpleNamespace(
        w=named(places(last=last), shared.params),
        mom=named(places(last=last), shared.momentum),
        bn=named(average_places(last=last), shared.batch_stats),
    )
