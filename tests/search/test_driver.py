import json
import math

import pytest
import search_stubs as stubs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jknas import search
from jknas.errors import SearchError
from jknas.files.json_text import export_json, read_json, write_json
from jknas.search import Budget, as_record, problem, run
from jknas.search.checkpoint import from_plain, to_plain
from jknas.search.methods.best_by_proxy import BestByProxy
from jknas.search.methods.bohb import Bohb
from jknas.search.methods.evolution import Evolution
from jknas.search.methods.knas import Knas
from jknas.search.methods.mf_nas import MfNas
from jknas.search.methods.proxy_evolution import ProxyEvolution
from jknas.search.methods.random import RandomSearch
from jknas.search.methods.reinforce import Reinforce
from jknas.search.methods.robot import Robot
from jknas.search.state import Candidate, best_trained, order_by_score
from jknas.training import Recipe

METHODS = {
    "knas": Knas(samples=6, topk=3),
    "random": RandomSearch(topk=3),
    "evolution": Evolution(population=3, tournament=2, evaluations=6),
    "proxy_evolution": ProxyEvolution(samples=5, population=2, tournament=2, evaluations=5),
    "reinforce": Reinforce(learning_rate=0.5, evaluations=4),
    "bohb": Bohb(evaluations=13),  # repeats nine, and proposes after nine
    "best_by_proxy": BestByProxy(samples=5, train=True),
    "robot": Robot(queries=3),
    "mf_nas": MfNas(samples=6, topk=3),  # three, then one for both epochs of the recipe
    "mf_nas, local": MfNas(samples=8, topk=3, explore="local"),
}


@pytest.fixture(autouse=True)
def evaluator(monkeypatch):
    for name, value in {"scores": {}, "accuracies": {}, "diverging": (), "asked": [], "fail_at": None}.items():
        monkeypatch.setattr(stubs.Evaluator, name, value)
    monkeypatch.setattr(problem, "TrainingEvaluator", stubs.Evaluator)
    return stubs.Evaluator


def text_of(state):
    return write_json(to_plain(state), "a state")


