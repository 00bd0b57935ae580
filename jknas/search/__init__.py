"""Search methods, one file each, under one driver.

>>> names()
('knas', 'random', 'tenas')
>>> get("knas")(samples=100, topk=5).settings
{'samples': 100, 'topk': 5}
"""

from collections.abc import Callable

from jknas.choosing import choose
from jknas.search.driver import Budget, Event, SearchResult, run
from jknas.search.errors import SearchError
from jknas.search.knas import knas
from jknas.search.method import Method
from jknas.search.problem import Problem
from jknas.search.random_search import random_search
from jknas.search.result import as_record
from jknas.search.tenas import tenas

__all__ = [
    "Budget", "Event", "Method", "Problem", "SearchError", "SearchResult", "as_record", "get", "knas", "names", "random_search", "run",
    "tenas",
]  # fmt: skip

_METHODS: dict[str, Callable[..., Method]] = {"knas": knas, "random": random_search, "tenas": tenas}


def names() -> tuple[str, ...]:
    """Return the names of the search methods."""
    return tuple(_METHODS)


def get(name: str) -> Callable[..., Method]:
    """Return the function that makes a method from its settings.

    Raises:
        SearchError: no method has that name; the message lists those that exist.
    """
    return _METHODS[choose("search method", name, names(), error=SearchError)]
