"""The searches by weight sharing: what they draw and derive, their resumption, what they refuse, and each of them from the command line."""

import dataclasses
import itertools
import json
import math
import shutil
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import own_space
import pytest
import sharing_recordings as recorded
from search_stubs import problem
from search_tables import problem as table_problem
from typer.testing import CliRunner

from jknas import cli, search, spaces
from jknas.errors import CheckpointError, SearchError
from jknas.files.json_text import read_json, write_json
from jknas.networks import CellNetwork
from jknas.networks.darts.network import DartsNetwork
from jknas.networks.wiring import SampledCode
from jknas.search import checkpoint
from jknas.search.checkpoint import to_plain
from jknas.search.weight_sharing import darts_v2, supernet
from jknas.search.weight_sharing.controller import Places, choose_operations, draw_controller, follow, places_of
from jknas.search.weight_sharing.gdas import hard_draw
from jknas.search.weight_sharing.kept import read_arrays, write_arrays
from jknas.search.weight_sharing.training import candidate_rows

NAMES = ("darts-v1", "darts-v2", "enas", "gdas", "rsps", "setn")
SPACE = spaces.get("nasbench201")


def rsps(**changes):
    return search.get("rsps")(**({"epochs": 2, "batch_size": 20, "candidates": 3} | changes))


def plain(result):
    state = {name: value for name, value in to_plain(result.state).items() if not name.endswith("_seconds")}
    state["epochs"] = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in state["epochs"]]
    return read_json(write_json(state, "a state"))


@pytest.mark.slow
def test_a_search_goes_on_where_it_was_interrupted(tmp_path):
    whole = search.run(rsps(), problem(), checkpoint=tmp_path / "whole")
    assert whole.complete
    assert len(whole.state.epochs) == 2
    assert {len(epoch.cell.code) for epoch in whole.state.epochs} == {6}
    assert whole.winner.genotype == whole.state.epochs[-1].cell
    part = tmp_path / "part"
    halted = search.run(rsps(), problem(), checkpoint=part, budget=search.Budget(steps=1))
    assert not halted.complete
    shutil.copytree(part, tmp_path / "lost")
    shutil.rmtree(tmp_path / "lost" / "training" / "supernet")
    for folder in (part, tmp_path / "lost"):  # what was kept is read; what is lost is computed again
        assert plain(search.run(rsps(), problem(), checkpoint=folder, resume=True)) == plain(whole)
    assert [file.name for file in sorted((part / "training" / "supernet").iterdir())] == ["epoch-1.npz", "epoch-2.npz"]
    record = search.as_record(whole)
    assert [one["cell"] for one in record["supernet"]] == [str(epoch.cell) for epoch in whole.state.epochs]
    assert record["settings"]["epochs"] == 2
    assert record["settings"]["recipe"] == "published"


def test_the_best_of_all_epochs_is_trained_and_tested(monkeypatch):
    from search_stubs import Evaluator

    method = rsps(keep="best", train=True, epochs=3)
    cells = SPACE.sample(np.random.default_rng(0), 3)
    monkeypatch.setattr("jknas.search.weight_sharing.training.SharingRun", _made_up(cells))
    evaluator, state = Evaluator(problem()), method.init(problem())
    while not method.finished(state):
        state = method.step(evaluator, state)
    trained = {str(one.genotype): one.training.validation_accuracy for one in state.candidates}
    assert set(trained) == set(map(str, cells))
    assert trained[str(state.candidates[state.winner].genotype)] == max(trained.values())
    assert state.test is not None


def _made_up(cells):
    class Run:
        compile_seconds = 0.0

        def __init__(self, method, evaluator, *, finished):
            del method, evaluator, finished

        def epoch(self, number):
            from jknas.search.weight_sharing.state import EpochFound

            return EpochFound(cells[number], 0.1, 1.0, 0.5, None, None, 0.5, None, 0.0)

    return Run


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        (lambda: rsps(recipe="quick"), {}, "recipe of rsps"),
        (lambda: rsps(keep="best"), {}, "train them"),
        (lambda: rsps(epochs=0), {}, "epochs"),
        (lambda: search.get("gdas")(epochs=1), {}, "give 2 or more"),
        (lambda: search.get("darts-v2")(unrolled="roughly"), {}, "unrolled"),
        (lambda: rsps(own_recipe=dataclasses.replace(rsps().made, last_learning_rate=1.0)), {}, "neither may rise"),
        (lambda: rsps(own_recipe=dataclasses.replace(rsps().made, unsampled="forget")), {}, "unsampled"),
    ],
)
def test_settings_that_are_refused(method, changes, said):
    with pytest.raises(SearchError, match=said):
        method().init(problem(**changes))


