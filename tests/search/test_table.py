"""Searches of a table: what they may look at, what it costs, when they stop."""

import itertools
import json

import numpy as np
import pytest
import search_stubs as stubs
import search_tables as tables

from jknas import search, spaces
from jknas.errors import SearchError, SpaceError
from jknas.files.json_text import export_json, write_json
from jknas.scoring.store import Store
from jknas.search import as_record, run, scored_pool
from jknas.search.checkpoint import to_plain
from jknas.search.methods.best_by_proxy import BestByProxy
from jknas.search.methods.bohb import Bohb
from jknas.search.methods.evolution import Evolution
from jknas.search.methods.knas import Knas
from jknas.search.methods.mf_nas import MfNas
from jknas.search.methods.proxy_evolution import ProxyEvolution
from jknas.search.methods.random import RandomSearch
from jknas.search.methods.reinforce import Reinforce
from jknas.search.methods.robot import Robot
from jknas.spaces.pool import restricted

POOL = tables.scores(stubs.SPACE.sample(np.random.default_rng(1), 40, unique=True))
LIMITS = {"evaluations": None, "seconds": 100.0, "overflow": "discard"}
METHODS = {
    "random": RandomSearch(topk=30, seconds=100.0, overflow="discard"),
    "evolution": Evolution(population=4, **LIMITS),
    "reinforce": Reinforce(**LIMITS),
    "bohb": Bohb(**LIMITS),
    "knas": Knas(samples=20, topk=5),
    "best_by_proxy": BestByProxy(samples=20, train=True),
    "proxy_evolution": ProxyEvolution(samples=20, population=3, **LIMITS),
    "robot": Robot(queries=4, seconds=100.0),
    "mf_nas": MfNas(samples=20, topk=16),
}


def text_of(result):
    return write_json(to_plain(result.state), "a state")


def problem(method, **changes):
    scored = {"scores": POOL} if method.proxy == "ranks" else {"measured": stubs.measured()} if method.name == "robot" else {}
    return tables.problem(**scored, **changes)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
class TestEveryMethod:
    def test_it_chooses_by_twelve_epochs_and_reports_two_hundred_once(self, method):
        asked = problem(method)
        run(method, asked)
        *selecting, reported = asked.table.asked
        epochs = {12, 200} if method.name == "mf_nas" else {12}  # its rungs
        assert {one[1:4] for one in selecting} == {("cifar10-valid", "validation", number) for number in epochs}
        assert reported[1:4] == ("cifar10", "test", 200)

    def test_a_checkpoint_changes_nothing(self, method, tmp_path):
        plain, kept = run(method, problem(method)), run(method, problem(method), checkpoint=tmp_path)
        assert text_of(plain) == text_of(kept)

    def test_resumed_it_ends_as_unbroken(self, method, tmp_path):
        whole = run(method, problem(method))
        for steps in range(1, whole.steps):
            run(method, problem(method), checkpoint=tmp_path, resume=True, budget=search.Budget(steps=steps))
        assert text_of(run(method, problem(method), checkpoint=tmp_path, resume=True)) == text_of(whole)

    def test_its_record(self, method):
        record = json.loads(export_json(as_record(run(method, problem(method)))), parse_constant=pytest.fail)
        cell = stubs.SPACE.parse(record["genotype"])
        assert record["parameters"] == 1000 + sum(cell.code)
        assert record["test_accuracy"] == pytest.approx(record["validation_accuracy"] + 0.01)
        assert (record["dataset"]["source"], record["accounting"], record["seeds"]) == ("made up", "twelve-epochs", "mean")

    def test_one_seed_of_the_table(self, method):
        one, two = (run(method, problem(method, seeds="one")) for _ in range(2))
        assert text_of(one) == text_of(two)
        accuracies = [c.training.validation_accuracy for c in one.state.candidates if c.training]
        assert any(100 * accuracy % 1 for accuracy in accuracies)


