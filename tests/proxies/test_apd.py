"""The score of APD against NumPy's norms of every layer."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import random_variables

from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.nasbench201.torch_order import tensors
from jknas.networks.observation import convolved, normalise_layer
from jknas.proxies import Batch
from jknas.proxies.apd import Norms, measure, product_of_sums, stable_ranks
from jknas.spaces.nasbench201.genotype import CellGenotype

TINY = CellNetwork(2, 1, 3)
CELL = CellGenotype.from_code((3, 1, 2, 4, 0, 3))


def test_the_stable_rank(rng):
    matrices = [np.eye(4), np.ones((4, 4)), np.zeros((4, 4)), rng.standard_normal((4, 4))]
    expected = [4, 1, 0, np.linalg.norm(matrices[3]) ** 2 / np.linalg.norm(matrices[3], 2) ** 2]
    np.testing.assert_allclose(stable_ranks(np.stack([one.T @ one for one in matrices])), expected, rtol=1e-12)
    assert np.isnan(stable_ranks(np.full((2, 2), np.inf)))


@pytest.mark.usefixtures("float64")
def test_both_factors_are_sums_over_the_layers_that_run(rng):
    variables = random_variables(TINY, CELL)
    params, x = variables["params"], jnp.asarray(rng.standard_normal((3, 8, 8, 3)))

    def layer(kind, x, weights, given):
        del kind, given
        out = normalise_layer(convolved(x, weights), weights, "batch")[0]
        return out, out

    def visit(kind, run, x, extra):
        del kind, extra
        seen = run(layer, x, {})
        return seen.output, dict(seen.records)

    batch = Batch(x, jnp.zeros(3, int))
    found, maps = quick_jit(
        lambda params: (measure(TINY, params, CELL, batch, jax.random.key(0)), TINY.walk(params, x, CELL, visit).summaries)
    )(params)
    ranks = 0.0
    normalised = {
        "stem": ["stem"],
        **dict.fromkeys(("stage1", "stage2", "stage3"), ("edge_1_0", "edge_2_1", "edge_3_2")),
        **dict.fromkeys(("reduction1", "reduction2"), ("conv_a", "conv_b")),
        "last_norm": ["last_norm"],
    }
    for block, names in normalised.items():
        for name in names:
            values = np.linalg.svd(np.asarray(maps[block][name]).reshape(-1, maps[block][name].shape[-1]), compute_uv=False)
            ranks += (values**2).sum() / values[0] ** 2
    kernels = [np.asarray(tensor.read(variables)) for tensor in tensors(TINY, CELL)]
    ratios = sum(np.abs(kernel).sum() / np.linalg.norm(kernel.ravel()) for kernel in kernels if kernel.ndim == 4)
    outcome = product_of_sums(found)
    assert outcome.extras == pytest.approx({"stable_rank": ranks, "weight_ratio": ratios}, rel=1e-9)
    assert outcome.score == pytest.approx(ranks * ratios, rel=1e-9)


def test_what_is_not_finite():
    outcome = product_of_sums({"stem": {"stem": Norms(np.full((2, 2), np.nan), np.ones(()))}})
    assert math.isnan(outcome.score)
    assert outcome.status == "non_finite"