def test_problems_that_are_refused():
    with pytest.raises(SearchError, match="a table has none"):
        rsps().init(table_problem())
    with pytest.raises(SearchError, match=r"needs the capability 'supernet', which .* lacks: give the class the method supernet"):
        rsps().init(problem(space=own_space.SPACE, network=own_space.ChainNetwork(classes=10, input_channels=3), measured=None))
    darts = problem(space=spaces.get("darts"), network=DartsNetwork(4, 3), measured=None)
    with pytest.raises(SearchError, match="all cells of a DartsNetwork are wired alike"):
        search.get("rsps")(own_recipe=dataclasses.replace(rsps().made, per_cell=True)).init(darts)
    unplanned = dataclasses.replace(SPACE, pruning=None)
    with pytest.raises(SearchError, match="PruningPlan"):
        rsps().init(problem(space=unplanned))


def test_another_recipe_does_not_resume(tmp_path):
    method, asked = rsps(), problem()
    identity = {"method": "rsps", "settings": dict(method.settings), **asked.identity()}
    checkpoint.write(tmp_path, checkpoint.Checkpoint(method.init(asked), 0, 0.0), identity)
    with pytest.raises(SearchError, match=r"of another search: settings.*learning_rate"):
        search.run(rsps(own_recipe=dataclasses.replace(method.made, learning_rate=0.1)), asked, checkpoint=tmp_path, resume=True)


def test_arrays_are_kept_and_checked(tmp_path):
    arrays = {"a": jnp.arange(3.0), "b": (jnp.ones((2, 2), bool), jnp.asarray(2.0))}
    write_arrays(None, 1, arrays)
    assert read_arrays(None, 1, arrays) is None
    assert read_arrays(tmp_path, 1, arrays) is None
    for epoch in (1, 2, 3):
        write_arrays(tmp_path, epoch, arrays)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["epoch-2.npz", "epoch-3.npz"]
    found = read_arrays(tmp_path, 3, arrays)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()) and a.dtype == b.dtype, found, arrays))
    with pytest.raises(CheckpointError, match="another supernet"):
        read_arrays(tmp_path, 3, {"a": jnp.arange(4.0), "b": arrays["b"]})
    path = tmp_path / "epoch-3.npz"
    for content in (path.read_bytes()[:-9], b"nothing"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged"):
            read_arrays(tmp_path, 3, arrays)
    np.savez(path, **{"0000": np.arange(3.0), "sha256": np.array("0" * 64)})
    with pytest.raises(CheckpointError, match="SHA-256"):
        read_arrays(tmp_path, 3, arrays)


# ---- what is drawn and derived


def test_the_most_probable_cells_of_all(rng):
    weights = rng.standard_normal((4, 3))
    codes, sums = supernet.most_probable([np.arange(3)[:, None]] * 4, weights, 7)
    every = sorted((sum(weights[edge, digit] for edge, digit in enumerate(code)), code) for code in itertools.product(range(3), repeat=4))[
        ::-1
    ]
    assert [tuple(code) for code in codes.tolist()] == [code for _, code in every[:7]]
    np.testing.assert_allclose(sums, [total for total, _ in every[:7]])


def darts_net(**changes):
    searched = problem(space=spaces.get("darts"), network=DartsNetwork(4, 3), measured=None)
    return supernet.supernet_of(searched, dataclasses.replace(rsps().made, **changes))


def test_what_a_node_of_darts_can_choose(rng):
    choices = darts_net().choices()
    assert [len(one) for one in choices] == [math.comb(node, 2) * 49 for node in (2, 3, 4, 5)] * 2
    weights = rng.standard_normal((28, 8))
    every = [tuple(code) for code in itertools.product(*(map(tuple, one.tolist()) for one in choices[:2]))]
    codes, sums = supernet.most_probable(choices[:2], weights, 5)
    totals = [sum(weights[edge, digit] for edge, digit in enumerate(first + second)) for first, second in every]
    np.testing.assert_allclose(sums, sorted(totals)[::-1][:5])
    assert codes.shape == (5, 5)
    best, _ = supernet.most_probable(choices, weights, 9)
    assert len({spaces.get("darts").from_code(code) for code in best.tolist()}) == 9


def test_drawn_cells_of_darts_are_cells(float64):
    net, space = darts_net(), spaces.get("darts")
    keys = jax.random.split(jax.random.key(0), 400)
    drawn = np.asarray(jax.vmap(net.random_code)(keys))
    controller = draw_controller(jax.random.key(1), net.operations)
    noise = jax.random.gumbel(jax.random.key(2), (400, net.edges, net.operations))
    said = jax.vmap(lambda one: choose_operations(controller, one, places_of(net)))(noise)
    for codes in (drawn, np.asarray(said.code)):
        assert len({space.from_code(code) for code in codes.tolist()}) == 400
    shares = (drawn[:, 9:14] > 0).mean(0)  # of the five edges to the last node of the normal cell, two
    np.testing.assert_allclose(shares, 0.4, atol=0.08)
    np.testing.assert_allclose(np.bincount(drawn[drawn > 0], minlength=8)[1:] / (16 * 400), 1 / 7, atol=0.02)
    again = jax.vmap(lambda code: follow(controller, code, places_of(net)))(said.code)
    np.testing.assert_allclose(again.log_probability, said.log_probability, rtol=1e-12)


def test_the_controller_s_probabilities_of_a_node_of_darts_sum_to_one(float64):
    net = darts_net()
    first, controller = net.choices()[:2], draw_controller(jax.random.key(1), net.operations)
    codes = jnp.asarray([a + b for a, b in itertools.product(*(map(tuple, one.tolist()) for one in first))])
    places = places_of(net)
    short = Places(places.first[:5], places.left[:5], places.inputs, places.absent)

    def log_probability(controller, code):
        return follow(controller, code, short).log_probability

    np.testing.assert_allclose(np.exp(jax.vmap(log_probability, (None, 0))(controller, codes)).sum(), 1, rtol=1e-12)
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.isfinite(leaf).all()), jax.grad(log_probability)(controller, codes[0])))


