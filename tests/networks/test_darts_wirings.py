"""The three wirings of the DARTS networks compute one network, and training does what it says.

Parameters are random throughout (see :mod:`random_variables`), in networks of three cells: one normal and two reduction cells.
"""

import collections
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import random_variables
from tolerances import assert_close, relative_error, tolerances

from jknas.kernels.gram import gram
from jknas.networks.darts import DartsNetwork, TenasDartsNetwork, TenasDartsThinNetwork, blocks, restrict
from jknas.networks.darts import network as network_module
from jknas.spaces.darts.genotype import NAMED, OPERATIONS, DartsGenotype

NETWORK = DartsNetwork(channels=2, cells=3, classes=3)
REDUCTION = DartsNetwork(channels=2, cells=1, classes=3)
GENOTYPE = DartsGenotype.from_code(
    [4, 6, 3, 0, 1, 0, 7, 0, 5, 0, 2, 0, 0, 4, 3, 7, 0, 5, 4, 1, 0, 0, 6, 2, 0, 0, 3, 0]
)  # every operation somewhere, at stride 1 and 2
OTHER = NAMED["TENAS_cifar10"]
TRACES = collections.Counter()


def images(n=2, side=8):
    return jnp.asarray(np.random.default_rng(1).standard_normal((n, side, side, 3)), float)


def one_hot(genotype):
    return jax.nn.one_hot(jnp.asarray(genotype.code), len(OPERATIONS), dtype=jnp.result_type(float))


def as_code(genotype):
    return jnp.asarray(genotype.code, jnp.int32)


def outcome(network, variables, x, wiring, *, gradient):
    """Return logits and moved averages in training mode, and the gradient of a function that treats every logit differently."""
    TRACES[network, gradient, getattr(wiring, "ndim", 0)] += 1

    def objective(params):
        logits, moved = network.apply_and_update(params, variables["batch_stats"], x, wiring)
        return jnp.sum(jnp.sin(logits) * jnp.cos(jnp.arange(logits.size, dtype=x.dtype)).reshape(logits.shape)), (logits, moved)

    if not gradient:
        _, (logits, moved) = objective(variables["params"])
        return {"logits": logits, "batch_stats": moved}
    slope, (logits, moved) = jax.grad(objective, has_aux=True)(variables["params"])
    return {"logits": logits, "batch_stats": moved, "gradient": slope}


traced_outcome = quick_jit(outcome, static_argnums=0, static_argnames="gradient")


def part(tree, genotype):
    return {name: value if name == "logits" else restrict(value, genotype) for name, value in tree.items()}


def assert_wiring_agrees(network, wiring, *, gradient, parts):
    assert jax.config.jax_enable_x64
    variables = random_variables(network)
    compute = quick_jit(lambda v, x: outcome(network, v, x, GENOTYPE, gradient=gradient))
    expected = compute(part(variables, GENOTYPE), images())
    found = traced_outcome(network, variables, images(), wiring, gradient=gradient)
    own = part(found, GENOTYPE)
    assert_close({name: own[name] for name in parts}, {name: expected[name] for name in parts}, tolerances().wiring)
    if gradient:  # what is not chosen has none
        everything, chosen = (sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(t["gradient"])) for t in (found, own))
        assert everything == pytest.approx(chosen, rel=1e-9)
    return variables, found


@pytest.mark.slow
def test_a_code_is_its_genotype_and_every_code_is_one_compilation(float64):
    old, new = assert_wiring_agrees(NETWORK, as_code(GENOTYPE), gradient=False, parts=["logits", "batch_stats"])
    # What is not chosen keeps its averages: normal edge 2<-0 has a separable 3x3 convolution and no other.
    before, after = (tree["batch_stats"]["cells"]["normal0"]["outer"] for tree in (old, new))
    for name in before:
        pairs = zip(jax.tree.leaves(before[name]), jax.tree.leaves(after[name]), strict=True)
        same = [bool((a[0, 0] == b[0, 0]).all()) for a, b in pairs]
        assert same == [name != "sep_conv_3x3"] * len(same), name
    for genotype in NAMED.values():
        traced_outcome(NETWORK, old, images(), as_code(genotype), gradient=False)
    assert TRACES[NETWORK, False, 1] == 1


@pytest.mark.slow
@pytest.mark.parametrize("network", [REDUCTION, pytest.param(NETWORK, marks=pytest.mark.slow)], ids=["one cell", "three cells"])
def test_a_code_has_the_gradient_of_its_genotype(float64, network):
    assert_wiring_agrees(network, as_code(GENOTYPE), gradient=True, parts=["logits", "batch_stats", "gradient"])


@pytest.mark.slow
@pytest.mark.parametrize("network", [REDUCTION, NETWORK], ids=["one cell", "three cells"])
def test_a_one_hot_mixture_is_its_genotype(float64, network):
    assert_wiring_agrees(network, one_hot(GENOTYPE), gradient=True, parts=["logits", "gradient"])


