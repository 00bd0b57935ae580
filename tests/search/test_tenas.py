"""The pruning search: its rounds on made-up measurements, its resumption, and a real one at the smallest size."""

import dataclasses
import json
import math
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from search_stubs import number, tiny_digits
from worker_jobs import Here

from jknas import search, spaces
from jknas.files.json_text import write_json
from jknas.networks.families import network_for
from jknas.networks.nasbench201.network import CellNetwork
from jknas.search.checkpoint import to_plain
from jknas.search.pruning import measuring, supernets
from jknas.search.pruning.measure import Measurement
from jknas.search.pruning.removals import Found
from jknas.search.pruning.supernets import Supernet, supernet
from jknas.training import Recipe
from jknas.workers.processes import Processes


def problem(space="nasbench201", **changes):
    recipe, chosen = Recipe(epochs=1, batch_size=16), spaces.get(space) if isinstance(space, str) else space
    network = network_for(chosen, tiny_digits(), channels=4, cells=3)
    fields = {"space": chosen, "dataset": tiny_digits(), "network": network, "recipe": recipe, "seed": 0}
    return search.Problem(**(fields | {"batch_size": 4} | changes))


class Measurer:
    """Numbers that follow from what is asked alone."""

    asked = ()
    fail_at = None

    def __init__(self, net, dataset, measure, *, seed, on_compile=None):
        del net, dataset, on_compile
        self.how, self.seed, self.compile_seconds = measure, seed, 0.0

    def measure(self, stage, removal, pairs):
        Measurer.asked = (*Measurer.asked, (stage, removal, len(pairs)))
        if Measurer.fail_at is not None and len(Measurer.asked) > Measurer.fail_at:
            raise KeyboardInterrupt

        def found(kernel, thin):
            draws = [(self.seed, stage, repeat, removal if self.how.draws == "removal" else None) for repeat in range(self.how.repeats)]
            condition = [1 + 1000 * number(f"k {draw} {kernel}") for draw in draws]
            return Found(condition, [float(round(3000 * number(f"r {draw} {thin}"))) for draw in draws])

        return [found(*pair) for pair in pairs]

    def __call__(self, job):
        return Measurement(self.measure(*job), 0.5, 0.25)


@pytest.fixture(autouse=True)
def made_up(request, monkeypatch):
    Measurer.asked, Measurer.fail_at = (), None
    if "_real_s" not in request.node.name:
        monkeypatch.setattr(measuring, "Measurer", Measurer)


def plain(result):
    state = {name: value for name, value in to_plain(result.state).items() if not name.endswith("_seconds")}
    return json.loads(write_json(state, "a state"))


def rounds_of(result):
    return search.as_record(result)["rounds"]


@pytest.mark.parametrize(
    ("space", "settings", "evaluations"),
    [
        ("nasbench201", {"variant": "released"}, 54),
        ("nasbench201", {"variant": "paper"}, 84),
        ("nasbench201", {"variant": "released", "draws": "repeat"}, 54),
        ("nasbench201", {"variant": "released", "pruned": 2}, 6 * (4 + 2)),
        ("darts", {"variant": "released"}, 308 + 24),
        ("darts", {"variant": "paper"}, 28 * (7 + 6 + 5 + 4 + 3 + 2) + 24),
    ],
)
def test_a_search_measures_every_removal_and_ends_in_a_genotype(space, settings, evaluations):
    events = []
    result = search.run(search.get("tenas")(**settings, batch=4), problem(space), on_event=events.append)
    assert result.complete
    rounds, ours = rounds_of(result), result.problem.space
    assert sum(len(entry["ranked"]) for entry in rounds) == evaluations == events[0].total == events[-1].completed
    genotype = result.winner.genotype
    assert ours.parse(str(genotype)) == genotype
    kept = [row.index(True) if any(row) else 0 for row in result.state.live]
    assert list(genotype.code) == kept
    assert [sum(sum(row) for row in entry["live"]) for entry in rounds[1:]] == [
        sum(sum(row) for row in entry["live"]) - len(entry["removed"]) for entry in rounds[:-1]
    ]
    record = search.as_record(result)
    assert record["genotype"] == str(genotype)
    assert record["validation_accuracy"] is record["test_accuracy"] is None
    assert record["left"] == [list(row) for row in result.state.live]


def test_the_released_variant_measures_before_and_after_each_time_and_the_other_before_once():
    search.run(search.get("tenas")(variant="released", batch=4), problem())
    assert {pairs for _, _, pairs in Measurer.asked} == {2}
    assert len(Measurer.asked) == 54
    Measurer.asked = ()
    search.run(search.get("tenas")(variant="released", draws="repeat", batch=4), problem())
    assert len(Measurer.asked) == 54 + 3
    Measurer.asked = ()
    search.run(search.get("tenas")(variant="released", draws="repeat", at_once=8, batch=4), problem())
    assert [pairs for stage, _, pairs in Measurer.asked if stage == 0] == [1, 8, 8, 8]


