"""The drawing of a pruning search: every round and every operation is there, nothing overlaps, and what does not fit is refused."""

import copy
import dataclasses
import functools
import itertools
import math
from collections import Counter
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.text import Annotation, Text
from PIL import Image

from jknas.errors import DrawingError
from jknas.report import pruning_drawing
from jknas.report.pruning_drawing import draw_pruning
from jknas.spaces import Space
from jknas.spaces.darts import genotype as darts_genotype
from jknas.spaces.darts.space import DARTS
from jknas.spaces.nasbench201 import genotype
from jknas.spaces.nasbench201.space import NASBENCH201

CLOSE = (470.0, 300.0, 500.0, 280.0, 260.0, 250.0, 251.0, 252.0, 249.0, 250.0, math.inf, 251.0)
CLOSE_REGIONS = (1900.0, 1880.0, 1850.0, 1700.0, 1500.0, 1400.0, 1399.0, 1398.0, 1390.0, 1399.0, 1400.0, 1395.0)


def made(space: Space, *, absent=True, each=1, conditions=None, regions=None, stop=None):
    """Rounds of a search that removes at random, and what they leave."""
    rng = np.random.default_rng(0)
    live = [[absent or operation > 0 for operation in range(len(space.operations))] for _ in range(space.num_edges)]
    plan = ["operations"] * math.ceil((sum(live[0]) - 1) / each)
    groups = [[cell + i for i, (end, _) in enumerate(darts_genotype.EDGES) if end == node] for cell in (0, 14) for node in (3, 4, 5)]
    plan += groups if space is DARTS else []
    rounds = []
    for number, group in enumerate(plan[:stop]):
        if group == "operations":
            count = min(each, sum(live[0]) - 1)
            gone = [[e, int(o)] for e, row in enumerate(live) for o in rng.choice(np.flatnonzero(row), count, replace=False)]
        else:
            gone = [[int(e), live[e].index(True)] for e in rng.choice(group, len(group) - 2, replace=False)]
        entry = {
            "kind": "operations" if group == "operations" else "edges",
            "live": live,
            "condition": conditions[number] if conditions else 5000 * 0.55**number,
            "regions": regions[number] if regions else 1400.0 - 120 * number,
            "ranked": [],
            "removed": gone,
        }
        rounds.append(entry)
        live = [[there and [e, o] not in gone for o, there in enumerate(row)] for e, row in enumerate(live)]
    return rounds, live


def compose(made, space=NASBENCH201, title=None):
    with mpl.rc_context(pruning_drawing.STYLE):
        figure = pruning_drawing._compose(*pruning_drawing._check(*made, space), pruning_drawing.cells_of(space), space.operations, title)
        figure.canvas.draw()
    return figure


def plane(figure):
    """The axes of condition number and regions."""
    return figure.subfigs[0].axes[0]


def grids(figure):
    """The axes of the squares, one for each cell."""
    return figure.subfigs[1].axes


def texts(figure):
    return [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]


def labels(figure):
    """The texts on the labels of the rounds."""
    return [text for text in plane(figure).texts if isinstance(text, Annotation)]


def extent(figure, text):
    if text.get_bbox_patch():
        return text.get_bbox_patch().get_window_extent(figure.canvas.get_renderer())
    return Text.get_window_extent(text, figure.canvas.get_renderer())


def dots(figure):
    """The places of the rounds, in the units of the axes: the logarithm of the condition number, and regions."""
    (line,) = plane(figure).lines
    return line.get_xydata()


def squares(figure):
    """The squares of a figure with the texts in them."""
    found = []
    for page in grids(figure):
        boxes = [patch for patch in page.patches if isinstance(patch, Rectangle)]
        places = np.array([text.get_position() for text in page.texts])
        middles = np.array([box.get_xy() + np.array((box.get_width(), box.get_height())) / 2 for box in boxes])
        distances = np.abs(places - middles[:, None]).max(axis=-1)
        assert (distances.min(axis=1) < 1e-6).all()
        found += [(page.texts[number], box) for number, box in zip(distances.argmin(axis=1), boxes, strict=True)]
    return found