@pytest.mark.slow
def test_mixtures_may_be_batched_and_small_weights_count_but_none_does_not(float64):
    variables, x = random_variables(NETWORK), images()
    weights = np.random.default_rng(2).choice([0.0, 0.01, 0.25, 1.0], (2, 28, 8))
    weights[0, 3] = 0  # an absent edge
    none, cleaned = weights.copy(), np.where(weights <= 0.01, 0, weights)
    none[:, :, 0] = 7
    compute = lambda mixture: NETWORK.apply(variables["params"], x, mixture)  # noqa: E731
    together = quick_jit(jax.vmap(compute))(jnp.asarray(np.concatenate([weights, none, cleaned])))
    one = quick_jit(compute)
    assert_close(together[:2], jnp.stack([one(jnp.asarray(w)) for w in weights]), tolerances().wiring)
    assert_close(together[2:4], together[:2], tolerances().wiring)
    assert relative_error(together[4:], together[:2]) > 1e-3


@pytest.mark.slow
def test_a_genotype_draws_its_part_of_the_full_set_and_runs_on_either():
    full, own = (quick_jit(lambda key, g=g: NETWORK.init(key, g))(jax.random.key(7)) for g in (None, GENOTYPE))
    for collection in ("params", "batch_stats"):
        expected = restrict(full[collection], GENOTYPE)
        assert jax.tree.structure(own[collection]) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, own[collection], expected)
    assert "edge_2_0_sep_conv_3x3" in own["params"]["cells"]["normal0"]
    compute = quick_jit(lambda params: NETWORK.apply(params, images(), GENOTYPE))
    np.testing.assert_array_equal(compute(full["params"]), compute(own["params"]))


def test_equal_cells_in_a_row_are_one_stack():
    network = DartsNetwork(channels=36, cells=20)
    names = "normal0 normal1 normal2to5 reduction6 normal7 normal8to12 reduction13 normal14 normal15to19"
    assert [run.name for run in network.runs()] == names.split()
    assert [run.name for run in DartsNetwork(cells=1).runs()] == ["reduction0"]


@pytest.mark.slow
def test_running_averages_are_used_and_stacked_cells_run_in_their_order(float64, monkeypatch):
    network = DartsNetwork(channels=1, cells=12, classes=2)
    assert max(run.length for run in network.runs()) > 1
    variables = random_variables(network, OTHER)

    def compute(v, x):
        return network.apply(v["params"], x, OTHER, statistics="running", batch_stats=v["batch_stats"])

    stacked = quick_jit(compute)(variables, images())

    def one_by_one(block, outputs, items):
        found = []
        for at in range(len(jax.tree.leaves(items)[0])):
            outputs, summary = block(outputs, jax.tree.map(lambda leaf, at=at: leaf[at], items))
            found.append(summary)
        return outputs, jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)

    monkeypatch.setattr(blocks, "lax", types.SimpleNamespace(scan=one_by_one))
    assert_close(quick_jit(functools.partial(compute))(variables, images()), stacked, tolerances().wiring)


@pytest.mark.slow
@pytest.mark.parametrize(("wiring", "name"), [(GENOTYPE, "genotype"), (as_code(GENOTYPE), "code")])
def test_the_one_pass_kernel_is_that_of_the_jacobian(float64, wiring, name):
    network = DartsNetwork(channels=2, cells=1, classes=2)
    params = random_variables(network, GENOTYPE if name == "genotype" else None)["params"]
    apply = functools.partial(_apply, network, wiring if name == "genotype" else tuple(GENOTYPE.code))
    compute = quick_jit(lambda params, x: [gram(apply, params, x, method=method).matrix for method in ("auto", "jacobian")])
    one, other = compute(params, images(2))
    assert_close(one, other, tolerances().gram)


def _apply(network, wiring, params, x):
    return network.apply(params, x, wiring if isinstance(wiring, DartsGenotype) else jnp.asarray(wiring, jnp.int32))


def test_drop_path_drops_edges_of_examples_and_keeps_the_mean(float64):
    y = jnp.ones((4000, 1, 1, 2))
    dropped = np.asarray(network_module._drop(jax.random.key(0), 0.25)(3, y))
    assert set(np.unique(dropped)) == {0.0, 1 / 0.75}
    assert dropped.mean() == pytest.approx(1, abs=0.03)
    np.testing.assert_array_equal(dropped[..., 0], dropped[..., 1])
    assert (np.asarray(network_module._drop(jax.random.key(0), 0.25)(4, y)) != dropped).any()


