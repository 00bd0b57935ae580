"""TE-NAS's networks of the DARTS space against values of the formula in :mod:`golden`, and the sizes of the published networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from darts_golden import golden_params, live_mixture
from golden import golden_images

from jknas.kernels.coupled import ntk_coupled
from jknas.kernels.linear_regions import linear_regions
from jknas.networks.darts import DartsNetwork, TenasDartsNetwork, TenasDartsThinNetwork
from jknas.spaces.darts.genotype import NAMED

SIZES = {
    "DARTS_V1": (3_169_414, 4_510_432),
    "DARTS_V2": (3_349_342, 4_718_752),
    "TENAS_cifar10": (4_137_526, 5_868_640),
    "TENAS_imagenet": (3_779_398, 5_420_416),
}
"""Parameters of the networks trained on CIFAR-10 and on ImageNet, without the auxiliary classifier."""


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("name", SIZES)
def test_the_published_networks_have_their_sizes(name, stem):
    sizes = {"cifar": (36, 20, 10), "imagenet": (48, 14, 1000)}[stem]
    network = DartsNetwork(*sizes, stem=stem, auxiliary=True)
    params = jax.eval_shape(lambda key: network.init(key, NAMED[name])["params"], jax.random.key(0))
    assert count(params.pop("auxiliary")) == {"cifar": 476_426, "imagenet": 1_260_776}[stem]
    assert count(params) == SIZES[name][stem == "imagenet"]


def test_the_networks_hold_the_layers_and_units_of_the_released_ones(float64):
    params, numbered = golden_params(TenasDartsNetwork())
    assert numbered == 358
    assert golden_params(TenasDartsThinNetwork())[1] == 357
    lengths = [leaf.size for path, leaf in jax.tree.leaves_with_path(params) if path[-1].key in {"kernel", "scale", "classifier"}]
    assert sum(lengths) == 5138
    assert int(TenasDartsThinNetwork().relu_units(live_mixture())) == 1987


@pytest.mark.slow
def test_the_golden_supernet_has_the_documented_logits(float64):
    network = TenasDartsNetwork()
    logits = jax.jit(network.apply)(golden_params(network)[0], golden_images(8, 32), live_mixture())
    np.testing.assert_allclose(logits[0, :3], (0.220843, -0.189930, -0.062041), atol=6e-7)  # printed with six decimals


@pytest.mark.slow
def test_the_golden_supernet_has_the_documented_spectrum(float64):
    network = TenasDartsNetwork()

    @jax.jit
    def kernel(params, x, mixture):
        return ntk_coupled(lambda params, x: network.apply(params, x, mixture), params, x, parameters="weights")

    values = np.linalg.eigvalsh(kernel(golden_params(network)[0], golden_images(8, 32), live_mixture()))
    assert values[0] == pytest.approx(0.273310556, rel=1e-6)
    assert values[-1] == pytest.approx(107.649121, rel=1e-6)
    assert values[-1] / values[0] == pytest.approx(393.871070, rel=1e-6)


@pytest.mark.slow
def test_the_golden_thin_network_has_the_documented_regions(float64):
    network, k = TenasDartsThinNetwork(), np.arange(27_000, dtype=np.float64)
    x = jnp.asarray(np.sin(0.37 * k + 1e-5 * k**2).reshape(3000, 3, 3, 1))
    params, compute = golden_params(network)[0], jax.jit(network.activations)
    found = linear_regions(lambda batch: compute(params, batch, live_mixture()), x, chunk_size=1000)
    assert (found.count, found.status) == (2888, "ok")
