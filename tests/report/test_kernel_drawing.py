"""The picture of a kernel."""

import numpy as np
import pytest
from PIL import Image

from jknas.errors import DrawingError
from jknas.report.kernel_drawing import draw_kernel


def kernel(n, seed=0):
    g = np.random.default_rng(seed).standard_normal((n, 3 * n))
    return g @ g.T


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_is_written_with_the_spectrum_it_shows(tmp_path, suffix):
    path = tmp_path / f"kernel{suffix}"
    found = draw_kernel(kernel(6), path, title="six examples")
    text = {".png": b"\x89PNG", ".svg": b"<!-- six examples -->", ".pdf": b"%PDF"}[suffix]
    assert text in path.read_bytes()
    assert b"mathdefault" not in path.read_bytes()
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(kernel(6)))


def test_the_file_depends_on_the_kernel_alone(tmp_path):
    for name in ("a.svg", "b.svg"):
        draw_kernel(kernel(5), tmp_path / name)
    draw_kernel(kernel(5, seed=1), tmp_path / "c.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes() != (tmp_path / "c.svg").read_bytes()


def test_the_order_rearranges_the_picture(tmp_path):
    matrix = np.kron(np.eye(2), np.ones((2, 2)))[np.ix_([0, 2, 1, 3], [0, 2, 1, 3])]  # two classes, interleaved
    draw_kernel(matrix, tmp_path / "plain.png")
    draw_kernel(matrix, tmp_path / "sorted.png", order=[0, 2, 1, 3])
    plain, ordered = (np.asarray(Image.open(tmp_path / name)) for name in ("plain.png", "sorted.png"))
    assert plain.shape == ordered.shape
    assert (plain != ordered).any()


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.full((3, 3), np.nan), -np.eye(3)])
def test_a_kernel_without_positive_eigenvalues_is_drawn_too(tmp_path, matrix):
    found = draw_kernel(matrix, tmp_path / "kernel.svg")
    assert found.status in {"dead", "non_finite", "negative"}
    text = (tmp_path / "kernel.svg").read_text()
    assert "<!-- no positive eigenvalue -->" in text
    assert f"<!-- condition number nan, {found.status} -->" in text


def test_an_unknown_file_type_is_refused(tmp_path):
    with pytest.raises(DrawingError, match=r"must end in \.png, \.svg or \.pdf"):
        draw_kernel(kernel(3), tmp_path / "kernel.txt")


@pytest.mark.parametrize("order", [[0, 1], [0, 0, 1], [0, 1, 3]])
def test_an_order_that_is_none_is_refused(tmp_path, order):
    with pytest.raises(DrawingError, match="permutation of the 3 examples"):
        draw_kernel(kernel(3), tmp_path / "kernel.png", order=order)
