"""The README says what the recorded results and the registries say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jknas import proxies
from jknas.ranking import aggregates

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_tables_are_those_of_the_recorded_results():
    run = subprocess.run(
        [sys.executable, "benchmarks/readme_tables.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr


def test_a_number_copied_wrong_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import readme_tables

    marked = re.search(r"<!-- table: rivals -->\n.*?<!-- end of table -->", README, re.DOTALL)[0]
    wrong = marked.replace("93.", "94.", 1)
    assert readme_tables.written(marked) == marked != wrong
    assert readme_tables.written(wrong) == marked


@pytest.mark.parametrize("name", [*proxies.names(), *aggregates.names()])
def test_it_says_when_to_use_every_score(name):
    section = README.split("## Which proxy?")[1].split("\n## ")[0]
    assert f"`{name}`" in section or (name.startswith("az_") and "`az_*`" in section)
