"""The staircase that DARTS genotypes are drawn as: all operations are there, on their sources and nodes, and nothing overlaps."""

import itertools
from collections import Counter
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.patches import Circle, FancyArrowPatch
from PIL import Image

from jknas.errors import DrawingError
from jknas.report import cell_drawing
from jknas.report.cell_drawing import draw_cell
from jknas.report.cell_layout import RADIUS, lay_out
from jknas.spaces.darts.genotype import NAMED, NODES, OPERATIONS, DartsGenotype
from jknas.spaces.darts.space import DARTS
from jknas.spaces.graph import CellGraph, Edge, Node, Operation

GENOTYPE = NAMED["TENAS_cifar10"]
WIDEST = (
    ("max_pool_3x3", 0),
    ("max_pool_3x3", 1),
    *(("max_pool_3x3", 0), ("avg_pool_3x3", 2)),
    *(("avg_pool_3x3", 1), ("max_pool_3x3", 3)),
)
WIDEST = (*WIDEST, ("avg_pool_3x3", 4), ("max_pool_3x3", 0))


def compose(genotype, title=None):
    with mpl.rc_context(cell_drawing.STYLE):
        figure = cell_drawing._compose(DARTS.graph(genotype), title)
        figure.canvas.draw()
    return figure


def operations():
    """The labels and colours of the operations by name, as the graphs of genotypes give them."""
    found = {}
    for first in OPERATIONS[1:]:
        genotype = DartsGenotype.from_code([OPERATIONS.index(first) * (digit > 0) for digit in GENOTYPE.code])
        (found[first],) = {edge.operation for graph in DARTS.graph(genotype) for edge in graph.edges if edge.operation}
    return found


def panels(figure):
    """The axes of the normal and of the reduction cell."""
    return sorted(figure.axes, key=lambda axes: -axes.get_position().y0)


def test_files(tmp_path):
    assert draw_cell(GENOTYPE, tmp_path / "a.svg", space=DARTS, title="TE-NAS") == tmp_path / "a.svg"
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert "('sep_conv_5x5', 1)" in (tmp_path / "a.svg").read_text()  # the genotype is the title of the metadata
    draw_cell(GENOTYPE, tmp_path / "a.png", space=DARTS)
    with Image.open(tmp_path / "a.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(2**20)}
    assert {(0x00, 0x72, 0xB2), (0x56, 0xB4, 0xE9), (0x00, 0x9E, 0x73), (0xCC, 0x79, 0xA7), (0x88, 0x22, 0x55)} <= colours
    assert (0xD5, 0x5E, 0x00) not in colours  # there is no pool
    with pytest.raises(DrawingError, match="must end in"):
        draw_cell(GENOTYPE, tmp_path / "a.pdf", space=DARTS)


def test_the_same_genotype_gives_the_same_bytes(tmp_path):
    swapped = DartsGenotype((GENOTYPE.normal[1], GENOTYPE.normal[0], *GENOTYPE.normal[2:]), GENOTYPE.reduce)
    for suffix in ("svg", "png"):
        paths = [
            draw_cell(genotype, tmp_path / f"{n}.{suffix}", space=DARTS)
            for n, genotype in enumerate((GENOTYPE, GENOTYPE, NAMED["DARTS_V1"]))
        ]
        first, again, other = (path.read_bytes() for path in paths)
        assert first == again != other
    # The order in which the inputs of a node are listed cannot be seen.
    pixels = [np.asarray(compose(genotype).canvas.buffer_rgba()) for genotype in (GENOTYPE, swapped)]
    assert np.array_equal(*pixels)


@pytest.mark.parametrize("name", NAMED)
def test_every_operation_runs_from_its_source_to_its_node(name):
    genotype = NAMED[name]
    labels = {operation.label: name for name, operation in operations().items()}
    cells = zip(panels(compose(genotype)), (genotype.normal, genotype.reduce), DARTS.graph(genotype), strict=True)
    for axes, pairs, graph in cells:
        dots = [patch.center for patch in axes.patches if isinstance(patch, Circle) and patch.radius < 0.1]
        ends = [patch._path_original.vertices[-1] for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
        texts = [text for text in axes.texts if text.get_text() in labels]
        nodes = lay_out(graph).nodes
        found = Counter()
        for dot, end, text in zip(dots, ends, texts, strict=True):
            assert dot[0] == text.get_position()[0]
            (source,) = np.flatnonzero(nodes[:, 1] == dot[1])
            assert nodes[source, 0] < dot[0]
            node = int(np.argmin(np.hypot(*(nodes - end).T)))
            assert np.hypot(*(nodes[node] - end)) < 1.1 * RADIUS
            found[node, labels[text.get_text()], int(source)] += 1
        assert found == Counter((NODES[place // 2], *pair) for place, pair in enumerate(pairs))


def test_both_panels_are_named():
    normal, reduction = panels(compose(GENOTYPE, "$title$"))
    assert normal.texts[0].get_text() == "normal cell"
    assert reduction.texts[0].get_text() == "reduction cell: the operations on nodes 0 and 1 have stride 2"
    for axes in (normal, reduction):
        assert {"cell k\u22122", "cell k\u22121", "concatenation", "output", *"012345"} <= {text.get_text() for text in axes.texts}


def test_every_operation_has_a_label_and_a_colour_of_its_own():
    assert len({operation.label for operation in operations().values()}) == 7
    assert len({operation.colour for operation in operations().values()}) == 7


@pytest.mark.parametrize("title", [None, "A title", str(GENOTYPE)])
@pytest.mark.parametrize("cell", [WIDEST, *(genotype.reduce for genotype in NAMED.values())])
def test_nothing_overlaps_or_leaves_the_page(cell, title):
    figure = compose(DartsGenotype(cell, WIDEST), title)
    renderer = figure.canvas.get_renderer()
    boxes = [figure._suptitle.get_window_extent(renderer)] if title else []
    for axes in figure.axes:
        texts = [text for text in axes.texts if text.get_text() and not text.get_text().isdigit() and text.get_text() != "concatenation"]
        boxes += [(text.get_bbox_patch() or text).get_window_extent(renderer) for text in texts]
        boxes += [patch.get_window_extent() for patch in axes.patches if not isinstance(patch, FancyArrowPatch)]
    # On each panel a caption, three roles, eight labels, six nodes, eight dots and the output.
    assert len(boxes) == (title is not None) + 2 * (1 + 3 + 8 + 6 + 8 + 1)
    for first, second in itertools.combinations(boxes, 2):
        assert not first.overlaps(second)
    width, height = figure.canvas.get_width_height()
    for box in boxes:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) > 2


def test_an_outer_edge_passes_below_the_labels_of_the_inner_ones():
    count = 12
    edges = tuple(Edge(source, count, Operation("mix")) for source in range(count))
    layout = lay_out(CellGraph(tuple(Node() for _ in range(count + 1)), edges, outputs=(count,)))
    outer = layout.ways[0]
    bend, end = outer.shape["path"].vertices[1:]
    for x, y in (way.label for way in layout.ways[1 : count // 2]):
        edge_of_label = x - 0.2
        share = (edge_of_label - bend[0]) / (end[0] - bend[0])
        assert bend[1] + share * (end[1] - bend[1]) < y - 0.12
