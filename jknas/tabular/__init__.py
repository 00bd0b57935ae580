"""Trained accuracies of whole search spaces, to compare scores and searches with.

>>> PROTOCOLS["cifar10"].reports
Target(dataset='cifar10', split='test', epochs=200)
"""

from jknas.errors import TabularError
from jknas.tabular.accounting import ACCOUNTINGS, FULL_TRAINING_SECONDS, Accounting
from jknas.tabular.accuracies import AccuracyTable, read_accuracies
from jknas.tabular.loading import load
from jknas.tabular.nasbench201 import MeansTable, embedded
from jknas.tabular.nats import NatsTable, nats_bench
from jknas.tabular.table import DATASETS, PROTOCOLS, Accuracy, SearchProtocol, Seeds, Table, Target, check_target

__all__ = [
    "ACCOUNTINGS",
    "DATASETS",
    "FULL_TRAINING_SECONDS",
    "PROTOCOLS",
    "Accounting",
    "Accuracy",
    "AccuracyTable",
    "MeansTable",
    "NatsTable",
    "SearchProtocol",
    "Seeds",
    "Table",
    "TabularError",
    "Target",
    "check_target",
    "embedded",
    "load",
    "nats_bench",
    "read_accuracies",
]
