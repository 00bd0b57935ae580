"""A proxy defined outside the package is named by reference wherever a proxy is: alone, in expressions, in searches and in workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jknas import proxies
from jknas.cli import run
from jknas.errors import ProxyError
from jknas.ranking import aggregates

SOURCE = """
import jax.numpy as jnp
from jknas.proxies import NetworkProxy, SizeProxy


def measure(network, params, wiring, batch, key, *, power=1.0):
    digits = wiring.astype(batch.x.dtype)
    return (jnp.std(batch.x) + digits[0] + 10 * digits[2]) ** power  # compiled soon


PROXY = NetworkProxy(
    name="spread", measure=measure, summary="a number", reference="none", cost="none", settings={"power": 1.0}
)
NAMED = SizeProxy(name="vote", count=lambda *_: 1.0, summary="", reference="", cost="")
SPACED = SizeProxy(name="two words", count=lambda *_: 1.0, summary="", reference="", cost="")
TAKEN = SizeProxy(name="mgm", count=lambda *_: 1.0, summary="", reference="", cost="")
"""
REFERENCE = "my_score:PROXY"
SMALL = ("--data", "digits", "--resolution", "8", "--limit", "200,50", "--channels", "4", "--cells", "1", "--batch", "8", "--seed", "0")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in a folder that holds the proxy, and leave the registry as it was."""
    (tmp_path / "my_score.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_score", raising=False)
    kept = dict(proxies.REGISTRY)
    yield tmp_path
    proxies.REGISTRY.clear()
    proxies.REGISTRY.update(kept)


def lines(capsys, *arguments):
    assert run([*map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_it_is_found_by_reference_and_then_by_name():
    assert proxies.get(REFERENCE).name == "spread"
    assert proxies.get("spread") is proxies.get(REFERENCE)
    assert proxies.reference_of(proxies.get("spread")) == REFERENCE
    assert proxies.reference_of(proxies.get("mgm")) == "mgm"


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("no_such_module:PROXY", "the module of the proxy 'no_such_module:PROXY' cannot be imported (No module named 'no_such_module')"),
        ("my_score:PROXIES", "the module 'my_score' has no 'PROXIES'"),
        ("my_score:measure", "'my_score:measure' is a function; expected a jknas.proxies.NetworkProxy or a jknas.proxies.SizeProxy"),
        ("my_score:SPACED", "a proxy cannot be called 'two words': choose one word of letters, digits and underscores"),
        ("my_score:TAKEN", "a proxy called 'mgm' is registered already"),
        ("log_rank(my_score:PROXIES,params)", "the module 'my_score' has no 'PROXIES'"),
        ("my_score:NAMED", "is called 'vote', like an aggregate"),
    ],
)
@pytest.mark.parametrize("command", ["search --samples 2 --topk 1 --epochs 1", "correlate --sample 2"])
def test_a_reference_that_leads_nowhere(capsys, reference, says, command):
    assert run([*command.split(), "--proxy", reference, "--out", "out"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert captured.err.count("\n") == 1


def test_it_is_scored_with_its_settings_and_kept(capsys):
    arguments = ("score", *SMALL, "--proxy", f"{REFERENCE},params", "--sample", "2", "--set", "power=2.0", "--db", "s.sqlite")
    first, again = lines(capsys, *arguments), lines(capsys, *arguments)
    assert [record["proxy"] for record in first] == ["spread", "spread", "params", "params"]
    assert [record["score"] for record in again] == [record["score"] for record in first]
    assert all(record["fresh"] for record in first)
    assert not any(record["fresh"] for record in again)
    plain = lines(capsys, "score", *SMALL, "--proxy", REFERENCE, "--sample", "2")
    assert first[0]["score"] == pytest.approx(plain[0]["score"] ** 2, rel=1e-5)


def test_it_is_a_part_of_expressions():
    expression = aggregates.get("two_stage(log_rank(my_score:PROXY,-my_score:PROXY,mgm),my_score:PROXY,0.5)")
    assert set(expression.members) == {"spread", "mgm"}
    assert str(expression.combination) == str(aggregates.parse("two_stage(log_rank(spread,-spread,mgm),spread,0.5)"))


def test_a_search_ranks_by_it_and_is_found_done(capsys):
    lines(capsys, "score", *SMALL, "--proxy", f"{REFERENCE},params", "--sample", "4", "--db", "s.sqlite")
    arguments = ("search", "--table", "cifar10", "--db", "s.sqlite", "--samples", "4", "--topk", "1", "--out", "out", "--seed", "0")
    found, again = (lines(capsys, *arguments, "--proxy", f"log_rank({REFERENCE},params)", *more) for more in ((), ("--resume",)))
    assert found == again
    assert "spread" in json.dumps(found)


def test_the_command_and_its_workers_find_a_file_in_the_current_folder(capsys, here):
    arguments = ("score", *SMALL, "--proxy", REFERENCE, "--sample", "2")
    command = [str(Path(sys.executable).with_name("jknas")), *arguments, "--workers", "1", "--json"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores = [json.loads(line)["score"] for line in done.stdout.splitlines()]
    assert scores == [record["score"] for record in lines(capsys, *arguments)]
    assert len(set(scores)) == 2


def test_registering_gives_a_name():
    proxy = proxies.SizeProxy(name="mine", count=lambda *_: 1.0, summary="", reference="", cost="")
    with pytest.raises(ProxyError, match="the proxy 'mine' is not registered"):
        proxies.reference_of(proxy)
    proxies.register(proxy)
    assert proxies.get("mine") is proxy
    proxies.register(proxy)
    assert proxies.reference_of(proxy) == "mine"