def test_removals_at_once_change_nothing():
    one, many = (search.run(search.get("tenas")(at_once=n, batch=4), problem()) for n in (1, 5))
    assert plain(one) == plain(many)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"draws": "repeat"}, [25, 19, 13]),  # six edges of four operations and the supernet as it is; then of three, and of two
        ({"draws": "repeat", "at_once": 5}, [6, 5, 4]),
        ({"draws": "removal"}, [24, 18, 12]),
    ],
)
def test_workers_measure_the_removals_of_a_round_ahead(settings, asked, tmp_path):
    method, pool = search.get("tenas")(variant="released", batch=4, **settings), Here()
    whole, found = search.run(method, problem()), search.run(method, problem(pool=pool))
    assert plain(found) == plain(whole)
    assert [len(jobs) for jobs in pool.calls] == asked
    assert found.state.score_seconds == pytest.approx(0.5 * sum(asked))
    part = {"checkpoint": tmp_path, "resume": True}
    search.run(method, problem(pool=Here()), **part, budget=search.Budget(steps=7))
    assert plain(search.run(method, problem(pool=(rest := Here())), **part)) == plain(whole)
    assert sum(len(jobs) for jobs in rest.calls) == sum(asked) - 7


def test_no_released_cell_holds_the_absent_operation_and_the_paper_lets_it_compete():
    for seed in range(5):
        result = search.run(search.get("tenas")(variant="released", batch=4), problem(seed=seed))
        assert "none" not in str(result.winner.genotype)
    result = search.run(search.get("tenas")(variant="paper", batch=4), problem())
    assert [0, 0] in [entry["removal"] for entry in rounds_of(result)[0]["ranked"]]


def test_the_released_kernel_of_the_last_edges_is_compared_with_the_supernet_before_them(monkeypatch):
    references = []

    class Watching(Measurer):
        def measure(self, stage, removal, pairs):
            references.append(pairs[0])
            return super().measure(stage, removal, pairs)

    monkeypatch.setattr(measuring, "Measurer", Watching)
    result = search.run(search.get("tenas")(variant="released", batch=4), problem("darts"))
    settled = next(entry.live for entry in result.state.rounds if entry.kind == "edges")
    kernels = [kernel for kernel, _ in references[-24:]]
    assert all(kernel == settled for kernel in kernels)
    assert [thin for _, thin in references[-24:]].count(settled) == 3  # the first group only


def test_an_edge_loses_no_more_than_leaves_it_one():
    result = search.run(search.get("tenas")(variant="released", pruned=9, batch=4), problem())
    assert len(result.state.rounds) == 1
    assert all(sum(row) == 1 for row in result.state.live)


@pytest.mark.parametrize("at", [0, 1, 17, 40, 53])
@pytest.mark.parametrize("draws", ["repeat", "removal"])
def test_an_interrupted_search_goes_on_to_the_same_result(tmp_path, draws, at):
    method = search.get("tenas")(variant="released", draws=draws, batch=4)
    whole = search.run(method, problem())
    Measurer.asked, Measurer.fail_at = (), at
    with pytest.raises(KeyboardInterrupt):
        search.run(method, problem(), checkpoint=tmp_path)
    Measurer.asked, Measurer.fail_at = (), None
    assert plain(search.run(method, problem(), checkpoint=tmp_path, resume=True)) == plain(whole)
    assert len(Measurer.asked) == (57 if draws == "repeat" else 54) - at


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "relased"}, "released"),
        ({"statistics": "running"}, "batch"),
        ({"draws": "once"}, "repeat"),
        ({"repeats": 0}, "repeats is 0; expected a whole number, 1 or more"),
        ({"samples": 1500}, "multiple of 1000"),
        ({"batch": 1}, "choose batch 2..40"),
        ({"batch": 41}, "choose batch 2..40"),
        ({"draws": "removal", "at_once": 2, "batch": 4}, "leave it at 1"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(settings, message):
    with pytest.raises(search.SearchError, match=message):
        search.run(search.get("tenas")(**settings), problem())
    assert not Measurer.asked


@pytest.fixture
def compiled(monkeypatch):
    """Return a list that grows with every compilation."""
    found = []
    lower = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda self, *a, **k: found.append(1) or lower(self, *a, **k))
    return found