class TestSpending:
    @pytest.mark.parametrize(
        ("overflow", "seconds", "expected"), [("discard", 100, 6), ("keep", 100, 7), ("discard", 90, 6), ("keep", 90, 6)]
    )
    def test_the_evaluation_that_does_not_fit(self, overflow, seconds, expected):
        state = run(Evolution(evaluations=None, seconds=seconds, overflow=overflow), tables.problem()).state
        assert (len(state.chosen), state.train_seconds) == (expected, 15.0 * expected)

    def test_the_other_accounting(self):
        method = Evolution(evaluations=None, seconds=2160 * 3)
        assert len(run(method, tables.problem(accounting="full-training")).state.chosen) == 3

    def test_the_limit_that_is_met_first(self):
        assert len(run(Evolution(evaluations=4, seconds=100), tables.problem()).state.chosen) == 4
        assert len(run(Evolution(evaluations=40, seconds=100), tables.problem()).state.chosen) == 7

    def test_progress_counts_seconds_where_evaluations_have_no_limit(self):
        events = []
        run(METHODS["evolution"], tables.problem(), on_event=events.append)
        assert [(e.phase, e.completed, e.total) for e in events[1:4]] == [
            ("simulate", 15, 100),
            ("simulate", 30, 100),
            ("simulate", 45, 100),
        ]
        assert (events[-1].phase, events[-1].completed, events[-1].total) == ("test", 6, 6)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"evaluations": None}, "a search without a limit never ends"),
            ({"evaluations": 0}, "evaluations is 0; expected a whole number"),
            ({"seconds": float("nan")}, "seconds is nan; expected a positive, finite number"),
            ({"seconds": True}, "seconds is True"),
            ({"overflow": "drop"}, "Unknown overflow 'drop'; expected one of keep, discard"),
        ],
    )
    def test_refusals(self, settings, words):
        with pytest.raises(SearchError, match=words):
            Evolution(**settings)

    def test_nothing_fits(self):
        with pytest.raises(SearchError, match=r"the first evaluation takes 15\.0 s and the search has 10: raise seconds"):
            run(Evolution(seconds=10, overflow="discard"), tables.problem())


class TestEvolution:
    def test_the_population_is_the_last_evaluated(self):
        state = run(Evolution(population=3, tournament=50, evaluations=30), tables.problem()).state
        listed = [c.genotype for c in state.candidates]
        accuracy = [c.training.validation_accuracy for c in state.candidates]
        for n in range(3, 30):  # a tournament of 50 among three leaves out the best once in 1e8 times
            best = max(range(n - 3, n), key=lambda place: accuracy[place])
            tied = [place for place in range(n - 3, n) if accuracy[place] == accuracy[best]]
            changed = [sum(a != b for a, b in zip(listed[n].code, listed[place].code, strict=True)) for place in tied]
            assert 1 in changed

    def test_it_forgets_the_oldest_however_good(self):
        # With a population of one every architecture is the child of the one before it, a random walk.
        state = run(Evolution(population=1, tournament=1, evaluations=20), tables.problem()).state
        codes = [c.genotype.code for c in state.candidates]
        assert all(sum(a != b for a, b in zip(one, two, strict=True)) == 1 for one, two in itertools.pairwise(codes))

    def test_the_mutation_is_the_published_one_unless_another_is_named(self):
        default, node, edge = (
            [c.genotype for c in run(Evolution(mutation=rule, evaluations=30), tables.problem()).state.candidates]
            for rule in (None, "node", "edge")
        )
        assert default == node != edge
        with pytest.raises(SearchError, match="Unknown mutation rule of nasbench201 'nodes'; expected one of node, edge"):
            run(Evolution(mutation="nodes"), tables.problem())

    def test_it_climbs(self):
        results = [run(Evolution(evaluations=60), tables.problem(seed=seed)).state.test.accuracy for seed in range(10)]
        null = [run(RandomSearch(topk=60), tables.problem(seed=seed)).state.test.accuracy for seed in range(10)]
        assert np.mean(results) > np.mean(null) + 0.02

    def test_a_head_start_is_the_best_by_proxy(self):
        method = ProxyEvolution(samples=40, population=5, evaluations=5)
        state = run(method, tables.problem(scores=POOL)).state
        live = sorted((record.score for record in POOL.values() if record.status == "ok"), reverse=True)
        assert [state.candidates[place].score for place in state.chosen] == live[:5]


