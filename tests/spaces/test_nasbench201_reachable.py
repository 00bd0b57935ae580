from collections import Counter

import numpy as np
import pytest
from scipy import stats

from jknas import spaces, tabular
from jknas.spaces.nasbench201.genotype import EDGES
from jknas.spaces.nasbench201.reachable import reachable

SPACE = spaces.get("nasbench201")
KEPT = [genotype for genotype in SPACE.enumerate() if reachable(genotype)]


def published_rule(genotype):
    """Two passes that set edges to "none", word by word."""
    operations = dict(zip(EDGES, genotype.operations, strict=True))
    for node in (1, 2):
        if all(operations[edge] == "none" for edge in EDGES if edge[0] == node):
            operations |= {edge: "none" for edge in EDGES if edge[1] == node}
    for node in (2, 1):
        if all(operations[edge] == "none" for edge in EDGES if edge[1] == node):
            operations |= {edge: "none" for edge in EDGES if edge[0] == node}
    return tuple(operations.values()) == genotype.operations


def test_it_is_the_published_rule():
    assert [genotype for genotype in SPACE.enumerate() if published_rule(genotype)] == KEPT


def test_how_many_there_are():
    convolutions = Counter(sum("conv" in name for name in genotype.operations) for genotype in KEPT)
    assert [convolutions[count] for count in range(7)] == [291, 1370, 2704, 2840, 1664, 512, 64]
    assert len(KEPT) == 9445
    assert [str(genotype) for genotype in KEPT if SPACE.is_dead(genotype)] == ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"]


@pytest.mark.parametrize(
    ("dataset", "sizes", "convolutions"),
    [
        ("cifar10", (0.6231, 0.7991), (0.6257, 0.7670)),
        ("cifar100", (0.5885, 0.7641), (0.6466, 0.7874)),
        ("imagenet16-120", (0.5474, 0.7181), (0.6231, 0.7636)),
    ],
)
def test_null_models_on_it_are_those_on_record(dataset, sizes, convolutions):
    table = tabular.load()
    reports = tabular.PROTOCOLS[dataset].reports
    accuracies = [table.accuracy(genotype, **reports._asdict(), seeds="mean").mean for genotype in KEPT]
    parameters = [table.parameters(genotype, dataset=reports.dataset) for genotype in KEPT]
    counts = [sum("conv" in name for name in genotype.operations) for genotype in KEPT]
    for scores, expected in ((parameters, sizes), (counts, convolutions)):
        found = (stats.kendalltau(scores, accuracies).statistic, stats.spearmanr(scores, accuracies).statistic)
        np.testing.assert_allclose(found, expected, atol=2e-4)
