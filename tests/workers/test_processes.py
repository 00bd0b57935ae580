"""Workers on this machine: what they return, and that none of it depends on whether one of them is killed."""

import os
import signal
import subprocess
import sys
import time

import jax
import pytest
import worker_jobs

from jknas.errors import ProxyError, WorkerError
from jknas.workers.pool import Pool
from jknas.workers.processes import FailedInWorker, Processes


@pytest.fixture(scope="module")
def pool():
    with Processes(2) as made:
        yield made


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def within(seconds, condition):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


class TestResults:
    def test_every_job_is_done_once_and_knows_its_place(self, pool):
        assert isinstance(pool, Pool)
        found = list(pool.each(worker_jobs.squared, range(40), queue=3))
        assert sorted(found) == [(number, number**2) for number in range(40)]

    def test_all_workers_work(self, pool):
        found = [answer for _, answer in pool.each(worker_jobs.who, range(12))]
        assert {number for number, _ in found} == set(range(12))
        assert {pid for _, pid in found} == set(pool.pids)
        assert os.getpid() not in pool.pids

    def test_jobs_are_drawn_when_there_is_room_for_them(self, pool):
        drawn = []

        def jobs():
            for number in range(100):
                drawn.append(number)
                yield number

        results = pool.each(worker_jobs.squared, jobs(), queue=2)
        next(results)
        assert len(drawn) <= 6
        assert len(list(results)) == 99

    def test_a_worker_loads_the_function_once_and_keeps_it(self, pool, tmp_path):
        found = [answer for _, answer in pool.each(worker_jobs.Counting(tmp_path), range(20))]
        assert {int(path.name) for path in tmp_path.iterdir()} == {pid for pid, _ in found} == set(pool.pids)
        for pid in pool.pids:
            counts = [count for worker, count in found if worker == pid]
            assert counts == list(range(1, len(counts) + 1))

    def test_without_jobs_no_process_starts(self):
        with Processes(2) as pool:
            assert list(pool.each(worker_jobs.squared, [])) == []
            assert pool.pids == ()

    def test_a_call_that_is_left_early_disturbs_no_later_one(self, pool):
        left = pool.each(worker_jobs.slow, [0.0, 60.0, 60.0])
        assert next(left)[0] == 0
        start = time.monotonic()
        assert sorted(pool.each(worker_jobs.squared, range(5))) == [(number, number**2) for number in range(5)]
        left.close()
        assert sorted(pool.each(worker_jobs.squared, range(5))) == [(number, number**2) for number in range(5)]
        assert time.monotonic() - start < 50


class TestEnvironment:
    @pytest.mark.parametrize("threads", [1, 3])
    def test_threads(self, threads):
        before = dict(os.environ)
        with Processes(1, threads=threads) as pool:
            names = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
            assert {answer for _, answer in pool.each(worker_jobs.environment, names)} == {str(threads)}
        assert dict(os.environ) == before

    def test_settings_of_jax_are_taken_over(self, pool):
        assert list(pool.each(worker_jobs.x64, [0])) == [(0, False)]
        with jax.enable_x64(True), Processes(1) as other:
            assert list(other.each(worker_jobs.x64, [0])) == [(0, True)]

    def test_an_interruption_from_the_keyboard_does_not_reach_them(self, pool):
        assert list(pool.each(worker_jobs.interrupted, [0])) == [(0, "still there")]


