"""Check of a network's sizes."""

from typing import Any

from jknas.errors import NetworkError


def check_sizes(network: Any, *names: str) -> None:
    """Raise ``NetworkError`` unless the named attributes are positive integers."""
    for name in names:
        value = getattr(network, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise NetworkError(f"{name} must be a positive integer, got {value!r}")
