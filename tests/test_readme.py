"""The front page and the page of the benchmarks say what the recorded results and the registries say."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jknas import CellNetwork, load, proxies, spaces
from jknas.cli import run
from jknas.ranking import aggregates
from jknas.spaces.nasbench201.index import genotype_at
from jknas.training import save_weights

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("*/*.py") if "parse_args()" in path.read_text(encoding="utf-8"))


@pytest.fixture
def readme_tables(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import readme_tables

    return readme_tables


def test_their_tables_are_those_of_the_recorded_results():
    command = [sys.executable, "-m", "benchmarks.readme_tables", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_number_copied_wrong_is_found(readme_tables):
    marked = re.search(r"<!-- table: rivals -->\n.*?<!-- end of table -->", BENCHMARKS, re.DOTALL)[0]
    wrong = marked.replace("93.", "94.", 1)
    assert readme_tables.written(marked) == marked != wrong
    assert readme_tables.written(wrong) == marked


def test_a_changed_description_is_found(readme_tables):
    marked = re.search(r"<!-- about: search/rivals -->\n.*?<!-- end of about -->", BENCHMARKS, re.DOTALL)[0]
    wrong = marked.replace("12,000 s", "13,000 s", 1)
    assert readme_tables.written(marked) == marked != wrong
    assert readme_tables.written(wrong) == marked


def test_every_table_is_shown_and_every_table_of_numbers_is_made_by_the_script(readme_tables):
    pages = README + BENCHMARKS
    assert set(re.findall(r"<!-- table: (\S+) -->", pages)) == set(readme_tables.TABLES)
    outside = re.sub(r"<!-- table: .*?<!-- end of table -->", "", pages, flags=re.DOTALL)
    rows = [line for line in outside.splitlines() if line.startswith("|")]
    assert not [row for row in rows if re.search(r"\d\.\d", row)]  # no measured number is typed by hand


@pytest.mark.parametrize("script", [str(path.relative_to(ROOT / "benchmarks").with_suffix("")) for path in SCRIPTS])
def test_every_benchmark_is_described_with_its_question_and_command(script):
    assert f"<!-- about: {script} -->" in BENCHMARKS
    docstring = (ROOT / "benchmarks" / f"{script}.py").read_text(encoding="utf-8").split('"""')[1]
    assert "Question:" in docstring
    assert f"python -m benchmarks.{script.replace('/', '.')}" in docstring


@pytest.mark.parametrize("result", sorted((ROOT / "benchmarks").glob("*/*.json")), ids=lambda path: path.stem)
def test_a_result_says_what_it_was_measured_with(result):
    recorded = json.loads(result.read_text(encoding="utf-8"))
    assert {"versions", "machine", "question"} <= set(recorded)
    assert "jax" in recorded["versions"]


@pytest.mark.parametrize("name", [*proxies.names(), *aggregates.names()])
def test_it_says_when_to_use_every_score(name):
    section = BENCHMARKS.split("## Which proxy?")[1].split("\n## ")[0]
    assert f"`{name}`" in section or (name.startswith("az_") and "`az_*`" in section)


def test_the_front_page_is_one():
    assert len(README.splitlines()) <= 220
    for path in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / path).exists(), path


def blocks(language, heading):
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def test_its_space_of_your_own_is_searched(tmp_path, monkeypatch, capsys):
    (source,) = blocks("python", "Bring your own space")
    (command,) = re.findall(r"`(jknas search --space my_space:SPACE [^`]*)`", README)
    assert len(source.splitlines()) <= 40
    (tmp_path / "my_space.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))  # nothing but the current folder leads to the file
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(spaces._SPACES, "things", dict(spaces._SPACES.things))
    small = ("--limit", "100,50", "--resolution", "8", "--channels", "4", "--cells", "1", "--batch", "8", "--epochs", "1", "--json")
    assert run([*shlex.split(command)[1:], *small]) == 0
    assert json.loads(capsys.readouterr().out)["space"] == "chain"
    assert (tmp_path / "runs" / "mine" / "result.json").exists()


def test_its_ten_lines_print_what_they_say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for heading in ("Ten lines", "The kernel of your own model"):
        (source,) = blocks("python", heading)
        exec(compile(source, heading, "exec"), {})
        said = source.rstrip().rpartition("  # ")[2]
        assert capsys.readouterr().out.strip() == said
    assert (tmp_path / "kernel.png").stat().st_size > 1000


def test_its_lines_classify_images_with_stored_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (source,) = blocks("python", "Use the network that a search found")
    network, cell = CellNetwork(channels=4, cells=1), genotype_at(1)
    save_weights("runs/digits", network, cell, network.init(jax.random.key(0), cell), space="nasbench201", dataset=load("digits"))
    names = {}
    exec(compile(source, "README", "exec"), names)
    assert names["trained"].classify(names["images"]).shape == (5,)
    assert names["trained"].genotype == cell
    assert "Module" in capsys.readouterr().out