def edge_names(figure):
    return [text for axes in grids(figure) for text in axes.get_xticklabels()]


@functools.cache
def darts_figure():
    return compose(made(DARTS, absent=False, each=3), DARTS, "A title")


class TestFiles:
    def test_svg_and_png(self, tmp_path):
        rounds, left = made(NASBENCH201)
        assert draw_pruning(rounds, left, tmp_path / "a.svg", space=NASBENCH201, title="A $title$") == tmp_path / "a.svg"
        assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
        assert "pruning of nasbench201, 4 rounds" in (tmp_path / "a.svg").read_text()
        draw_pruning(rounds, left, str(tmp_path / "a.png"), space=NASBENCH201)
        with Image.open(tmp_path / "a.png") as image:
            colours = {colour for _, colour in image.convert("RGB").getcolors(2**20)}
        assert {(0xD8, 0xE8, 0xF4), (0x00, 0x3F, 0x6B), (0xE6, 0x9F, 0x00)} <= colours

    @pytest.mark.parametrize("suffix", ["svg", "png"])
    def test_the_same_rounds_give_the_same_bytes(self, tmp_path, suffix):
        found = []
        for number, conditions in enumerate([(9.0, 8.0, 7.0, 6.0)] * 2 + [(9.0, 8.0, 7.0, 6.5)]):
            path = tmp_path / f"{number}.{suffix}"
            found.append(draw_pruning(*made(NASBENCH201, conditions=conditions), path, space=NASBENCH201).read_bytes())
        assert found[0] == found[1] != found[2]

    def test_darts(self, tmp_path):
        rounds, left = made(DARTS, absent=False, each=3)
        draw_pruning(rounds, left, tmp_path / "a.png", space=DARTS)
        assert len(rounds) == 8
        with Image.open(tmp_path / "a.png") as image:
            assert image.size == (1860, 1335)

    def test_the_arguments_are_left_as_they_are(self, tmp_path):
        rounds, left = made(NASBENCH201)
        before = copy.deepcopy((rounds, left))
        draw_pruning(rounds, left, tmp_path / "a.png", space=NASBENCH201)
        assert (rounds, left) == before


