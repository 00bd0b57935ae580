"""The search spaces, by name. Each folder here is one space; :func:`register` adds spaces from elsewhere."""

import importlib
import pkgutil
from typing import Any

from jknas.errors import SpaceError, choose
from jknas.spaces.edges import edge_space
from jknas.spaces.reference import load_reference
from jknas.spaces.space import Genotype, Space

__all__ = ["Genotype", "Space", "edge_space", "get", "names", "reference_of", "register"]

_SPACES: dict[str, Space[Any]] = {}
_REFERENCES: dict[str, str] = {}
"""By the name of a space that a module elsewhere defines, module:NAME."""


def names() -> tuple[str, ...]:
    """Return the names of the registered spaces."""
    return tuple(_SPACES)


def get(name: str) -> Space[Any]:
    """Return the search space of that name.

    Args:
        name: one of ``names()``, or ``module:NAME`` of a space that a module on ``PYTHONPATH`` defines; it is registered.

    Raises:
        SpaceError: no space has that name (the message lists those that exist), the module cannot be imported, or what it defines under
            that name is no space.
    """
    if isinstance(name, str) and ":" in name:
        found = load_reference(name, "search space")
        if not isinstance(found, Space):
            raise SpaceError(f"{name!r} is a {type(found).__name__}; expected a jknas.spaces.Space. Make one with jknas.spaces.edge_space.")
        register(found)
        _REFERENCES[found.name] = name
        return found
    return _SPACES[choose("search space", name, names(), error=SpaceError)]


def reference_of(space: Space[Any]) -> str:
    """Return the text by which :func:`get` finds a space in another process.

    Raises:
        SpaceError: the space is not registered here, so that no name leads to it.
    """
    if _SPACES.get(space.name) is not space:
        raise SpaceError(f"the space {space.name!r} is not registered: only spaces that have a name can be sent to another process.")
    return _REFERENCES.get(space.name, space.name)


def register(space: Space[Any]) -> None:
    """Add a search space, so that :func:`get` and the command line know its name.

    Raises:
        SpaceError: another space has that name already.
    """
    if _SPACES.setdefault(space.name, space) is not space:
        raise SpaceError(f"a search space called {space.name!r} is registered already: give yours another name.")


for _found in pkgutil.iter_modules(__path__):
    if _found.ispkg:
        register(importlib.import_module(f"{__name__}.{_found.name}").SPACE)
