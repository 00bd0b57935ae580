"""The weights of a trained network: there and back, as a Flax user takes them, and what does not fit."""

import json

import jax
import numpy as np
import pytest
from compiling import quick_jit
from random_variables import random_variables
from training_stubs import CELL, coloured_dataset

from jknas import spaces
from jknas.errors import TrainingError
from jknas.networks import CellNetwork
from jknas.networks.darts import DartsNetwork
from jknas.spaces.darts.genotype import NAMED
from jknas.spaces.nasbench201.genotype import CellGenotype
from jknas.training import load_weights, save_weights

NETWORK = CellNetwork(channels=2, cells=1, classes=4)


def saved(folder, network=NETWORK, genotype=CELL, space="nasbench201"):
    variables = random_variables(network, genotype)
    save_weights(folder, network, genotype, variables, space=space, dataset=coloured_dataset())
    return variables


@pytest.mark.parametrize(
    ("network", "genotype", "space"),
    [
        (NETWORK, CELL, "nasbench201"),
        (NETWORK, CellGenotype(("skip_connect",) * 6), "nasbench201"),
        (DartsNetwork(2, 2, 4, stem="imagenet", auxiliary=True), NAMED["DARTS_V1"], "darts"),
    ],
    ids=["cell", "no convolution", "darts"],
)
def test_there_and_back_changes_nothing(tmp_path, network, genotype, space):
    variables = saved(tmp_path, network, genotype, space)
    trained = load_weights(tmp_path)
    assert (trained.network, trained.genotype, trained.resolution) == (network, genotype, 8)
    assert jax.tree.structure(trained.variables) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, trained.variables, variables)


def test_five_lines_classify_an_image(tmp_path):
    variables, dataset = saved(tmp_path), coloured_dataset()
    trained = load_weights(tmp_path)
    logits = quick_jit(trained.module.apply)(trained.variables, trained.normalised(dataset.x_test))
    x = ((dataset.x_test / 255 - np.asarray(dataset.mean)) / np.asarray(dataset.std)).astype(np.float32)
    apply = quick_jit(lambda v, x: NETWORK.apply(v["params"], x, CELL, statistics="running", batch_stats=v["batch_stats"]))
    expected = apply(variables, x)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(trained.classify(dataset.x_test), np.argmax(expected, -1))


def test_the_weights_are_plain_msgpack_of_flax(tmp_path):
    import flax.serialization

    variables = saved(tmp_path)
    restored = flax.serialization.from_bytes(variables, (tmp_path / "weights.msgpack").read_bytes())
    jax.tree.map(np.testing.assert_array_equal, restored, variables)


def test_a_network_may_be_given(tmp_path):
    saved(tmp_path)
    edit(tmp_path, space="elsewhere")
    with pytest.raises(TrainingError, match=r"cannot be rebuilt: its space .elsewhere. is neither"):
        load_weights(tmp_path)
    trained = load_weights(tmp_path, space=spaces.get("nasbench201"), network=NETWORK)
    assert trained.network is NETWORK


def edit(folder, **changes):
    path = folder / "network.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "weights.msgpack").unlink(), "cannot read .*weights.msgpack .*: give a folder with network.json and"),
        (lambda folder: (folder / "weights.msgpack").write_bytes(b"\x81\xa3"), "are damaged"),
        (lambda folder: (folder / "network.json").write_text("{}"), "are damaged .*KeyError"),
        (lambda folder: (folder / "network.json").write_text("["), "are damaged"),
        (lambda folder: edit(folder, format=7), "has the format 7; this version reads 1"),
        (lambda folder: edit(folder, genotype="|none|"), "cannot be rebuilt .*Cannot read the genotype"),
        (lambda folder: edit(folder, network={"channels": 4, "cells": 1, "classes": 4}), "do not belong together"),
        (lambda folder: edit(folder, network={"width": 4}), "cannot be rebuilt"),
        (lambda folder: edit(folder, genotype=str(CellGenotype(("nor_conv_3x3",) * 6))), r"holds nothing at .*edge_.* needs \(1, 2\)"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, damage, message):
    saved(tmp_path)
    damage(tmp_path)
    with pytest.raises(TrainingError, match=message):
        load_weights(tmp_path)


def test_no_module_is_imported_because_a_file_names_it(tmp_path, monkeypatch):
    saved(tmp_path)
    (tmp_path / "payload.py").write_text("raise SystemExit('imported')")
    edit(tmp_path, space="payload:SPACE")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match="its space 'payload:SPACE' is neither built in nor registered, and no module is imported"):
        load_weights(tmp_path)
