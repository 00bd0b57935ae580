"""The measures reproduce published numbers of the null models on the cells that papers compare scores on."""

import numpy as np
import pytest

from jknas import spaces, tabular
from jknas.ranking.metrics import kendall_tau_b, ndcg, spearman

# Kendall, Spearman and nDCG@1000 on the 9,445 reachable cells, by 200-epoch test accuracy.
PARAMETERS = {
    "cifar10": (0.6231, 0.7991, 0.7434),
    "cifar100": (0.5885, 0.7641, 0.5762),
    "imagenet16-120": (0.5474, 0.7181, 0.4031),
}
CONVOLUTIONS = {
    "cifar10": (0.6257, 0.7670, 0.6749),
    "cifar100": (0.6466, 0.7874, 0.5216),
    "imagenet16-120": (0.6231, 0.7636, 0.5106),
}


@pytest.fixture(scope="module")
def cells():
    space = spaces.get("nasbench201")
    return [genotype for genotype in space.enumerate() if space.parts["reachable"](genotype)]


@pytest.mark.parametrize("target", PARAMETERS)
def test_parameters_and_convolutions_on_the_reachable_cells(target, cells):
    space, table = spaces.get("nasbench201"), tabular.load()
    accuracies = np.array([table.accuracy(one, dataset=target, split="test", epochs=200, seeds="mean").mean for one in cells])
    parameters = np.array([float(table.parameters(one, dataset="cifar10")) for one in cells])
    convolutions = np.array([float(sum(space.operations[digit] in space.convolutions for digit in one.code)) for one in cells])
    for scores, published in ((parameters, PARAMETERS[target]), (convolutions, CONVOLUTIONS[target])):
        found = [measure(scores, accuracies).value for measure in (kendall_tau_b, spearman, ndcg)]
        assert found == pytest.approx(published, abs=6e-5)
    random = [ndcg(np.random.default_rng(seed).random(len(cells)), accuracies).value for seed in range(20)]
    expected = {"cifar10": 0.293, "cifar100": 0.152, "imagenet16-120": 0.120}[target]
    assert ndcg(np.zeros(len(cells)), accuracies).value == pytest.approx(expected, abs=1e-3)  # a constant score is a random order
    assert np.mean(random) == pytest.approx(expected, abs=0.01)


def test_one_swap_at_the_head_moves_the_gain_more_where_the_best_are_further_apart(cells):
    table, moved = tabular.load(), {}
    for target in ("cifar10", "cifar100"):
        accuracies = np.array([table.accuracy(one, dataset=target, split="test", epochs=200, seeds="mean").mean for one in cells])
        best_first = accuracies.argsort()[::-1]
        scores = np.empty_like(accuracies)
        scores[best_first] = -np.arange(len(best_first), dtype=float)
        assert ndcg(scores, accuracies).value == pytest.approx(1.0)
        first, tenth = best_first[0], best_first[9]
        scores[first], scores[tenth] = scores[tenth], scores[first]
        moved[target] = 1 - ndcg(scores, accuracies).value
    assert moved["cifar100"] > moved["cifar10"] > 0
