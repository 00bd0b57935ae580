"""The search spaces, by name. Each folder here is one space; :func:`register` adds spaces from elsewhere."""

import importlib
import pkgutil
from typing import Any

from jknas.errors import SpaceError
from jknas.registry import Registry
from jknas.spaces.edges import edge_space
from jknas.spaces.space import Genotype, Space

__all__ = ["Genotype", "Space", "edge_space", "get", "names", "reference_of", "register"]

_SPACES: Registry[Space[Any]] = Registry(
    "search space", Space, expected="a jknas.spaces.Space. Make one with jknas.spaces.edge_space", error=SpaceError
)


def names() -> tuple[str, ...]:
    """Return the names of the registered spaces."""
    return tuple(_SPACES.things)


def get(name: str) -> Space[Any]:
    """Return the search space of that name.

    Args:
        name: one of ``names()``, or ``module:NAME`` of a space that a module defines, in the current folder or on ``PYTHONPATH``; it is
            registered.

    Raises:
        SpaceError: no space has that name (the message lists those that exist), the module cannot be imported, or what it defines under
            that name is no space.
    """
    return _SPACES.get(name)


def reference_of(space: Space[Any]) -> str:
    """Return the text by which :func:`get` finds a space in another process.

    Raises:
        SpaceError: the space is not registered here, so that no name leads to it.
    """
    return _SPACES.reference_of(space)


def register(space: Space[Any]) -> None:
    """Add a search space, so that :func:`get` and the command line know its name.

    Raises:
        SpaceError: another space has that name already, or the name has spaces or colons.
    """
    _SPACES.register(space)


for _found in pkgutil.iter_modules(__path__):
    if _found.ispkg:
        register(importlib.import_module(f"{__name__}.{_found.name}").SPACE)
