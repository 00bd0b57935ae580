"""The notebook is kept as it ran, and still runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "first_look.ipynb"
_RUN = """
import sys
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": sys.argv[3]}}).execute()
nbformat.write(notebook, sys.argv[2])
"""


def code_cells(path):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def printed(cell):
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


def pictures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell["outputs"])


def test_it_was_run_from_top_to_bottom_and_is_small():
    cells = code_cells(NOTEBOOK)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds == {"display_data", "execute_result", "stream"}  # neither errors nor warnings
    assert {output["name"] for cell in cells for output in cell["outputs"] if output["output_type"] == "stream"} == {"stdout"}
    assert sum(map(pictures, cells)) == 3
    assert NOTEBOOK.stat().st_size < 200_000


@pytest.mark.slow
def test_it_still_runs_and_prints_what_it_says(tmp_path):
    for name in ("nbclient", "nbformat", "ipykernel"):
        pytest.importorskip(name, reason='the notebook is run by pip install ".[notebooks]"')
    command = [sys.executable, "-c", _RUN, str(NOTEBOOK), str(tmp_path / "run.ipynb"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for before, now in zip(code_cells(NOTEBOOK), code_cells(tmp_path / "run.ipynb"), strict=True):
        assert pictures(now) == pictures(before)
        # Scores differ by rounding between machines and releases; the cells, their sizes and their order do not.
        lines = [[line.split()[1:] for line in printed(cell).splitlines()] for cell in (before, now)]
        assert lines[0] == lines[1]
        values = [[float(line.split()[0]) for line in printed(cell).splitlines()] for cell in (before, now)]
        assert values[1] == pytest.approx(values[0], rel=0.02, abs=2e-3)
