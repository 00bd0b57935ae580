import re

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
    if suffix == ".png":
        with Image.open(tmp_path / "a.png") as image:
            assert image.size == (1080, 660)
            colours = {colour for _, colour in image.convert("RGB").getcolors(2**20)}
        assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours
    else:
        assert all(
            f"<!-- {text}" in one.decode() for text in ("a table -->", "random: ", "evolution: ", "cost of the search so far (s) -->")
        )


def test_nothing_is_cut_off(tmp_path):
    draw_anytime({"random": made(), "a method with quite a long name, and a setting of 0.01": made(0.92)}, tmp_path / "a.png")
    page = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    for edge in (page[:3], page[-3:], page[:, :3], page[:, -3:]):
        assert (edge == 255).all()


def test_one_seed_has_a_line_and_no_band(tmp_path):
    draw_anytime({"random": made(n=1)}, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert re.search(r"<!-- random: \d\d\.\d\d \(1 seed\) -->", text)
    assert "confidence band" not in text
    draw_anytime({"random": made()}, tmp_path / "a.svg", optimum=0.97)
    text = (tmp_path / "a.svg").read_text()
    assert re.search(r"<!-- random: \d\d\.\d\d \(8 seeds\) -->", text)
    assert "<!-- mean, 95% confidence band -->" in text
    assert "<!-- optimum, 97.00 -->" in text


def test_refusals(tmp_path):
    with pytest.raises(DrawingError, match=r"must end in \.svg or \.png"):
        draw_anytime({"random": made()}, tmp_path / "a.pdf")
    with pytest.raises(DrawingError, match="0 curves were given; expected 1 to 7"):
        draw_anytime({}, tmp_path / "a.png")
    with pytest.raises(DrawingError, match="8 curves were given"):
        draw_anytime({str(number): made() for number in range(8)}, tmp_path / "a.png")
    with pytest.raises(DrawingError, match="'late' has no result at any of its times"):
        draw_anytime({"late": band([Curve(np.array([9.0]), np.array([0.1]), np.array([0.1]))], np.array([1.0]))}, tmp_path / "a.png")
