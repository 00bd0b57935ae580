"""What searches know that they will need: workers begin with it, and the result is that of one process."""

from collections import deque
from pathlib import Path
from typing import ClassVar

import numpy as np
import own_space
import pytest
import search_stubs as stubs
from worker_jobs import Here

from jknas import proxies, search
from jknas.networks.families import network_for
from jknas.search import ahead
from jknas.search.checkpoint import to_plain
from jknas.search.evaluator import TrainingEvaluator
from jknas.search.method import Evaluator
from jknas.search.methods.best_by_proxy import BestByProxy
from jknas.search.methods.bohb import Bohb
from jknas.search.methods.evolution import Evolution
from jknas.search.methods.knas import Knas
from jknas.search.methods.mf_nas import MfNas
from jknas.search.methods.proxy_evolution import ProxyEvolution
from jknas.search.methods.random import RandomSearch
from jknas.search.methods.reinforce import Reinforce
from jknas.search.methods.robot import Robot
from jknas.search.weight_sharing import Gdas
from jknas.workers import Pool

METHODS = {
    "knas": (Knas(samples=6, topk=3), [3]),
    "best_by_proxy": (BestByProxy(samples=5, train=True), [1]),
    "random": (RandomSearch(topk=4), [4]),
    "evolution": (Evolution(population=5, tournament=2, evaluations=8), [5]),
    "evolution, cut short": (Evolution(population=5, tournament=2, evaluations=3), [3]),
    "proxy_evolution": (ProxyEvolution(samples=7, population=3, tournament=2, evaluations=6), [3]),
    "reinforce": (Reinforce(learning_rate=0.5, evaluations=4), []),
    "bohb": (Bohb(evaluations=18), [9, 3, 1, 1]),  # six edges: nine drawn at random, of which three survive, then one; of three one
    "bohb, proposals alone": (Bohb(evaluations=11, brackets="none"), [9]),
    "bohb, random proposals": (Bohb(evaluations=10, random_share=0.5, brackets="none"), [9]),
    "mf_nas": (MfNas(samples=6, topk=4), [4, 1]),
    "mf_nas, local": (MfNas(samples=8, topk=3, explore="local"), [3, 1]),
    "robot": (Robot(queries=5), None),
}
"""Each with how many trainings it foretells at a time; None where that depends on what is found."""


class Told(Evaluator):
    """Answers like the stub; notes what it is told to expect, and refuses to train anything else."""

    told: ClassVar[list[int]] = []

    def __init__(self, problem, **options):
        del options
        super().__init__(problem)
        self._answers, self.coming = stubs.Evaluator(problem), deque()

    @property
    def looks_ahead(self):
        return not self.coming

    def expect_trainings(self, genotypes, *, epochs=None):
        if not genotypes:
            self.coming.clear()
        elif self.looks_ahead:
            self.coming.extend((genotype, epochs) for genotype in genotypes)
            Told.told.append(len(genotypes))

    def train(self, genotype, *, epochs=None):
        assert not self.coming or self.coming.popleft() == (genotype, epochs)
        return self._answers.train(genotype, epochs=epochs)

    def score(self, genotype, members=None):
        return self._answers.score(genotype, members)

    def test(self, genotype):
        assert not self.coming
        return self._answers.test(genotype)


def state_of(result):
    """Return a state as plain data, without what the clock decides."""

    def timeless(value):
        if isinstance(value, dict):
            return {name: timeless(one) for name, one in value.items() if "seconds" not in name}
        return [timeless(one) for one in value] if isinstance(value, list | tuple) else value

    return timeless(to_plain(result.state))


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    """Make trainings and tests up."""

    def train(network, genotype, dataset, *, recipe, seed, **options):
        del network, dataset, options
        return stubs.training(genotype, recipe, seed)

    monkeypatch.setattr(ahead, "train", train)
    monkeypatch.setattr(TrainingEvaluator, "test", lambda self, genotype: stubs.Evaluator(self.problem).test(genotype))
    for name, value in {"scores": {}, "accuracies": {}, "diverging": (), "asked": [], "fail_at": None}.items():
        monkeypatch.setattr(stubs.Evaluator, name, value)
    monkeypatch.setattr(Told, "told", [])


