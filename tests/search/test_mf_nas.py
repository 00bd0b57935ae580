"""MF-NAS: the rungs, who survives them, and what they cost; what its local search visits."""

import math

import numpy as np
import pytest
import search_stubs as stubs
import search_tables as tables

from jknas import tabular
from jknas.errors import SearchError
from jknas.search import Budget, TableProblem, run
from jknas.search.local import LocalState, climb
from jknas.search.methods.mf_nas import RUNGS, MfNas, Rung, ordered
from jknas.search.state import Candidate, State, Trained
from jknas.training import Recipe

POOL = tables.scores(stubs.SPACE.sample(np.random.default_rng(1), 60, unique=True))


class FiveRungs(tables.Table):
    """A table of all published rungs, in which the longer a training the more a seedless noise changes."""

    def targets(self):
        selects = tabular.PROTOCOLS["cifar10"].selects
        return (*super().targets(), *(selects._replace(epochs=epochs) for epochs in RUNGS))

    def accuracy(self, genotype, *, dataset, split, epochs, seeds):
        found = super().accuracy(genotype, dataset=dataset, split=split, epochs=epochs, seeds=seeds)
        return found._replace(mean=found.mean + 10 * stubs.number(f"{genotype} {epochs}"))


@pytest.mark.parametrize("topk", [32, 20])
def test_every_rung_trains_the_better_half_of_the_last(topk):
    problem = tables.problem(table=FiveRungs(), scores=POOL)
    method = MfNas(samples=50, topk=topk)
    result = run(method, problem)
    state = result.state
    by_score = sorted((c for c in state.candidates if c.status == "ok"), key=lambda c: -c.score)
    expected = [c.genotype for c in by_score[:topk]]
    for place, (epochs, rung) in enumerate(zip(RUNGS, state.rungs, strict=True)):
        assert (rung.epochs, len(rung.places)) == (epochs, math.ceil(topk / 2**place))
        trained = [state.candidates[one].genotype for one in rung.places]
        assert set(trained) == set(expected)
        values = {
            one: problem.table.accuracy(one, dataset="cifar10-valid", split="validation", epochs=epochs, seeds="mean").mean
            for one in trained
        }
        assert len(set(values.values())) == len(values)
        expected = sorted(values, key=values.get, reverse=True)[: math.ceil(topk / 2 ** (place + 1))]
    assert result.winner.genotype == max(values, key=values.get)
    epochs = sum(len(rung.places) * rung.epochs for rung in state.rungs)
    passes = sum(len(rung.places) for rung in state.rungs)
    assert state.train_seconds == pytest.approx(epochs + 3 * passes)
    assert epochs == (1984 if topk == 32 else 20 * 12 + 10 * 25 + 5 * 50 + 3 * 100 + 2 * 200)
    assert set(state.chosen) == set(state.rungs[0].places)
    reported = method.report(problem, state)["rungs"]
    assert [(one["epochs"], len(one["trained"])) for one in reported] == [(one.epochs, len(one.places)) for one in state.rungs]


def test_a_table_with_two_rungs_halves_four_times_at_once():
    state = run(MfNas(samples=50, topk=32), tables.problem(scores=POOL)).state
    assert [(rung.epochs, len(rung.places)) for rung in state.rungs] == [(12, 32), (200, 2)]
    assert state.train_seconds == 32 * 15 + 2 * 203


def test_the_fixed_accounting_counts_shares_of_a_training():
    state = run(MfNas(samples=50, topk=32), tables.problem(scores=POOL, accounting="full-training")).state
    assert state.train_seconds == pytest.approx(2160 * (32 * 12 + 2 * 200) / 200)


@pytest.mark.parametrize(("epochs", "expected"), [(200, RUNGS), (20, (1, 2, 5, 10, 20)), (2, (1, 2)), (1, (1,))])
def test_the_rungs_of_a_recipe_are_shares_of_its_epochs(epochs, expected):
    problem = stubs.problem(recipe=Recipe(epochs=epochs, batch_size=16))
    state = MfNas(samples=40, topk=32).init(problem)
    assert state.epochs == expected
    assert state.sizes == {200: (32, 16, 8, 4, 2), 20: (32, 16, 8, 4, 2), 2: (32, 2), 1: (32,)}[epochs]


def test_of_equal_accuracies_the_better_score_survives_and_diverged_trainings_do_not():
    trained = [Trained("ok", 0.5, 1.0, 1.0), Trained("ok", 0.5, 1.0, 1.0), Trained("diverged", 0.9, 1.0, 1.0), Trained("ok", 0.6, 1.0, 1.0)]
    candidates = tuple(Candidate(None, 1.0, "ok", rank=rank) for rank in (4, 2, 1, 3))
    rung = Rung(12, (0, 1, 2, 3), tuple(trained))
    assert ordered(State(candidates=candidates), rung) == (3, 1, 0, 2)
    assert ordered(State(candidates=candidates), rung._replace(trainings=tuple(trained[:2]))) == (1, 0)