def numbers(result):
    """The record without what depends on the clock."""
    record = as_record(result)
    del record["seconds"]
    return record


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
class TestEveryMethod:
    def test_its_state_has_a_text_and_steps_leave_the_old_one_alone(self, method):
        problem = stubs.problem()
        state, evaluator = method.init(problem), stubs.Evaluator(problem)
        while not method.finished(state):
            before = text_of(state)
            after = method.step(evaluator, state)
            assert text_of(state) == before
            assert method.progress(state).completed <= method.progress(state).total
            state = from_plain(method.state, read_json(text_of(after)), problem.space.parse)
        assert state.winner is not None

    def test_interrupting_at_every_step_changes_nothing(self, method, evaluator, tmp_path):
        problem = stubs.problem()
        whole = run(method, problem)
        for stop in range(whole.steps):
            evaluator.asked.clear()
            evaluator.fail_at = stop
            folder = tmp_path / str(stop)
            with pytest.raises(KeyboardInterrupt):
                run(method, problem, checkpoint=folder)
            evaluator.fail_at = None
            again = run(method, problem, checkpoint=folder, resume=True)
            assert numbers(again) == numbers(whole)
            assert len(evaluator.asked) == whole.steps  # nothing that was finished is done twice

    def test_a_budget_stops_and_a_larger_one_goes_on(self, method, tmp_path):
        problem = stubs.problem()
        whole = run(method, problem)
        for steps in range(whole.steps):
            part = run(method, problem, checkpoint=tmp_path, resume=True, budget=Budget(steps=steps))
            assert (part.steps, part.complete) == (steps, False)
            assert as_record(part)["test_accuracy"] is None
        assert numbers(run(method, problem, checkpoint=tmp_path, resume=True)) == numbers(whole)

    def test_resuming_a_complete_search_asks_for_nothing(self, method, evaluator, tmp_path):
        whole = run(method, stubs.problem(), checkpoint=tmp_path)
        evaluator.asked.clear()
        assert numbers(run(method, stubs.problem(), checkpoint=tmp_path, resume=True)) == numbers(whole)
        assert evaluator.asked == []

    def test_one_seed_one_result(self, method):
        assert numbers(run(method, stubs.problem())) == numbers(run(method, stubs.problem()))
        assert run(method, stubs.problem(seed=1)).state.candidates != run(method, stubs.problem()).state.candidates

    def test_the_test_split_is_read_once_and_for_the_winner(self, method, evaluator):
        result = run(method, stubs.problem())
        winner = str(result.winner.genotype)
        assert [genotype for what, genotype in evaluator.asked if what == "test"] == [winner]
        assert evaluator.asked[-1] == ("test", winner)

    def test_events_count_up_to_the_total(self, method):
        events = []
        run(method, stubs.problem(), on_event=events.append)
        assert (events[0].kind, events[-1].kind) == ("begin", "end")
        assert 0 < events[-1].completed == events[-1].total
        assert all(event.completed <= event.total for event in events)

    def test_the_same_state_gives_the_same_next_state(self, method):
        problem = stubs.problem()
        evaluator = stubs.Evaluator(problem)
        state = method.init(problem)
        while not method.finished(state):
            read = from_plain(method.state, read_json(text_of(state)), problem.space.parse)
            one, two = method.step(evaluator, state), method.step(stubs.Evaluator(problem), read)
            assert text_of(one) == text_of(two)
            state = one

    def test_a_state_comes_back_from_its_text_as_it_was(self, method):
        state = run(method, stubs.problem()).state
        read = from_plain(method.state, read_json(text_of(state)), stubs.SPACE.parse)
        assert type(read) is type(state) is method.state
        assert read == state
        assert text_of(read) == text_of(state)  # the same types throughout: 1 is not 1.0 there

    def test_its_settings_are_recorded(self, method):
        assert search.get(method.name)(**method.settings).settings == method.settings
        assert as_record(run(method, stubs.problem()))["settings"] == method.settings

    def test_a_space_in_which_all_is_dead_ends_like_any_other(self, method, evaluator):
        class Dead(dict):
            def get(self, text, plain):
                return (0.5, "dead") if isinstance(plain, tuple) else 0.1

        evaluator.scores, evaluator.accuracies = Dead(), Dead()
        result = run(method, stubs.problem())
        record = as_record(result)
        assert result.complete
        assert record["validation_accuracy"] == 0.1
        assert record["counts"]["dead"] + record["counts"]["unscored"] == record["counts"]["sampled"]
        if method.proxy != "ranks":
            assert result.state.winner == 0  # of equals the first

    def test_a_diverged_training_never_wins_over_another(self, method, evaluator):
        plain = run(method, stubs.problem())
        winner = str(plain.winner.genotype)
        evaluator.diverging, evaluator.accuracies = (winner,), {winner: 1.0}
        record = as_record(run(method, stubs.problem()))
        assert record["genotype"] != winner or record["counts"]["trained"] == 1
        assert record["counts"]["diverged"] == 1

    def test_its_record_is_strict_json(self, method, evaluator):
        first = str(run(method, stubs.problem()).state.candidates[0].genotype)
        evaluator.scores = {first: (math.nan, "non_finite")}
        evaluator.diverging = (first,)
        read = json.loads(export_json(as_record(run(method, stubs.problem()))), parse_constant=pytest.fail)
        assert {"method", "genotype", "test_accuracy", "validation_accuracy", "seconds", "device", "versions", "candidates"} <= read.keys()
        assert {"dataset", "seed", "network", "settings", "recipe", "timing", "counts", "canonical", "parameters", "macs"} <= read.keys()
        assert read["genotype"] in [candidate["genotype"] for candidate in read["candidates"]]


class TestBudget:
    def test_seconds(self):
        assert run(METHODS["knas"], stubs.problem(), budget=Budget(seconds=0)).steps == 0

    @pytest.mark.parametrize("value", [-1, math.nan, "1", True])
    def test_no_number(self, value):
        with pytest.raises(SearchError, match="expected a number, 0 or more, or None"):
            Budget(seconds=value)


