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
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype

CELL = CellGenotype.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|")
DEAD = CellGenotype.parse("|none~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|nor_conv_1x1~1|none~2|")


def compose(*operations: str, title: str | None = None):
    figure = cell_drawing._compose(operations, title)
    figure.canvas.draw()
    return figure


def texts(figure) -> dict[str, list]:
    found: dict[str, list] = {}
    for text in figure.axes[0].texts:
        found.setdefault(text.get_text(), []).append(text)
    return found


def extent(figure, text):
    renderer = figure.canvas.get_renderer()
    box = text.get_bbox_patch()
    return (box or text).get_window_extent(renderer)


class TestFiles:
    def test_svg(self, tmp_path):
        path = draw_cell(CELL, tmp_path / "cell.svg", title="The winner")
        assert path == tmp_path / "cell.svg"
        root = ElementTree.parse(path).getroot()
        assert root.tag.endswith("svg")
        assert "+".join(CELL.operations) in path.read_text()  # the title of the metadata

    def test_png(self, tmp_path):
        path = draw_cell(CELL, tmp_path / "cell.PNG")
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
            "import sys; from jknas.spaces.nasbench201.genotype import CellGenotype; from jknas.report.cell_drawing import draw_cell\n"
            f"for path in sys.argv[1:]: draw_cell(CellGenotype.parse({str(CELL)!r}), path, title='t')\n"
            "assert 'matplotlib.pyplot' not in sys.modules"
        )
        there = [tmp_path / "there.svg", tmp_path / "there.png"]
        subprocess.run([sys.executable, "-c", code, *map(str, there)], check=True)
        for path in there:
            assert draw_cell(CELL, tmp_path / f"here{path.suffix}", title="t").read_bytes() == path.read_bytes()
            assert draw_cell(DEAD, tmp_path / f"here{path.suffix}", title="t").read_bytes() != path.read_bytes()

    def test_global_settings_are_left_alone(self, tmp_path):
        before = dict(mpl.rcParams)
        draw_cell(CELL, tmp_path / "cell.svg")
        assert dict(mpl.rcParams) == before

    def test_any_record_with_operations_will_do(self, tmp_path):
        draw_cell(SimpleNamespace(operations=CELL.operations), tmp_path / "a.svg")
        draw_cell(CELL, tmp_path / "b.svg")
        assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


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
        boxes = [extent(figure, text) for text in figure.axes[0].texts if not text.get_text().isdigit()]
        boxes += [patch.get_window_extent() for patch in figure.axes[0].patches if isinstance(patch, Circle)]
        assert len(boxes) == 6 + 2 + 4 + (title is not None) + (operation == "none")
        for first, second in itertools.combinations(boxes, 2):
            assert not first.overlaps(second)
        width, height = figure.canvas.get_width_height()
        for box in boxes:
            assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 2

    def test_arrows_run_from_source_to_node(self):
        arrows = [patch for patch in compose(*CELL.operations).axes[0].patches if isinstance(patch, FancyArrowPatch)]
        nodes = cell_drawing._NODES
        for (node, source), arrow in zip(EDGES, arrows, strict=True):
            start, _, end = arrow._path_original.vertices
            assert np.argmin(np.hypot(*(nodes - start).T)) == source
            assert np.argmin(np.hypot(*(nodes - end).T)) == node
            assert np.hypot(*(nodes[node] - end)) == pytest.approx(0.38, abs=0.01)

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
        bold = {mpl.colors.to_rgb(style.colour) for name, style in cell_drawing._STYLES.items() if name != "none"}
        for edge, operation, arrow in zip(EDGES, CellGenotype.parse(cell).operations, arrows, strict=True):
            assert (arrow.get_edgecolor()[:3] in bold) == (operation != "none" and not set(edge) & pale)

    def test_a_dollar_in_the_title_is_a_dollar(self):
        title = texts(compose(*CELL.operations, title="$x_"))["$x_"][0]
        assert not title.get_parse_math()

    def test_the_341_dead_cells_have_the_note(self):
        dead = [code for code in itertools.product(OPERATIONS, repeat=6) if not cell_drawing._live_nodes(code)]
        assert len(dead) == 341


class TestErrors:
    @pytest.mark.parametrize("name", ["cell.pdf", "cell", "cell.svg.gz"])
    def test_suffix(self, tmp_path, name):
        with pytest.raises(DrawingError, match=r"its name must end in \.svg or \.png, for example cell.*\.svg"):
            draw_cell(CELL, tmp_path / name)

    def test_folder(self, tmp_path):
        with pytest.raises(DrawingError, match="absent is not a folder; make it first"):
            draw_cell(CELL, tmp_path / "absent" / "cell.svg")

    def test_a_place_that_cannot_be_written(self, tmp_path):
        (tmp_path / "cell.svg").mkdir()
        with pytest.raises(DrawingError, match=r"\(Is a directory\): choose a file in a folder that is writable"):
            draw_cell(CELL, tmp_path / "cell.svg")

    @pytest.mark.parametrize("genotype", [str(CELL), None, SimpleNamespace(operations=("none",) * 5), SimpleNamespace(operations="none")])
    def test_genotype(self, tmp_path, genotype):
        with pytest.raises(DrawingError, match=r"needs the 6 operations of a NAS-Bench-201 cell, got .*CellGenotype\.parse\(text\)"):
            draw_cell(genotype, tmp_path / "cell.svg")

    def test_operation(self, tmp_path):
        with pytest.raises(DrawingError, match="unknown operation 'conv': expected one of none, skip_connect, nor_conv_1x1"):
            draw_cell(SimpleNamespace(operations=("conv",) * 6), tmp_path / "cell.svg")
        assert list(tmp_path.iterdir()) == []