class TestTrajectory:
    def test_a_lower_condition_number_is_further_left_and_more_regions_are_higher(self):
        figure = compose(made(NASBENCH201, conditions=(1000.0, 10.0, 100.0, 1.0), regions=(40.0, 30.0, 20.0, 10.0)))
        x, y = dots(figure).T
        assert np.argsort(x).tolist() == [3, 1, 2, 0]
        np.testing.assert_allclose((x - x[3]) / (x[0] - x[3]), [1, 1 / 3, 2 / 3, 0])  # logarithmic
        np.testing.assert_allclose((y - y[3]) / (y[0] - y[3]), [1, 2 / 3, 1 / 3, 0])
        arrows = [patch._posA_posB for patch in plane(figure).patches if isinstance(patch, FancyArrowPatch)]
        np.testing.assert_allclose(arrows, list(itertools.pairwise(dots(figure))))
        assert [label.get_text() for label in labels(figure)] == ["1", "2", "3", "4"]
        assert [label.xy for label in labels(figure)] == [tuple(dot) for dot in dots(figure)]
        assert {"1", "10", "100", "1,000"} <= {text.get_text() for text in texts(figure)}

    def test_a_tick_is_at_its_number(self):
        for conditions in [(1000.0, 10.0, 100.0, 1.0), (470.0, 300.0, 500.0, 280.0), (30.0, 20.0, 9.0, 2.0), (1e-12, 1e300, 10.0, 1.0)]:
            axes = plane(compose(made(NASBENCH201, conditions=conditions)))
            for axis, logarithmic in ((axes.xaxis, True), (axes.yaxis, False)):
                numbers = np.array([float(text.get_text().replace(",", "").replace("\u2212", "-")) for text in axis.get_ticklabels()])
                assert len(numbers) >= 3
                np.testing.assert_allclose(axis.get_majorticklocs(), np.log10(numbers) if logarithmic else numbers)

    def test_a_number_without_a_place_is_at_the_edge_with_its_value(self):
        conditions, regions = (math.inf, 900.0, -12.34, math.nan), (1400.0, 1200.0, 1100.0, math.nan)
        figure = compose(made(NASBENCH201, conditions=conditions, regions=regions))
        assert [label.get_text() for label in labels(figure)] == ["1 (inf)", "2", "3 (\u221212.3)", "4 (nan, nan)"]
        axes = plane(figure)
        x, y = axes.transAxes.inverted().transform(axes.transData.transform(dots(figure))).T
        assert x[0] == x[2] == x[3] > x[1] + 0.2
        assert 0.8 < x[0] < 1
        assert y[3] < y[2] < y[1] < y[0]
        assert 0 < y[3] < 0.15
        found = [text.get_text() for text in texts(figure)]
        assert found.count("not finite\nor \u2264 0") == found.count("not\nfinite") == 1
        styles = [patch.get_linestyle() for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
        assert len(styles) == 3
        assert "solid" not in styles

    @pytest.mark.parametrize("condition", [0.0, -1.0, -math.inf, math.nan])
    def test_no_condition_number_at_all(self, condition):
        figure = compose(made(NASBENCH201, conditions=[condition] * 4))
        assert len(set(dots(figure)[:, 0])) == 1
        assert all("(" in label.get_text() for label in labels(figure))

    def test_numbers_that_came_from_an_export_may_be_text(self):
        figure = compose(made(NASBENCH201, conditions=["inf", 5.0, 4.0, 3.0]))
        assert labels(figure)[0].get_text() == "1 (inf)"

    def test_everything_has_a_place_and_nothing_is_marked(self):
        assert not any("not" in text.get_text() for text in texts(compose(made(NASBENCH201))))


class TestGrid:
    @pytest.mark.parametrize(
        ("space", "options"),
        [(NASBENCH201, {}), (NASBENCH201, {"stop": 2}), (NASBENCH201, {"absent": False}), (DARTS, {"absent": False, "each": 3})],
    )
    def test_every_square_tells_its_round(self, space, options):
        rounds, left = made(space, **options)
        figure = darts_figure() if space is DARTS else compose((rounds, left))
        found = [(text.get_text(), box) for text, box in squares(figure)]
        marks = np.array([mark for mark, _ in found]).reshape(space.num_edges, -1)
        wanted = np.where(np.array(left), "\u2713", "\u2013")
        for number, entry in enumerate(rounds, start=1):
            for edge, operation in entry["removed"]:
                wanted[edge, operation] = str(number)
        assert (marks == wanted).all()
        # One colour a mark, and no two marks alike.
        colours = {(mark, to_hex(box.get_facecolor())) for mark, box in found}
        assert len(colours) == len({mark for mark, _ in colours}) == len({colour for _, colour in colours})
        widths = [[box.get_linewidth() for mark, box in found if (mark == "\u2713") is outlined] for outlined in (True, False)]
        assert min(widths[0]) > max(widths[1])
        # Edges from left to right, operations from the top.
        places = np.array([box.get_window_extent().min for _, box in found]).reshape(space.num_edges, -1, 2)
        assert (np.diff(places[:, :, 0], axis=0) > 0).all()
        assert (np.diff(places[:, :, 1], axis=1) < 0).all()

    def test_edges_and_operations_are_named(self):
        found = Counter(text.get_text() for text in texts(compose(made(NASBENCH201))))
        assert all(found[f"{node}<-{source}"] == 1 for node, source in genotype.EDGES)
        assert all(found[name] == 1 for name in NASBENCH201.operations)
        assert found["left"] == found["operation removed in this round"] == 1
        assert found["never there"] == found["edge removed in this round"] == 0

    def test_edges_of_both_cells_are_named(self):
        found = Counter(text.get_text() for text in texts(darts_figure()))
        assert all(found[f"{node}<-{source}"] == 2 for node, source in darts_genotype.EDGES)
        names = ("normal cell", "reduction cell", "edge removed in this round", "never there", *DARTS.operations)
        assert all(found[name] == 1 for name in names)
        pale = [text.get_text() for text in edge_names(darts_figure()) if text.get_color() == pruning_drawing.FADED]
        assert Counter(name[0] for name in pale) == {"3": 2, "4": 4, "5": 6}  # two edges per node and cell are left

    def test_the_legend_has_the_shades_of_the_rounds(self):
        rounds, _ = made(DARTS, absent=False, each=3)
        (legend,) = darts_figure().subfigs[1].legends
        shades = [to_hex(patch.get_facecolor()) for patch in legend.findobj(Rectangle)]
        marks = {text.get_text(): to_hex(box.get_facecolor()) for text, box in squares(darts_figure())}
        assert shades == [*(marks[str(number)] for number in range(1, len(rounds) + 1)), marks["\u2713"], marks["\u2013"]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: compose(made(NASBENCH201), title="A title"),
        lambda: compose(made(NASBENCH201, conditions=(math.inf, 900.0, -12.34, math.nan), regions=(3e7, math.nan, 5e6, math.nan))),
        lambda: compose(made(NASBENCH201, absent=False, conditions=(1e-12, 1.7e308, 10.0), regions=(3.0, 3.0, 3.0)), title="A title " * 40),
        darts_figure,
        lambda: compose(made(DARTS, absent=False, conditions=CLOSE, regions=CLOSE_REGIONS), DARTS),
        lambda: compose(made(NASBENCH201, conditions=[1.7976931348623157e308] * 4, regions=[1400.0] * 4)),
    ],
)
def test_nothing_overlaps_or_leaves_the_page(make):
    figure = make()
    marked = squares(figure)
    for text, box in marked:
        inner, outer = extent(figure, text), box.get_window_extent()
        assert outer.x0 < inner.x0 < inner.x1 < outer.x1
        assert outer.y0 < inner.y0 < inner.y1 < outer.y1
    inside = {id(text) for text, _ in marked}
    others = [text for text in texts(figure) if id(text) not in inside]
    middles = plane(figure).transData.transform(dots(figure))
    radius = plane(figure).lines[0].get_markersize() / 2 * figure.dpi / 72
    names = [*(text.get_text() for text in others), *("square" for _ in marked), *("dot" for _ in middles)]
    boxes = [*(extent(figure, text) for text in others), *(box.get_window_extent() for _, box in marked)]
    boxes += [mpl.transforms.Bbox([middle - radius, middle + radius]) for middle in middles]
    edges = np.array([box.extents for box in boxes])
    apart = (edges[:, None, :2] >= edges[None, :, 2:]).any(axis=-1)
    overlapping = [(names[i], names[j]) for i, j in zip(*np.nonzero(~(apart | apart.T)), strict=True) if i < j]
    assert set(overlapping) <= {("dot", "dot")}  # dots are where their numbers are
    width, height = figure.canvas.get_width_height()
    assert (edges[:, :2] > 2).all()
    assert (edges[:, 2:] < (width - 2, height - 2)).all()