def small(**fields) -> Supernet:
    """A supernet that compiles in no time: six edges that scale an image in five ways each, one after the other."""

    def init(key, scheme):
        del scheme
        first, second = jax.random.split(key)
        return {"kernel": jax.random.normal(first, (6, 5)), "classifier": jax.random.normal(second, (192, 10))}

    def run(params, x, weights):
        values = [x]
        for row, kernel in zip(weights, params["kernel"], strict=True):
            values.append(jnp.tanh(values[-1] * (1 + jnp.sum(row * kernel))) + 0.1 * x.mean(0, keepdims=True))
        return values

    def apply(params, x, weights, statistics):
        del statistics
        return jnp.sin(run(params, x, weights)[-1].reshape(len(x), -1)) @ params["classifier"]

    net = supernet(spaces.get("nasbench201"), classes=10, input_channels=1)
    activations = lambda params, x, weights: [value - 0.3 for value in run(params, x, weights)]  # noqa: E731
    return dataclasses.replace(net, init=init, init_thin=init, apply=apply, activations=activations, **fields)


@pytest.mark.slow
@pytest.mark.parametrize("draws", ["repeat", "removal"])
def test_a_search_of_a_real_supernet_compiles_four_programs_and_is_resumed_exactly(tmp_path, monkeypatch, compiled, draws):
    monkeypatch.setattr(supernets, "supernet", lambda *_, **__: small())
    method = search.get("tenas")(variant="released", draws=draws, repeats=2, batch=4, samples=1000)
    whole = search.run(method, problem())
    assert len(compiled) == 4  # two to measure with, two to draw weights
    ranked = [entry for one_round in rounds_of(whole) for entry in one_round["ranked"]]
    assert all(math.isfinite(entry["condition_change"]) for entry in ranked)
    assert len({entry["condition_change"] for entry in ranked}) > 27
    assert len({entry["regions_change"] for entry in ranked}) > 10
    search.run(method, problem(), checkpoint=tmp_path, budget=search.Budget(steps=23))
    assert plain(search.run(method, problem(), checkpoint=tmp_path, resume=True)) == plain(whole)


@pytest.mark.slow
def test_kernels_at_once_are_the_kernels_one_by_one_in_a_real_supernet(monkeypatch):
    monkeypatch.setattr(supernets, "supernet", lambda *_, **__: small())
    one, many = (search.run(search.get("tenas")(at_once=n, batch=4, samples=1000), problem()) for n in (1, 5))
    for ours, theirs in zip(rounds_of(one)[0]["ranked"], rounds_of(many)[0]["ranked"], strict=True):
        assert ours["removal"] == theirs["removal"]
        assert ours["condition_change"] == pytest.approx(theirs["condition_change"], rel=1e-2, abs=1e-3)


@pytest.mark.slow
def test_a_real_search_is_repeated_exactly(tmp_path, compiled):
    method = search.get("tenas")(variant="released", draws="repeat", statistics="example", repeats=2, batch=4, samples=1000, pruned=3)
    whole = search.run(method, problem())
    assert len(compiled) == 4
    search.run(method, problem(), checkpoint=tmp_path, budget=search.Budget(steps=7))
    assert plain(search.run(method, problem(), checkpoint=tmp_path, resume=True)) == plain(whole)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_search_by_workers_finds_the_same():
    method = search.get("tenas")(variant="released", draws="repeat", statistics="example", repeats=2, batch=4, samples=1000, pruned=2)
    whole = search.run(method, problem())
    with Processes(2, threads=len(os.sched_getaffinity(0))) as pool:
        found = search.run(method, problem(pool=pool))
    assert plain(found) == plain(whole)
    assert len(found.state.rounds) == 2


@pytest.mark.slow
def test_a_real_search_of_the_darts_space():
    method = search.get("tenas")(variant="released", draws="repeat", repeats=1, batch=4, samples=1000, pruned=6)
    result = search.run(method, problem("darts"))
    assert result.complete
    assert len(result.state.rounds) == 1 + 6


def test_the_supernets_are_those_of_the_released_code():
    ours = supernet(spaces.get("nasbench201"), classes=10, input_channels=3)
    assert (ours.batch, ours.plan.pruned, len(ours.plan.edges)) == (72, 1, 6)
    darts = supernet(spaces.get("darts"), classes=10, input_channels=3)
    assert (darts.batch, darts.plan.pruned, len(darts.plan.edges)) == (14, 3, 28)
    assert [len(group) for cell in darts.plan.kept for group in cell] == [2, 3, 4, 5] * 2
    assert np.concatenate(darts.plan.kept[1]).min() == 14


def test_a_space_that_cannot_be_pruned_is_refused_in_one_sentence():
    space = dataclasses.replace(spaces.get("nasbench201"), pruning=None)
    with pytest.raises(
        search.SearchError, match=r"does not know how to prune the space 'nasbench201': give it a PruningPlan as Space\.pruning"
    ):
        search.run(search.get("tenas")(batch=4), problem(space))

    class Small(CellNetwork):
        thin_network = property()

    space = dataclasses.replace(spaces.get("nasbench201"), networks=Small)
    with pytest.raises(
        search.SearchError, match="tenas needs the capability 'thin', which Small lacks: give the class the method thin_network"
    ):
        supernet(space, classes=10, input_channels=3)
