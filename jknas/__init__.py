"""Score and search neural architectures without training them.

Names and subpackages are imported when they are first used: ``import jknas`` starts no backend, reads no file and sets no flag.
"""

import importlib
from typing import Any

_NAMES = {
    "jknas.data": ("Dataset", "load"),
    "jknas.kernels.coupled": ("ntk_coupled",),
    "jknas.kernels.diagonal": ("gram_diagonal",),
    "jknas.kernels.gram": ("gram",),
    "jknas.kernels.linear_regions": ("linear_regions",),
    "jknas.kernels.mgm": ("mgm", "mgm_layerwise"),
    "jknas.kernels.nngp_kernel": ("nngp",),
    "jknas.kernels.operator": ("logdet_estimate", "ntk_operator", "trace_estimate"),
    "jknas.kernels.predict": ("gp_posterior", "gradient_flow"),
    "jknas.kernels.products": ("gradient_products",),
    "jknas.kernels.sketch": ("sketched_gram",),
    "jknas.kernels.spectrum": ("spectrum",),
    "jknas.kernels.taylor": ("linearize",),
    "jknas.kernels.tiled": ("TiledGram", "tiled_gram"),
    "jknas.networks.flax_network": ("FlaxNetwork",),
    "jknas.networks.nasbench201.network": ("CellNetwork",),
    "jknas.report.kernel_drawing": ("draw_kernel",),
    "jknas.report.kernel_training": ("draw_kernel_training",),
    "jknas.scoring.scorer": ("make_scorer", "score_many", "score_together"),
    "jknas.scoring.store": ("Store",),
    "jknas.search": ("Problem",),
    "jknas.spaces.darts.genotype": ("DartsGenotype",),
    "jknas.spaces.nasbench201.genotype": ("CellGenotype",),
    "jknas.training": ("Recipe", "evaluate", "train"),
    "jknas.training.kernel_recorder": ("KernelHistory", "KernelRecorder"),
}
_HOMES = {name: (module, name) for module, names in _NAMES.items() for name in names} | {"run_search": ("jknas.search", "run")}
_ROOMS = (
    *("data", "errors", "kernels", "networks", "proxies", "ranking", "report", "scoring", "search", "spaces", "tabular", "training", "xla"),
)

__all__ = ["__version__", *sorted(_HOMES)]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("jknas")
    elif name in _HOMES:
        module, attribute = _HOMES[name]
        value = getattr(importlib.import_module(module), attribute)
    elif name in _ROOMS:
        return importlib.import_module(f"jknas.{name}")
    else:
        raise AttributeError(f"module 'jknas' has no attribute {name!r}; its public names are {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
