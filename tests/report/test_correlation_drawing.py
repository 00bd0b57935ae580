import re

import numpy as np
import pytest

from jknas.errors import DrawingError
from jknas.report.correlation_drawing import Panel, draw_ranks, draw_subsamples


def panel(n=40, bad=5, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n)
    scores[:bad] = np.nan
    return Panel("digits against cifar10", scores, rng.uniform(10, 95, n), 0.25)


def test_one_picture_in_two_files_the_same_every_time(tmp_path):
    for name in ("one", "two"):
        draw_ranks([panel(), panel(seed=1)], tmp_path / f"{name}.svg", tmp_path / f"{name}.png", name="mgm")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
    assert "mgm: trained accuracy by rank" in (tmp_path / "one.svg").read_text()


def test_what_is_not_ok_is_shown(tmp_path):
    draw_ranks([panel(bad=0)], tmp_path / "whole.png", name="mgm")
    draw_ranks([panel()], tmp_path / "some.png", name="mgm")
    assert (tmp_path / "whole.png").read_bytes() != (tmp_path / "some.png").read_bytes()


@pytest.mark.parametrize("scores", [np.full(3, np.nan), np.ones(3), np.array([1.0])])
def test_scores_without_a_correlation_are_drawn(tmp_path, scores):
    draw_ranks([Panel("x", scores, np.zeros(scores.size), np.nan)], tmp_path / "x.svg", name="flat")
    assert "flat" in (tmp_path / "x.svg").read_text()


def test_parts(tmp_path):
    rng = np.random.default_rng(0)
    found = {"mgm": rng.uniform(0.4, 0.6, 50), "none_at_all": np.full(50, np.nan), "some": np.array([0.1, np.nan])}
    draw_subsamples({"cifar10": found, "cifar100": found}, tmp_path / "parts.png", tmp_path / "parts.svg", title="parts")
    assert {path.name for path in tmp_path.iterdir()} == {"parts.png", "parts.svg"}
    assert (tmp_path / "parts.png").read_bytes()[:4] == b"\x89PNG"
    assert all(word in (tmp_path / "parts.svg").read_text() for word in ("cifar10", "cifar100", "mgm", "none_at_all", "parts"))


def test_refusals(tmp_path):
    empty = Panel("x", np.empty(0), np.empty(0), np.nan)
    for panels in ([], [empty]):
        with pytest.raises(DrawingError, match="nothing to draw; expected at least one architecture"):
            draw_ranks(panels, tmp_path / "x.png", name="x")
    for found in ({}, {"cifar10": {}}):
        with pytest.raises(DrawingError, match="nothing to draw; expected the correlations of at least one score"):
            draw_subsamples(found, tmp_path / "x.png", title="x")
    with pytest.raises(DrawingError, match=re.escape("must end in .svg or .png")):
        draw_ranks([panel()], tmp_path / "x.pdf", name="x")
