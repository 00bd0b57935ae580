import json

import pytest
from image_folder import make_image_folder

from jknas import cli, data, proxies

SIZE = ["--space", "darts", "--channels", "2", "--cells", "1", "--resolution", "64"]
SMALL = [*SIZE, "--stem", "imagenet"]
_EDGES = [(name, source) for name, source in zip(["max_pool_3x3", "skip_connect"] * 4, [0, 1, 0, 2, 1, 3, 0, 4], strict=True)]
LIGHT = f"Genotype(normal={_EDGES}, normal_concat=range(2, 6), reduce={_EDGES}, reduce_concat=range(2, 6))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp("images") / "pictures")


@pytest.fixture
def run(capfd):
    def run(*arguments):
        capfd.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.mark.slow
def test_a_real_score_with_the_imagenet_stem(run, folder):
    code, out, err = run("score", *SMALL, "--data", folder, "--arch", LIGHT, "--proxy", "grad_norm", "--batch", "6", "--json")
    assert code == 0, err
    assert (json.loads(out)["status"], json.loads(out)["score"] > 0) == ("ok", True)


def brightness(network, params, wiring, batch, key):
    """Compile at once: the mean of the images."""
    del network, params, wiring, key
    return batch.x.mean()


def test_score_with_the_imagenet_stem(run, folder, monkeypatch):
    stub = proxies.NetworkProxy(name="quick", measure=brightness, summary="mean", reference="none", cost="none", batch_size=4)
    monkeypatch.setitem(proxies.REGISTRY, "quick", stub)
    code, out, err = run("score", *SMALL, "--data", folder, "--arch", LIGHT, "--proxy", "quick,params", "--batch", "6", "--json")
    assert code == 0, err
    mean, parameters = (json.loads(line) for line in out.splitlines())
    images, _ = data.batch(data.load(folder, resolution=64), 6, seed=0)
    assert mean["score"] == pytest.approx(images.mean(), rel=1e-5)
    assert mean["network"] == {"channels": 2, "cells": 1, "classes": 3, "resolution": 64, "stem": "imagenet"}
    _, usual, _ = run("score", *SIZE, "--data", folder, "--arch", LIGHT, "--proxy", "params", "--json")
    assert json.loads(usual)["network"] == {"channels": 2, "cells": 1, "classes": 3, "resolution": 64}
    assert json.loads(usual)["score"] != parameters["score"]


def test_search_by_a_proxy(run, folder, tmp_path):
    arguments = ["--method", "best_by_proxy", "--proxy", "params", "--samples", "2", "--data", folder]
    code, _, err = run("search", *SMALL, *arguments, "--out", tmp_path, "--json")
    assert code == 0, err
    assert json.loads((tmp_path / "result.json").read_text())["genotype"].startswith("Genotype")


@pytest.mark.slow
def test_te_nas(run, folder, tmp_path):
    arguments = ["--method", "tenas", "--batch", "4", "--statistics", "example", "--max-steps", "1", "--data", folder]
    code, _, err = run("search", *SMALL, *arguments, "--out", tmp_path, "--json")
    assert code == 0, err
    assert (tmp_path / "result.json").exists()


@pytest.mark.slow
def test_a_search_that_trains(run, folder, tmp_path):
    arguments = ["--method", "knas", "--proxy", "params", "--samples", "3", "--topk", "2", "--epochs", "1", "--train-batch", "9"]
    size = ["--channels", "2", "--cells", "1", "--resolution", "16", "--data", folder]
    code, out, err = run("search", *size, *arguments, "--out", tmp_path / "whole", "--json")
    assert code == 0, err
    whole = json.loads(out)
    assert whole["counts"]["trained"] == 2
    assert 0 <= whole["test_accuracy"] <= 1
    code, _, err = run("search", *size, *arguments, "--out", tmp_path / "parts", "--max-steps", "5")
    assert code == 0, err
    code, out, err = run("search", *size, *arguments, "--out", tmp_path / "parts", "--resume", "--json")
    assert code == 0, err
    assert [json.loads(out)[name] for name in ("genotype", "test_accuracy")] == [whole[name] for name in ("genotype", "test_accuracy")]


@pytest.mark.slow
def test_train_by_the_recipe_of_imagenet(run, folder, tmp_path):
    arguments = ["--recipe", "tenas-imagenet", "--no-auxiliary", "--epochs", "1", "--train-batch", "9", "--data", folder]
    code, out, err = run("train", *SMALL, *arguments, "--arch", LIGHT, "--out", tmp_path, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["recipe"]["label_smoothing"] == 0.1
    assert result["network"]["stem"] == "imagenet"
    assert 0 <= result["test_accuracy"] <= 1


class TestShow:
    @pytest.mark.parametrize(
        ("name", "parameters", "macs"),
        [
            ("DARTS_V1", 4_510_432, 505.86),
            ("DARTS_V2", 4_718_752, 529.91),
            ("TENAS_cifar10", 5_868_640, 641.42),
            ("TENAS_imagenet", 5_420_416, 590.41),
        ],
    )
    def test_sizes_on_imagenet(self, run, name, parameters, macs):
        size = ["--channels", "48", "--cells", "14", "--classes", "1000"]
        code, out, _ = run("show", name, "--space", "darts", "--stem", "imagenet", *size, "--json")
        assert code == 0
        found = json.loads(out)
        assert found["parameters"] == parameters
        assert found["macs"] / 1e6 == pytest.approx(macs, abs=0.01)
        assert (found["network"]["resolution"], found["network"]["stem"]) == (224, "imagenet")

    def test_refusals(self, run):
        code, _, err = run("show", "DARTS_V2", "--space", "darts", "--stem", "cifra")
        assert (code, err.count("\n")) == (2, 1)
        assert "expected one of cifar, imagenet" in err
        code, _, err = run("show", "resnet", "--stem", "imagenet")
        assert (code, err.count("\n")) == (2, 1)
        assert "'nasbench201' have one stem: leave the stem out" in err


class TestRefusedFolders:
    def refused(self, run, root, *arguments):
        code, _, err = run("score", *SMALL, "--data", root, "--arch", "DARTS_V2", *arguments)
        assert code == 2, err
        assert err.count("\n") == 1, err
        return err

    def test_empty(self, run, tmp_path):
        assert "holds 0 class folders" in self.refused(run, tmp_path)

    def test_a_class_without_images(self, run, tmp_path):
        root = make_image_folder(tmp_path / "set")
        (root / "val" / "dog").mkdir()
        assert "the class has no images" in self.refused(run, root)

    def test_text_as_an_image(self, run, tmp_path):
        root = make_image_folder(tmp_path / "set")
        (root / "val" / "cat" / "x.jpg").write_text("no image")
        assert "x.jpg: not an image that can be decoded" in self.refused(run, root)

    def test_classes_that_differ(self, run, tmp_path):
        root = make_image_folder(tmp_path / "set")
        (root / "train" / "cat").rename(root / "train" / "dog")
        assert "the class 'cat' is only in val" in self.refused(run, root)

    def test_resized_crops_of_arrays(self, run, tmp_path):
        arguments = ["--recipe", "tenas-imagenet", "--no-auxiliary", "--arch", "DARTS_V2", "--out", tmp_path / "out"]
        code, _, err = run("train", "--space", "darts", "--cells", "1", *arguments)
        assert code == 2
        assert err.endswith("load a folder of images, or set resized_crop=False.\n"), err
