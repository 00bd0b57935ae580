"""The network of a genotype as a Flax module: Flax's own calls, our variables, our numbers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import random_variables

from jknas.networks import CellNetwork
from jknas.networks.darts import DartsNetwork
from jknas.spaces.darts.genotype import NAMED
from jknas.spaces.nasbench201.genotype import CellGenotype

KEY = jax.random.key(0)
CASES = {
    "cell": (CellNetwork(2, 1, 3), CellGenotype.from_code((3, 2, 4, 1, 0, 3)), 8),
    "no convolution": (CellNetwork(2, 1, 3), CellGenotype(("skip_connect",) * 6), 8),
    "darts": (DartsNetwork(2, 3, 3), NAMED["DARTS_V2"], 8),
    "auxiliary": (DartsNetwork(2, 3, 3, auxiliary=True), NAMED["DARTS_V1"], 32),
}


def images(side):
    return jnp.asarray(np.random.default_rng(1).standard_normal((2, side, side, 3)), jnp.float32)


@pytest.mark.parametrize("case", CASES)
def test_init_declares_the_network_s_variables(case):
    network, genotype, side = CASES[case]
    variables = jax.eval_shape(network.module(genotype).init, KEY, images(side))
    expected = jax.eval_shape(lambda: network.init(KEY, genotype))
    assert jax.tree.structure(variables) == jax.tree.structure(expected)
    jax.tree.map(lambda one, other: np.testing.assert_equal((one.shape, one.dtype), (other.shape, other.dtype)), variables, expected)


@pytest.mark.parametrize("case", ["cell", "no convolution", pytest.param("auxiliary", marks=pytest.mark.slow)])
def test_apply_runs_the_network_itself(case):
    network, genotype, side = CASES[case]
    module, variables, x = network.module(genotype), random_variables(network, genotype), images(side)

    @quick_jit
    def both(variables, x):
        params, averages = variables["params"], variables["batch_stats"]
        trained = module.apply(variables, x, train=True, mutable=["batch_stats", "intermediates"])
        ours = network.train_apply(params, averages, x, genotype)
        return (module.apply(variables, x), *trained), (
            network.apply(params, x, genotype, statistics="running", batch_stats=averages),
            *ours,
        )

    (logits, trained, changed), (expected, ours, auxiliary, moved) = both(variables, x)
    np.testing.assert_array_equal(logits, expected)
    np.testing.assert_array_equal(trained, ours)
    assert jax.tree.structure(changed["batch_stats"]) == jax.tree.structure(variables["batch_stats"])
    jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], moved)
    if getattr(network, "auxiliary", False):
        np.testing.assert_array_equal(changed["intermediates"]["auxiliary_logits"][0], auxiliary)
    else:
        assert "intermediates" not in changed


def test_drop_path_takes_flax_s_dropout_key():
    network, genotype, side = CASES["darts"]
    module = network.module(genotype).clone(drop_path=0.5)
    variables = random_variables(network, genotype)

    def logits(variables, key):
        return module.apply(variables, images(side), train=True, mutable=["batch_stats"], rngs={"dropout": key})[0]

    run = quick_jit(logits)
    one, again, other = run(variables, KEY), run(variables, KEY), run(variables, jax.random.key(1))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)


def test_weights_of_another_genotype_are_refused():
    network, genotype, side = CASES["cell"]
    other = random_variables(network, CellGenotype(("nor_conv_1x1",) * 6))
    with pytest.raises(Exception, match=r"kernel|edge_1_0_nor_conv_3x3"):
        network.module(genotype).apply(other, images(side))


@pytest.mark.parametrize("case", ["cell", "darts"])
def test_tabulate_lists_layers_and_counts_parameters(case):
    network, genotype, side = CASES[case]
    shapes = jax.eval_shape(lambda: network.init(KEY, genotype))
    table = nn.tabulate(network.module(genotype), KEY, console_kwargs={"width": 200, "no_color": True})(images(side))
    assert f"Total Parameters: {sum(leaf.size for leaf in jax.tree.leaves(shapes)):,}" in table
    wanted = ("stage1/edge_1_0_nor_conv_3x3", "reduction2/conv_a/norm") if case == "cell" else ("cells/reduction1", "stem/first")
    assert all(name in table for name in wanted)
