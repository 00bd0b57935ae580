"""Workers on a Ray cluster, started on this machine; without the extra ``ray`` only the message that asks for it is tested."""

import json
import sys
import threading
import time
from contextlib import suppress
from types import ModuleType, SimpleNamespace

import pytest
import worker_jobs
from sweeps import kept

from jknas import cli, spaces
from jknas.errors import ProxyError, WorkerError
from jknas.workers.pool import Pool
from jknas.workers.ray_actors import RayActors

TINY = ["--data", "digits", "--channels", "4", "--cells", "1", "--resolution", "8", "--limit", "40,20", "--batch", "8"]


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(WorkerError, match=r"--ray needs Ray, which is not installed: pip install 'jknas\[ray\]'"):
        RayActors("local")


class FakeRay(ModuleType):
    """A cluster of made-up resources, whose actors work in this process."""

    class Ref:
        def __init__(self, value):
            self.value = value

    def __init__(self, **resources):
        super().__init__("ray")
        self.resources, self.asked, self.killed, self.late = resources, [], [], 0
        self.exceptions = ModuleType("ray.exceptions")
        for name in ("RayTaskError", "RayActorError"):
            setattr(self.exceptions, name, type(name, (Exception,), {}))

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return self.resources

    def available_resources(self):
        return {}

    def remote(self, kind):
        def options(**options):
            self.asked.append(options)
            return SimpleNamespace(remote=lambda *arguments: self.actor(kind(*arguments)))

        return SimpleNamespace(options=options)

    def actor(self, made):
        return SimpleNamespace(do=SimpleNamespace(remote=lambda *arguments: FakeRay.Ref(made.do(*arguments))))

    def put(self, value):
        return FakeRay.Ref(value)

    def get(self, ref):
        return ref.value

    def wait(self, pending, *, num_returns, timeout):
        if timeout is not None and self.late:
            self.late -= 1
            return [], pending
        return pending[:num_returns], pending[num_returns:]

    def kill(self, actor, *, no_restart):
        assert no_restart
        self.killed.append(actor)


@pytest.fixture
def fake(monkeypatch):
    def make(**resources):
        made = FakeRay(**resources)
        monkeypatch.setitem(sys.modules, "ray", made)
        monkeypatch.setitem(sys.modules, "ray.exceptions", made.exceptions)
        return made

    return make


class TestResources:
    def test_each_actor_holds_one_gpu_where_there_are_any(self, fake):
        ray, told = fake(GPU=3.0, CPU=16.0), []
        ray.late = 1
        with RayActors("auto", threads=4, note=told.append) as pool:
            assert pool.size == 3
            assert sorted(pool.each(worker_jobs.squared, range(7))) == [(number, number**2) for number in range(7)]
        assert [(one["num_gpus"], one["num_cpus"], one["runtime_env"]["env_vars"]) for one in ray.asked] == [(1, 0, {})] * 3
        assert len(ray.killed) == 3
        assert told == [
            "starting 3 Ray actors; each compiles its own program",
            "no result yet; Ray may have no place for an actor: each asks for 1 GPU, and 0 are free",
        ]

    def test_as_many_actors_as_were_asked_for(self, fake):
        ray = fake(GPU=8.0, CPU=16.0)
        with RayActors("auto", 2) as pool:
            assert pool.size == 2
            list(pool.each(worker_jobs.squared, range(7)))
        assert [one["num_gpus"] for one in ray.asked] == [1, 1]

    def test_without_gpus_an_actor_has_the_cpus_of_its_threads(self, fake):
        ray = fake(CPU=9.0)
        with RayActors("auto", threads=4) as pool:
            assert pool.size == 2
            list(pool.each(worker_jobs.squared, range(3)))
        for one in ray.asked:
            assert (one["num_gpus"], one["num_cpus"]) == (0, 4)
            assert one["runtime_env"]["env_vars"]["NPROC"] == "4"
            assert (one["max_restarts"], one["max_task_retries"]) == (-1, 2)

    def test_a_cluster_without_cpus_to_spare_has_one_actor(self, fake):
        fake(CPU=2.0)
        with RayActors("auto", threads=4) as pool:
            assert pool.size == 1


