"""The search spaces, by name."""

from __future__ import annotations

from typing import Any

from jknas.errors import SpaceError, choose
from jknas.spaces.darts.space import DARTS
from jknas.spaces.nasbench201.space import NASBENCH201
from jknas.spaces.space import Space

__all__ = ["Space", "SpaceError", "get", "names"]

_SPACES: dict[str, Space[Any]] = {space.name: space for space in (NASBENCH201, DARTS)}


def names() -> tuple[str, ...]:
    """Return the names of the registered spaces."""
    return tuple(_SPACES)


def get(name: str) -> Space[Any]:
    """Return the search space of that name.

    Args:
        name: one of ``names()``.

    Returns:
        The space.

    Raises:
        SpaceError: no space has that name; the message lists those that exist.
    """
    return _SPACES[choose("search space", name, names(), error=SpaceError)]
