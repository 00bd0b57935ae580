"""The kernel of the NAS-Bench-201 network: the three wirings against gradients taken one by one, and against each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import random_variables
from tolerances import relative_error, tolerances

from jknas.kernels.gram import gram
from jknas.networks.nasbench201.network import CellNetwork
from jknas.spaces.nasbench201.genotype import OPERATIONS, CellGenotype

NETWORK = CellNetwork(channels=4, cells=1, classes=3)
CODES = [(3, 2, 4, 1, 0, 3), (2, 0, 0, 2, 0, 3), (1, 4, 1, 4, 1, 2), (3, 3, 2, 3, 2, 3), (0, 0, 0, 0, 0, 0)]
TRACES = []


def images(n=4):
    return jnp.asarray(np.random.default_rng(1).standard_normal((n, 8, 8, 3)), float)


def network(statistics):
    """Return ``apply(tree, x)`` of a tree that holds the parameters, the running averages and, for arrays, the wiring."""

    def apply(tree, x, wiring=None):
        stored = jax.tree.map(jax.lax.stop_gradient, tree["averages"]) if statistics == "running" else None
        wiring = tree["wiring"] if wiring is None else wiring
        return NETWORK.apply(tree["params"], x, wiring, statistics=statistics, batch_stats=stored)

    return apply


def tree(wiring=None):
    variables = random_variables(NETWORK)
    return {"params": variables["params"], "averages": variables["batch_stats"], "wiring": wiring}


def parameters(path):
    return path.startswith("['params']")


@functools.cache
def coded(statistics, method):
    def run(tree, x):
        TRACES.append((statistics, method))
        return gram(network(statistics), tree, x, parameters=parameters, method=method)

    return quick_jit(run)


def genotype_gram(code, statistics, method):
    apply = functools.partial(network(statistics), wiring=CellGenotype.from_code(code))
    return quick_jit(lambda tree, x: gram(apply, tree, x, parameters=parameters, method=method))(tree(), images())


def assert_same(kernel, reference, *, dead=False):
    assert relative_error(kernel.matrix, reference.matrix) <= tolerances().gram
    assert (np.ptp(np.asarray(reference)) <= 1e-9) == dead  # a dead cell treats all images alike


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["example", "running"])
def test_a_genotype_in_one_pass(float64, statistics):
    kernel = genotype_gram(CODES[0], statistics, "one_pass")
    assert_same(kernel, genotype_gram(CODES[0], statistics, "jacobian"))
    forms = {contraction.form for contraction in kernel.contractions if "kernel" in contraction.name or "stem'" in contraction.name}
    assert forms <= {"direct", "leaf"}


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["example", "running"])
def test_a_code_has_the_kernel_of_its_genotype(float64, statistics):
    kernel = coded(statistics, "one_pass")(tree(jnp.asarray(CODES[0], jnp.int32)), images())
    assert_same(kernel, genotype_gram(CODES[0], statistics, "one_pass"))


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["example", "running"])
def test_one_compilation_serves_all_codes(float64, statistics):
    for code in CODES[1:]:
        kernel = coded(statistics, "one_pass")(tree(jnp.asarray(code, jnp.int32)), images())
        assert_same(kernel, genotype_gram(code, statistics, "jacobian"), dead=not any(code))
    assert TRACES.count((statistics, "one_pass")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["example", "running"])
def test_mixtures(float64, statistics):
    weights = jnp.asarray(np.random.default_rng(2).uniform(size=(6, len(OPERATIONS))))
    for wiring in (weights, jax.nn.one_hot(jnp.asarray(CODES[0]), len(OPERATIONS), dtype=float)):
        kernel, reference = (coded(statistics, method)(tree(wiring), images()) for method in ("one_pass", "jacobian"))
        assert_same(kernel, reference)
    assert_same(kernel, genotype_gram(CODES[0], statistics, "jacobian"))


@pytest.mark.slow
def test_a_part_of_a_coded_cell(float64):
    """Only one edge's kernel is differentiated: the cell's other parameters must be let through."""

    def one(path):
        return "stage2" in path and "edge_3_0_nor_conv_3x3" in path and "kernel" in path

    def everything_else(path):
        return parameters(path) and not one(path)

    run = quick_jit(lambda tree, x, p: gram(network("example"), tree, x, parameters=p, method="one_pass").matrix, static_argnums=2)
    wiring = tree(jnp.asarray(CODES[3], jnp.int32))
    whole = coded("example", "one_pass")(wiring, images()).matrix
    part = run(wiring, images(), one)
    assert np.ptp(part) > 0
    assert relative_error(part + run(wiring, images(), everything_else), whole) <= tolerances().gram


@pytest.mark.slow
def test_codes_that_differ_from_example_to_example(float64):
    """Then the choice is made by the example: what the vmap over examples runs for everyone must not enter the kernel."""
    codes = jnp.asarray(CODES[:4], jnp.int32)

    def apply(tree, x):  # of one example: a vmap of the model's own would turn the choice into a selection at once
        images, codes = x
        return NETWORK.apply(tree["params"], images, codes[0])

    run = quick_jit(lambda tree, x: [gram(apply, tree, x, parameters=parameters, method=method) for method in ("one_pass", "jacobian")])
    assert_same(*run(tree(), (images(), codes)))


@pytest.mark.slow
def test_two_cells_under_a_vmap_over_codes(float64):
    wide = CellNetwork(channels=4, cells=2, classes=3)
    params, codes = random_variables(wide)["params"], jnp.asarray(CODES[:4], jnp.int32)

    def kernel(code, method):
        return gram(lambda p, x: wide.apply(p, x, code), params, images(), method=method).matrix

    batched = quick_jit(jax.vmap(lambda code: kernel(code, "one_pass")))(codes)
    single = quick_jit(lambda code: kernel(code, "jacobian"))
    for one, code in zip(batched, codes, strict=True):
        assert relative_error(one, single(code)) <= tolerances().gram


def test_the_network_in_training_mode_is_refused():
    variables = random_variables(NETWORK)

    def training(p, x):
        return NETWORK.apply(p, x, CellGenotype.from_code((0, 0, 0, 1, 0, 0)), statistics="batch")

    with pytest.raises(ValueError, match="the examples interact"):
        gram(training, variables["params"], images())
