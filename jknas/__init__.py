"""Score and search neural architectures without training them.

Names are imported when they are first used: ``import jknas`` starts no backend, reads no file and sets no flag.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jknas.data import Dataset as Dataset
    from jknas.data import load as load
    from jknas.genotype import CellGenotype as CellGenotype
    from jknas.kernels.mgm import mgm as mgm
    from jknas.kernels.mgm import mgm_layerwise as mgm_layerwise
    from jknas.networks.cell_network import CellNetwork as CellNetwork
    from jknas.scoring import make_scorer as make_scorer
    from jknas.scoring import score_many as score_many
    from jknas.search import Problem as Problem
    from jknas.search import run as run_search
    from jknas.store import Store as Store
    from jknas.training import Recipe as Recipe
    from jknas.training import evaluate as evaluate
    from jknas.training import train as train

    __version__: str

_HOMES = {
    "CellGenotype": ("jknas.genotype", "CellGenotype"),
    "CellNetwork": ("jknas.networks.cell_network", "CellNetwork"),
    "Dataset": ("jknas.data", "Dataset"),
    "Problem": ("jknas.search", "Problem"),
    "Recipe": ("jknas.training", "Recipe"),
    "Store": ("jknas.store", "Store"),
    "evaluate": ("jknas.training", "evaluate"),
    "load": ("jknas.data", "load"),
    "make_scorer": ("jknas.scoring", "make_scorer"),
    "mgm": ("jknas.kernels.mgm", "mgm"),
    "mgm_layerwise": ("jknas.kernels.mgm", "mgm_layerwise"),
    "run_search": ("jknas.search", "run"),
    "score_many": ("jknas.scoring", "score_many"),
    "train": ("jknas.training", "train"),
}

__all__ = [
    "CellGenotype",
    "CellNetwork",
    "Dataset",
    "Problem",
    "Recipe",
    "Store",
    "__version__",
    "evaluate",
    "load",
    "make_scorer",
    "mgm",
    "mgm_layerwise",
    "run_search",
    "score_many",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("jknas")
    elif name in _HOMES:
        module, attribute = _HOMES[name]
        value = getattr(importlib.import_module(module), attribute)
    else:
        raise AttributeError(f"module 'jknas' has no attribute {name!r}; its public names are {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
