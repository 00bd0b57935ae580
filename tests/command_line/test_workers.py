"""``--workers``: the same scores, correlations and searches as by one process, whatever happens to the processes."""

import json
import os
import random
import subprocess
import sys
import time

import pytest
from sweeps import ROOT, Search, Sweep, kept, scored

from jknas import search, spaces
from jknas.errors import SearchError
from jknas.workers.processes import Processes

TINY = ["--data", "digits", "--channels", "4", "--cells", "1", "--resolution", "8", "--limit", "40,20", "--batch", "8"]
OWN = ["score", "--space", "own_space:SPACE", *TINY]
CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Leave the registry of spaces as it was."""
    monkeypatch.setattr(spaces._SPACES, "things", dict(spaces._SPACES.things))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param(["--workers", 1], ["--workers", 2], id="one worker"),
        pytest.param([], ["--workers", 2, "--threads", CORES], id="one process with all cores", marks=pytest.mark.slow),
    ],
)
def test_two_workers_score_as_one_process(run, tmp_path, one, two):
    command = [*OWN, "--proxy", "jacob_cov,plain,params", "--sample", 12]
    found = []
    for name, options in (("one", one), ("two", two)):
        code, out, err = run(*command, *options, "--db", tmp_path / name, "--json")
        assert (code, err) == (0, "")
        found.append(scored(out))
    assert found[0] == found[1]
    assert [line["proxy"] for line in found[1]] == ["jacob_cov"] * 12 + ["plain"] * 12 + ["params"] * 12
    assert kept(tmp_path / "one") == kept(tmp_path / "two")
    assert len(kept(tmp_path / "two")) == 36


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_workers_score_200_cells_as_one_process(run, tmp_path):
    size = ["--channels", "8", "--cells", "1", "--resolution", "16", "--compile-cache", tmp_path / "programs"]
    command = ["score", "--proxy", "mgm,jacob_cov,naswot", "--sample", 200, "--data", "digits", *size, "--json"]
    ways = {"one": ["--workers", 1], "two": ["--workers", 2], "here": [], "all": ["--workers", 2, "--threads", CORES]}
    lines = {name: scored(run(*command, *options, "--db", tmp_path / name)[1]) for name, options in ways.items()}
    stores = {name: kept(tmp_path / name) for name in ways}
    assert len(stores["two"]) == len(lines["two"]) == 600
    assert lines["one"] == lines["two"]
    assert stores["one"] == stores["two"]
    assert lines["here"] == lines["all"]
    assert stores["here"] == stores["all"]


@pytest.mark.slow
def test_what_the_store_holds_starts_no_worker(run, tmp_path):
    command = [*OWN, "--proxy", "plain", "--sample", 5, "--db", tmp_path / "scores", "--workers", 2]
    assert "starting 2 workers" in run(*command)[2]
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert "5 scores: 0 computed, 5 known already" in out
    assert "5 architectures, 5 distinct functions" in out


def test_sizes_need_no_worker(run):
    code, _, err = run(*OWN, "--proxy", "params,macs", "--sample", 5, "--workers", 2)
    assert (code, err) == (0, "")


@pytest.mark.slow
def test_a_refusal_by_a_worker_is_one_line(run):
    code, _, err = run(*OWN, "--proxy", "mgm", "--sample", 3, "--workers", 2, "--set", "objective=hinge")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: proxy 'mgm' cannot be computed so: objective='hinge' is not known")


def test_threads_are_those_of_workers(run):
    code, _, err = run(*OWN, "--sample", 3, "--threads", 2)
    assert code == 2
    assert "--threads are those of a worker: give --workers N, too" in err


def test_parts_are_disjoint_and_make_the_whole(run, tmp_path):
    command = [*OWN, "--proxy", "params", "--all"]
    for number in (1, 2, 3):
        assert run(*command, "--part", f"{number}/3", "--db", tmp_path / str(number))[0] == 0
    assert run(*command, "--db", tmp_path / "whole")[0] == 0
    parts = [kept(tmp_path / str(number)) for number in (1, 2, 3)]
    assert [len(part) for part in parts] == [9, 9, 9]
    code, out, _ = run("store", "merge", *(tmp_path / str(number) for number in (3, 1, 2)), "--out", tmp_path / "merged", "--json")
    assert (code, json.loads(out)["equal"]) == (0, 0)
    assert kept(tmp_path / "merged") == kept(tmp_path / "whole")


def test_parts_of_distinct_functions(run):
    command = ["score", "--proxy", "params", "--sample", 300, "--dedup", "--json"]
    whole = {line["canonical"] for line in scored(run(*command)[1])}
    parts = [{line["canonical"] for line in scored(run(*command, "--part", f"{number}/4")[1])} for number in (1, 2, 3, 4)]
    assert set.union(*parts) == whole
    assert sum(map(len, parts)) == len(whole) < 300
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "1/2/3", "-1/3"])
def test_a_part_that_is_none(run, text):
    code, _, err = run(*OWN, "--proxy", "params", "--sample", 3, f"--part={text}")
    assert code == 2
    assert "expected I/N with I from 1 to N, as in --part 3/16" in err


def test_a_part_without_architectures(run):
    code, _, err = run(*OWN, "--proxy", "params", "--sample", 3, "--part", "4/4")
    assert code == 2
    assert "--part 4/4: of 3 architectures this part has none" in err


class TestKilled:
    """Nothing is lost and nothing is there twice, whichever process is killed when."""

    def check(self, sweep, tmp_path, expected):
        lines = scored(sweep.finish())
        reference = Sweep([*sweep.arguments[:-1], "1"], tmp_path / "reference")
        reference.start()
        assert lines == scored(reference.finish())
        assert kept(sweep.db) == kept(reference.db)
        assert len(lines) == len(kept(sweep.db)) == expected

    @pytest.mark.slow
    def test_a_worker_and_the_driver(self, tmp_path):
        chance = random.Random(0)
        sweep = Sweep([*OWN, "--proxy", "jacob_cov", "--all", "--seeds", "5", "--workers", "2"], tmp_path / "scores")
        sweep.start()
        assert sweep.until(10)
        sweep.kill_worker(chance)
        assert sweep.until(40)
        sweep.kill_driver()
        self.check(sweep, tmp_path, 27 * 5)
        assert sweep.kills == {"driver": 1, "worker": 1}

    @pytest.mark.slow
    @pytest.mark.timeout(3000)
    def test_twenty_random_kills(self, tmp_path):
        chance = random.Random(1)
        cache = ["--compile-cache", str(tmp_path / "programs")]
        command = ["score", "--proxy", "naswot,jacob_cov,params", "--sample", "200", *TINY, *cache, "--workers", "2"]
        sweep = Sweep(command, tmp_path / "scores")
        sweep.start()
        for kill, what in enumerate(chance.sample(["driver"] * 7 + ["worker"] * 13, 20)):
            assert sweep.until(kill * 18 + chance.randrange(18)), "the sweep was over before all kills"
            sweep.kill(what, chance)
        assert sweep.kills == {"driver": 7, "worker": 13}
        self.check(sweep, tmp_path, 600)


class TestKilledSearch:
    """A search ends in the same result, whichever of its processes is killed when."""

    @pytest.mark.slow
    @pytest.mark.timeout(3000)
    @pytest.mark.parametrize(
        ("method", "kills", "until"),
        [
            (["mf_nas", "--samples", "27", "--topk", "16"], (7, 13), 57),  # 27 scores, 31 trainings in five rungs
            (["proxy_evolution", "--samples", "20", "--max-evaluations", "14"], (3, 5), 29),  # 20 scores, and the first population of ten
        ],
        ids=lambda value: value[0] if isinstance(value, list) else None,
    )
    def test_random_kills(self, tmp_path, method, kills, until):
        chance = random.Random(2)
        size = ["--data", "digits", "--channels", "8", "--cells", "1", "--resolution", "8", "--limit", "1000,200", "--batch", "8"]
        cache = ["--compile-cache", str(tmp_path / "programs")]
        command = ["search", "--space", "own_space:SPACE", *size, *cache, "--epochs", "16", "--train-batch", "20", "--proxy", "jacob_cov"]
        command += ["--method", *method, "--workers"]
        whole, broken = Search([*command, "1"], tmp_path / "whole"), Search([*command, "2"], tmp_path / "broken")
        whole.start()
        whole.finish()
        broken.start()
        drivers, workers = kills
        count = drivers + workers
        for kill, what in enumerate(chance.sample(["driver"] * drivers + ["worker"] * workers, count)):
            assert broken.until(int((kill + chance.random()) * until / count)), "the search was over before all kills"
            time.sleep(0.5 * chance.random())
            broken.kill(what, chance)
        broken.finish()
        assert broken.kills == {"driver": drivers, "worker": workers}
        one, two = (without_times(json.loads((part.db / "result.json").read_text())) for part in (whole, broken))
        assert one == two
        assert kept(whole.db / "scores.sqlite") == kept(broken.db / "scores.sqlite")
        assert (whole.db / "weights.msgpack").read_bytes() == (broken.db / "weights.msgpack").read_bytes()
        left = [sorted(path.name for path in (part.db / "checkpoint" / "training").iterdir()) for part in (whole, broken)]
        assert left[0] == left[1]


def test_importing_jknas_and_its_help_import_no_ray():
    code = "import sys, jknas, jknas.workers.processes, jknas.cli; jknas.cli.run(['score', '--help']); assert 'ray' not in sys.modules"
    code += "; assert 'matplotlib' not in sys.modules; assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--ray" in done.stdout


def without_times(value):
    """Return a result of a search or a correlation without what the clock decides."""
    if isinstance(value, dict):
        return {name: without_times(one) for name, one in value.items() if "seconds" not in name and name not in ("timing", "median_ms")}
    return [without_times(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(("knas", "--samples", "9", "--topk", "3", "--proxy", "jacob_cov"), marks=pytest.mark.slow),
        pytest.param(("best_by_proxy", "--samples", "9", "--proxy", "log_rank(jacob_cov,plain)"), marks=pytest.mark.slow),
        ("random", "--topk", "3"),
        pytest.param(("evolution", "--max-evaluations", "12"), marks=pytest.mark.slow),
        pytest.param(("proxy_evolution", "--samples", "12", "--max-evaluations", "11", "--proxy", "jacob_cov"), marks=pytest.mark.slow),
        pytest.param(("mf_nas", "--samples", "9", "--topk", "4", "--proxy", "jacob_cov"), marks=pytest.mark.slow),
        pytest.param(("mf_nas", "--samples", "9", "--topk", "4", "--explore", "local", "--proxy", "jacob_cov"), marks=pytest.mark.slow),
        pytest.param(("bohb", "--max-evaluations", "7"), marks=pytest.mark.slow),
        pytest.param(("bohb", "--max-evaluations", "14", "--brackets", "repeat"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_a_search_by_workers_finds_the_same(run, tmp_path, method):
    command = ["search", "--space", "own_space:SPACE", *TINY, "--epochs", 2, "--train-batch", 20, "--method", *method]
    for name, options in (("one", []), ("two", ["--workers", 2, "--threads", CORES])):
        code, _, err = run(*command, "--out", tmp_path / name, *options)
        assert code == 0, err
        assert (f"workers {search.get(method[0]).workers}; this process does what depends on the last result" in err) == bool(options)
    one, two = (without_times(json.loads((tmp_path / name / "result.json").read_text())) for name in ("one", "two"))
    assert one == two
    assert (tmp_path / "one" / "weights.msgpack").read_bytes() == (tmp_path / "two" / "weights.msgpack").read_bytes()


@pytest.mark.parametrize("method", ["random", "knas", "tenas"])
def test_a_search_is_given_the_workers(run, tmp_path, monkeypatch, method):
    seen = []

    def stopped(made, problem, **options):
        seen.append((made.name, problem.pool))
        raise SearchError("seen")

    monkeypatch.setattr(search, "run", stopped)
    assert run("search", *TINY, "--method", method, "--workers", 1, "--out", tmp_path)[0] == 2
    ((name, pool),) = seen
    assert (name, type(pool)) == (method, Processes)


@pytest.mark.parametrize("method", [["reinforce"], ["gdas"], ["darts-v1", "--train-epochs", "2"]], ids=lambda method: method[0])
@pytest.mark.parametrize("workers", [["--workers", "2"], ["--ray", "auto"]], ids=lambda workers: workers[0])
def test_workers_that_would_have_nothing_to_do_are_refused(run, tmp_path, method, workers):
    code, _, err = run("search", *TINY, "--method", *method, *workers, "--out", tmp_path / "out")
    assert code == 2
    said = f"{workers[0]} does not apply to --method {method[0]}, whose every step depends on the last: leave it out."
    assert err.splitlines() == [f"error: {said}"]
    assert not (tmp_path / "out").exists()


def test_it_says_what_workers_do(run):
    """For every method, in the help, and when the search begins."""
    help_text = " ".join(run("search", "--help")[1].replace("│", " ").split())
    for name in search.names():
        words = search.get(name).workers
        assert (words or "Not for reinforce") in help_text
    assert "evolution: train the first population" in help_text


@pytest.mark.slow
def test_a_search_by_workers_is_resumed(run, tmp_path):
    method = ["--method", "knas", "--samples", "6", "--topk", "3", "--proxy", "jacob_cov"]
    command = ["search", "--space", "own_space:SPACE", *TINY, "--epochs", 2, "--train-batch", 20, *method, "--workers", 2]
    assert run(*command, "--out", tmp_path / "whole")[0] == 0
    for steps in (3, 7, None):  # in the middle of the scores, and of the trainings
        more = [] if steps is None else ["--max-steps", steps]
        code, _, err = run(*command, "--out", tmp_path / "parts", *more, *(["--resume"] if steps != 3 else []))
        assert code == 0, err
    whole, parts = (without_times(json.loads((tmp_path / name / "result.json").read_text())) for name in ("whole", "parts"))
    assert whole == parts


@pytest.mark.slow
def test_correlations_by_workers_are_the_same(run, tmp_path):
    rows = [f"{genotype},{0.5 + 0.01 * sum(genotype.code)}" for genotype in spaces.get("own_space:SPACE").enumerate()]
    (tmp_path / "table.csv").write_text("\n".join(["genotype,accuracy", *rows]) + "\n")
    command = ["correlate", "--space", "own_space:SPACE", *TINY, "--accuracies", tmp_path / "table.csv", "--sample", 14]
    command += ["--proxy", "jacob_cov", "--resamples", 20]
    for name, options in (("one", []), ("two", ["--workers", 2, "--threads", CORES])):
        code, _, err = run(*command, "--out", tmp_path / name, *options)
        assert code == 0, err
    one, two = (without_times(json.loads((tmp_path / name / "correlations.json").read_text())) for name in ("one", "two"))
    assert one == two


def test_the_recipe_for_slurm_scores_the_whole_space(run, tmp_path):
    (tmp_path / "bin").mkdir()
    jknas = tmp_path / "bin" / "jknas"
    jknas.write_text(f'#!/bin/bash\nexec {sys.executable} -m jknas.cli "$@"\n')
    jknas.chmod(0o755)
    environment = os.environ | {"PATH": f"{jknas.parent}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"}
    environment |= {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_CPUS_PER_TASK": "2"}
    for number in ("1", "2"):
        command = ["bash", "benchmarks/sweep.slurm", str(tmp_path / "sweep"), *OWN[1:], "--proxy", "params", "--all"]
        there = environment | {"SLURM_ARRAY_TASK_ID": number}
        done = subprocess.run(command, env=there, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
    parts = sorted((tmp_path / "sweep").glob("part-*.sqlite"))
    assert [part.name for part in parts] == ["part-0001.sqlite", "part-0002.sqlite"]
    assert run("store", "merge", *parts, "--out", tmp_path / "scores")[0] == 0
    assert len(kept(tmp_path / "scores")) == 27
