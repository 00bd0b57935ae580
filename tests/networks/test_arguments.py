"""Wrong arguments of the networks: what came, what was expected, what to do."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_variables import random_variables, shapes

from jknas.networks.layers.initialisation import check_scheme
from jknas.networks.layers.normalisation import check_statistics
from jknas.networks.nasbench201.network import CellNetwork, restrict
from jknas.spaces.nasbench201.genotype import CellGenotype

NETWORK = CellNetwork(2, 1, 3)
GENOTYPE = CellGenotype.from_code((3, 2, 4, 1, 0, 3))
CODE = np.asarray(GENOTYPE.code, np.int32)


def images(*shape):
    return jnp.zeros(shape or (1, 8, 8, 3))


@pytest.mark.parametrize("field", ["channels", "cells", "classes", "input_channels"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "16", None, True])
def test_sizes_are_positive_integers(field, value):
    with pytest.raises(ValueError, match=re.escape(f"{field} must be a positive integer, got {value!r}")):
        CellNetwork(**{field: value})


def test_the_published_size_is_the_default():
    assert CellNetwork() == CellNetwork(channels=16, cells=5, classes=10, input_channels=3)
    assert hash(CellNetwork()) == hash(CellNetwork(16))


def test_unknown_initialisations_list_the_known_ones():
    message = "initialisation 'kaiming' is not known; choose one of 'pytorch', 'he_normal', 'he_normal_out', 'normal'"
    with pytest.raises(ValueError, match=message):
        check_scheme("kaiming")
    with pytest.raises(ValueError, match=message):
        NETWORK.init(jax.random.key(0), GENOTYPE, scheme="kaiming")


def test_unknown_statistics_list_the_known_ones():
    message = "statistics='train' is not known; choose one of 'example', 'batch', 'running', 'none'"
    with pytest.raises(ValueError, match=message):
        check_statistics("train")
    with pytest.raises(ValueError, match=message):
        NETWORK.apply({}, images(), GENOTYPE, statistics="train")


def test_running_statistics_need_averages():
    with pytest.raises(
        ValueError, match=r'statistics="running" needs batch_stats=\.\.\., the running averages that init and training return'
    ):
        NETWORK.apply({}, images(), GENOTYPE, statistics="running")


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 3, 8, 8), (1, 8, 8, 1), (3, 1, 8, 8, 3)], ids=str)
def test_images_come_channels_last(shape):
    with pytest.raises(ValueError, match=re.escape(f"images must be [n, height, width, 3], got {shape}")):
        NETWORK.apply({}, images(*shape), GENOTYPE)


@pytest.mark.parametrize("statistics", ["example", "batch"])
@pytest.mark.parametrize("size", [(4, 4), (10, 8), (8, 30), (28, 27)], ids=str)
def test_two_reductions_must_fit(size, statistics):
    message = f"multiples of 4 and at least 8 with statistics='{statistics}' .*two reductions.*got {size[0]}x{size[1]}; resize the images"
    with pytest.raises(ValueError, match=message):
        NETWORK.apply({}, images(1, *size, 3), GENOTYPE, statistics=statistics)


def test_four_pixels_are_enough_with_running_averages():
    variables = shapes(NETWORK, GENOTYPE)
    logits = jax.eval_shape(
        lambda v: NETWORK.apply(v["params"], images(2, 4, 4, 3), GENOTYPE, statistics="running", batch_stats=v["batch_stats"]), variables
    )
    assert logits.shape == (2, 3)
    with pytest.raises(ValueError, match=r"at least 4 with statistics='running'.*got 2x4"):
        NETWORK.apply({}, images(1, 2, 4, 3), GENOTYPE, statistics="running", batch_stats={})


def test_strings_are_parsed_by_the_caller():
    with pytest.raises(TypeError, match=r"wiring is a string; parse it first: CellGenotype\.parse\(text\)"):
        NETWORK.apply({}, images(), str(GENOTYPE))
    with pytest.raises(TypeError, match=r"init takes a CellGenotype or None, got str; parse strings with CellGenotype\.parse"):
        NETWORK.init(jax.random.key(0), str(GENOTYPE))


@pytest.mark.parametrize(
    "wiring",
    [CODE[:5], CODE.astype(np.float32), np.stack([CODE, CODE]), np.eye(6, 5, dtype=np.int32), np.zeros((5, 6), np.float32), np.float32(1)],
    ids=["five digits", "float code", "two codes", "integer mixture", "transposed mixture", "scalar"],
)
def test_other_wirings_are_described(wiring):
    message = r"wiring must be a CellGenotype, a code \(integers \[6\]\) or mixture weights \(floats \[6, 5\]\), " + re.escape(
        f"got {wiring.dtype}{list(wiring.shape)}"
    )
    with pytest.raises(ValueError, match=message):
        NETWORK.apply({}, images(), wiring)


@pytest.mark.parametrize("digit", [-1, 5])
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_codes_out_of_range_are_refused(digit, array):
    code = CODE.copy()
    code[2] = digit
    with pytest.raises(ValueError, match=re.escape(f"a code has digits 0 to 4, got {code.tolist()}")):
        NETWORK.apply({}, images(), array(code))


WIRINGS = {
    "code": CODE,
    "mixture": np.eye(5, dtype=np.float32)[CODE],
    "another genotype": CellGenotype.from_code((3, 2, 4, 1, 0, 2)),
}


@pytest.mark.parametrize("collection", ["params", "batch_stats"])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_variables_of_one_genotype_serve_it_alone(collection, wiring):
    variables = {**shapes(NETWORK), collection: shapes(NETWORK, GENOTYPE)[collection]}
    if wiring == "another genotype":
        words = (
            f"{collection} hold no edge_3_2_nor_conv_1x1 in stage1, which the genotype {WIRINGS[wiring]} uses: they are those of another"
        )
    else:
        words = (
            f"a code or mixture weights choose among all operations, and {collection} hold 3 of the 12 of stage1 "
            "(edge_1_0_nor_conv_1x1 is missing): they are those of one genotype; draw all with init(key), without a genotype, "
            "or give that genotype as the wiring"
        )
    with pytest.raises(ValueError, match=re.escape(words)):
        NETWORK.apply(variables["params"], images(), WIRINGS[wiring], statistics="running", batch_stats=variables["batch_stats"])


def test_restricting_keeps_what_every_cell_shares():
    variables = random_variables(NETWORK)
    part = restrict(variables["params"], GENOTYPE)
    assert set(part) == set(variables["params"])
    assert set(part["stage1"]) == {"edge_1_0_nor_conv_3x3", "edge_2_0_nor_conv_1x1", "edge_3_2_nor_conv_3x3"}
    assert part["reduction1"] is variables["params"]["reduction1"]
