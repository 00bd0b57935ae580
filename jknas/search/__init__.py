"""Search methods, one file each, under one driver.

>>> names()
('best_by_proxy', 'bohb', 'evolution', 'knas', 'proxy_evolution', 'random', 'reinforce', 'tenas')
>>> get("knas")(samples=100, topk=5).settings
{'samples': 100, 'topk': 5}
"""

from collections.abc import Callable

from jknas.errors import SearchError, choose
from jknas.search.driver import Budget, Event, SearchResult, run
from jknas.search.method import Method
from jknas.search.methods.best_by_proxy import best_by_proxy
from jknas.search.methods.bohb import bohb
from jknas.search.methods.evolution import evolution
from jknas.search.methods.knas import knas
from jknas.search.methods.proxy_evolution import proxy_evolution
from jknas.search.methods.random import random_search
from jknas.search.methods.reinforce import reinforce
from jknas.search.problem import Problem
from jknas.search.pruning.tenas import tenas
from jknas.search.result import as_record
from jknas.search.scored_pool import scored_pool
from jknas.search.table_problem import TableProblem

__all__ = [
    "Budget", "Event", "Method", "Problem", "SearchError", "SearchResult", "TableProblem", "as_record", "best_by_proxy", "bohb",
    "evolution", "get", "knas", "names", "proxy_evolution", "random_search", "reinforce", "run", "scored_pool", "tenas",
]  # fmt: skip

_METHODS: dict[str, Callable[..., Method]] = {
    "best_by_proxy": best_by_proxy,
    "bohb": bohb,
    "evolution": evolution,
    "knas": knas,
    "proxy_evolution": proxy_evolution,
    "random": random_search,
    "reinforce": reinforce,
    "tenas": tenas,
}


def names() -> tuple[str, ...]:
    """Return the names of the search methods."""
    return tuple(_METHODS)


def get(name: str) -> Callable[..., Method]:
    """Return the function that makes a method from its settings.

    Raises:
        SearchError: no method has that name; the message lists those that exist.
    """
    return _METHODS[choose("search method", name, names(), error=SearchError)]