def test_progress_counts_the_trainings_of_all_rungs():
    events = []
    run(MfNas(samples=50, topk=16), tables.problem(table=FiveRungs(), scores=POOL), on_event=events.append)
    assert [(e.completed, e.total) for e in events if e.phase == "train"][-1] == (30, 31)
    assert (events[-1].phase, events[-1].completed) == ("test", 31)


def test_the_incumbent_of_a_broken_search_is_that_of_the_last_rung():
    part = run(MfNas(samples=50, topk=32), tables.problem(scores=POOL), budget=Budget(steps=50 + 32 + 1))
    assert part.state.winner == part.state.rungs[1].places[0]
    assert not part.complete


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (MfNas(samples=5, topk=6), "topk is 6, and only 5 architectures are sampled: choose 1..5"),
        (MfNas(samples=0), "samples is 0; expected a whole number, 1 or more"),
        (MfNas(samples=5, topk=0), "topk is 0; expected a whole number, 1 or more"),
        (MfNas(samples=50, topk=5, explore="local"), "is not among the 60 scored architectures: score it first"),
    ],
)
def test_refusals(method, words):
    with pytest.raises(SearchError, match=words):
        run(method, tables.problem(scores=POOL))


def test_a_table_without_a_rung():
    class Bare(tables.Table):
        def targets(self):
            return ()

    with pytest.raises(SearchError, match="halves by accuracies after 12, 25, 50, 100, 200 epochs, and the table holds none of them"):
        MfNas(samples=5, topk=5).init(tables.problem(table=Bare(), scores=POOL))


def test_a_way_to_explore():
    with pytest.raises(SearchError, match="Unknown way to explore 'locally'; expected one of random, local"):
        MfNas(explore="locally")


class TestLocal:
    WHOLE = tables.scores(stubs.SPACE.enumerate(), lambda genotype: stubs.number(str(genotype)))

    @staticmethod
    def walk(problem, visits):
        """The same walk in one loop, with the scores at hand."""
        space, seed = problem.space, problem.seed

        def value(genotype):
            record = problem.scores[genotype]
            return record.score if record.status == "ok" else -1.0

        here = space.sample(np.random.default_rng((seed, 0)))
        seen, count, moves = [here], 1, 1
        while count < visits:
            around = space.neighbours(here)
            for place in np.random.default_rng((seed, 1, moves)).permutation(len(around)):
                count, better = count + 1, value(around[place]) > value(here)
                seen.append(around[place])
                if better or count == visits:
                    break
            else:
                rng = np.random.default_rng((seed, 2, moves))
                apart = [one for one in space.neighbours(around[rng.integers(len(around))]) if distance(one, here) == 2]
                seen.append(apart[rng.integers(len(apart))])
                count, better = count + 1, True
            if better:
                here, moves = seen[-1], moves + 1
        return list(dict.fromkeys(seen))

    @pytest.mark.parametrize(("seed", "visits"), [(0, 150), (1, 150), (2, 150), (0, 900)])
    def test_it_goes_where_a_plain_loop_goes(self, seed, visits):
        problem = tables.problem(scores=self.WHOLE, seed=seed)
        state, steps = LocalState(), 0
        while not state.candidates or state.candidates[0].rank is None:
            state, steps = climb(problem.evaluator(), state, visits=visits, least=1), steps + 1
        assert state.visits >= visits
        plain = self.walk(problem, state.visits)
        assert [candidate.genotype for candidate in state.candidates] == plain
        assert len(plain) < visits  # some came again
        assert steps == math.ceil(len(plain) / math.ceil(visits / 200))
        assert sorted(candidate.rank for candidate in state.candidates) == list(range(1, len(plain) + 1))

    def test_it_scores_as_many_as_are_trained(self):
        state = climb(tables.problem(scores=self.WHOLE).evaluator(), LocalState(), visits=1, least=3)
        assert (len(state.candidates), state.candidates[0].rank) == (1, None)
        result = run(MfNas(samples=3, topk=3, explore="local"), tables.problem(scores=self.WHOLE))
        assert len(result.state.candidates) >= 3

    def test_by_size_it_finds_what_is_published(self):
        table = tabular.load()
        sizes = tables.scores(table.genotypes(), lambda genotype: float(table.parameters(genotype, dataset="cifar10")))
        result = run(MfNas(explore="local"), TableProblem(table=table, dataset="cifar10", seed=0, scores=sizes))
        reports = [protocol.reports for protocol in tabular.PROTOCOLS.values()]
        found = [table.accuracy(result.winner.genotype, **one._asdict(), seeds="mean").mean for one in reports]
        assert np.round(found, 2).tolist() == [94.36, 73.51, 46.34]


def distance(one, other):
    return sum(a != b for a, b in zip(one.code, other.code, strict=True))