class TestCheckpoint:
    def test_a_folder_is_not_overwritten(self, tmp_path):
        run(METHODS["knas"], stubs.problem(), checkpoint=tmp_path)
        with pytest.raises(
            SearchError, match=r"already holds a search: go on from it with resume=True \(--resume\), or give another folder"
        ):
            run(METHODS["knas"], stubs.problem(), checkpoint=tmp_path)

    def test_another_search(self, tmp_path):
        run(METHODS["knas"], stubs.problem(), checkpoint=tmp_path)
        with pytest.raises(SearchError, match=r"another search: seed is 0 there and 1 here\. Resume with the same arguments"):
            run(METHODS["knas"], stubs.problem(seed=1), checkpoint=tmp_path, resume=True)
        with pytest.raises(SearchError, match="recipe is"):
            run(METHODS["knas"], stubs.problem(recipe=Recipe(epochs=9)), checkpoint=tmp_path, resume=True)

    def test_two_searches_in_one_folder(self, tmp_path):
        refused = []

        def second(event):
            with pytest.raises(SearchError, match="another process works in the folder") as error:
                run(METHODS["knas"], stubs.problem(), checkpoint=tmp_path, resume=True)
            refused.append(error)

        assert numbers(run(METHODS["knas"], stubs.problem(), checkpoint=tmp_path, on_event=second)) == numbers(
            run(METHODS["knas"], stubs.problem())
        )
        assert refused

    def test_resume_without_a_folder(self):
        with pytest.raises(SearchError, match="resume=True needs checkpoint"):
            run(METHODS["knas"], stubs.problem(), resume=True)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(share=st.floats(0, 1, exclude_max=True), tail=st.binary(max_size=3))
    def test_a_file_that_is_cut_off(self, share, tail, tmp_path):
        folder = tmp_path / "damaged"
        path = folder / "state.json"
        if not folder.exists():
            run(METHODS["knas"], stubs.problem(), checkpoint=folder)
            path.rename(folder / "healthy")
        text = (folder / "healthy").read_bytes()
        damaged = text[: int(share * len(text))] + tail
        path.write_bytes(damaged if damaged != text else b"")
        with pytest.raises(SearchError, match=r"is damaged \(.*Delete it to start anew"):
            run(METHODS["knas"], stubs.problem(), checkpoint=folder, resume=True)

    @pytest.mark.parametrize("text", ["[]", "{}", '{"format": 1}', "nul"])
    def test_json_that_is_no_checkpoint(self, text, tmp_path):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(SearchError, match="is damaged"):
            run(METHODS["knas"], stubs.problem(), checkpoint=tmp_path, resume=True)

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(SearchError, match="cannot write the folder"):
            run(METHODS["knas"], stubs.problem(), checkpoint=tmp_path / "file" / "folder")


