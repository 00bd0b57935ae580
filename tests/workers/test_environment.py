import os
import signal
from types import SimpleNamespace

import jax
import pytest
import worker_jobs

from jknas.command_line.runs import PooledRun
from jknas.errors import WorkerError
from jknas.workers.environment import environments, set_in_environment
from jknas.workers.processes import Processes


def devices(platform, count):
    return [SimpleNamespace(platform=platform, device_kind=f"some {platform}") for _ in range(count)]


@pytest.fixture
def machine(monkeypatch):
    def make(platform, count, visible=None):
        monkeypatch.setattr(jax, "default_backend", lambda: platform)
        monkeypatch.setattr(jax, "local_devices", lambda: devices(platform, count))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return make


def test_each_worker_sees_one_gpu(machine):
    machine("gpu", 4)
    assert environments(2, 1) == ({"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"})
    machine("gpu", 2, "5, GPU-8f1a")
    assert environments(2, 1) == ({"CUDA_VISIBLE_DEVICES": "5"}, {"CUDA_VISIBLE_DEVICES": "GPU-8f1a"})


def test_a_worker_and_the_one_that_replaces_it_have_a_gpu_of_their_own(machine, monkeypatch):
    machine("gpu", 4, "6,7,2,3")
    monkeypatch.delenv("NPROC", raising=False)
    with Processes(2) as pool:
        seen = {pid: rest for _, (pid, *rest) in pool.each(worker_jobs.device, range(8))}
        assert sorted(seen.values()) == [["6", None], ["7", None]]
        victim = pool.pids[0]
        os.kill(victim, signal.SIGKILL)
        again = {pid: rest for _, (pid, *rest) in pool.each(worker_jobs.device, range(8))}
        assert sorted(again.values()) == [["6", None], ["7", None]]
        assert victim not in again
        assert len(again.keys() & seen.keys()) == 1
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6,7,2,3"


def test_more_workers_than_gpus_start_none(machine):
    machine("gpu", 2)
    with Processes(3) as pool, pytest.raises(WorkerError, match="this machine has 2 devices: ask for fewer"):
        list(pool.each(worker_jobs.squared, range(3)))
    assert pool.pids == ()


def test_the_driver_leaves_the_memory_of_a_gpu_to_its_workers(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")
    for options, expected in (({}, None), ({"workers": 2}, "false")):
        monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE")
        PooledRun(**options).begin()
        assert os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE") == expected
        monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")


def test_more_workers_than_gpus(machine):
    machine("gpu", 2)
    with pytest.raises(WorkerError, match="3 workers were asked for, one per device, and this machine has 2 devices: ask for fewer"):
        environments(3, 1)


def test_other_accelerators(machine):
    machine("tpu", 4)
    with pytest.raises(WorkerError, match=r"workers on some tpu are not supported on one machine: use a Ray cluster \(--ray\)"):
        environments(2, 1)


def test_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("NPROC", "7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with set_in_environment({"NPROC": "1", "OMP_NUM_THREADS": "1"}):
        assert (os.environ["NPROC"], os.environ["OMP_NUM_THREADS"]) == ("1", "1")
    assert os.environ["NPROC"] == "7"
    assert "OMP_NUM_THREADS" not in os.environ
