import itertools

import numpy as np
import pytest
from scipy import stats

from jknas import spaces, tabular
from jknas.errors import MetricError
from jknas.ranking import graf
from jknas.ranking.graf import COLUMNS, fit_forest, graf_features, predicted
from jknas.spaces.nasbench201.genotype import EDGES, OPERATIONS, CellGenotype
from jknas.spaces.nasbench201.reachable import reachable

SPACE = spaces.get("nasbench201")
NONE = CellGenotype(("none",) * 6)
SUBSETS = [set(chosen) for size in range(6) for chosen in itertools.combinations(OPERATIONS, size)]


def sampled(n, seed=0):
    return SPACE.sample(np.random.default_rng(seed), n, unique=True)


def named(genotype):
    """The features of a cell by kind and set of operations."""
    found = {}
    for column, value in zip(COLUMNS, graf_features([genotype])[0], strict=True):
        kind, names = column.split(" ")
        found[kind, frozenset(names.split("+"))] = value
    assert len(found) == 191
    return found


def slow_features(genotype):
    """Every feature by walking over all paths, for every set."""
    operations = dict(zip(EDGES, genotype.operations, strict=True))
    found = {("count", frozenset({name})): list(genotype.operations).count(name) for name in OPERATIONS}
    walks = [[(3, 0)], [(1, 0), (3, 1)], [(2, 0), (3, 2)], [(1, 0), (2, 1), (3, 2)]]
    for banned in SUBSETS[:-1]:  # by the definition: of size 0 to 4
        open_walks = [len(walk) for walk in walks if not any(operations[edge] in banned for edge in walk)]
        found["shortest", frozenset(OPERATIONS) - banned] = min(open_walks, default=5)
    for allowed in map(frozenset, SUBSETS[1:]):
        held = [edge for edge in EDGES if operations[edge] in allowed]
        found["longest", allowed] = max((len(walk) for walk in walks if set(walk) <= set(held)), default=-1)
        found["from_input", allowed] = sum(source == 0 for _, source in held)
        found["into_output", allowed] = sum(node == 3 for node, _ in held)
        found["mean_out", allowed] = np.mean([sum(source == one for _, source in held) for one in range(4)])
        found["mean_in", allowed] = np.mean([sum(node == one for node, _ in held) for one in range(4)])
    return found


class TestFeatures:
    @pytest.mark.parametrize("genotype", [NONE, *sampled(12)], ids=lambda genotype: "".join(map(str, genotype.code)))
    def test_they_are_those_of_walking_over_all_paths(self, genotype):
        assert named(genotype) == slow_features(genotype)

    def test_there_are_191_with_a_name_each(self):
        assert len(COLUMNS) == len(set(COLUMNS)) == 191
        assert graf_features(sampled(3)).shape == (3, 191)
        assert graf_features([]).shape == (0, 191)

    def test_no_column_depends_on_the_order_of_cells(self):
        cells, order = sampled(50), np.random.default_rng(1).permutation(50)
        np.testing.assert_array_equal(graf_features([cells[place] for place in order]), graf_features(cells)[order])
        np.testing.assert_array_equal(graf_features(cells[7:8]), graf_features(cells)[7:8])

    def test_a_cell_of_nothing_has_edges(self):
        for (kind, allowed), value in named(NONE).items():
            if kind == "shortest":
                assert value == (1 if "none" in allowed else 5)
            if kind == "longest":
                assert value == (3 if "none" in allowed else -1)

    def test_the_shortest_path_with_nothing_left_out_is_one_edge(self):
        column = COLUMNS.index("shortest " + "+".join(OPERATIONS))
        assert set(graf_features(sampled(200))[:, column]) == {1}

    def test_another_space(self):
        with pytest.raises(MetricError, match="graf_features got a DartsGenotype; its features are those of NAS-Bench-201"):
            graf_features([spaces.get("darts").sample(np.random.default_rng(0))])


class TestForest:
    def test_it_predicts_cells_that_it_has_not_seen(self):
        table, cells = tabular.load(), [one for one in sampled(1500, seed=2) if reachable(one)]
        target = tabular.PROTOCOLS["cifar10"].reports._asdict()
        accuracies = np.array([table.accuracy(one, **target, seeds="mean").mean for one in cells])
        features = graf_features(cells)
        found = predicted(fit_forest(features[:128], accuracies[:128], seed=0, trees=50), features[128:])
        assert found.n == 128
        assert 0.88 < stats.spearmanr(found.accuracies, accuracies[128:]).statistic < 0.96  # 0.92 is on record
        shuffled = np.random.default_rng(0).permutation(accuracies[:128])
        null = predicted(fit_forest(features[:128], shuffled, seed=0, trees=50), features[128:])
        assert abs(stats.spearmanr(null.accuracies, accuracies[128:]).statistic) < 0.5

    def test_one_seed_one_forest(self):
        features, accuracies = graf_features(sampled(30)), np.arange(30.0)
        one, two, three = (predicted(fit_forest(features, accuracies, seed=seed, trees=5), features).accuracies for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, two)
        assert (one != three).any()

    def test_more_columns_and_gaps(self):
        features, accuracies = np.array([[0.0, np.nan], [0.0, 1.0], [0.0, 2.0]] * 10), np.array([5.0, 1.0, 2.0] * 10)
        found = predicted(fit_forest(features, accuracies, seed=0), features[:3])
        np.testing.assert_allclose(found.accuracies, [5, 1, 2], atol=0.2)
        assert (found.n, predicted(fit_forest(features, accuracies, seed=0), features[:0]).accuracies.size) == (30, 0)

    @pytest.mark.parametrize(
        ("features", "accuracies", "trees", "words"),
        [
            (np.zeros((0, 2)), np.zeros(0), 5, "0 rows of features and 0 accuracies; expected as many, one or more"),
            (np.zeros((3, 2)), np.zeros(2), 5, "3 rows of features and 2 accuracies"),
            (np.zeros((2, 2)), np.array([1.0, np.nan]), 5, "an accuracy is not finite"),
            (np.array([[1e39], [0.0]]), np.zeros(2), 5, "beyond single precision, in which forests split: pass the ranks"),
            (np.zeros((2, 2)), np.zeros(2), 0, "trees is 0; expected a whole number, 1 or more"),
        ],
    )
    def test_refusals(self, features, accuracies, trees, words):
        with pytest.raises(MetricError, match=words):
            fit_forest(features, accuracies, seed=0, trees=trees)

    def test_another_number_of_columns(self):
        forest = fit_forest(np.zeros((2, 3)), np.zeros(2), seed=0, trees=1)
        with pytest.raises(MetricError, match="predicted: 2 columns of features, and the forest was fitted to 3: give the same"):
            predicted(forest, np.zeros((1, 2)))

    def test_without_scikit_learn(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
        with pytest.raises(MetricError, match=r"needs scikit-learn, which is not installed: pip install 'jknas\[graf\]'"):
            fit_forest(np.zeros((2, 2)), np.zeros(2), seed=0)
        assert graf.graf_features([NONE]).shape == (1, 191)
