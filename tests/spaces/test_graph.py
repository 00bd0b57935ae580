"""Cells as graphs: what reaches the output, which values are refused, and that the edges of the package's spaces follow their codes."""

import dataclasses
import itertools

import numpy as np
import pytest

from jknas import spaces
from jknas.errors import SpaceError
from jknas.spaces.darts.space import DARTS
from jknas.spaces.graph import CellGraph, Edge, Node, Operation, live_nodes
from jknas.spaces.nasbench201.space import NASBENCH201

MIX, NONE = Operation("mix"), Operation("none", absent=True)
NODES = (Node(), Node(), Node(), Node())


@pytest.mark.parametrize(
    ("edges", "outputs", "live"),
    [
        ([(0, 1, MIX), (1, 3, MIX)], (3,), {0, 1, 2, 3} - {2}),
        ([(0, 1, MIX), (1, 3, NONE), (0, 2, MIX), (2, 3, MIX)], (3,), {0, 2, 3}),
        ([(0, 1, MIX), (1, 3, None)], (3,), set()),
        ([(0, 1, MIX), (0, 2, NONE), (2, 3, MIX)], (1, 3), {0, 1}),
        ([(2, 3, MIX), (0, 1, MIX)], (1, 3), {0, 1, 2, 3}),  # node 2 is an input, too
    ],
)
def test_live_nodes_are_on_a_path_from_an_input_to_an_output(edges, outputs, live):
    assert live_nodes(CellGraph(NODES, tuple(Edge(*edge) for edge in edges), outputs)) == live


def test_the_341_dead_cells_of_nasbench201_have_no_live_node():
    dead = [cell for cell in NASBENCH201.enumerate() if not live_nodes(*NASBENCH201.graph(cell))]
    assert len(dead) == 341
    assert all(NASBENCH201.is_dead(cell) for cell in dead)


@pytest.mark.parametrize("name", spaces.names())
def test_the_edges_of_all_cells_are_the_places_of_the_code(name):
    space = spaces.get(name)
    if space.graph is None:
        pytest.skip(f"{name} does not describe its cells")
    by_digit: dict[int, set] = {}
    for genotype in space.sample(np.random.default_rng(0), 500):
        edges = list(itertools.chain.from_iterable(graph.edges for graph in space.graph(genotype)))
        assert len(edges) == space.num_edges
        for digit, edge in zip(genotype.code, edges, strict=True):
            by_digit.setdefault(digit, set()).add(edge.operation)
    assert all(len(operations) == 1 for operations in by_digit.values())
    labels = [operation and operation.label for (operation,) in by_digit.values()]
    assert len(set(labels)) == len(labels) == len(space.operations)


def test_an_operation_that_a_darts_genotype_lacks_is_no_edge():
    normal, reduction = DARTS.graph(DARTS.named["DARTS_V2"])
    assert [str(edge) for edge in normal.edges if edge.operation] == ["2<-0", "2<-1", "3<-0", "3<-1", "4<-0", "4<-1", "5<-0", "5<-2"]
    assert [len([edge for edge in graph.edges if edge.operation]) for graph in (normal, reduction)] == [8, 8]
    assert (normal.title, reduction.title) == ("normal cell", "reduction cell")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges": (Edge(1, 1, MIX),)}, r"edge 1<-1 of the graph: expected a source before its target, both among the nodes 0\.\.3"),
        ({"edges": (Edge(0, 4, MIX),)}, r"edge 4<-0 of the graph"),
        ({"edges": (Edge(-1, 1, MIX),)}, r"edge 1<--1 of the graph"),
        ({"outputs": ()}, r"the outputs of the graph are \(\); expected one or more of the nodes 0\.\.3"),
        ({"outputs": (4,)}, r"the outputs of the graph are \(4,\)"),
        ({"nodes": (Node("", (0.0, 0.0)), Node(), Node(), Node())}, "some nodes of the graph have a position and some have none"),
    ],
)
def test_values_that_are_no_graph_are_refused(changes, message):
    with pytest.raises(SpaceError, match=message):
        dataclasses.replace(CellGraph(NODES, (Edge(0, 3, MIX),), (3,)), **changes)
