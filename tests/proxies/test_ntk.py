"""The scores of the tangent kernel and the linear regions: what the host makes of a matrix, one compilation, golden numbers."""

import dataclasses
import functools
import json
import logging
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import search_stubs as stubs
from compiling import quick_jit
from golden import golden_images, golden_labels, golden_variables
from hypothesis import given
from hypothesis import strategies as st
from thin_reference import golden_params

from jknas import proxies
from jknas.errors import ProxyError
from jknas.files.json_text import export_json
from jknas.kernels.spectrum import spectrum
from jknas.networks.nasbench201.network import CellNetwork
from jknas.networks.nasbench201.tenas import ThinCellNetwork
from jknas.proxies import Batch, NetworkProxy
from jknas.proxies.label_gradient_alignment import label_alignment
from jknas.proxies.linear_regions import measure as region_count
from jknas.proxies.measurements.tangent_kernel import LabelledKernel, measure
from jknas.scoring.scorer import make_scorer, score_many
from jknas.scoring.store import Store
from jknas.spaces.nasbench201.genotype import OPERATIONS, CellGenotype
from jknas.spaces.nasbench201.index import genotype_at

SPECTRAL = ("ntk_condition", "ntk_lambda_min", "ntk_trace", "ntk_frobenius", "ntk_effective_rank", "tenas_condition")
FACTS = {"lambda_max", "lambda_min", "condition_number", "trace", "frobenius", "effective_rank", "floor", "spectrum"}
RESNET = CellGenotype.parse(stubs.RESNET)


# ---- the host part


def unlabelled(matrix):
    return LabelledKernel(matrix, np.zeros(len(matrix), int))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ntk_condition", 4.0),
        ("tenas_condition", 4.0),
        ("ntk_lambda_min", 1.0),
        ("ntk_trace", 7.0),
        ("ntk_frobenius", math.sqrt(21)),
        ("ntk_effective_rank", 7 / (4 ** (4 / 7) * 2 ** (2 / 7))),
    ],
)
def test_scores_of_a_matrix_worked_by_hand(name, expected):
    score, status, extras = proxies.get(name).read(unlabelled(np.diag([2.0, 1.0, 4.0])))
    assert (score, status) == (pytest.approx(expected, rel=1e-14), "ok")
    assert extras.keys() == FACTS
    assert (extras["lambda_min"], extras["lambda_max"], extras["spectrum"]) == (1.0, 4.0, "ok")
    assert json.loads(export_json(extras))["floor"] == pytest.approx(3 * 2.0**-52 * 4)


NAN, INF = math.nan, math.inf
WORTH = {
    "singular": (np.ones((3, 3)), "saturated", {"condition": INF, "lambda_min": 0.0, "trace": 3.0, "frobenius": 3.0, "rank": 1.0}),
    "zero": (np.zeros((3, 3)), "dead", {"condition": NAN, "lambda_min": 0.0, "trace": 0.0, "frobenius": 0.0, "rank": NAN}),
    "indefinite": (
        np.diag([2.0, -1.0]), "negative",
        {"condition": NAN, "lambda_min": -1.0, "trace": 1.0, "frobenius": math.sqrt(5), "rank": NAN},
    ),
    "broken": (
        np.array([[1.0, NAN], [NAN, 1.0]]), "non_finite",
        {"condition": NAN, "lambda_min": NAN, "trace": NAN, "frobenius": NAN, "rank": NAN},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECTRAL)
@pytest.mark.parametrize(("matrix", "status", "scores"), WORTH.values(), ids=WORTH)
def test_what_a_matrix_is_worth_is_said(name, matrix, status, scores):
    score, found, extras = proxies.get(name).read(unlabelled(matrix))
    (expected,) = (value for part, value in scores.items() if part in name)
    assert score == pytest.approx(expected, abs=1e-14, nan_ok=True)
    # A singular matrix voids only what rests on the smallest eigenvalue.
    assert found == ("ok" if status == "saturated" and not name.endswith(("condition", "lambda_min")) else status)
    assert extras["spectrum"] == status
    export_json(extras)


def test_float32_has_the_floor_of_float32():
    assert proxies.get("ntk_condition").read(unlabelled(np.diag([1e-7, 1.0]).astype(np.float32))).status == "saturated"
    assert proxies.get("ntk_condition").read(unlabelled(np.diag([1e-7, 1.0]))).status == "ok"


def kernel_and_labels(seed, n=8):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 3))
    return rows @ rows.T, np.arange(n) % 3


