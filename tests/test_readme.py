"""The front page and the page of the benchmarks say what the recorded results and the registries say."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jknas import proxies
from jknas.ranking import aggregates

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
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr


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
