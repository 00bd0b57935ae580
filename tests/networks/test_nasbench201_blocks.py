"""The observable network is the network: same logits, and what it shows of the inside is what the layers computed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import random_variables
from tolerances import relative_error, tolerances

from jknas.networks.nasbench201.blocks import BLOCKS
from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.observation import look
from jknas.spaces.nasbench201.genotype import OPERATIONS, CellGenotype

NETWORK = CellNetwork(channels=2, cells=2, classes=3)
CODES = ((3, 2, 4, 1, 0, 3), (0, 1, 2, 3, 4, 2), (1, 1, 1, 1, 1, 1), (4, 3, 0, 2, 2, 4))


@functools.cache
def images(n=3):
    return np.random.default_rng(5).standard_normal((n, 8, 8, 3))


def shown(kind, seen):
    """Everything small: counts, records, and moments of what the ReLUs read."""
    del kind
    sources = [(jnp.square(source.value).mean(), jnp.asarray(source.convolutions), jnp.asarray(source.skips)) for source in seen.sources]
    return sources, seen.records, jnp.square(seen.output).mean()


@functools.partial(quick_jit, static_argnames=("genotype", "statistics"))
def both(params, x, code=None, *, genotype=None, statistics):
    wiring = code if genotype is None else genotype
    return look(NETWORK, params, x, wiring, shown, statistics=statistics), NETWORK.apply(params, x, wiring, statistics=statistics)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("statistics", ["batch", "example"])
def test_the_logits_of_codes_are_those_of_the_network(statistics):
    params = random_variables(NETWORK)["params"]
    for code in CODES:
        observed, logits = both(params, images(), jnp.asarray(code), statistics=statistics)
        assert relative_error(observed.logits, logits) < tolerances().wiring
        assert observed.summaries.keys() == set(BLOCKS)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("statistics", "code"), [("batch", CODES[0]), pytest.param("example", CODES[3], marks=pytest.mark.slow)])
def test_a_genotype_shows_what_its_code_shows(statistics, code):
    genotype = CellGenotype.from_code(code)
    params = random_variables(NETWORK)["params"]
    own = NETWORK.restrict(params, genotype)
    observed, logits = both(own, images(), genotype=genotype, statistics=statistics)
    assert relative_error(observed.logits, logits) < tolerances().wiring
    coded, _ = both(params, images(), jnp.asarray(code), statistics=statistics)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12), observed, coded)


@pytest.mark.usefixtures("float64")
def test_every_node_counts_the_convolutions_and_the_skips_that_read_it():
    params = random_variables(NETWORK)["params"]
    for code in CODES:
        names = [OPERATIONS[digit] for digit in code]
        summaries = both(params, images(), jnp.asarray(code), statistics="batch")[0].summaries
        for node, edges in enumerate(((0, 1, 3), (2, 4), (5,))):
            convolutions = sum(names[edge].startswith("nor_conv") for edge in edges)
            skips = sum(names[edge] == "skip_connect" for edge in edges)
            _, found, found_skips = summaries["stage2"][0][node]
            assert (found.tolist(), found_skips.tolist()) == ([convolutions] * 2, [skips] * 2)
        assert [int(count) for _, count, _ in summaries["reduction1"][0]] == [1, 1]


@pytest.mark.usefixtures("float64")
def test_the_recorded_variances_are_what_enters_the_running_averages():
    variables = random_variables(NETWORK)
    genotype = CellGenotype.from_code(CODES[0])
    params, averages = (NETWORK.restrict(tree, genotype) for tree in (variables["params"], variables["batch_stats"]))
    averages = jax.tree.map(jnp.zeros_like, averages)
    moved = quick_jit(lambda params, averages, x: NETWORK.apply_and_update(params, averages, x, genotype)[1])(params, averages, images())
    seen = both(params, images(), genotype=genotype, statistics="batch")[0].summaries
    expected = {"stem": moved["stem_norm"], "last_norm": moved["last_norm"]}
    for name, norm in expected.items():
        np.testing.assert_allclose(0.1 * seen[name][1][name], norm["var"], rtol=1e-9)
    for name in ("conv_a", "conv_b"):
        np.testing.assert_allclose(0.1 * seen["reduction2"][1][name], moved["reduction2"][name]["norm"]["var"], rtol=1e-9)
    assert not np.any(seen["reduction2"][1]["downsample"])
    for edge, kind in (("edge_1_0", "nor_conv_3x3"), ("edge_2_0", "nor_conv_1x1"), ("edge_3_2", "nor_conv_3x3")):
        np.testing.assert_allclose(0.1 * seen["stage3"][1][edge], moved["stage3"][f"{edge}_{kind}"]["norm"]["var"], rtol=1e-9)
    assert not np.any(seen["stage3"][1]["edge_3_1"]), "an edge without a layer records zeros"


@pytest.mark.parametrize(
    ("wiring", "x", "words"),
    [
        (np.full((6, 5), 0.2, np.float32), np.zeros((1, 8, 8, 3)), "mixture weights have no activations to observe"),
        (np.zeros(6, int), np.zeros((1, 8, 8, 1)), r"images must be \[n, height, width, 3\] with sides .* got \(1, 8, 8, 1\)"),
        (np.zeros(6, int), np.zeros((1, 6, 8, 3)), "multiples of 4"),
    ],
)
def test_what_cannot_be_observed(wiring, x, words):
    with pytest.raises(ValueError, match=words):
        NETWORK.walk({}, x, wiring, lambda *_: None)


def test_running_averages_are_refused():
    with pytest.raises(ValueError, match='an observed network normalises over "batch" or "example", got statistics=\'running\''):
        look(NETWORK, {}, images(), np.zeros(6, int), shown, statistics="running")
