"""Search methods, one file each, under one driver.

Names are imported when they are first used, so that the command line can list the methods and their options without JAX.

>>> from jknas import search
>>> " ".join(search.names())
'best_by_proxy bohb darts-v1 darts-v2 enas evolution gdas knas mf_nas proxy_evolution random reinforce robot rsps setn tenas'
>>> search.get("knas")(samples=100, topk=5).settings
{'samples': 100, 'topk': 5}
"""

import importlib
from typing import TYPE_CHECKING, Any

from jknas.errors import SearchError

if TYPE_CHECKING:
    from jknas.search.driver import Budget, Event, SearchResult, run
    from jknas.search.method import SearchMethod
    from jknas.search.problem import Problem
    from jknas.search.registry import get, names
    from jknas.search.result import as_record
    from jknas.search.scored import measured_in, scored_pool
    from jknas.search.table import TableProblem

__all__ = [
    "Budget", "Event", "Problem", "SearchError", "SearchMethod", "SearchResult", "TableProblem", "as_record", "get",
    "measured_in", "names", "run", "scored_pool",
]  # fmt: skip

_HOMES = {
    "driver": ("Budget", "Event", "SearchResult", "run"),
    "method": ("SearchMethod",),
    "problem": ("Problem",),
    "registry": ("get", "names"),
    "result": ("as_record",),
    "scored": ("measured_in", "scored_pool"),
    "table": ("TableProblem",),
}


def __getattr__(name: str) -> Any:
    for home, listed in _HOMES.items():
        if name in listed:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its public names are {', '.join(__all__)}")