class TestReinforce:
    def test_an_update_is_adams(self):
        torch = pytest.importorskip("torch")
        state = run(Reinforce(learning_rate=0.1, evaluations=12), tables.problem()).state
        first = Reinforce(learning_rate=0.1).init(tables.problem()).logits
        logits = torch.tensor(first, requires_grad=True)
        optimiser = torch.optim.Adam([logits], lr=0.1, betas=(0.9, 0.999))
        rewards = weights = 0.0
        for place in state.chosen:
            candidate = state.candidates[place]
            reward = 100 * candidate.training.validation_accuracy
            rewards, weights = 0.9 * rewards + 0.1 * reward, 0.9 * weights + 0.1
            code = torch.tensor(candidate.genotype.code)
            loss = (-torch.distributions.Categorical(logits=logits).log_prob(code) * (reward - rewards / weights)).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        np.testing.assert_allclose(state.logits, logits.detach().numpy(), atol=2e-5)

    def test_the_first_architecture_teaches_nothing(self):
        method = Reinforce(learning_rate=0.5, evaluations=1)
        assert run(method, tables.problem()).state.logits == method.init(tables.problem()).logits

    def test_a_high_learning_rate_settles_and_a_low_one_does_not(self):
        def largest(rate):
            logits = np.array(run(Reinforce(learning_rate=rate, evaluations=100), tables.problem()).state.logits)
            shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            return shares.max(axis=1)

        assert np.median(largest(0.5)) > 0.95
        assert np.max(largest(0.01)) < 0.6

    @pytest.mark.parametrize(
        ("settings", "words"), [({"learning_rate": 0}, "learning_rate is 0; expected"), ({"momentum": 1.0}, "below 1")]
    )
    def test_refusals(self, settings, words):
        with pytest.raises(SearchError, match=words):
            Reinforce(**settings)


class TestBohb:
    def test_the_brackets_ask_again(self):
        state = run(Bohb(evaluations=20), tables.problem()).state
        seen = [state.candidates[place].genotype for place in state.chosen]
        assert len(state.candidates) == 15
        nine = sorted(range(9), key=lambda place: -state.candidates[place].training.validation_accuracy)
        assert state.chosen[9:13] == (*nine[:3], nine[0])
        assert seen[16] in seen[13:16]
        assert len(run(Bohb(evaluations=20, brackets="none"), tables.problem()).state.candidates) == 20

    def test_it_learns(self):
        def late(method, seed):
            listed = run(method, tables.problem(seed=seed)).state.candidates
            return np.mean([c.training.validation_accuracy for c in listed[-15:]])

        model, chance = Bohb(brackets="none", evaluations=50), Bohb(brackets="none", evaluations=50, random_share=1.0)
        assert np.mean([late(model, seed) for seed in range(3)]) > np.mean([late(chance, seed) for seed in range(3)]) + 0.03

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"brackets": "yes"}, "Unknown way to use brackets 'yes'; expected one of repeat, none"),
            ({"eta": 1}, "expected eta of at least 2"),
            ({"least": 300}, "least 300 and most 200"),
            ({"random_share": 2}, "random_share is 2; expected a number from 0 to 1"),
        ],
    )
    def test_refusals(self, settings, words):
        with pytest.raises(SearchError, match=words):
            Bohb(**settings)

    def test_without_optuna(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "optuna", None)
        with pytest.raises(SearchError, match=r"bohb needs Optuna, which is not installed: pip install 'jknas\[bohb\]'"):
            run(Bohb(), tables.problem())


