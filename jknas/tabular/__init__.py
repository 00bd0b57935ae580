"""Trained accuracies of whole search spaces, to compare scores and searches with.

>>> PROTOCOLS["cifar10"].reports
Target(dataset='cifar10', split='test', epochs=200)
"""

from jknas.tabular.errors import TabularError
from jknas.tabular.nasbench201 import MeansTable, load
from jknas.tabular.table import DATASETS, PROTOCOLS, Accuracy, SearchProtocol, Seeds, Split, Table, Target, check_target

__all__ = [
    "DATASETS",
    "PROTOCOLS",
    "Accuracy",
    "MeansTable",
    "SearchProtocol",
    "Seeds",
    "Split",
    "Table",
    "TabularError",
    "Target",
    "check_target",
    "load",
]