def changed(number, **entries):
    rounds, left = made(NASBENCH201)
    rounds[number] |= entries
    return rounds, left


ROUNDS, LEFT = made(NASBENCH201)
REFUSED = {
    "no rounds": (([], LEFT), r'one round or more, got an empty list: pass state\["rounds"\]'),
    "a state": (({"rounds": ROUNDS}, LEFT), "one round or more, got dict"),
    "not a mapping": (([[1, 2]], LEFT), "round 1 is list; expected a mapping with kind, condition, regions, live, removed"),
    "a missing entry": (([{"kind": "operations"}], LEFT), "round 1 is a mapping of kind; expected"),
    "another kind": (changed(1, kind="operation"), "Unknown kind of round 2 'operation'.*Did you mean 'operations'"),
    "no number": (changed(1, condition=None), r"condition of round 2 is None; expected a number"),
    "pairs": (changed(2, removed=[3]), r"removed of round 3 is \[3\]; expected a list of pairs"),
    "another space": (made(DARTS), r"live of round 1 is an array of shape \(28, 8\); expected .* each of the 6 edges and 5 operations"),
    "ragged": (changed(0, live=[[True], [True, False]]), "live of round 1 is list; expected true or false"),
    "no booleans": (changed(0, live=[[2] * 5] * 6), "live of round 1 is list; expected true or false"),
    "what was gone": (changed(1, removed=ROUNDS[0]["removed"]), r"round 2 removes operation \d of edge 0, which was not live before it"),
    "another edge": (changed(0, removed=[[6, 0]]), r"operation 0 of edge 6, .* edges 0\.\.5 and operations 0\.\.4 of nasbench201"),
    "from the end": (changed(0, removed=[[-1, 0]]), "operation 0 of edge -1, which was not live"),
    "a round left out": ((ROUNDS[:1] + ROUNDS[2:], LEFT), "round 2 does not begin with what round 1 left: pass all rounds of one search"),
    "another end": ((ROUNDS[:3], LEFT), "what is left is not what round 3, the last one, left"),
    "no end": ((ROUNDS, None), "what is left is NoneType; expected true or false"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    (rounds, left), message = REFUSED[case]
    with pytest.raises(DrawingError, match=message):
        draw_pruning(rounds, left, tmp_path / "a.png", space=NASBENCH201)
    assert not (tmp_path / "a.png").exists()


def test_another_file_type_is_refused(tmp_path):
    with pytest.raises(DrawingError, match="must end in"):
        draw_pruning(ROUNDS, LEFT, tmp_path / "a.pdf", space=NASBENCH201)


def test_a_space_that_does_not_describe_its_cells_is_refused(tmp_path):
    space = dataclasses.replace(NASBENCH201, name="nasbench101", graph=None)
    with pytest.raises(DrawingError, match="the space nasbench101 does not say what its cells look like"):
        draw_pruning(ROUNDS, LEFT, tmp_path / "a.png", space=space)


def test_a_space_that_leaves_edges_out_is_refused(tmp_path):
    def without_first(cell):
        (graph,) = NASBENCH201.graph(cell)
        return (dataclasses.replace(graph, edges=graph.edges[1:]),)

    with pytest.raises(
        DrawingError, match="the graphs of nasbench201 have 5 edges and its code has 6: list every edge, with the operation"
    ):
        draw_pruning(ROUNDS, LEFT, tmp_path / "a.png", space=dataclasses.replace(NASBENCH201, graph=without_first))


def test_the_edges_are_named_by_the_graphs_of_the_space(tmp_path):
    def in_two_cells(cell):
        (graph,) = NASBENCH201.graph(cell)
        return tuple(
            dataclasses.replace(graph, edges=edges, title=title) for edges, title in ((graph.edges[:2], "one"), (graph.edges[2:], "two"))
        )

    figure = compose((ROUNDS, LEFT), dataclasses.replace(NASBENCH201, name="other", graph=in_two_cells))
    assert [text.get_text() for text in edge_names(figure)] == [f"{node}<-{source}" for node, source in genotype.EDGES]
    assert [axes.get_title(loc="left") for axes in grids(figure)] == ["one", "two"]