@given(seed=st.integers(0, 2**16))
def test_the_alignment_is_a_correlation_of_entries(seed):
    kernel, labels = kernel_and_labels(seed)
    same = np.equal.outer(labels, labels)
    expected = np.corrcoef(kernel.ravel(), same.ravel())[0, 1]
    assert label_alignment(kernel, labels) == pytest.approx(expected, rel=1e-10)
    assert label_alignment(1e200 * (kernel + 3), labels) == pytest.approx(expected, rel=1e-10)
    assert label_alignment(-kernel, labels) == pytest.approx(-expected, rel=1e-10)
    assert label_alignment(np.where(same, 2.0, 1.0), labels) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("matrix", "labels", "status"),
    [
        (np.diag([1.0, 1.0, 2.0]), [0, 1, 1], "ok"),
        (np.ones((3, 3)) + np.diag([1.0, 0, 0]), [0, 1, 1], "ok"),  # singular, and an alignment all the same
        (np.full((3, 3), 0.1, np.float32), [0, 1, 1], "dead"),
        (np.zeros((3, 3)), [0, 1, 1], "dead"),
        (np.diag([1.0, 1.0, 2.0]), [1, 1, 1], "non_finite"),
        (np.diag([1.0, 1.0, math.inf]), [0, 1, 1], "non_finite"),
        (np.diag([1.0, 1.0, -1.0]), [0, 1, 1], "negative"),
    ],
)
def test_an_undefined_alignment_is_said(matrix, labels, status):
    score, found, extras = proxies.get("label_gradient_alignment").read(LabelledKernel(matrix, np.asarray(labels)))
    assert found == status
    assert math.isnan(score) == (status in ("dead", "non_finite"))
    assert extras.keys() == FACTS


def test_the_registry_says_how_to_read_them():
    for name in (*SPECTRAL, "label_gradient_alignment", "linear_regions"):
        proxy = proxies.get(name)
        assert proxy.higher_is_better == ("condition" not in name)
        assert proxy.needs_labels == (name == "label_gradient_alignment")
        assert isinstance(proxy, NetworkProxy)
        assert proxy.settings == (
            {"batches": 3}
            if name == "linear_regions"
            else {"statistics": "batch" if name == "tenas_condition" else "example", "parameters": "weights", "objective": "logits"}
        )
    assert all(proxies.get(name).measure is measure for name in (*SPECTRAL, "label_gradient_alignment"))


# ---- one program for the space


@functools.partial(quick_jit, static_argnums=(0, 3, 4))
def written_out(network, params, x, genotype, statistics):
    """The kernel from the whole Jacobian: weights only, sum of logits."""
    jacobian = jax.jacrev(lambda params: network.apply(params, x, genotype, statistics=statistics).sum(1))(params)
    named = jax.tree_util.tree_leaves_with_path(jacobian)
    rows = [leaf.reshape(len(x), -1) for path, leaf in named if path[-1].key not in ("bias", "classifier_bias")]
    return sum(jnp.matmul(row, row.T, precision="highest") for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["batch", "example"])