class TestEndedWorkers:
    def test_only_the_job_in_flight_is_done_again(self, tmp_path):
        told = []
        with Processes(2, note=told.append) as pool:
            found = sorted(pool.each(worker_jobs.Deadly(tmp_path, (0, 7, 8)), range(16), queue=3))
            assert len(pool.pids) == 2
        assert found == [(number, number**2) for number in range(16)]
        begun = [path.name.split()[0] for path in tmp_path.iterdir() if "by" in path.name]
        assert {number for number in map(str, range(16)) if begun.count(number) == 2} == {"0", "7", "8"}
        assert len(begun) == 19
        assert told[0] == "starting 2 workers; each compiles its own program"
        assert told[1:] == ["a worker has ended (exit code -9) and is replaced; what it was computing is computed again"] * 3

    def test_a_job_that_ends_every_worker_is_named(self, tmp_path):
        with Processes(2) as pool, pytest.raises(WorkerError, match=r"3 workers ended over one job, the last with exit code -9: 5\. If"):
            list(pool.each(worker_jobs.Deadly(tmp_path, (5,), always=True), range(8)))

    def test_a_worker_that_is_killed_between_two_calls(self, pool):
        list(pool.each(worker_jobs.squared, range(4)))
        victim = pool.pids[0]
        os.kill(victim, signal.SIGKILL)
        assert sorted(pool.each(worker_jobs.squared, range(9))) == [(number, number**2) for number in range(9)]
        assert victim not in pool.pids

    def test_workers_that_cannot_start(self, monkeypatch):
        monkeypatch.setenv("JAX_ENABLE_X64", "no such value")  # JAX refuses to be imported
        with Processes(1) as pool, pytest.raises(WorkerError, match="workers end while they start, the last with exit code 1"):
            list(pool.each(worker_jobs.squared, range(3)))

    def test_they_end_with_the_process_that_started_them(self, tmp_path):
        lines = ["import worker_jobs", "from jknas.workers.processes import Processes", "if __name__ == '__main__':"]
        lines += ["    with Processes(2) as pool:", "        each = pool.each(worker_jobs.slow, [0.0, 600.0, 600.0])"]
        lines += ["        next(each)", "        print(*pool.pids, flush=True)", "        next(each)"]
        (tmp_path / "driver.py").write_text("\n".join(lines))
        path = os.pathsep.join(sys.path)
        command = [sys.executable, str(tmp_path / "driver.py")]
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})
        pids = [int(pid) for pid in driver.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(alive, pids))
        driver.kill()
        driver.communicate()
        assert within(20, lambda: not any(map(alive, pids)))


class TestErrors:
    @pytest.mark.parametrize(("kind", "error"), [("key", KeyError), ("proxy", ProxyError)])
    def test_an_error_of_a_job_is_raised_here(self, pool, kind, error):
        with pytest.raises(error, match=r"(of|by) a worker") as caught:
            list(pool.each(worker_jobs.failing, [kind]))
        assert isinstance(caught.value.__cause__, FailedInWorker)
        assert "in failing" in str(caught.value.__cause__)
        assert list(pool.each(worker_jobs.squared, [3])) == [(0, 9)]

    def test_an_error_that_cannot_travel_is_told(self, pool):
        with pytest.raises(WorkerError, match="a worker failed") as caught:
            list(pool.each(worker_jobs.failing, ["other"]))
        assert "OddError: oddly" in str(caught.value.__cause__)

    def test_a_function_that_cannot_be_sent(self, pool):
        with pytest.raises(WorkerError, match="what the workers should do cannot be sent to them: "):
            list(pool.each(lambda number: number, [1]))

    def test_a_function_that_cannot_be_loaded(self, pool):
        with pytest.raises(KeyError, match="not here"):
            list(pool.each(worker_jobs.Refusing(), [1]))

    def test_what_a_worker_says_of_an_earlier_call_is_not_taken_for_the_present_one(self, pool):
        assert sorted(pool.each(worker_jobs.squared, range(4))) == [(number, number**2) for number in range(4)]
        with pytest.raises(KeyError, match="not here"):
            list(pool.each(worker_jobs.Refusing(), [1]))  # the other worker cannot load it either, and has no job
        for _ in range(2):
            assert sorted(pool.each(worker_jobs.squared, range(4))) == [(number, number**2) for number in range(4)]

    @pytest.mark.parametrize("count", [0, -1, True, 1.5, "2"])
    def test_how_many(self, count):
        with pytest.raises(WorkerError, match=r"the number of workers is .*; expected a whole number, 1 or more"):
            Processes(count)
        with pytest.raises(WorkerError, match=r"threads is .*; expected a whole number, 1 or more"):
            Processes(2, threads=count)