class TestKnas:
    def test_the_best_scores_are_trained_and_the_best_validation_wins(self):
        result = run(Knas(samples=10, topk=4), stubs.problem())
        listed = result.state.candidates
        live = sorted((c for c in listed if c.status == "ok"), key=lambda c: -c.score)
        trained = [c for c in listed if c.training is not None]
        assert {c.genotype for c in trained} == {c.genotype for c in live[:4]}
        assert result.winner == max(trained, key=lambda c: c.training.validation_accuracy)
        assert sorted(c.rank for c in listed) == list(range(1, 11))

    def test_a_proxy_of_which_less_is_better(self, monkeypatch):
        import dataclasses

        from jknas import proxies

        falling = dataclasses.replace(proxies.get("mgm"), higher_is_better=False)
        best, worst = (run(Knas(samples=10, topk=1), stubs.problem(proxy=p)) for p in (proxies.get("mgm"), falling))
        scores = [c.score for c in best.state.candidates if c.status == "ok"]
        assert best.winner.score == max(scores)
        assert worst.winner.score == min(scores)

    def test_unusable_scores_rank_last_and_are_counted(self, evaluator):
        drawn = [str(c.genotype) for c in Knas(samples=8, topk=8).init(stubs.problem()).candidates]
        bad = [(math.nan, "non_finite"), (math.inf, "non_finite"), (math.nan, "failed")]
        bad += [(1e9, "dead"), (math.inf, "saturated"), (1e9, "negative")]
        evaluator.scores = dict(zip(drawn, [*bad, (0.5, "ok"), (0.7, "ok")], strict=True))
        result = run(Knas(samples=8, topk=2), stubs.problem())
        ranks = [c.rank for c in result.state.candidates]
        assert ranks == [6, 7, 8, 4, 3, 5, 2, 1]
        counts = as_record(result)["counts"]
        assert (counts["ok"], counts["dead"], counts["non_finite"], counts["failed"], counts["trained"]) == (2, 1, 2, 1, 2)
        assert (counts["saturated"], counts["negative"]) == (1, 1)

    def test_a_diverged_training_is_recorded_and_never_wins_over_another(self, evaluator):
        plain = run(Knas(samples=6, topk=3), stubs.problem())
        winner = str(plain.winner.genotype)
        evaluator.diverging = (winner,)
        evaluator.accuracies = {winner: 1.0}
        record = as_record(run(Knas(samples=6, topk=3), stubs.problem()))
        assert record["genotype"] != winner
        assert record["counts"]["diverged"] == 1
        assert [c["training"]["status"] for c in record["candidates"] if c["genotype"] == winner] == ["diverged"]

    def test_equal_accuracies_go_to_the_better_score(self, evaluator):
        plain = run(Knas(samples=6, topk=3), stubs.problem())
        evaluator.accuracies = {str(c.genotype): 0.5 for c in plain.state.candidates}
        even = run(Knas(samples=6, topk=3), stubs.problem())
        assert even.winner.rank == 1

    def test_equal_scores_keep_the_order_drawn(self):
        made = [Candidate(None, score, status) for score, status in ((1.0, "ok"), (9.0, "dead"), (2.0, "ok"), (1.0, "ok"))]
        assert order_by_score(made, 1) == [2, 0, 3, 1]
        assert order_by_score(made, -1) == [0, 3, 2, 1]
        assert best_trained(made, 1) is None

    def test_a_large_sample_is_scored_in_few_steps(self):
        result = run(Knas(samples=401, topk=1), stubs.problem())
        assert result.steps == 134 + 2  # three to a step
        assert len({c.genotype for c in result.state.candidates}) == 401

    @pytest.mark.parametrize(
        ("samples", "topk", "words"),
        [
            (5, 6, "topk is 6, and only 5 architectures are sampled: choose 1..5"),
            (0, 1, "samples is 0; expected a whole number, 1 or more"),
            (5, 0, "topk is 0; expected a whole number, 1 or more"),
            (15_626, 1, "samples is 15626, and the space nasbench201 has 15625 architectures"),
            (5.0, 1, "samples is 5.0; expected a whole number"),
            (True, True, "samples is True"),
        ],
    )
    def test_impossible_settings_are_refused_before_anything_is_computed(self, samples, topk, words, evaluator):
        with pytest.raises(SearchError, match=words):
            run(Knas(samples=samples, topk=topk), stubs.problem())
        assert evaluator.asked == []


class TestProblem:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"seed": -1}, "seed is -1; expected a whole number"),
            ({"batch_size": 41}, "batch has 41 examples; digits has 40"),
            ({"batch_size": 0}, "batch has 0 examples"),
            ({"scheme": "he"}, "initialisation 'he' is not known"),
            ({"settings": {"objectiv": "loss"}}, "no setting 'objectiv'"),
        ],
    )
    def test_parts_that_do_not_fit(self, changes, words):
        with pytest.raises(ValueError, match=words):
            stubs.problem(**changes)

    def test_a_network_of_other_classes(self):
        from jknas.networks.nasbench201.network import CellNetwork

        with pytest.raises(SearchError, match=r"network has classes=7, but digits needs 10: build it with classes=10"):
            stubs.problem(network=CellNetwork(4, 1, 7))


def test_registry():
    names = ("best_by_proxy", "bohb", "evolution", "knas", "mf_nas", "proxy_evolution", "random", "reinforce", "robot")
    others = ("darts-v1", "darts-v2", "enas", "gdas", "rsps", "setn", "tenas")  # these have files of their own
    assert search.names() == tuple(sorted((*names, *others)))
    assert {method.name for method in METHODS.values()} == set(names)
    assert search.get("knas")(samples=7, topk=2).settings == {"samples": 7, "topk": 2}
    with pytest.raises(SearchError, match=r"Unknown search method 'kans'.*Did you mean 'knas'"):
        search.get("kans")
