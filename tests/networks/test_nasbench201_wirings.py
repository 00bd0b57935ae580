"""The three wirings compute one network: from the same parameters a genotype, a code and one-hot mixture weights agree.

Parameters are random throughout (see :mod:`random_variables`), so that a convolution of a node that nothing reaches still adds its shift.
"""

import collections
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import random_variables
from tolerances import assert_close, tolerances

from jknas.networks.layers.normalisation import Statistics
from jknas.networks.nasbench201.network import CellNetwork, restrict
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype

NETWORK = CellNetwork(2, 2, 3)
CASES = [
    ((3, 3, 3, 3, 3, 3), "batch"),
    ((3, 2, 4, 1, 0, 3), "example"),
    ((2, 0, 0, 4, 0, 3), "running"),  # node 2 is not reached, and convolved
    ((0, 3, 2, 0, 4, 2), "batch"),  # node 1 is not reached, and convolved
    ((3, 2, 2, 0, 0, 0), "example"),  # convolutions that lead nowhere
    ((0, 0, 0, 0, 0, 0), "running"),
    ((0, 0, 0, 2, 3, 4), "batch"),  # only nodes 0 and 3 matter
    ((1, 4, 1, 4, 1, 2), "example"),
]
GRADIENTS = [((3, 2, 4, 1, 0, 3), "example"), ((0, 3, 2, 0, 4, 2), "batch"), ((2, 0, 0, 4, 0, 3), "running")]
TRACES = collections.Counter()


def outcome(network, variables, x, wiring, statistics, *, gradient):
    """Return logits, moved running averages (training mode) and the gradient of a scalar that treats every logit differently."""

    def forward(params):
        if statistics == "batch":
            return network.apply_and_update(params, variables["batch_stats"], x, wiring)
        stored = variables["batch_stats"] if statistics == "running" else None
        return network.apply(params, x, wiring, statistics=statistics, batch_stats=stored), {}

    def objective(params):
        logits, moved = forward(params)
        return jnp.sum(jnp.sin(logits) * jnp.cos(jnp.arange(logits.size, dtype=x.dtype)).reshape(logits.shape)), (logits, moved)

    if not gradient:
        logits, moved = forward(variables["params"])
        return {"logits": logits, "batch_stats": moved}
    slope, (logits, moved) = jax.grad(objective, has_aux=True)(variables["params"])
    return {"logits": logits, "batch_stats": moved, "gradient": slope}


def example_logits(variables, x, wiring):
    return NETWORK.apply(variables["params"], x, wiring)


def traced_outcome(statistics, gradient):
    def run(variables, x, wiring):
        TRACES[statistics, gradient, x.dtype.name, wiring.ndim] += 1
        return outcome(NETWORK, variables, x, wiring, statistics, gradient=gradient)

    return quick_jit(run)


TRACED = {(statistics, gradient): traced_outcome(statistics, gradient) for statistics in get_args(Statistics) for gradient in (False, True)}


def images(n=3):
    return jnp.asarray(np.random.default_rng(1).standard_normal((n, 16, 16, 3)), float)


def as_code(code):
    return jnp.asarray(code, jnp.int32)


def as_mixture(code):
    return jax.nn.one_hot(jnp.asarray(code), len(OPERATIONS), dtype=jnp.result_type(float))


def assert_wiring_agrees(code, statistics, wiring, *, gradient):
    genotype = CellGenotype.from_code(code)
    variables = random_variables(NETWORK)
    part = {name: restrict(tree, genotype) for name, tree in variables.items()}
    compute = quick_jit(lambda variables, x: outcome(NETWORK, variables, x, genotype, statistics, gradient=gradient))
    expected = compute(part, images())
    computed = TRACED[statistics, gradient](variables, images(), wiring(code))
    matters = np.std(computed["logits"], axis=0).max() > 1e-4  # dead cells differ by rounding alone
    assert matters == any(code[3:])  # whether the images reach the last node
    of_genotype = {name: value if name == "logits" else restrict(value, genotype) for name, value in computed.items()}
    assert_close(of_genotype, expected, tolerances().wiring)
    if gradient:  # what is not chosen has none
        everything, chosen = (
            sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(found["gradient"])) for found in (computed, of_genotype)
        )
        assert everything == pytest.approx(chosen, rel=1e-6)


def slow_unless(cases, statistics):
    return [pytest.param(*case, marks=() if case[1] in statistics else pytest.mark.slow) for case in cases]


@pytest.mark.parametrize(("code", "statistics"), CASES, ids=str)
def test_a_code_computes_what_its_genotype_computes(float64, code, statistics):
    assert_wiring_agrees(code, statistics, as_code, gradient=False)


@pytest.mark.slow
@pytest.mark.parametrize(("code", "statistics"), slow_unless(GRADIENTS, ["batch"]), ids=str)
def test_a_code_has_the_gradient_of_its_genotype(float64, code, statistics):
    assert_wiring_agrees(code, statistics, as_code, gradient=True)


@pytest.mark.parametrize(("code", "statistics"), slow_unless(CASES, ["example"]), ids=str)
def test_a_one_hot_mixture_computes_what_its_genotype_computes(float64, code, statistics):
    assert_wiring_agrees(code, statistics, as_mixture, gradient=False)


@pytest.mark.slow
@pytest.mark.parametrize(("code", "statistics"), GRADIENTS, ids=str)
def test_a_one_hot_mixture_has_the_gradient_of_its_genotype(float64, code, statistics):
    assert_wiring_agrees(code, statistics, as_mixture, gradient=True)


