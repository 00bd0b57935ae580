"""FlexiBERT's encoders as trained: a genotype, its code and PyTorch are one network, and one program serves the whole space."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from tolerances import assert_close, relative_error

from jknas.errors import NetworkError
from jknas.kernels.gram import gram
from jknas.kernels.mgm import mean_gradient
from jknas.kernels.per_layer import every_kernel
from jknas.networks.flexibert import FlexibertNetwork
from jknas.networks.network import layers_of
from jknas.spaces.flexibert import SPACE, FlexibertGenotype

NETWORK = FlexibertNetwork(channels=8, classes=3, input_channels=20, positions=12)
TEXTS = (
    "128:SDP-2-512x1+DCT-4-1024x3",
    "256:DFT-4-512x3+SDP-2-1024x3",
    "128:WMA-4-512x3+DSC5-2-512x1+SDP-2-1024x1+SDP-4-1024x3",
    "256:SDP-2-1024x3+DSC9-4-512x1+DFT-2-512x3+WMA-4-1024x1",
)
GENOTYPES = tuple(SPACE.parse(text) for text in TEXTS)
"""Both widths in both depths, and all kinds of layers."""
TWO_FAST = [pytest.param(one, marks=() if place in {1, 2} else pytest.mark.slow, id=str(one)) for place, one in enumerate(GENOTYPES)]
"""All of them, in the fast suite one of each width and depth: each compiles for seconds."""
DOUBLE = 1e-9
"""What float64 is held to. Any of the usual mistakes (epsilon, tanh gelu, mask, scale of the logits) is above 1e-6."""


def sequences(n=4, t=8, *, padding=2, seed=0):
    rng = np.random.default_rng(seed)
    ids, mask = rng.integers(1, 20, (n, t)), np.ones((n, t), int)
    ids[:, t - padding :], mask[:, t - padding :] = 0, 0
    return jnp.asarray(np.stack([ids, np.arange(t)[None] // 4 * mask, mask], 1), jnp.int32)


LABELS = np.array([0, 2, 1, 1], np.int32)


def spread_out(params, seed=1):
    """Return the parameters without zeros, and large enough for the attention not to be flat."""
    leaves, structure = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(structure, [10 * leaf + rng.normal(0, 0.1, leaf.shape) for leaf in leaves])


@pytest.fixture(scope="module")
def wide_params():
    """Parameters of all alternatives in float64."""
    with jax.enable_x64(True):
        return spread_out(NETWORK.init(jax.random.key(0))["params"])


@quick_jit
def coded(params, x, code):
    """The logits and the gradient of the loss, of any architecture."""

    def apply(params, x):
        return NETWORK.apply(params, x, code)

    return apply(params, x), mean_gradient(apply, params, x, jnp.asarray(LABELS))


def logits_of(params, x, genotype):
    """The logits of one architecture, by a program that compiles fast."""
    return quick_jit(lambda params, x: NETWORK.apply(params, x, genotype))(params, x)


def static(params, x, genotype):
    def apply(params, x):
        return NETWORK.apply(params, x, genotype)

    return quick_jit(lambda params: (apply(params, x), mean_gradient(apply, params, x, jnp.asarray(LABELS))))(params)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("genotype", GENOTYPES, ids=str)
def test_a_genotype_and_its_code_are_one_network(wide_params, genotype):
    logits, gradient = static(wide_params, sequences(), genotype)
    found, by_code = coded(wide_params, sequences(), jnp.asarray(genotype.code))
    assert relative_error(found, logits) < DOUBLE
    assert_close(by_code, gradient, DOUBLE)
    own, used = NETWORK.restrict(gradient, genotype), NETWORK.restrict(by_code, genotype)
    total = sum(np.count_nonzero(leaf) for leaf in jax.tree.leaves(by_code))
    assert total == sum(np.count_nonzero(leaf) for leaf in jax.tree.leaves(used)), "what is not used has no gradient"
    assert all(np.any(leaf) for leaf in jax.tree.leaves(own)), "everything that is used has one"


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_one_program_serves_the_space(wide_params):
    drawn = SPACE.sample(np.random.default_rng(5), 12, unique=True)
    logits = {str(one.as_trained): tuple(np.asarray(coded(wide_params, sequences(), jnp.asarray(one.code))[0]).ravel()) for one in drawn}
    assert coded._cache_size() == 1
    assert len(set(logits.values())) == len(logits) > 5


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("genotype", GENOTYPES, ids=str)
def test_it_is_the_network_that_pytorch_computes(wide_params, genotype):
    torch = pytest.importorskip("torch", reason="the encoders are compared with PyTorch's; install the extra torch")
    import torch_flexibert

    params, x = torch_flexibert.tensors(wide_params), sequences()
    expected = torch_flexibert.logits(params, torch.tensor(np.asarray(x, np.int64)), genotype)
    torch.nn.functional.cross_entropy(expected, torch.tensor(LABELS.astype(np.int64))).backward()
    logits, gradient = coded(wide_params, x, jnp.asarray(genotype.code))
    assert relative_error(logits, expected.detach().numpy()) < DOUBLE
    assert_close(gradient, torch_flexibert.gradients(params), DOUBLE)


@pytest.mark.usefixtures("float64")
def test_operators_have_no_effect(wide_params):
    one = SPACE.parse("128:SDP-2-512x1+SDP-4-1024x3")
    other = SPACE.parse("128:DFT-2-1024x1+DSC9-4-1024x3")
    assert one != other
    for found, expected in zip(*(coded(wide_params, sequences(), jnp.asarray(code)) for code in (one.code, other.code)), strict=True):
        assert_close(found, expected, 0)
    longer = SPACE.parse("128:SDP-2-512x1+SDP-4-512x3")
    logits = [coded(wide_params, sequences(), jnp.asarray(code))[0] for code in (one.code, longer.code)]
    assert relative_error(*logits) > 1e-3


def test_padding_changes_nothing():
    params, genotype = NETWORK.init(jax.random.key(1))["params"], GENOTYPES[0]
    short = sequences(t=6, padding=0)
    padded = jnp.concatenate([short, jnp.zeros((4, 3, 5), jnp.int32)], 2)
    assert relative_error(logits_of(params, padded, genotype), logits_of(params, short, genotype)) < 1e-5
    seen = padded.at[:, 2].set(1)
    assert relative_error(logits_of(params, seen, genotype), logits_of(params, short, genotype)) > 1e-4


# ---- parameters


@pytest.mark.parametrize("genotype", TWO_FAST)
def test_parameters_are_counted(genotype):
    params = NETWORK.init(jax.random.key(0), genotype)["params"]
    counted = SPACE.parameters(genotype, channels=8, classes=3, image_channels=20, **NETWORK.own_size)
    assert counted == sum(leaf.size for leaf in jax.tree.leaves(params))
    whole = NETWORK.init(jax.random.key(0))["params"]
    assert_close(params, NETWORK.restrict(whole, genotype), 0)
    np.testing.assert_array_equal(logits_of(params, sequences(), genotype), logits_of(whole, sequences(), genotype))


def test_the_published_size_is_the_default():
    shapes = jax.eval_shape(lambda: FlexibertNetwork().init(jax.random.key(0), SPACE.named["largest"]))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 15_561_728 + 2 * 257
    assert FlexibertNetwork().own_size == {}
    assert NETWORK.own_size == {"positions": 12}


@pytest.mark.slow
def test_initial_weights_are_those_of_the_benchmark():
    network = FlexibertNetwork(channels=32, input_channels=500)
    params = network.init(jax.random.key(0))["params"]
    narrow, wide = params["encoder"]["narrow"], params["encoder"]["wide"]
    assert "projection" not in narrow
    bounds = {"projection": (wide["projection"], 32 + 64), "head": (params["head"]["wide"], 64 + 2)}
    for name, (owner, fans) in bounds.items():
        largest = float(jnp.abs(owner["kernel"]).max())
        assert 0.9 * (6 / fans) ** 0.5 < largest <= (6 / fans) ** 0.5, name
    for (path, leaf), name in ((item, jax.tree_util.keystr(item[0])) for item in jax.tree.leaves_with_path(params)):
        kind = path[-1].key
        if kind in {"bias", "scale"}:
            np.testing.assert_array_equal(leaf, float(kind == "scale"), err_msg=name)
        elif "projection" not in name and "head" not in name:
            assert float(jnp.abs(leaf).max()) <= 0.04, f"{name} is cut at two deviations"
            if leaf.size > 1000:
                assert float(leaf.std()) == pytest.approx(0.0176, rel=0.1), name
    assert np.any(params["encoder"]["embeddings"]["word"]["embedding"][0]), "padding has an embedding"
    down = network.init(jax.random.key(0), scheme="he_normal")["params"]["encoder"]["narrow"]["layer_0"]["feed_forward"]["shallow_down"]
    assert float(down["kernel"].std()) == pytest.approx((2 / 128) ** 0.5, rel=0.1)


@pytest.mark.usefixtures("float64")
def test_layers_are_those_of_the_architecture(wide_params):
    for genotype in GENOTYPES:
        expected = [stack for stack, _ in every_kernel(NETWORK.restrict(wide_params, genotype))]
        cut = layers_of(NETWORK, jnp.asarray(genotype.code))(wide_params)
        assert {float(weights[0]) for _, weights in cut} == {0.0, 1.0}
        by_code = [stack for stack, weights in cut if weights[0] == 1]
        for found in (by_code, [stack for stack, _ in layers_of(NETWORK, genotype)(wide_params)]):
            assert_close(found, expected, 0)
        assert len(cut) == len(every_kernel(wide_params)) > len(expected)


# ---- what it can do


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_kernel_of_a_code(wide_params):
    x, genotype = sequences(), GENOTYPES[3]
    programs = {
        method: quick_jit(lambda params, code, method=method: gram(lambda p, x: NETWORK.apply(p, x, code), params, x, method=method).matrix)
        for method in ("one_pass", "jacobian")
    }
    found = {method: program(wide_params, jnp.asarray(genotype.code)) for method, program in programs.items()}
    assert relative_error(found["one_pass"], found["jacobian"]) < DOUBLE


@pytest.mark.slow
def test_the_matrices_of_a_code_keep_their_cheap_forms():
    params, x = NETWORK.init(jax.random.key(0))["params"], sequences()
    kernel = jax.eval_shape(lambda params, code: gram(lambda p, x: NETWORK.apply(p, x, code), params, x), params, jnp.zeros(5, int))
    leaves = {one.name for one in kernel.contractions if one.form == "leaf"}
    assert not any("kernel" in name for name in leaves), leaves


def test_without_normalisation():
    params, genotype = NETWORK.init(jax.random.key(0))["params"], GENOTYPES[1]
    apply = quick_jit(lambda params: NETWORK.apply_without_normalisation(params, jnp.ones((1, 3, 8)), genotype))
    doubled = params | {"head": jax.tree.map(lambda leaf: 2 * leaf, params["head"])}
    assert relative_error(apply(doubled), 2 * apply(params)) < 1e-5
    # Without layers that write, the first state is the sum of the rows, projected.
    silent = jax.tree_util.tree_map_with_path(
        lambda path, leaf: 0 * leaf if any(part.key in {"output", "feed_forward"} for part in path) else leaf, params
    )
    tables = params["encoder"]["embeddings"]
    first = tables["word"]["embedding"].sum(0) + tables["type"]["embedding"].sum(0) + tables["position"]["embedding"][0]
    expected = first @ params["encoder"]["wide"]["projection"]["kernel"] @ params["head"]["wide"]["kernel"]
    assert relative_error(apply(silent)[0], expected) < 1e-4


@pytest.mark.parametrize("coded", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["genotype", "code"])
def test_dropout_needs_a_key_and_changes_the_logits(coded):
    params, x, genotype = NETWORK.init(jax.random.key(0))["params"], sequences(), GENOTYPES[0]
    wiring = jnp.asarray(genotype.code) if coded else genotype

    @functools.partial(quick_jit, static_argnums=1)
    def logits(key, dropout):
        return NETWORK.train_apply(params, {}, x, wiring, key=key, dropout=dropout)[0]

    assert relative_error(logits(jax.random.key(0), 0.5), logits(jax.random.key(0), 0.5)) == 0
    assert relative_error(logits(jax.random.key(0), 0.5), logits(jax.random.key(1), 0.5)) > 1e-3
    assert relative_error(logits(None, 0.0), logits_of(params, x, genotype)) < 1e-5


def test_a_flax_module_computes_the_same():
    x, genotype = sequences(), GENOTYPES[2]
    params = NETWORK.init(jax.random.key(0), genotype)["params"]
    module = NETWORK.module(genotype)
    np.testing.assert_array_equal(quick_jit(module.apply)({"params": params}, x), logits_of(params, x, genotype))
    declared = jax.eval_shape(lambda x: module.init(jax.random.key(0), x), x)["params"]
    assert jax.tree.structure(declared) == jax.tree.structure(params)


def test_what_does_not_fit():
    params, x, genotype = {}, sequences(), GENOTYPES[0]
    with pytest.raises(NetworkError, match=r"wiring must be a FlexibertGenotype or its code, integers \[5\], got int.*\[6\]"):
        NETWORK.apply(params, x, jnp.zeros(6, int))
    with pytest.raises(NetworkError, match=r"wiring must be .* got float.*\[5\]"):
        NETWORK.apply(params, x, jnp.zeros(5))
    with pytest.raises(TypeError, match=r"parse it first: FlexibertGenotype\.parse"):
        NETWORK.apply(params, x, TEXTS[0])
    with pytest.raises(NetworkError, match=r"sequences are \[n, 3, t\], of ids, types and mask, got \(4, 8\)"):
        NETWORK.apply(params, x[:, 0], genotype)
    with pytest.raises(NetworkError, match="the batch has sequences of 13 tokens; the encoder takes at most 12"):
        NETWORK.apply(params, sequences(t=13), genotype)
    with pytest.raises(NetworkError, match="channels = 6 cannot be shared out to 4 heads"):
        dataclasses.replace(NETWORK, channels=6)
    with pytest.raises(NetworkError, match="cells = 2 layers; a genotype of flexibert says its own number"):
        dataclasses.replace(NETWORK, cells=2)
    assert isinstance(genotype, FlexibertGenotype)
