"""The commands on sentence pairs, with a tiny encoder: scored, searched, trained, resumed; and what they refuse."""

import dataclasses
import json

import numpy as np
import pytest
import tiny_text

from jknas import proxies, spaces
from jknas.cli import run
from jknas.data import load
from jknas.errors import ProxyError, TrainingError
from jknas.networks import families
from jknas.networks.skip_transformer import pretrained
from jknas.proxies import NetworkProxy
from jknas.scoring.scorer import make_scorer
from jknas.training import load_weights, preset, train

pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")

REFERENCE = "tiny_text:SPACE"
SPACE = tiny_text.SPACE
CONFIG = tiny_text.CONFIG | {"num_hidden_layers": 3}


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Leave the registry of spaces as it was."""
    monkeypatch.setattr(spaces._SPACES, "things", dict(spaces._SPACES.things))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("text")
    encoder = tiny_text.write_weights(root / "encoder", CONFIG)
    tiny_text.write_tokenizer(encoder)
    return tiny_text.write_pairs(root / "task"), encoder


def arguments(places, command, *more):
    task, encoder = places
    return [command, "--space", REFERENCE, "--data", task, "--weights", encoder, "--seed", "0", "--json", *more]


def called(capsys, *given):
    code = run([str(argument) for argument in given])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.slow
def test_score_and_its_store(capsys, places, tmp_path):
    given = arguments(places, "score", "--all", "--proxy", "mgm,params", "--batch", "8", "--db", tmp_path / "s.sqlite")
    scored = []
    for _ in range(2):
        code, out, err = called(capsys, *given)
        assert code == 0, err
        scored.append([json.loads(line) for line in out.splitlines()])
    assert all(record["fresh"] for record in scored[0])
    assert not any(record["fresh"] for record in scored[1])
    scores = [record["score"] for record in scored[0] if record["proxy"] == "mgm"]
    assert len(set(scores)) == SPACE.size == 3
    first = scored[0][0]
    assert first["network"]["channels"] == 16
    assert len(first["network"]["weights"]) == 16
    assert first["settings"]["parameters"] == "without_head"


@pytest.mark.slow
def test_other_weights_are_other_scores(capsys, places, tmp_path):
    task, encoder = places
    other = tiny_text.write_tokenizer(tiny_text.write_weights(tmp_path / "other", CONFIG, seed=1))
    records = []
    for folder in (encoder, other):
        given = arguments((task, folder), "score", "--arch", "plain", "--proxy", "mgm", "--batch", "8", "--db", tmp_path / "s.sqlite")
        code, out, err = called(capsys, *given)
        assert code == 0, err
        records.append(json.loads(out))
    assert all(record["fresh"] for record in records)
    assert records[0]["score"] != records[1]["score"]


@pytest.mark.slow
def test_search_is_interrupted_and_resumed(capsys, places, tmp_path):
    options = ("--method", "knas", "--samples", "3", "--topk", "2", "--epochs", "2", "--batch", "8", "--train-batch", "20")
    whole = arguments(places, "search", *options, "--out", tmp_path / "whole")
    code, out, err = called(capsys, *whole)
    assert code == 0, err
    expected = json.loads(out)
    parts = arguments(places, "search", *options, "--out", tmp_path / "parts")
    code, _, err = called(capsys, *parts, "--max-steps", "4")
    assert code == 0, err
    code, out, err = called(capsys, *parts, "--resume")
    assert code == 0, err
    found = json.loads(out)
    for name in ("genotype", "validation_accuracy", "test_accuracy", "complete"):
        assert found[name] == expected[name], name
    assert (tmp_path / "parts" / "cell.png").exists()
    trained = load_weights(tmp_path / "parts")
    assert (trained.network.channels, trained.network.weights, str(trained.genotype)) == (16, None, found["genotype"])


@pytest.mark.slow
def test_train_then_classify(capsys, places, tmp_path):
    code, out, err = called(
        capsys,
        *arguments(places, "train", "--arch", "highway:3", "--epochs", "2", "--train-batch", "20", "--group-by-length"),
        "--out",
        tmp_path / "run",
    )
    assert code == 0, err
    result = json.loads(out)
    assert (result["recipe"]["warmup"], result["recipe"]["group_by_length"]) == (0, True)
    assert [epoch["learning_rate"] for epoch in result["curves"]] == pytest.approx([5e-5, 2.5e-5])
    task, encoder = places
    dataset, trained = load(task, tokenizer=encoder), load_weights(tmp_path / "run")
    classes = np.asarray(trained.classify(dataset.x_test))
    assert (classes == dataset.y_test).mean() == pytest.approx(result["test_accuracy"])
    assert "test_f1" not in result, "the classes are not 0 and 1"


@pytest.mark.slow
def test_without_weights_the_encoder_is_drawn(capsys, places):
    task, encoder = places
    given = [
        "score",
        "--space",
        REFERENCE,
        "--data",
        task,
        "--tokenizer",
        encoder,
        "--channels",
        "16",
        "--arch",
        "plain",
        "--batch",
        "8",
    ]
    code, out, err = called(capsys, *given, "--stem", "roberta", "--json")
    assert code == 0, err
    record = json.loads(out)
    assert record["network"] == {"cells": 3, "channels": 16, "classes": 2, "resolution": 24, "stem": "roberta"}


def test_show(capsys, tmp_path):
    drawing = tmp_path / "cell.png"
    code, out, err = called(
        capsys, "show", "look_ahead:4", "--space", "skip_transformer", "--channels", "384", "--classes", "2", "--out", drawing, "--json"
    )
    assert code == 0, err
    assert json.loads(out)["parameters"] == 22_713_986
    assert drawing.exists()
    code, out, err = called(capsys, "show", "plain", "--space", "skip_transformer")
    assert (code, err) == (0, "")
    assert "6 layers" in out
    assert "at 128 tokens" in out


def test_the_default_size_is_that_of_the_space(capsys):
    code, out, err = called(capsys, "show", "largest", "--space", "flexibert", "--classes", "2", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["parameters"] == 15_561_728 + 2 * 257
    assert found["network"] == {"channels": 128, "cells": 4, "classes": 2, "resolution": 128}
    code, out, _ = called(capsys, "show", "plain", "--space", "skip_transformer", "--json")
    assert json.loads(out)["network"]["channels"] == 16


def test_a_tokenizer_by_name(capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(pretrained, "minilm_folder", lambda: asked.append(True) or "nowhere")
    code, _, err = called(capsys, "data", "check", "digits", "--tokenizer", "minilm")
    assert (code, asked) == (0, [True]), err


FLEXIBERT = ("score", "--space", "flexibert", "--arch", "smallest", "--arch", "128:DFT-2-1024x1+DCT-2-512x1")


@pytest.mark.slow
def test_encoders_of_the_benchmark_are_scored(capsys, places):
    task, encoder = places
    names = "mgm_layerwise,ntk_condition,ntk_trace,synflow,params"
    given = (*FLEXIBERT, "--data", task, "--tokenizer", encoder, "--channels", "8", "--batch", "4", "--proxy", names)
    code, out, err = called(capsys, *given, "--json")
    assert code == 0, err
    scores = {}
    for record in map(json.loads, out.splitlines()):
        # The kernel of four short pairs in an encoder of eight channels is singular in single precision.
        assert record["status"] == ("saturated" if record["proxy"] == "ntk_condition" else "ok"), record
        scores.setdefault(record["proxy"], set()).add(record["score"])
    assert set(scores) == set(names.split(","))
    assert all(len(values) == 1 for values in scores.values()), "operators have no effect"


@pytest.mark.slow
def test_an_encoder_of_the_benchmark_is_trained(capsys, places, tmp_path):
    task, encoder = places
    given = ("train", "--space", "flexibert", "--data", task, "--tokenizer", encoder, "--channels", "8", "--arch", "smallest")
    code, out, err = called(capsys, *given, "--epochs", "1", "--train-batch", "20", "--out", tmp_path / "run", "--json")
    assert code == 0, err
    dataset, trained = load(task, tokenizer=encoder), load_weights(tmp_path / "run")
    classes = np.asarray(trained.classify(dataset.x_test))
    assert (classes == dataset.y_test).mean() == pytest.approx(json.loads(out)["test_accuracy"])
    assert str(trained.genotype) == "128:SDP-2-512x1+SDP-2-512x1"


def test_every_proxy_scores_encoders_of_the_benchmark_or_says_why_not(places):
    task, encoder = places
    dataset, scored = load(task, tokenizer=encoder), []
    for name in proxies.names():
        proxy = proxies.get(name)
        try:
            make_scorer(proxy, dataset, spaces.get("flexibert"), channels=8, batch_size=8 if isinstance(proxy, NetworkProxy) else None)
        except ProxyError:
            continue
        scored.append(name)
    assert {"mgm", "mgm_layerwise", "mgm_logits", "ntk_condition", "ntk_trace", "grad_norm", "snip", "synflow", "params", "macs"} <= set(
        scored
    )
    assert not {"naswot", "zen", "linear_regions", "tenas_condition", "mgm_released"} & set(scored)


# ---- what does not fit


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("--data", "digits"), "the SkipTransformerNetwork reads tokens, but digits holds images: choose another data set"),
        (("--weights", "nowhere"), "nowhere holds no tokenizer (No such file or directory)"),
        (
            ("--weights", "nowhere", "--tokenizer", "encoder"),
            "nowhere/config.json cannot be read (No such file or directory): name a folder",
        ),
        (("--resolution", "64", "--data"), "has sequences of 56 tokens; the encoder takes at most 40: cut them with --resolution"),
        (("--space", "nasbench201", "--arch", "resnet"), "--weights needs the capability 'pretrained', which CellNetwork lacks"),
        (("--cells", "5"), "holds an encoder of 3 layers, and 5 are asked for"),
        (("--proxy", "jacob_cov"), "tokens have no gradient"),
        (("--proxy", "synflow"), "needs the capability 'normalisation_free', which SkipTransformerNetwork lacks"),
    ],
)
def test_bad_input_of_score(capsys, places, tmp_path, change, says):
    task, encoder = places
    given = {"--space": REFERENCE, "--data": task, "--weights": encoder, "--arch": "plain", "--batch": "8"}
    if change[-1] == "--data":  # sentences of 50 words
        long = tmp_path / "long"
        long.mkdir()
        for name in ("train", "dev"):
            rows = [f"{'cat ' * 50}\tdog\t{number % 2}" for number in range(10)]
            (long / f"{name}.tsv").write_text("\n".join(["sentence1\tsentence2\tlabel", *rows]) + "\n")
        change = (*change, long)
    given |= dict(zip(change[::2], change[1::2], strict=True))
    given |= {"--tokenizer": encoder} if "--tokenizer" in given else {}
    code, out, err = called(capsys, "score", *(part for pair in given.items() for part in pair))
    assert (code, out) == (2, "")
    assert says in err.replace("compiling the scoring program", "")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--recipe", "nasbench201-12"), "the recipe trains on images, but task holds tokens: take one of glue, knas-mrpc"),
        (("--cutout", "2"), "the recipe has no cutout to change: leave --cutout out"),
        (("--precision", "bfloat16"), "the recipe has no precision to change"),
        (("--arch", "highway:7"), "highway has cells of 7 layers; expected 2 to 3"),
    ],
)
def test_bad_input_of_train(capsys, places, tmp_path, more, says):
    base = [] if "--arch" in more else ["--arch", "plain"]
    code, out, err = called(capsys, *arguments(places, "train", *base, *more, "--out", tmp_path / "run"))
    assert (code, out) == (2, "")
    assert says in err


def test_images_take_no_fine_tuning():
    dataset = load("digits", resolution=8, limit=(40, 20))
    space = spaces.get("nasbench201")
    network = families.network_for(space, dataset, channels=2, cells=1)
    with pytest.raises(TrainingError, match=r"the recipe trains on tokens, but digits holds images: take one of nasbench201-12"):
        train(network, space.named["resnet"], dataset, recipe=preset("glue"), seed=0)


# ---- one program, and every proxy


def test_all_wirings_of_a_depth_compile_once(places):
    task, encoder = places
    traces = []

    def counted(*arguments, **settings):
        traces.append(None)
        return proxies.get("mgm").measure(*arguments, **settings)

    proxy = dataclasses.replace(proxies.get("mgm"), measure=counted)
    scorer = make_scorer(proxy, load(task, tokenizer=encoder), SPACE, weights=encoder, batch_size=8)
    records = [scorer.score(genotype) for genotype in SPACE.enumerate()]
    assert len(traces) == 1
    assert len({record.score for record in records}) == 3
    assert all(record.status == "ok" for record in records)


def test_every_proxy_scores_encoders_or_says_why_not(places):
    task, encoder = places
    dataset, scored, refused = load(task, tokenizer=encoder), [], []
    for name in proxies.names():
        proxy = proxies.get(name)
        try:
            scorer = make_scorer(proxy, dataset, SPACE, weights=encoder, batch_size=8 if isinstance(proxy, NetworkProxy) else None)
        except ProxyError:
            refused.append(name)
        else:
            scored.append(name)
            assert scorer.network == families.network_for(SPACE, dataset, weights=encoder)
    assert {"mgm", "mgm_layerwise", "mgm_logits", "ntk_condition", "ntk_trace", "grad_norm", "snip", "params", "macs"} <= set(scored)
    assert {"synflow", "naswot", "zen", "linear_regions", "tenas_condition", "mgm_released"} <= set(refused)