@pytest.mark.slow
@pytest.mark.parametrize("wiring", [as_code, as_mixture])
@pytest.mark.parametrize(("code", "statistics"), GRADIENTS, ids=str)
def test_wirings_agree_in_float32(code, statistics, wiring):
    assert_wiring_agrees(code, statistics, wiring, gradient=True)


def test_operations_that_a_code_does_not_choose_keep_their_running_averages(float64):
    code = CASES[3][0]
    chosen = {f"edge_{node}_{source}_{OPERATIONS[digit]}" for (node, source), digit in zip(EDGES, code, strict=True)}
    old = random_variables(NETWORK)
    new = TRACED["batch", False](old, images(), as_code(code))["batch_stats"]
    for stage in ("stage1", "stage2", "stage3"):
        assert len(old["batch_stats"][stage]) == 12
        for name, averages in old["batch_stats"][stage].items():
            same = jax.tree.map(lambda a, b: bool((a == b).all()), averages, new[stage][name])
            assert jax.tree.leaves(same) == [name not in chosen] * 2, name


def test_a_mixture_weight_scales_its_operation(float64):
    """Half of a convolution's output is that convolution with half the scale and half the shift."""
    code, variables = (3, 2, 4, 1, 0, 3), random_variables(NETWORK)

    def halve(path, leaf):
        keys = [entry.key for entry in path]
        return leaf / 2 if "edge_1_0_nor_conv_3x3" in keys and keys[-1] in ("scale", "bias") else leaf

    halved = {**variables, "params": jax.tree_util.tree_map_with_path(halve, variables["params"])}
    compute = TRACED["example", False]
    weighted = compute(variables, images(), as_mixture(code).at[0].multiply(0.5))["logits"]
    assert_close(weighted, compute(halved, images(), as_mixture(code))["logits"], tolerances().wiring)
    assert np.abs(weighted - compute(variables, images(), as_mixture(code))["logits"]).max() > 0.01


@pytest.mark.slow
def test_a_mixture_weight_has_the_gradient_of_finite_differences(float64):
    variables, mixture = random_variables(NETWORK), jnp.asarray(np.random.default_rng(2).uniform(0.1, 1, (len(EDGES), len(OPERATIONS))))
    direction = jnp.asarray(np.random.default_rng(3).standard_normal(mixture.shape))
    gradient = quick_jit(jax.grad(lambda mixture: example_logits(variables, images(), mixture).sum()))(mixture)
    computed, step = TRACED["example", False], 1e-6
    above, below = (computed(variables, images(), mixture + sign * step * direction)["logits"].sum() for sign in (1, -1))
    assert float(jnp.vdot(gradient, direction)) == pytest.approx(float(above - below) / (2 * step), rel=1e-6)


def test_fifty_genotypes_compile_once(float64):
    variables, rng = random_variables(NETWORK), np.random.default_rng(4)
    codes = rng.integers(0, len(OPERATIONS), (50, len(EDGES)))
    compute = TRACED["example", False]
    compute(variables, images(), as_code(codes[0]))
    before = TRACES.copy()
    logits = [np.asarray(compute(variables, images(), as_code(code))["logits"]) for code in codes]
    assert before == TRACES
    assert TRACES["example", False, "float64", 1] == 1
    assert len({values.tobytes() for values in logits}) > 40  # the few that agree are cells with the same live part


@pytest.mark.slow
def test_vmap_over_codes_equals_a_loop(float64):
    variables, codes = random_variables(NETWORK), as_code([code for code, _ in CASES])
    loop = TRACED["example", False]
    together = quick_jit(jax.vmap(example_logits, (None, None, 0)))(variables, images(), codes)
    assert_close(together, jnp.stack([loop(variables, images(), code)["logits"] for code in codes]), tolerances().wiring)


@pytest.mark.slow
def test_vmap_over_mixtures_equals_a_loop(float64):
    variables, mixtures = random_variables(NETWORK), jnp.asarray(np.random.default_rng(5).uniform(0, 1, (3, len(EDGES), len(OPERATIONS))))
    loop = TRACED["example", False]
    together = quick_jit(jax.vmap(example_logits, (None, None, 0)))(variables, images(), mixtures)
    assert_close(together, jnp.stack([loop(variables, images(), mixture)["logits"] for mixture in mixtures]), tolerances().wiring)


def test_a_genotype_draws_its_part_of_the_full_set():
    genotype = CellGenotype.from_code(CASES[1][0])
    full, part = quick_jit(lambda key: (NETWORK.init(key), NETWORK.init(key, genotype)))(jax.random.key(7))
    for collection in ("params", "batch_stats"):
        expected = restrict(full[collection], genotype)
        assert jax.tree.structure(part[collection]) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, part[collection], expected)


def test_a_genotype_runs_on_the_full_set(float64):
    genotype = CellGenotype.from_code(CASES[3][0])
    variables = random_variables(NETWORK)
    part = {name: restrict(tree, genotype) for name, tree in variables.items()}
    compute = quick_jit(lambda variables: NETWORK.apply(variables["params"], images(), genotype))
    np.testing.assert_array_equal(compute(variables), compute(part))


def test_half_precision_images_give_half_precision_logits():
    genotype = CellGenotype.from_code((2, 0, 0, 1, 4, 0))
    variables = random_variables(NETWORK, genotype)
    compute = quick_jit(lambda x: NETWORK.apply(variables["params"], x, genotype))
    logits = compute(images().astype(jnp.bfloat16))
    assert logits.dtype == jnp.bfloat16
    assert_close(logits.astype(jnp.float32), compute(images()), 0.1)  # 8 bits of mantissa through some twenty layers
