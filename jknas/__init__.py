"""Score and search neural architectures without training them.

Names are imported when they are first used: ``import jknas`` starts no backend, reads no file and sets no flag.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jknas.data import Dataset as Dataset
    from jknas.data import load as load
    from jknas.kernels.coupled import ntk_coupled as ntk_coupled
    from jknas.kernels.gram import gram as gram
    from jknas.kernels.linear_regions import linear_regions as linear_regions
    from jknas.kernels.mgm import mgm as mgm
    from jknas.kernels.mgm import mgm_layerwise as mgm_layerwise
    from jknas.kernels.spectrum import spectrum as spectrum
    from jknas.networks.nasbench201.network import CellNetwork as CellNetwork
    from jknas.report.kernel_drawing import draw_kernel as draw_kernel
    from jknas.scoring.scorer import make_scorer as make_scorer
    from jknas.scoring.scorer import score_many as score_many
    from jknas.scoring.scorer import score_together as score_together
    from jknas.scoring.store import Store as Store
    from jknas.search import Problem as Problem
    from jknas.search import run as run_search
    from jknas.spaces.darts.genotype import DartsGenotype as DartsGenotype
    from jknas.spaces.nasbench201.genotype import CellGenotype as CellGenotype
    from jknas.training import Recipe as Recipe
    from jknas.training import evaluate as evaluate
    from jknas.training import train as train

    __version__: str

_HOMES = {
    "CellGenotype": ("jknas.spaces.nasbench201.genotype", "CellGenotype"),
    "CellNetwork": ("jknas.networks.nasbench201.network", "CellNetwork"),
    "DartsGenotype": ("jknas.spaces.darts.genotype", "DartsGenotype"),
    "Dataset": ("jknas.data", "Dataset"),
    "Problem": ("jknas.search", "Problem"),
    "Recipe": ("jknas.training", "Recipe"),
    "Store": ("jknas.scoring.store", "Store"),
    "draw_kernel": ("jknas.report.kernel_drawing", "draw_kernel"),
    "evaluate": ("jknas.training", "evaluate"),
    "gram": ("jknas.kernels.gram", "gram"),
    "linear_regions": ("jknas.kernels.linear_regions", "linear_regions"),
    "load": ("jknas.data", "load"),
    "make_scorer": ("jknas.scoring.scorer", "make_scorer"),
    "mgm": ("jknas.kernels.mgm", "mgm"),
    "mgm_layerwise": ("jknas.kernels.mgm", "mgm_layerwise"),
    "ntk_coupled": ("jknas.kernels.coupled", "ntk_coupled"),
    "run_search": ("jknas.search", "run"),
    "score_many": ("jknas.scoring.scorer", "score_many"),
    "score_together": ("jknas.scoring.scorer", "score_together"),
    "spectrum": ("jknas.kernels.spectrum", "spectrum"),
    "train": ("jknas.training", "train"),
}

__all__ = [
    "CellGenotype",
    "CellNetwork",
    "DartsGenotype",
    "Dataset",
    "Problem",
    "Recipe",
    "Store",
    "__version__",
    "draw_kernel",
    "evaluate",
    "gram",
    "linear_regions",
    "load",
    "make_scorer",
    "mgm",
    "mgm_layerwise",
    "ntk_coupled",
    "run_search",
    "score_many",
    "score_together",
    "spectrum",
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
