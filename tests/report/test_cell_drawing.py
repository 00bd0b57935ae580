"""The drawing of a cell: files that repeat, the curves of NAS-Bench-201, any other space by the values that it gives, and refusals."""

import dataclasses
import itertools
import subprocess
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.patches import Circle, FancyArrowPatch
from PIL import Image

from jknas.errors import DrawingError
from jknas.report import cell_drawing
from jknas.report.cell_drawing import draw_cell
from jknas.report.cell_layout import RADIUS
from jknas.spaces.darts.space import DARTS
from jknas.spaces.graph import COLOURS, CellGraph, Edge, Node, Operation
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype
from jknas.spaces.nasbench201.space import NASBENCH201

CELL = CellGenotype.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|")
DEAD = CellGenotype.parse("|none~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|nor_conv_1x1~1|none~2|")


def compose(*operations: str, title: str | None = None):
    return drawn(NASBENCH201.graph(CellGenotype(operations)), title)


def drawn(graphs, title=None):
    with mpl.rc_context(cell_drawing.STYLE):
        figure = cell_drawing._compose(graphs, title)
        figure.canvas.draw()
    return figure


def all_texts(figure) -> list:
    return [text for text in figure.findobj(mpl.text.Text) if text.get_text() and text.get_visible()]


def texts(figure) -> dict[str, list]:
    found: dict[str, list] = {}
    for text in all_texts(figure):
        found.setdefault(text.get_text(), []).append(text)
    return found


def extent(figure, text):
    renderer = figure.canvas.get_renderer()
    box = text.get_bbox_patch()
    return (box or text).get_window_extent(renderer)


class TestFiles:
    def test_svg(self, tmp_path):
        path = draw_cell(CELL, tmp_path / "cell.svg", space=NASBENCH201, title="The winner")
        assert path == tmp_path / "cell.svg"
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg")
        assert str(CELL) in path.read_text()  # the title of the metadata

    def test_png(self, tmp_path):
        path = draw_cell(CELL, tmp_path / "cell.PNG", space=NASBENCH201)
        with Image.open(path) as image:
            assert image.format == "PNG"
            width, height = image.size
            colours = {colour for _, colour in image.convert("RGB").getcolors(2**20)}
        assert width > 1000
        assert height > 400
        assert {(0x00, 0x72, 0xB2), (0xCC, 0x79, 0xA7), (0x00, 0x9E, 0x73), (255, 255, 255)} <= colours
        assert (0xE6, 0x9F, 0x00) not in colours  # the pool leads nowhere and is pale

    def test_the_same_cell_gives_the_same_bytes_in_another_process(self, tmp_path):
        code = (
            "import sys; from jknas import spaces; from jknas.report.cell_drawing import draw_cell; space = spaces.get('nasbench201')\n"
            f"for path in sys.argv[1:]: draw_cell(space.parse({str(CELL)!r}), path, space=space, title='t')\n"
            "assert 'matplotlib.pyplot' not in sys.modules"
        )
        there = [tmp_path / "there.svg", tmp_path / "there.png"]
        subprocess.run([sys.executable, "-c", code, *map(str, there)], check=True)
        for path in there:
            here = tmp_path / f"here{path.suffix}"
            assert draw_cell(CELL, here, space=NASBENCH201, title="t").read_bytes() == path.read_bytes()
            assert draw_cell(DEAD, here, space=NASBENCH201, title="t").read_bytes() != path.read_bytes()

    def test_global_settings_are_left_alone(self, tmp_path):
        before = dict(mpl.rcParams)
        draw_cell(CELL, tmp_path / "cell.svg", space=NASBENCH201)
        assert dict(mpl.rcParams) == before


class TestPicture:
    def test_every_edge_carries_its_operation(self):
        found = texts(compose(*CELL.operations))
        counts = {label: len(items) for label, items in found.items()}
        nodes = {"0": 1, "1": 1, "2": 1, "3": 1, "input": 1, "output": 1}
        assert counts == {"conv 3\u00d73": 2, "avg pool 3\u00d73": 1, "skip": 1, "conv 1\u00d71": 1, "none": 1} | nodes

    @pytest.mark.parametrize("title", [None, "A title", str(CELL)])
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_nothing_overlaps_or_leaves_the_page(self, operation, title):
        figure = compose(*[operation] * 6, title=title)
        boxes = [extent(figure, text) for text in all_texts(figure) if not text.get_text().isdigit()]
        boxes += [patch.get_window_extent() for patch in figure.axes[0].patches if isinstance(patch, Circle)]
        assert len(boxes) == 6 + 2 + 4 + (title is not None) + (operation == "none")
        for first, second in itertools.combinations(boxes, 2):
            assert not first.overlaps(second)
        width, height = figure.canvas.get_width_height()
        for box in boxes:
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 2

    def test_arrows_run_from_source_to_node(self):
        figure = compose(*CELL.operations)
        arrows = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
        nodes = np.array([node.position for node in NASBENCH201.graph(CELL)[0].nodes])
        inches = (figure.axes[0].transData + figure.dpi_scale_trans.inverted()).transform(nodes)
        for (node, source), arrow in zip(EDGES, arrows, strict=True):
            start, end = arrow._posA_posB
            assert np.argmin(np.hypot(*(nodes - start).T)) == source
            assert np.argmin(np.hypot(*(nodes - end).T)) == node
            # The line, without its head, ends a little outside the circle.
            (line, *_), _ = arrow._get_path_in_displaycoord()
            first, last = line.vertices[[0, -1]] / figure.dpi
            assert np.hypot(*(inches[source] - first)) == pytest.approx(RADIUS + 0.03, abs=0.01)
            assert RADIUS < np.hypot(*(inches[node] - last)) < RADIUS + 0.15

    def test_none_edges_are_dashed_and_without_a_head(self):
        arrows = [patch for patch in compose(*CELL.operations).axes[0].patches if isinstance(patch, FancyArrowPatch)]
        dashed = [arrow.get_linestyle() != "solid" and arrow.get_linestyle() != "-" for arrow in arrows]
        assert dashed == [operation == "none" for operation in CELL.operations]

    @pytest.mark.parametrize(
        ("cell", "pale"),
        [
            ("|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|", {2}),
            ("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|", {1, 2}),
            ("|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|", set()),
            ("|none~0|+|none~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|", {1, 2}),
            (str(DEAD), {0, 1, 2, 3}),
        ],
    )
    def test_what_does_not_reach_the_output_is_pale(self, cell, pale):
        figure = compose(*CellGenotype.parse(cell).operations)
        found = texts(figure)
        assert {node for node in range(4) if found[str(node)][0].get_color() != "white"} == pale
        assert ("The output does not depend on the input." in found) == (len(pale) == 4)
        arrows = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
        bold = {colour.lower() for colour in COLOURS.values()}
        for edge, operation, arrow in zip(EDGES, CellGenotype.parse(cell).operations, arrows, strict=True):
            assert (mpl.colors.to_hex(arrow.get_edgecolor()) in bold) == (operation != "none" and not set(edge) & pale)

    def test_a_dollar_in_the_title_is_a_dollar(self):
        title = texts(compose(*CELL.operations, title="$x_"))["$x_"][0]
        assert not title.get_parse_math()


