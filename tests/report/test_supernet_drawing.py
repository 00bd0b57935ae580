import numpy as np
import pytest
from PIL import Image

from jknas import spaces
from jknas.errors import DrawingError
from jknas.report.supernet_drawing import draw_supernet

SPACES = {name: spaces.get(name) for name in ("nasbench201", "darts")}


def epochs(space, n=5, *, weights=True, falling=0.3):
    """Epochs in which the weight of operation 1 rises on every edge."""
    space = SPACES[space]
    logits = np.zeros((n, space.num_edges, len(space.operations)))
    logits[:, :, 1] = falling * np.arange(n)[:, None]
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return [
        {
            "weights": one.tolist() if weights else None,
            "accuracy": 0.2 + 0.05 * at,
            "architecture_accuracy": 0.2 if weights else None,
            "candidate_accuracy": None if weights else 0.4,
        }
        for at, one in enumerate(shares)
    ]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_is_written_and_depends_on_the_epochs_alone(tmp_path, suffix):
    for name, rate in (("a", 0.3), ("b", 0.3), ("c", 0.4)):
        found = epochs("nasbench201", falling=rate)
        draw_supernet(
            found, tmp_path / f"{name}{suffix}", space=SPACES["nasbench201"], accuracies=[0.9] * 5, of_what="looked up", title="T"
        )
    one, two, three = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "abc")
    assert one == two != three
    if suffix == ".svg":
        assert all(f"<!-- {text}" in one.decode() for text in ("3&lt;-2", "skip_connect", "the chosen cell, looked up", "T -->"))


@pytest.mark.parametrize(("space", "n", "weights"), [("nasbench201", 1, True), ("darts", 12, True), ("nasbench201", 3, False)])
def test_nothing_is_cut_off(tmp_path, space, n, weights):
    draw_supernet(epochs(space, n, weights=weights), tmp_path / "a.png", space=SPACES[space], title="a search of some method on some data")
    page = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    for edge in (page[:3], page[-3:], page[:, :3], page[:, -3:]):
        assert (edge == 255).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": []}, "no epochs"),
        ({"accuracies": [0.5]}, "1 accuracies of 5 epochs"),
        ({"space": SPACES["darts"]}, r"the space darts has edges and operations \[28, 8\]"),
        ({"path": "a.txt"}, "must end in"),
    ],
)
def test_what_cannot_be_drawn_is_refused(tmp_path, changes, said):
    given = {"epochs": epochs("nasbench201"), "path": "a.png", "space": SPACES["nasbench201"]} | changes
    given["path"] = tmp_path / given["path"]
    with pytest.raises(DrawingError, match=said):
        draw_supernet(given.pop("epochs"), given.pop("path"), **given)