def test_twenty_genotypes_compile_the_kernel_once(caplog, tmp_path, statistics):
    proxy, settings = proxies.get("ntk_condition"), {"statistics": statistics}
    scorer = make_scorer(proxy, stubs.tiny_digits(), stubs.SPACE, channels=2, cells=1, batch_size=4, settings=settings)
    cells = [RESNET, CellGenotype.parse(stubs.DEAD), *stubs.SPACE.sample(np.random.default_rng(1), 18, unique=True)]
    assert len(set(cells)) == 20
    with jax.log_compiles(), caplog.at_level(logging.WARNING), Store(tmp_path / "scores") as store:
        records = [record for record, _ in score_many(scorer, cells, store=store)]
        kept = [store.get(record.key) for record in records]
    made = [record.getMessage() for record in caplog.records if "Finished XLA compilation of jit(run)" in record.getMessage()]
    assert len(made) == 1
    assert [(record.status, record.extras) for record in kept[2:3]] == [(record.status, record.extras) for record in records[2:3]]
    assert (records[0].status, records[1].status) == ("ok", "dead")
    assert len({record.extras["trace"] for record in records}) > 15
    for record in records:
        if record.status == "ok":
            assert record.score == record.extras["condition_number"] >= 1
    # A code scores what the genotype itself does.
    params, batch, _ = scorer._compiled.arguments
    expected = spectrum(written_out(scorer.network, params, batch.x, RESNET, statistics))
    assert records[0].extras["lambda_max"] == pytest.approx(expected.lambda_max, rel=1e-4)
    assert records[0].extras["lambda_min"] == pytest.approx(expected.lambda_min, rel=1e-3)
    assert records[0].extras["trace"] == pytest.approx(expected.trace, rel=1e-4)


def test_a_proxy_may_return_arrays_and_finish_them_on_the_host():
    def powers(network, params, wiring, batch, key):
        del network, params, key
        return {"powers": 2.0 ** wiring.astype(float), "images": batch.x.shape[0]}

    def finish(found):
        assert isinstance(found["powers"], np.ndarray)
        return proxies.Outcome(float(found["powers"].max()), "saturated", {"images": int(found["images"])})

    proxy = NetworkProxy(name="powers", measure=powers, summary="", reference="", cost="", read=finish)
    scorer = make_scorer(proxy, stubs.tiny_digits(), stubs.SPACE, channels=2, cells=1, batch_size=4)
    assert [scorer.score(cell).status for cell in (RESNET, CellGenotype.parse(stubs.DEAD))] == ["saturated", "dead"]
    assert (scorer.score(RESNET).score, scorer.score(RESNET).extras) == (8.0, {"images": 4})


def test_the_network_of_tenas_has_its_own_size():
    scorer = make_scorer(proxies.get("tenas_condition"), stubs.tiny_digits(), stubs.SPACE, channels=16, cells=5, batch_size=4)
    assert (scorer.network.channels, scorer.network.cells) == (3, 1)
    assert json.loads(scorer.key(RESNET).network) == {"cells": 1, "channels": 3, "classes": 10, "resolution": 8}


def test_running_averages_do_not_exist_at_initialisation():
    options = {"channels": 2, "cells": 1, "batch_size": 4, "settings": {"statistics": "running"}}
    scorer = make_scorer(proxies.get("ntk_trace"), stubs.tiny_digits(), stubs.SPACE, **options)
    words = "proxy 'ntk_trace' cannot be computed so: Unknown statistics 'running'; expected one of example, batch"
    with pytest.raises(ProxyError, match=words):
        scorer.score(RESNET)


# ---- golden numbers

GOLDEN = {
    11: (173_783.975, 1_375_107.28, 7.91273925),
    284: (3_552.65966, 25_405.2898, 7.15106209),
    1462: (398_354.998, 3_351_637.22, 8.41369441),
}


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("index", [284, 11, 1462])
def test_the_published_network_has_the_documented_spectrum(index):
    """16 channels, 5 cells a stage, 8 images, training mode, the kernel that the released code of TE-NAS computes."""
    network, genotype, proxy = CellNetwork(), genotype_at(index), proxies.get("ntk_condition")
    batch = Batch(golden_images(8, 32), golden_labels(8))
    params = golden_variables(network, genotype)["params"]
    compute = jax.jit(lambda params, batch: proxy.measure(network, params, genotype, batch, jax.random.key(0), statistics="batch"))
    kernel = jax.device_get(compute(params, batch))
    lambda_min, lambda_max, condition_number = GOLDEN[index]
    score, status, extras = proxy.read(kernel)
    assert (score, status) == (pytest.approx(condition_number, rel=1e-6), "ok")
    assert extras["lambda_max"] == pytest.approx(lambda_max, rel=1e-6)
    assert proxies.get("ntk_lambda_min").read(kernel).score == pytest.approx(lambda_min, rel=1e-6)


