"""The picture of a kernel through training."""

import numpy as np
import pytest
from PIL import Image

from jknas.errors import DrawingError
from jknas.report.kernel_training import draw_kernel_training
from jknas.training.kernel_recorder import KernelHistory


def history(eigenvalues, distance=0.3):
    count = len(eigenvalues)
    numbers = np.linspace(0, distance, count)
    statuses = ("ok",) * count
    return KernelHistory(np.arange(count), np.asarray(eigenvalues, float), numbers + 1, numbers + 1, numbers, numbers, statuses)


VALUES = np.sort(np.random.default_rng(0).uniform(0.01, 10, (4, 5)), axis=1)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_is_written(tmp_path, suffix):
    path = tmp_path / f"kernel{suffix}"
    draw_kernel_training(history(VALUES), path, title="five digits")
    text = {".png": b"\x89PNG", ".svg": b"<!-- five digits -->", ".pdf": b"%PDF"}[suffix]
    assert text in path.read_bytes()


def test_the_file_depends_on_the_history_alone(tmp_path):
    for name, shown in (("a", history(VALUES)), ("b", history(VALUES)), ("c", history(2 * VALUES)), ("d", history(VALUES, distance=0.6))):
        draw_kernel_training(shown, tmp_path / f"{name}.png")
    a, b, c, d = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "abcd")
    assert (a == b).all()
    assert (a != c).any()
    assert (a != d).any()


@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.full((2, 3), np.nan), -VALUES])
def test_a_history_without_positive_eigenvalues_is_drawn_too(tmp_path, values):
    draw_kernel_training(history(values), tmp_path / "kernel.svg")
    assert "<!-- no positive eigenvalue -->" in (tmp_path / "kernel.svg").read_text()


def test_one_epoch_of_one_example_is_drawn_too(tmp_path):
    draw_kernel_training(history([[2.0]]), tmp_path / "kernel.svg")
    assert "<!-- eigenvalues -->" in (tmp_path / "kernel.svg").read_text()


def test_powers_of_ten_are_plain_text(tmp_path):
    draw_kernel_training(history([[1e-3, 1.0, 1e12]] * 2), tmp_path / "kernel.svg")
    text = (tmp_path / "kernel.svg").read_text()
    assert "mathdefault" not in text
    assert "<!-- 10\u2070 -->" in text
    draw_kernel_training(history([[2.1, 4.0, 6.0]] * 2), tmp_path / "narrow.svg")
    assert "<!-- 5 -->" in (tmp_path / "narrow.svg").read_text()  # there is no power of ten on this axis


def test_an_unknown_file_type_is_refused(tmp_path):
    with pytest.raises(DrawingError, match=r"must end in \.png, \.svg or \.pdf"):
        draw_kernel_training(history(VALUES), tmp_path / "kernel.txt")
