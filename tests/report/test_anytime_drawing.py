import numpy as np
import pytest
from PIL import Image

from jknas.errors import DrawingError
from jknas.report.anytime_drawing import draw_anytime
from jknas.search.anytime import Curve, band

TIMES = np.linspace(0, 100, 21)


def made(level=0.9, n=8, seed=0):
    rng = np.random.default_rng(seed)
    curves = []
    for _ in range(n):
        test = np.maximum.accumulate(level + rng.normal(0, 0.02, 15))
        curves.append(Curve(np.cumsum(rng.uniform(2, 6, 15)), test, test))
    return band(curves, TIMES)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_is_written_and_depends_on_the_curves_alone(tmp_path, suffix):
    for name, level in (("a", 0.9), ("b", 0.9), ("c", 0.8)):
        draw_anytime({"random": made(level), "evolution": made(0.92)}, tmp_path / f"{name}{suffix}", title="a table", optimum=0.97)
    one, two, three = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "abc")
    assert one == two != three
    assert len(one) > 5000


def test_nothing_is_cut_off(tmp_path):
    draw_anytime({"random": made(), "a method with quite a long name, and a setting of 0.01": made(0.92)}, tmp_path / "a.png")
    page = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    for edge in (page[:3], page[-3:], page[:, :3], page[:, -3:]):
        assert (edge == 255).all()


def test_one_seed_has_a_line_and_no_band(tmp_path):
    draw_anytime({"random": made(n=1)}, tmp_path / "a.svg")
    draw_anytime({"random": made()}, tmp_path / "several.svg")
    one, several = ((tmp_path / name).read_text() for name in ("a.svg", "several.svg"))
    assert "random" in one
    assert 'PolyCollection_1"/>' in one  # a band of no area
    assert 'PolyCollection_1">' in several


def test_refusals(tmp_path):
    with pytest.raises(DrawingError, match=r"must end in \.svg or \.png"):
        draw_anytime({"random": made()}, tmp_path / "a.pdf")
    with pytest.raises(DrawingError, match="0 curves were given; expected 1 to 7"):
        draw_anytime({}, tmp_path / "a.png")
    with pytest.raises(DrawingError, match="8 curves were given"):
        draw_anytime({str(number): made() for number in range(8)}, tmp_path / "a.png")
    with pytest.raises(DrawingError, match="'late' has no result at any of its times"):
        draw_anytime({"late": band([Curve(np.array([9.0]), np.array([0.1]), np.array([0.1]))], np.array([1.0]))}, tmp_path / "a.png")
