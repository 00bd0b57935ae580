"""Data sets: embedded digits, CIFAR-10 and -100, ImageNet16-120, and your own `.npz`, images or sentence pairs. Importing reads nothing."""

from jknas.data.catalogue import Availability, CheckReport, FileReport, available, check, load, names
from jknas.data.dataset import SPLITS, Dataset, batch
from jknas.data.fetching import fetch
from jknas.data.text import TextDataset
from jknas.errors import DataError

__all__ = [
    "SPLITS",
    "Availability",
    "CheckReport",
    "DataError",
    "Dataset",
    "FileReport",
    "TextDataset",
    "available",
    "batch",
    "check",
    "fetch",
    "load",
    "names",
]