def test_no_cluster():
    pytest.importorskip("ray")
    with pytest.raises(WorkerError, match=r"no Ray cluster answers at 'auto' .*: start one with `ray start --head`"):
        RayActors("auto")


@pytest.fixture(scope="module")
def cluster():
    """Start a cluster once: pools connect to it and leave it running."""
    ray = pytest.importorskip("ray")
    ray.init(address="local", include_dashboard=False, num_cpus=8, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def pool(cluster):
    with RayActors("auto", 2) as made:
        yield made
    assert cluster.is_initialized()


# Ray leaves sockets and files to the end of the process.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::FutureWarning")
@pytest.mark.timeout(900)
class TestRay:
    def test_every_job_is_done_once_and_knows_its_place(self, pool):
        assert isinstance(pool, Pool)
        assert sorted(pool.each(worker_jobs.squared, range(20), queue=3)) == [(number, number**2) for number in range(20)]
        assert {answer for _, answer in pool.each(worker_jobs.environment, ["NPROC"])} == {"1"}

    def test_as_many_as_the_cluster_has_cpus_for(self, cluster):
        with RayActors("auto", threads=3) as pool:
            assert pool.size == 2

    def test_actors_that_find_no_place(self, cluster, monkeypatch):
        monkeypatch.setattr("jknas.workers.ray_actors._PATIENCE", 2.0)
        told = []
        with RayActors("auto", 1, threads=9, note=told.append) as pool:
            results = pool.each(worker_jobs.squared, [3])

            def wait():
                with suppress(WorkerError):  # the actor ends with the pool
                    next(results)

            waiting = threading.Thread(target=wait, daemon=True)
            waiting.start()
            while len(told) < 2 and waiting.is_alive():
                time.sleep(0.1)
        assert told[0] == "starting 1 Ray actor; each compiles its own program"
        assert "Ray may have no place for an actor: each asks for 9 CPUs, and " in told[1]

    def test_a_worker_loads_the_function_once_and_keeps_it(self, pool, tmp_path):
        found = [answer for _, answer in pool.each(worker_jobs.Counting(tmp_path), range(12))]
        assert {int(path.name) for path in tmp_path.iterdir()} == {pid for pid, _ in found}
        for worker in {pid for pid, _ in found}:
            assert [count for pid, count in found if pid == worker] == list(range(1, 1 + sum(pid == worker for pid, _ in found)))

    def test_ended_workers_are_replaced(self, pool, tmp_path):
        found = sorted(pool.each(worker_jobs.Deadly(tmp_path, (0, 7)), range(10), queue=2))
        assert found == [(number, number**2) for number in range(10)]
        assert {path.name for path in tmp_path.iterdir() if "ended" in path.name} == {"0 ended", "7 ended"}

    def test_a_job_that_ends_every_worker_is_named(self, pool, tmp_path):
        with pytest.raises(WorkerError, match="3 workers ended over one job: 5"):
            list(pool.each(worker_jobs.Deadly(tmp_path, (5,), always=True), range(8)))

    def test_an_error_of_a_job_is_raised_here(self, pool):
        with pytest.raises(ProxyError, match="refused by a worker"):
            list(pool.each(worker_jobs.failing, ["proxy"]))
        assert list(pool.each(worker_jobs.squared, [3])) == [(0, 9)]

    def test_scores_are_those_of_processes_on_this_machine(self, cluster, tmp_path, capfd, monkeypatch):
        monkeypatch.setattr(spaces._SPACES, "things", dict(spaces._SPACES.things))
        command = ["score", "--space", "own_space:SPACE", *TINY, "--proxy", "jacob_cov,params", "--sample", "12", "--json"]
        for name, options in (("ray", ["--ray", "auto", "--workers", "2"]), ("here", ["--workers", "2"])):
            assert cli.run([*command, *options, "--db", str(tmp_path / name)]) == 0
            assert len([json.loads(line) for line in capfd.readouterr().out.splitlines()]) == 24
        assert kept(tmp_path / "ray") == kept(tmp_path / "here")