def test_distinct_codes(rng):
    assert len(set(map(tuple, supernet.distinct_codes(rng, (2, 3), 5).tolist()))) == 5
    assert len(supernet.distinct_codes(rng, (2, 3), 100)) == 6


def test_a_darts_cell_keeps_the_two_strongest_edges_of_a_node(rng):
    space = spaces.get("darts")
    weights = rng.random((28, 8)) + np.eye(8)[space.pruning.absent]  # the absent operation is the heaviest, and never chosen
    genotype = supernet.derive(space, weights)
    weights[:, space.pruning.absent] = -1
    for cell, groups in zip((genotype.normal, genotype.reduce), space.pruning.kept, strict=True):
        for node, group in enumerate(groups):
            strongest = sorted(group, key=lambda edge: -weights[edge].max())[:2]
            chosen = [space.operations.index(name) for name, _ in cell[2 * node : 2 * node + 2]]
            assert sorted(chosen) == sorted(int(weights[edge].argmax()) for edge in strongest)


def test_every_node_of_a_drawn_cell_has_an_input():
    codes = np.asarray(jax.vmap(CellNetwork(4, 2).draw_cells)(jax.random.split(jax.random.key(0), 200))).reshape(-1, 6)
    assert (codes[:, 0] > 0).all()
    assert (codes[:, 1:3] > 0).any(1).all()
    assert (codes[:, 3:] > 0).any(1).all()
    shares = [np.bincount(codes[:, edge], minlength=5) / len(codes) for edge in (0, 3)]
    np.testing.assert_allclose(shares[0], [0, 0.25, 0.25, 0.25, 0.25], atol=0.04)
    np.testing.assert_allclose(shares[1], np.array([24, 25, 25, 25, 25]) / 124, atol=0.04)


def test_hard_draws_follow_the_softmax():
    logits = jnp.log(jnp.asarray([[0.1, 0.2, 0.3, 0.4]]))
    noise = jax.random.gumbel(jax.random.key(0), (4000, *logits.shape))
    found = jax.vmap(lambda noise: hard_draw(logits, noise, 0.5))(noise)
    np.testing.assert_allclose(np.bincount(found.code[:, 0], minlength=4) / 4000, [0.1, 0.2, 0.3, 0.4], atol=0.03)
    np.testing.assert_allclose(found.weights.sum(-1), 1, atol=1e-6)


def test_batches_of_candidates_use_up_the_split(rng):
    batches = candidate_rows(rng, 10, 4, 7)
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2, 4]
    for first in (0, 3):
        assert sorted(np.concatenate(batches[first : first + 3]).tolist()) == list(range(10))


def test_the_settings_of_a_supernet():
    network, own = CellNetwork(4, 2), CellNetwork(4, 2).supernet(last_as_cells=True)
    assert repr(network) == "CellNetwork(channels=4, cells=2, classes=10, input_channels=3)"
    assert repr(own).endswith("input_channels=3, affine=False, averages=False, last_as_cells=True)")
    assert set(own.init(jax.random.key(0))["batch_stats"]) == {"stem_norm", "reduction1", "reduction2"}
    variables = network.supernet(averages=True).init(jax.random.key(0))
    assert "stage1" in variables["batch_stats"]
    assert "norm" not in variables["params"]["stage1"]["edge_1_0_nor_conv_1x1"]
    chosen = jnp.zeros((3, 2, 6, 5), bool).at[1, 0, 0, 3].set(True)
    masks = own.used(own.init(jax.random.key(0))["params"], chosen)
    assert masks["stage2"]["edge_1_0_nor_conv_3x3"]["kernel"].ravel().tolist() == [True, False]
    assert not masks["stage1"]["edge_1_0_nor_conv_3x3"]["kernel"].any()
    assert masks["classifier"]