# ---- linear regions


@pytest.mark.usefixtures("float64")
def test_single_operations_have_the_documented_regions():
    thin, k = ThinCellNetwork(), np.arange(27_000, dtype=np.float64)
    x = jnp.asarray(np.sin(0.37 * k + 1e-5 * k**2).reshape(3000, 3, 3, 1))
    params, batch = golden_params(thin), Batch(x, jnp.zeros(3000, int))

    def counted(wiring, batches=3):
        return region_count(thin, params, wiring, batch, jax.random.key(0), batches=batches)

    compute = quick_jit(counted)
    read = proxies.get("linear_regions").read
    for name, units, regions in [("nor_conv_3x3", 63, 664), ("nor_conv_1x1", 63, 745), ("skip_connect", 9, 49), ("avg_pool_3x3", 9, 52)]:
        score, status, extras = read(jax.device_get(compute(jnp.full(6, OPERATIONS.index(name)))))
        assert (score, status) == (regions, "ok"), name
        assert extras == {"count": regions, "samples": 3000, "neurons": units, "non_finite": 0}
    ones = CellGenotype(("nor_conv_1x1",) * 6)
    assert int(quick_jit(lambda: counted(ones))().patterns) == 745
    assert int(quick_jit(lambda: counted(ones, batches=1))().patterns) != 745  # normalised over all patches at once


@pytest.fixture(scope="module")
def regions():
    """More patches than the 40 images."""
    return make_scorer(proxies.get("linear_regions"), stubs.tiny_digits(), stubs.SPACE, channels=16, cells=5, batch_size=60)


def test_regions_of_the_thin_network_of_its_own_patches(regions):
    cells = [RESNET, CellGenotype.parse(stubs.DEAD), *stubs.SPACE.sample(np.random.default_rng(1), 18, unique=True)]
    records = [regions.score(cell) for cell in cells]
    assert (records[1].status, records[1].score) == ("dead", 1.0)
    for cell, record in zip(cells, records, strict=True):
        assert record.score == record.extras["count"] <= record.extras["samples"] == 60
        assert record.status == ("dead" if stubs.SPACE.is_dead(cell) else "saturated" if record.score == 60 else "ok")
    assert len({record.score for record in records}) > 5
    assert json.loads(regions.key(RESNET).network)["channels"] == 1
    _, batch, _ = regions._compiled.arguments
    assert batch.x.shape == (60, 3, 3, 1)
    low, high = ((level / 255 - stubs.tiny_digits().mean[0]) / stubs.tiny_digits().std[0] for level in (0, 255))
    assert low - 1e-6 <= float(batch.x.min()) < float(batch.x.max()) <= high + 1e-6


def test_weights_that_are_no_numbers_have_no_regions(regions):
    params, batch, key = regions._compiled.arguments
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    found = jax.device_get(regions._compiled.program(broken, batch, key, jnp.asarray(RESNET.code)))
    score, status, extras = regions.proxy.read(found)
    assert math.isnan(score)
    assert (status, extras["non_finite"]) == ("non_finite", 60)


def test_patches_that_cannot_be_cut_into_batches(regions):
    scorer = make_scorer(regions.proxy, stubs.tiny_digits(), stubs.SPACE, batch_size=61)
    with pytest.raises(ProxyError, match="61 patches cannot be cut into batches=3 equal batches; choose a batch size that is a multiple"):
        scorer.score(RESNET)


def test_a_search_may_ask_for_more_patches_than_images():
    problem = stubs.problem(proxy=proxies.get("linear_regions"), batch_size=None)
    assert problem.examples_of(problem.proxy) == 3000 > len(problem.dataset.y_train)
    with pytest.raises(ValueError, match="the proxy's batch has 0 examples"):
        dataclasses.replace(problem, batch_size=0)