@pytest.mark.slow
def test_training_drops_paths_and_has_an_auxiliary_classifier():
    network = DartsNetwork(channels=2, cells=4, classes=3, auxiliary=True)
    variables = random_variables(network, GENOTYPE)

    @quick_jit
    def train(variables, key, drop_path):
        x = images(4, side=32)
        return network.train_apply(variables["params"], variables["batch_stats"], x, GENOTYPE, key=key, drop_path=drop_path)

    logits, side, moved = train(variables, jax.random.key(0), jnp.float32(0.0))
    again, _, _ = train(variables, jax.random.key(1), jnp.float32(0.0))
    np.testing.assert_array_equal(logits, again)
    dropped = [train(variables, jax.random.key(seed), jnp.float32(0.3))[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert np.abs(dropped[0] - dropped[2]).max() > 0.01
    assert side.shape == logits.shape == (4, 3)
    assert jax.tree.structure(moved) == jax.tree.structure(variables["batch_stats"])
    plain, unmoved = quick_jit(lambda v: network.apply_and_update(v["params"], v["batch_stats"], images(4, side=32), GENOTYPE))(variables)
    np.testing.assert_allclose(plain, logits, rtol=1e-4, atol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, unmoved["auxiliary"], variables["batch_stats"]["auxiliary"])
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (moved["auxiliary"], unmoved["auxiliary"])), strict=True))


PARAMS = {"cells": {}}
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("compute", "error", "message"),
    [
        (lambda: DartsNetwork(channels=0), ValueError, "channels must be a positive integer, got 0"),
        (lambda: DartsNetwork(stem="mnist"), ValueError, "stem='mnist' is not known; choose one of 'cifar', 'imagenet'"),
        (lambda: DartsNetwork(channels=3, stem="imagenet"), ValueError, "channels must be even, got 3"),
        (lambda: NETWORK.init(KEY, "Genotype(...)"), TypeError, "init takes a DartsGenotype or None, got str; parse"),
        (lambda: NETWORK.init(KEY, scheme="kaiming"), ValueError, "initialisation 'kaiming' is not known"),
        (lambda: NETWORK.apply(PARAMS, images(), "x"), TypeError, "wiring is a string; parse it first: DartsGenotype.parse"),
        (
            lambda: NETWORK.apply(PARAMS, images(), jnp.zeros(6, int)),
            ValueError,
            r"a code \(integers \[28\]\) or mixture .* got int.*\[6\]",
        ),
        (lambda: NETWORK.apply(PARAMS, images(), None), ValueError, "wiring must be a DartsGenotype.* got NoneType"),
        (lambda: NETWORK.apply(PARAMS, images(), jnp.full(28, 8)), ValueError, "a code has digits 0 to 7, got"),
        (lambda: NETWORK.apply(PARAMS, images(side=4), GENOTYPE), ValueError, "images must be at least 8 pixels .* got 4x4; enlarge"),
        (lambda: NETWORK.apply(PARAMS, images()[..., :1], GENOTYPE), ValueError, r"images must be .* 3\], got \(2, 8, 8, 1\)"),
        (
            lambda: NETWORK.apply(PARAMS, images(), GENOTYPE),
            ValueError,
            "params hold no cells 'normal0': they are those of another network",
        ),
        (
            lambda: NETWORK.apply(PARAMS, images(), GENOTYPE, statistics="running"),
            ValueError,
            "needs batch_stats=..., the running averages",
        ),
        (lambda: NETWORK.apply(PARAMS, images(), GENOTYPE, statistics="eval"), ValueError, "statistics='eval' is not known"),
        (
            lambda: NETWORK.apply(NETWORK.init(KEY, OTHER)["params"], images(), jnp.zeros(28, int)),
            ValueError,
            "choose among all operations, and the params of normal0 are those of one genotype; draw all with init",
        ),
        (
            lambda: NETWORK.apply(NETWORK.init(KEY, OTHER)["params"], images(), GENOTYPE),
            ValueError,
            "params hold no edge_2_0_sep_conv_3x3 in normal0, which the genotype uses: they are those of another one",
        ),
        (
            lambda: NETWORK.train_apply(PARAMS, PARAMS, images(), jnp.zeros(28, int), drop_path=0.1),
            ValueError,
            "drop path drops the edges of a genotype; pass a DartsGenotype",
        ),
        (lambda: NETWORK.train_apply(PARAMS, PARAMS, images(), OTHER, drop_path=0.1), ValueError, "needs key=..., a JAX random key"),
        (lambda: TenasDartsNetwork(classes=0), ValueError, "classes must be a positive integer, got 0"),
        (lambda: TenasDartsNetwork().apply({}, images()[..., :1], OTHER), ValueError, r"images must be .* got \(2, 8, 8, 1\)"),
        (lambda: TenasDartsNetwork().apply({}, images(), OTHER), ValueError, "params hold no cells 'normal' and 'reduction'"),
        (lambda: TenasDartsNetwork().apply({}, images(), OTHER, statistics="running"), ValueError, "have no running averages; choose"),
        (lambda: TenasDartsThinNetwork().apply({}, images(), OTHER), ValueError, r"inputs must be .* got \(2, 8, 8, 3\); tenas_crops"),
    ],
)
def test_arguments_that_do_not_fit(compute, error, message):
    with pytest.raises(error, match=message):
        compute()