class TestProblem:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"dataset": "cifar10-valid"}, "Unknown data set of a search on a table 'cifar10-valid'; expected one of cifar10, cifar100"),
            ({"accounting": "hours"}, "Unknown accounting 'hours'; expected one of twelve-epochs, full-training"),
            ({"seeds": "all"}, "Unknown way to read seeds 'all'; expected one of mean, one"),
            ({"seed": -1}, r"seed is -1; expected a whole number from 0 to 2\^32 - 1"),
            ({"scores": {}}, "scores is empty: score architectures first"),
        ],
    )
    def test_refusals(self, changes, words):
        with pytest.raises(SearchError, match=words):
            tables.problem(**changes)

    def test_methods_that_need_what_a_table_has_not(self):
        with pytest.raises(SearchError, match="the table holds no scores: pass the problem scores"):
            run(Knas(samples=5, topk=2), tables.problem())
        with pytest.raises(SearchError, match="tenas measures supernets on images, and a table has none"):
            run(search.get("tenas")(), tables.problem())

    @pytest.mark.parametrize("name", ["reinforce", "bohb"])
    def test_a_model_of_independent_edges_needs_all_combinations(self, name):
        with pytest.raises(SearchError, match="does not allow all combinations: use evolution"):
            run(search.get(name)(), tables.problem(scores=POOL))

    def test_identities_differ_when_results_may(self):
        other = dict(POOL)
        del other[next(iter(other))]
        changes = [
            {},
            {"seed": 1},
            {"dataset": "cifar100"},
            {"accounting": "full-training"},
            {"seeds": "one"},
            {"scores": POOL},
            {"scores": other},
        ]
        texts = {write_json(tables.problem(**change).identity(), "") for change in changes}
        assert len(texts) == len(changes)

    def test_a_pool_confines_the_search(self):
        state = run(Knas(samples=40, topk=3), tables.problem(scores=POOL)).state
        assert {c.genotype for c in state.candidates} == set(POOL)
        with pytest.raises(SpaceError, match="3 genotypes given, 2 of them different"):
            restricted(spaces.get("nasbench201"), [*POOL][:2] + [*POOL][:1])


class TestScoredPool:
    def test_it_is_what_the_store_holds(self, tmp_path):
        with Store(tmp_path / "scores") as store:
            for record in POOL.values():
                store.put(record)
            assert (
                scored_pool(store, space=stubs.SPACE, proxy="mgm", dataset="digits")
                == scored_pool(store, space=stubs.SPACE, proxy="mgm", dataset="digits@0")
                == POOL
            )
            with pytest.raises(SearchError, match="holds no score of proxy 'naswot' on any data set by its present"):
                scored_pool(store, space=stubs.SPACE, proxy="naswot")

    def test_scores_of_another_definition_do_not_count(self, tmp_path, monkeypatch):
        import dataclasses

        from jknas import proxies

        present = proxies.get("mgm").revision
        with Store(tmp_path / "scores") as store:
            for place, record in enumerate(POOL.values()):
                key = dataclasses.replace(record.key, revision=present + place % 2)
                store.put(dataclasses.replace(record, key=key))
            assert len(scored_pool(store, space=stubs.SPACE, proxy="mgm")) == 20
        with Store(tmp_path / "others") as store:
            record = next(iter(POOL.values()))
            store.put(dataclasses.replace(record, key=dataclasses.replace(record.key, revision=present + 1)))
            with pytest.raises(
                SearchError, match=rf"no score of proxy 'mgm' on any data set by its present definition \(revision {present}"
            ):
                scored_pool(store, space=stubs.SPACE, proxy="mgm")

    def test_scores_that_cannot_be_compared(self, tmp_path):
        import dataclasses

        with Store(tmp_path / "scores") as store:
            for seed, record in enumerate(POOL.values()):
                store.put(dataclasses.replace(record, key=dataclasses.replace(record.key, seed=seed % 2)))
            with pytest.raises(SearchError, match=r"cannot be compared: 20 on digits@0, seed 0.*Name the data set, seed and settings"):
                scored_pool(store, space=stubs.SPACE, proxy="mgm")
            assert len(scored_pool(store, space=stubs.SPACE, proxy="mgm", seed=1)) == 20