# ---- slow: each compiles a program of its own


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_exact_gradient_is_the_limit_of_the_difference(float64, monkeypatch):
    monkeypatch.setattr(darts_v2, "_RADIUS", 1e-6)  # at the published 0.01 the kinks of the ReLUs outweigh the derivative between them
    net = recorded.net(search.get("darts-v2")().made)
    shared = recorded.shared(net, recorded.alphas())
    arguments = (net, shared, recorded.pair(1), jnp.asarray(0.025))
    exact, near = (jax.jit(one, static_argnums=0)(*arguments)[0] for one in (darts_v2.exact, darts_v2.finite_difference))
    np.testing.assert_allclose(exact, near, rtol=1e-6, atol=1e-9)
    assert float(jnp.abs(exact).max()) > 1e-3


@pytest.mark.slow
def test_a_sampled_code_of_darts(float64, rng):
    network = DartsNetwork(4, 3).supernet()
    variables, x = network.init(jax.random.key(0)), jnp.asarray(rng.standard_normal((3, 16, 16, 3)))
    code = jnp.asarray(rng.integers(1, 8, 28), jnp.int32)
    hard = jax.nn.one_hot(code, 8)

    def loss(weights, wiring):
        return jnp.square(network.apply_and_update(variables["params"], variables["batch_stats"], x, wiring(weights))[0]).sum()

    found, gradient = jax.jit(jax.value_and_grad(lambda weights: loss(weights, lambda w: SampledCode(code, w))))(hard)
    mixed, reference = jax.jit(jax.value_and_grad(lambda weights: loss(weights, lambda w: w)))(hard)
    np.testing.assert_allclose(found, mixed, rtol=1e-9)
    at = np.arange(28), np.asarray(code)
    np.testing.assert_allclose(gradient[at], reference[at], rtol=1e-7, atol=1e-10)
    others = np.where(np.asarray(hard) > 0, np.nan, np.asarray(gradient))
    np.testing.assert_allclose(np.nanmax(others, 1), np.nanmin(others, 1), rtol=1e-9)
    assert np.isfinite(gradient).all()
    assert np.nanmax(np.abs(others)) > 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("space", ["nasbench201", "darts"])
@pytest.mark.parametrize("name", NAMES)
def test_from_the_command_line(tmp_path, name, space):
    size = ["--channels", "4", "--cells", "1" if space == "nasbench201" else "3"]
    command = ["search", "--space", space, "--method", name, "--data", "digits", "--epochs", "2", *size, "--limit", "100,50", "--seed", "0"]
    assert CliRunner().invoke(cli.app, [*command, "--out", str(tmp_path)]).exit_code == 0
    record = json.loads((tmp_path / "result.json").read_text())
    assert len(record["supernet"]) == 2
    assert record["genotype"] == record["supernet"][-1]["cell"]
    assert {"counts", "timing", "candidates", "versions", "null_model"} <= record.keys()
    for file in ("cell.svg", "cell.png", "search.svg", "search.png"):
        assert (tmp_path / file).stat().st_size > 1000


def timeless(record):
    """What a result says, without times."""
    if isinstance(record, dict):
        return {name: timeless(value) for name, value in record.items() if "second" not in name and name not in ("timing", "cost")}
    return [timeless(one) for one in record] if isinstance(record, list) else record


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_killed_again_and_again(tmp_path, name):
    size = ["--channels", "4", "--cells", "1", "--limit", "200,50", "--epochs", "6", "--seed", "0"]
    command = [sys.executable, "-m", "jknas.cli", "search", "--method", name, "--data", "digits", *size, "--json"]
    command += ["--compile-cache", str(tmp_path / "cache")]
    whole = json.loads(subprocess.run([*command, "--out", tmp_path / "whole"], capture_output=True, text=True, check=True).stdout)
    part, rng = tmp_path / "part", np.random.default_rng(0)
    state = part / "checkpoint" / "state.json"
    for steps in (1, 2, 4):
        process = subprocess.Popen([*command, "--out", part, "--resume"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (state.exists() and json.loads(state.read_text())["steps"] >= steps):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))  # in an epoch, or between its files
        process.kill()
        process.wait()
    resumed = subprocess.run([*command, "--out", part, "--resume"], capture_output=True, text=True, check=True)
    assert timeless(json.loads(resumed.stdout)) == timeless(whole)