def made_up(operations=("mix", "skip")):
    """A cell as a space outside the package may describe it: no positions, many edges into one node, a long role."""
    mix, skip = Operation(operations[0]), Operation(operations[1], COLOURS["green"], absent=True)
    edges = [Edge(source, node, mix if source == node - 1 else skip) for node in range(1, 6) for source in range(node)]
    nodes = (Node("tokens"), *(Node() for _ in range(4)), Node("classes"))
    return CellGraph(nodes, (*edges[:5], Edge(0, 4, None), *edges[5:]), outputs=(5,), title="layers", note="six of them")


class TestAnySpace:
    def test_a_space_is_drawn_by_the_values_that_it_gives(self, tmp_path):
        space = dataclasses.replace(NASBENCH201, name="made-up", graph=lambda genotype: (made_up((genotype.operations[0], "skip")),))
        path = draw_cell(CELL, tmp_path / "cell.png", space=space)
        with Image.open(path) as image:
            colours = {colour for _, colour in image.convert("RGB").getcolors(2**20)}
        assert (0x00, 0x72, 0xB2) in colours
        other = draw_cell(DEAD, tmp_path / "other.png", space=space)
        assert other.read_bytes() != path.read_bytes()

    def test_every_edge_with_an_operation_and_every_node_is_there(self):
        counts = {label: len(found) for label, found in texts(drawn([made_up(), made_up()])).items()}
        names = {str(number): 2 for number in range(6)}
        assert counts == {"mix": 10, "skip": 20, "tokens": 2, "classes": 2, "layers: six of them": 2} | names

    @pytest.mark.parametrize("labels", [("mix", "skip"), ("a convolution with a long name", "skip")])
    def test_nothing_overlaps_or_leaves_the_page(self, labels):
        figure = drawn([made_up(labels)], "A title")
        boxes = [extent(figure, text) for text in all_texts(figure) if not text.get_text().isdigit()]
        boxes += [patch.get_window_extent() for patch in figure.axes[0].patches if isinstance(patch, Circle)]
        assert len(boxes) == 15 + 2 + 2 + 6 + 15
        for first, second in itertools.combinations(boxes, 2):
            assert not first.overlaps(second)
        width, height = figure.canvas.get_width_height()
        for box in boxes:
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 2

    def test_a_space_that_does_not_describe_its_cells_is_refused(self, tmp_path):
        space = dataclasses.replace(NASBENCH201, name="bare", graph=None)
        with pytest.raises(
            DrawingError, match="the space bare does not say what its cells look like: give its Space record a function `graph`"
        ):
            draw_cell(CELL, tmp_path / "cell.svg", space=space)


class TestErrors:
    @pytest.mark.parametrize("name", ["cell.pdf", "cell", "cell.svg.gz"])
    def test_suffix(self, tmp_path, name):
        with pytest.raises(DrawingError, match=r"its name must end in \.svg or \.png, for example cell.*\.svg"):
            draw_cell(CELL, tmp_path / name, space=NASBENCH201)

    def test_folder(self, tmp_path):
        with pytest.raises(DrawingError, match="absent is not a folder; make it first"):
            draw_cell(CELL, tmp_path / "absent" / "cell.svg", space=NASBENCH201)

    def test_a_place_that_cannot_be_written(self, tmp_path):
        (tmp_path / "cell.svg").mkdir()
        with pytest.raises(DrawingError, match=r"\(Is a directory\): choose a file in a folder that is writable"):
            draw_cell(CELL, tmp_path / "cell.svg", space=NASBENCH201)

    @pytest.mark.parametrize(
        "genotype",
        [str(CELL), None, SimpleNamespace(operations=CELL.operations), SimpleNamespace(operations=("conv",) * 6), DARTS.named["DARTS_V1"]],
    )
    def test_genotype(self, tmp_path, genotype):
        with pytest.raises(
            DrawingError, match=r"a drawing needs a genotype of the space nasbench201, got .*: read its text with space\.parse"
        ):
            draw_cell(genotype, tmp_path / "cell.svg", space=NASBENCH201)
        assert list(tmp_path.iterdir()) == []
