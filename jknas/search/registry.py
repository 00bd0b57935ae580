"""The search methods by name: every file of ``methods/``, and the methods that a folder of this package has in its ``__init__``."""

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jknas.errors import SearchError, choose
from jknas.search import methods
from jknas.search.method import SearchMethod


def names() -> tuple[str, ...]:
    """Return the names of the search methods."""
    return tuple(_registered())


def get(name: str) -> type[Any]:
    """Return the class of a method, which is called with its settings.

    Raises:
        SearchError: no method has that name; the message lists those that exist.
    """
    return _registered()[choose("search method", name, names(), error=SearchError)]


@functools.cache
def _registered() -> dict[str, type[SearchMethod[Any]]]:
    found = {one.name: one for module in _modules() for one in vars(module).values() if _is_method(one)}
    return dict(sorted(found.items()))


def _modules() -> Iterator[Any]:
    package, _, _ = methods.__name__.rpartition(".")
    folders = ((f"{package}.{one.name}", one.ispkg) for one in pkgutil.iter_modules([str(Path(__file__).parent)]))
    files = ((f"{methods.__name__}.{one.name}", True) for one in pkgutil.iter_modules(methods.__path__))
    return (importlib.import_module(name) for name, wanted in (*folders, *files) if wanted)


def _is_method(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, SearchMethod) and "name" in vars(value)
