"""Fisher against its definition taken layer by layer, recorded values and published-formula values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from golden import golden_images, golden_labels, golden_variables
from random_variables import completed, random_variables
from recordings import SMALL, WIDE, recording

from jknas.networks.layers.convolution import convolution
from jknas.networks.layers.pooling import average_pool_2x2, average_pool_3x3
from jknas.networks.nasbench201.network import CellNetwork
from jknas.proxies import Batch
from jknas.proxies.fisher import measure
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.spaces.nasbench201.index import genotype_at

KEY = jax.random.key(0)
TINY = CellNetwork(2, 1, 3)
CODE = (3, 1, 2, 4, 0, 3)


@functools.partial(quick_jit, static_argnums=0)
def scored(network, params, x, labels, code):
    return measure(network, params, code, Batch(x, labels), KEY)


def plain_loss(params, x, labels, added):
    """The tiny network of ``CODE`` written out, with ``added[i]`` on the output of its i-th convolution; and those outputs."""
    outputs = []

    def conv(x, kernel, *where):
        outputs.append(convolution(x, kernel, *where))
        return outputs[-1] + (added[len(outputs) - 1] if added else 0)

    def norm(x, layer):
        mean, variance = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
        scale, shift = (jax.lax.broadcast_to_rank(layer[name], 4) for name in ("scale", "bias"))
        return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + shift

    def operate(x, layer, stride=1):
        return norm(conv(jax.nn.relu(x), layer["kernel"], stride, len(layer["kernel"]) // 2), layer["norm"])

    def cell(x, stage):
        first = {name: jax.tree.map(lambda leaf: leaf[0], layer) for name, layer in params[stage].items()}
        one = operate(x, first["edge_1_0_nor_conv_3x3"])
        two = x + operate(one, first["edge_2_1_nor_conv_1x1"])
        return average_pool_3x3(x) + operate(two, first["edge_3_2_nor_conv_3x3"])

    x = cell(norm(conv(x, params["stem"], 1, 1), params["stem_norm"]), "stage1")
    for level in (1, 2):
        block = params[f"reduction{level}"]
        y = operate(operate(x, block["conv_a"], 2), block["conv_b"])
        x = cell(conv(average_pool_2x2(x), block["downsample"], 1, 0) + y, f"stage{level + 1}")
    outputs.append(jax.nn.relu(norm(x, params["last_norm"])).mean((1, 2)) @ params["classifier"] + params["classifier_bias"][None])
    logits = outputs[-1] + (added[-1] if added else 0)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean(), outputs


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("wiring", ["genotype", pytest.param("code", marks=pytest.mark.slow)])
def test_the_definition_layer_by_layer(rng, wiring):
    params = random_variables(TINY)["params"]
    x, labels = jnp.asarray(rng.standard_normal((3, 8, 8, 3))), jnp.asarray([0, 2, 1])
    outputs = quick_jit(plain_loss)(params, x, labels, [])[1]
    slopes = quick_jit(jax.grad(lambda added: plain_loss(params, x, labels, added)[0]))([jnp.zeros_like(output) for output in outputs])
    cell, widths = [9, 1, 9], (2, 4, 8)
    fans = [27, *(taps * 2 for taps in cell)]
    for width in widths[1:]:
        fans += [9 * width / 2, 9 * width, width / 2, *(taps * width for taps in cell)]
    fans.append(8)
    expected = 0.0
    for fan, output, slope in zip(fans, outputs, slopes, strict=True):
        product = np.asarray(output * slope).reshape(3, -1, output.shape[-1]).sum(1)
        expected += fan * 0.5 * np.square(product).mean(0).sum()
    if wiring == "code":
        found = scored(TINY, params, x, labels, jnp.asarray(CODE))
    else:
        found = quick_jit(lambda: measure(TINY, params, CellGenotype.from_code(CODE), Batch(x, labels), KEY))()
    assert float(found) == pytest.approx(expected, rel=1e-10)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", SMALL + WIDE)
def test_the_recorded_values(fixtures_folder, name):
    recorded = recording(fixtures_folder, name)
    params = completed(recorded.network, recorded.variables())["params"]
    found = scored(recorded.network, params, recorded.images(), jnp.asarray(recorded.arrays["y"], int), jnp.asarray(recorded.genotype.code))
    assert float(found) == pytest.approx(float(recorded.arrays["zc/fisher_f64"]), rel=1e-3)  # passes through float32 there


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("index", "expected"), [(284, 7.15695586), (11, 140.546800), (1462, 360.533709)])
def test_the_published_network_has_the_documented_value(index, expected):
    genotype, network = genotype_at(index), CellNetwork()
    params, batch = golden_variables(network, genotype)["params"], Batch(golden_images(8, 32), golden_labels(8))
    found = jax.jit(lambda params: measure(network, params, genotype, batch, KEY))(params)
    assert float(found) == pytest.approx(expected, rel=1e-6)