def problem(**changes):
    return stubs.problem(proxy=proxies.get("params"), **changes)


@pytest.mark.parametrize(("method", "told"), METHODS.values(), ids=METHODS)
class TestEveryMethod:
    def test_what_it_foretells_comes_next(self, method, told, monkeypatch):
        monkeypatch.setattr("jknas.search.problem.TrainingEvaluator", stubs.Evaluator)
        whole = search.run(method, problem())
        monkeypatch.setattr("jknas.search.problem.TrainingEvaluator", Told)
        assert state_of(search.run(method, problem())) == state_of(whole)
        assert told is None or Told.told == told
        assert bool(Told.told) <= method.uses_workers

    def test_by_workers_it_finds_the_same(self, method, told, tmp_path):
        pool = Here()
        assert isinstance(pool, Pool)
        whole = search.run(method, problem())
        found = search.run(method, problem(pool=pool), checkpoint=tmp_path)
        assert state_of(found) == state_of(whole)
        assert told is None or [len(jobs) for jobs in pool.calls] == told

    def test_resumed_by_workers_it_finds_the_same(self, method, told, tmp_path):
        whole = search.run(method, problem())
        for steps in (2, 7, 10):
            search.run(method, problem(pool=Here()), checkpoint=tmp_path, resume=True, budget=search.Budget(steps=steps))
        assert state_of(search.run(method, problem(pool=Here()), checkpoint=tmp_path, resume=True)) == state_of(whole)


def test_robot_foretells_the_queries_that_are_left_when_all_weights_are_proposed():
    pool = Here()
    state = search.run(Robot(queries=5), problem(pool=pool)).state
    left = 5 - len({trial.place for trial in state.trials})
    assert left > 1
    assert [len(jobs) for jobs in pool.calls] == [left]


def test_an_architecture_that_comes_again_is_not_trained_at_the_same_time(tmp_path):
    dataset = stubs.tiny_digits()
    network = network_for(own_space.SPACE, dataset, channels=4, cells=1)
    fields = {"space": own_space.SPACE, "network": network, "measured": None}
    method, pool = Evolution(population=20, tournament=2, evaluations=22), Here()
    whole = search.run(method, problem(**fields))
    drawn = [candidate.genotype for candidate in whole.state.candidates[:20]]
    assert len(set(drawn)) < 20
    found = search.run(method, problem(**fields, pool=pool), checkpoint=tmp_path)
    assert state_of(found) == state_of(whole)
    assert [job.genotype for jobs in pool.calls for job in jobs] == drawn
    for jobs in pool.calls:
        assert len({job.folder for job in jobs}) == len(jobs)


def test_what_comes_keeps_its_folder_until_it_is_not_expected_any_more(tmp_path):
    answers = TrainingEvaluator(problem(pool=Here()), folder=tmp_path)
    first, second, third = stubs.SPACE.sample(np.random.default_rng(0), 3, unique=True)
    answers.expect_trainings([first, second], epochs=1)
    places = [Path(answers._place(*one)) for one in ((first, 1), (second, 1), (third, None))]
    for place in places:
        place.mkdir()
    answers.train(first, epochs=1)
    answers.keep_only(third)
    assert [place.exists() for place in places] == [False, True, True]
    answers.expect_trainings(())
    answers.keep_only(third)
    assert [place.exists() for place in places] == [False, False, True]


def test_seconds_that_are_spent_before_the_population_is_trained(tmp_path):
    method = Evolution(population=6, evaluations=6, seconds=0.3)  # a training takes 0.125
    whole = search.run(method, problem())
    assert len(whole.state.chosen) == 3
    found = search.run(method, problem(pool=Here()), checkpoint=tmp_path)
    assert state_of(found) == state_of(whole)


def test_which_methods_have_nothing_for_workers():
    assert [name for name in search.names() if not search.get(name).workers] == ["reinforce"]
    assert not Gdas().uses_workers
    assert Gdas(keep="best", train=True).uses_workers
