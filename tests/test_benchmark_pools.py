"""The workers of benchmarks: their options, and what a result says of them."""

import argparse
from pathlib import Path

import pytest
import worker_jobs

ROOT = Path(__file__).parent.parent


@pytest.fixture
def pools(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import pools

    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return pools


def given(pools, *arguments):
    parser = argparse.ArgumentParser()
    pools.add_options(parser)
    return parser.parse_args(arguments)


def test_one_process_by_default(pools):
    options = given(pools)
    with pools.opened(options) as pool:
        assert pool is None
        assert list(pools.each(pool, worker_jobs.squared, [3, 4])) == [(0, 9), (1, 16)]
        assert pools.facts(pool, options) == {"workers": None, "threads": None}


def test_workers(pools, capfd):
    options = given(pools, "--workers", "2", "--threads", "1")
    with pools.opened(options) as pool:
        assert sorted(pools.each(pool, worker_jobs.squared, range(4))) == [(number, number**2) for number in range(4)]
        assert len(pool.pids) == 2
        assert pools.facts(pool, options) == {"workers": 2, "threads": 1}
    assert "starting 2 workers" in capfd.readouterr().err


OWN_PROXY = ("flexibert",)
"""Scripts that score by a proxy of their own, which has no registered name and so cannot be sent to another process."""


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks" / "ranking").glob("*.py")), ids=lambda path: path.stem)
def test_what_scores_cells_takes_workers(script):
    source = script.read_text(encoding="utf-8")
    assert (script.stem in OWN_PROXY) == ("NetworkProxy(\n" in source)
    if script.stem not in OWN_PROXY and ("make_scorer(" in source or "Measurer(" in source):
        assert "pools.add_options(parser)" in source
        assert "**by" in source
        assert "--workers N" in source.split('"""')[1]
