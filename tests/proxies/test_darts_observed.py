"""Scores that look inside a network, on DARTS: each against its definition on a network that is written out operation by operation."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from plain_darts import plain_darts
from random_variables import random_variables
from tolerances import assert_close, tolerances

from jknas.errors import ProxyError
from jknas.networks.darts import DartsNetwork
from jknas.networks.observation import look
from jknas.proxies import Batch, get
from jknas.proxies.naswot import measure as naswot_kernel
from jknas.spaces.darts.genotype import DartsGenotype

NETWORK = DartsNetwork(channels=4, cells=3, classes=3)  # one normal cell and two reduction cells
ONE = DartsNetwork(channels=4, cells=1, classes=3)
GENOTYPE = DartsGenotype.from_code(
    [4, 6, 3, 0, 1, 0, 7, 0, 5, 0, 2, 0, 0, 4, 3, 7, 0, 5, 4, 1, 0, 0, 6, 2, 0, 0, 3, 0]
)  # every operation somewhere, at stride 1 and 2
CODE = np.asarray(GENOTYPE.code, np.int32)
KEY = jax.random.key(5)
LABELS = np.array([0, 2, 1, 1])
OBSERVED = ("az_trainability", "fisher", "meco", "naswot", "swap", "zen")  # the other two parts of AZ-NAS have the same measurement

pytestmark = pytest.mark.usefixtures("float64")


@functools.cache
def images():
    return np.random.default_rng(3).standard_normal((4, 8, 8, 3))


@functools.cache
def params(network=NETWORK):
    return random_variables(network)["params"]


@functools.cache
def own():
    return NETWORK.restrict(params(), GENOTYPE)


@functools.cache
def plain(changed=False):
    """The logits and what the written-out network kept, for the images or for those that zen compares them with."""
    x = jnp.asarray(images())
    x = x + 0.01 * jax.random.normal(KEY, x.shape, x.dtype) if changed else x

    def compute(params, x):
        logits, kept = plain_darts(NETWORK, GENOTYPE, params, x)
        return logits, kept.arrays()

    return jax.tree.map(np.asarray, quick_jit(compute)(own(), x))


def measured(name, wiring, network=NETWORK, weights=None):
    """What the device part of a proxy returns."""
    batch = Batch(jnp.asarray(images()), jnp.asarray(LABELS))
    weights = params(network) if weights is None else weights

    def compute(weights, code):
        return get(name).measure(network, weights, code if wiring is None else wiring, batch, KEY)

    return jax.tree.map(np.asarray, quick_jit(compute)(weights, jnp.asarray(CODE)))


@functools.cache
def found(name):
    return measured(name, GENOTYPE, weights=own())


def summary(kind, seen):
    del kind
    return (
        seen.records,
        seen.output,
        [(jnp.square(s.value).mean(), jnp.asarray(s.convolutions), jnp.asarray(s.skips)) for s in seen.sources],
    )


def test_the_observed_network_is_the_network():
    x = jnp.asarray(images())
    observed, logits = quick_jit(
        lambda params: (look(NETWORK, params, x, GENOTYPE, summary), NETWORK.apply(params, x, GENOTYPE, statistics="batch"))
    )(own())
    np.testing.assert_array_equal(observed.logits, logits)
    expected, kept = plain()
    assert_close(observed.logits, expected, tolerances().logits)
    outputs = [observed.summaries[name][1] for name in ("stem", *(run.name for run in NETWORK.runs()))]
    assert_close(outputs, kept["blocks"], tolerances().logits)
    variances = sorted(float(v.mean()) for s in observed.summaries.values() for v in s[0].values() if np.any(v))
    np.testing.assert_allclose(variances, sorted(map(float, kept["variances"])), rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("network", [ONE, NETWORK], ids=["one cell", "three cells"])
def test_a_code_shows_what_its_genotype_shows(network):
    x = jnp.asarray(images())
    shown = quick_jit(lambda params, wiring: look(network, params, x, wiring, summary), static_argnums=1)(params(network), GENOTYPE)
    coded, logits = quick_jit(
        lambda params, code: (look(network, params, x, code, summary), network.apply(params, x, code, statistics="batch"))
    )(params(network), jnp.asarray(CODE))
    assert_close(coded.logits, logits, tolerances().wiring)
    assert_close(coded.logits, shown.logits, tolerances().wiring)
    for name, (records, output, sources) in shown.summaries.items():
        others, *rest = coded.summaries[name]
        assert_close(rest, [output, sources], tolerances().wiring)
        assert_close({layer: others[layer] for layer in records}, records, tolerances().wiring)
        assert not any(np.any(record) for layer, record in others.items() if layer not in records), "where no layer runs, records are zero"


@pytest.mark.slow
def test_naswot_counts_every_relu():
    expected = 0
    for value in plain()[1]["relus"]:
        on = (value > 0).reshape(len(value), -1).astype(int)
        expected = expected + on @ on.T + (1 - on) @ (1 - on).T
    np.testing.assert_array_equal(found("naswot"), expected)
    assert get("naswot").read(found("naswot")).score == pytest.approx(np.linalg.slogdet(expected)[1], rel=1e-12)


@pytest.mark.slow
def test_swap_counts_distinct_patterns():
    patterns = {tuple(row) for value in plain()[1]["relus"] for row in (value > 0).reshape(len(value), -1).T}
    outcome = get("swap").read(found("swap"))
    assert outcome.score == len(patterns)
    assert outcome.status == ("saturated" if len(patterns) == 2 ** len(images()) else "ok")


@pytest.mark.slow
def test_zen_is_the_answer_without_the_scale_of_the_normalisations():
    first, second = (plain(changed)[1] for changed in (False, True))
    change = (first["blocks"][-1] - second["blocks"][-1]).reshape(len(images()), -1)
    expected = math.log(np.linalg.norm(change, axis=1).mean()) + 0.5 * np.log(np.array(first["variances"])).sum()
    assert float(found("zen")) == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_meco_correlates_the_channels_of_every_convolution():
    expected = 0.0
    for value in plain()[1]["convolutions"][:-1]:
        maps = value[0].reshape(-1, value.shape[-1])
        maps = maps - maps.mean(0)
        sizes = np.linalg.norm(maps, axis=0)
        sizes[sizes == 0] = 1  # a constant channel is correlated with nothing
        expected += np.linalg.eigvalsh(maps.T @ maps / np.outer(sizes, sizes))[0]
    assert get("meco").read(found("meco")).score == pytest.approx(expected, abs=1e-9)
    with pytest.raises(ProxyError, match="proxy 'meco' with layers=modules needs the capability 'modules', which DartsNetwork lacks"):
        get("meco").check(DartsNetwork, get("meco").with_settings({"layers": "modules"}))


@pytest.mark.slow
def test_fisher_is_the_squared_slope_of_every_channel_s_gate():
    x, labels = jnp.asarray(images()), jnp.asarray(LABELS)
    fans = []

    def loss(added):
        logits, kept = plain_darts(NETWORK, GENOTYPE, own(), x, added=added)
        fans[:] = kept.fans
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()

    outputs = plain()[1]["convolutions"]
    slopes = quick_jit(jax.grad(loss))([jnp.zeros_like(output) for output in outputs])
    expected = 0.0
    for fan, output, slope in zip(fans, outputs, slopes, strict=True):
        product = np.asarray(output * slope).reshape(len(x), -1, output.shape[-1]).sum(1)
        expected += fan * 0.5 * np.square(product).mean(0).sum()
    assert float(found("fisher")) == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_az_nas_takes_every_cell_s_gradient_by_the_output_before_it():
    x, blocks = jnp.asarray(images()), plain()[1]["blocks"]
    keys = jax.random.split(KEY, len(blocks))
    above = [np.asarray(jax.random.rademacher(key, value.shape, value.dtype)) for key, value in zip(keys, blocks, strict=True)]

    def answers(bumps):
        kept = plain_darts(NETWORK, GENOTYPE, own(), x, bumps=bumps)[1]
        return [(value * jnp.asarray(one)).sum() for value, one in zip(kept.blocks, above, strict=True)]

    rows = quick_jit(jax.jacrev(answers))([jnp.zeros_like(value) for value in blocks])
    terms, entropies = [], []
    for place, value in enumerate(blocks):
        flat = value.reshape(-1, value.shape[-1])
        eigenvalues = np.linalg.eigvalsh(np.cov(flat.T, bias=True))
        shares = np.clip(eigenvalues, 0, None) / eigenvalues.sum()
        entropies.append(-sum(shares * np.log(shares + 1e-8)))
        if place == 0:
            continue
        below, (n, height, width, _) = np.asarray(rows[place][place - 1]), value.shape
        ratio, total = below.shape[1] // height, 0
        for image, row, column in np.ndindex(n, height, width):
            patch = below[image, ratio * row : ratio * (row + 1), ratio * column : ratio * (column + 1)].reshape(-1)
            total = total + np.outer(patch, above[place][image, row, column])
        sigma = np.linalg.norm(total / (n * height * width), 2)
        terms.append(2 - sigma - 1 / (sigma + 1e-6))
    scores = {name: get(name).read(found("az_trainability")).score for name in ("az_trainability", "az_expressivity", "az_progressivity")}
    assert scores["az_trainability"] == pytest.approx(np.mean(terms), rel=1e-9)
    assert scores["az_expressivity"] == pytest.approx(sum(entropies), rel=1e-9)
    assert scores["az_progressivity"] == pytest.approx(min(np.diff(entropies)), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBSERVED)
def test_a_code_has_the_score_of_its_genotype(name):
    outcome, expected = (get(name).read(measured_or) for measured_or in (measured(name, None), found(name)))
    assert outcome.score == pytest.approx(expected.score, rel=1e-9)
    assert outcome.status == expected.status


def test_the_imagenet_network_has_two_stem_blocks():
    network = DartsNetwork(channels=4, cells=1, classes=3, stem="imagenet")
    weights = network.restrict(params(network), GENOTYPE)
    observed = jax.eval_shape(lambda params, x: look(network, params, x, GENOTYPE, summary), weights, jnp.zeros((2, 64, 64, 3)))
    assert list(network.observed_layers(GENOTYPE)) == ["stem0", "stem1", "reduction0", "classifier"]
    assert observed.summaries.keys() == network.observed_layers(GENOTYPE).keys()
    assert [observed.summaries[name][1].shape for name in ("stem0", "stem1", "reduction0")] == [(2, 16, 16, 4), (2, 8, 8, 4), (2, 4, 4, 32)]
    assert {"preprocess0_even", "preprocess0_odd", "preprocess0", "preprocess1"} < observed.summaries["reduction0"][0].keys()


def test_what_cannot_be_observed():
    mixture = np.full((28, 8), 0.2)
    for ask in (lambda: NETWORK.walk({}, jnp.asarray(images()), mixture, lambda *_: None), lambda: NETWORK.observed_layers(mixture)):
        with pytest.raises(ValueError, match="mixture weights have no activations to observe"):
            ask()
    with pytest.raises(ValueError, match=r"images must be \[n, height, width, 3\], got \(1, 8, 8, 1\)"):
        NETWORK.walk({}, jnp.zeros((1, 8, 8, 1)), GENOTYPE, lambda *_: None)


def test_the_kernel_is_traceable_with_a_code():
    assert naswot_kernel is get("naswot").measure
    traced = jax.eval_shape(
        lambda params, code: naswot_kernel(ONE, params, code, Batch(jnp.asarray(images()), jnp.asarray(LABELS)), KEY), params(ONE), CODE
    )
    assert (traced.shape, traced.dtype) == ((4, 4), jnp.int32)
